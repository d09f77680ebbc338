"""Membership as an operator sees it: one step at a time, from any node, each with its reason."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from raftcache.errors import Conflict, NotLeader, RaftcacheError, Unknown
from raftcache.raft import members
from raftcache.raft.greetings import Refusal
from raftcache.raft.members import Change, Configuration, StillLeads
from raftcache.raft.replica import Replica


class Membership:
    """Asks the leader through this node's replica. All methods on the loop."""

    def __init__(
        self, name: str, cluster_id: str, replica: Replica, timeout_s: float, poll_s: float
    ) -> None:
        self._name, self._cluster_id, self._replica = name, cluster_id, replica
        self._timeout_s, self._poll_s = timeout_s, poll_s

    def view(self, configuration: Configuration | None = None) -> dict[str, Any]:
        """The configuration as JSON: of this node, or one that a change led to."""
        shown = configuration or self._replica.configuration
        committed = configuration is not None or self._replica.configuration_is_committed
        listed = [
            {
                "name": m.name,
                "id": m.id,
                "raft": m.raft,
                "http": m.http or None,
                "resp": m.resp or None,
                "voter": m.voter,
                "commands_version": m.commands_version,
            }
            for m in shown.members
        ]
        head = {"cluster_id": self._cluster_id, "version": shown.version, "committed": committed}
        return {**head, "members": listed}

    async def add(
        self, name: str, member_id: str, raft: str, http: str, resp: str, if_version: int | None
    ) -> dict[str, Any]:
        """A new learner; or a dead member, which begins anew as a learner with its new data."""
        return await self._change(Change("add", name, member_id, raft, http, if_version, resp=resp))

    async def promote(self, name: str, if_version: int | None, force: bool) -> dict[str, Any]:
        """Let a learner vote, once it lacks little."""
        return await self._change(Change("promote", name, if_version=if_version, force=force))

    async def remove(self, name: str, if_version: int | None, force: bool) -> dict[str, Any]:
        """Remove any member; a leader hands over first, and the next leader removes it."""
        change = Change("remove", name, if_version=if_version, force=force)
        try:
            try:
                return await self._change(change)
            except StillLeads:  # everything else allows it
                await self.transfer("")
            return await self._change(change)
        except Unknown:
            if name != self._name or not await self._is_told_of_its_removal():
                raise
        return self.view(members.apply(self._replica.configuration, Change("remove", name)))

    async def _is_told_of_its_removal(self) -> bool:
        """The leader talks no more to whom it removes: the answer comes when this node greets."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while not self._replica.expelled:  # noqa: ASYNC110 (no event says so)
                    await asyncio.sleep(self._poll_s)
        return self._replica.expelled == Refusal.REMOVED

    async def update(
        self, name: str, raft: str, http: str, resp: str, if_version: int | None
    ) -> dict[str, Any]:
        """Change a member's addresses; "" leaves one as it is."""
        return await self._change(Change("update", name, "", raft, http, if_version, resp=resp))

    async def _change(self, change: Change) -> dict[str, Any]:
        """On return the change is committed. Raises what refused it, or Unknown."""
        return self.view(await self._ask(change))

    async def transfer(self, to: str) -> str:
        """Let another voter lead ("": whoever has most); returns its name once it does."""
        before = self._replica.leader
        if before is not None and to == before:
            return before
        await self._ask(Change("transfer", to))
        try:
            async with asyncio.timeout(self._timeout_s):
                while self._replica.leader in (None, before):  # noqa: ASYNC110 (no event says so)
                    await asyncio.sleep(self._poll_s)
        except TimeoutError:
            raise Conflict(f"nobody took over from {before} in {self._timeout_s:g} s") from None
        leader = self._replica.leader
        assert leader is not None
        if to and leader != to:
            raise Conflict(f"{leader} took over, not {to}")
        return leader

    async def _ask(self, change: Change) -> Configuration:
        """Asks again while there is no leader to take it; raises what refused it, or Unknown."""
        unknown = Unknown(f"no answer in {self._timeout_s:g} s")
        outcome: Configuration | RaftcacheError = unknown
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while True:
                    outcome = unknown  # as long as it is under way
                    outcome = await self._ask_once(change)
                    if not isinstance(outcome, NotLeader) or self._replica.expelled:
                        break
                    await asyncio.sleep(self._poll_s)
        if isinstance(outcome, RaftcacheError):
            raise outcome
        return outcome

    async def _ask_once(self, change: Change) -> Configuration | RaftcacheError:
        answer: asyncio.Future[Configuration | RaftcacheError]
        answer = asyncio.get_running_loop().create_future()

        def done(outcome: Configuration | RaftcacheError) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self._replica.change_members(change, done)
        return await answer
