"""Membership and leadership, as the client asks for them: one change a call."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from raftcache.client.calling import Calling
from raftcache.client.replies import Member, accepted, decoded

MEMBERS: Final = "/v1/cluster/members"


class Members(Struct, frozen=True):
    """The configuration of the cluster, as one node knows it.

    version: raised by every change. committed: False while the last change may yet be undone.
    """

    cluster_id: str
    version: int
    members: tuple[Member, ...]
    committed: bool = True

    def get(self, name: str) -> Member | None:
        return next((m for m in self.members if m.name == name), None)


class _Leader(Struct, frozen=True):
    leader: str


class MemberCalls(Calling):
    """A part of RaftcacheClient.

    Each change returns the configuration it led to, committed. It raises NotFound, Conflict or
    PreconditionFailed with the reason when the cluster refuses it; `if_version` makes it depend on
    the version of the configuration. Changes carry no idempotency key: after an Unknown ask for
    the members.
    """

    async def members(self) -> Members:
        """As whichever node answers first knows them."""
        return decoded(await self._operate("GET", MEMBERS), Members)

    async def add_member(
        self,
        name: str,
        raft: str,
        http: str = "",
        *,
        resp: str = "",
        if_version: int | None = None,
    ) -> Members:
        """A new learner; its data is bound to it when it joins."""
        body = {"name": name, **_addresses(raft, http, resp)}
        return await self._change("POST", MEMBERS + _query(if_version=if_version), body)

    async def promote_member(
        self, name: str, *, if_version: int | None = None, force: bool = False
    ) -> Members:
        """Let a learner vote; a Conflict says how much it lacks."""
        query = _query(op="promote", if_version=if_version, force=force)
        return await self._change("POST", _path(name) + query)

    async def remove_member(
        self, name: str, *, if_version: int | None = None, force: bool = False
    ) -> Members:
        """For good. A leader hands over first."""
        query = _query(if_version=if_version, force=force)
        return await self._change("DELETE", _path(name) + query)

    async def update_member(
        self,
        name: str,
        raft: str = "",
        http: str = "",
        *,
        resp: str = "",
        if_version: int | None = None,
    ) -> Members:
        """New addresses; "" leaves one as it is."""
        query = _query(op="update", if_version=if_version)
        return await self._change("POST", _path(name) + query, _addresses(raft, http, resp))

    async def transfer_leadership(self, to: str = "") -> str:
        """Let this voter lead ("": the one that has most); returns who does."""
        answer = await self._operate("POST", "/v1/cluster/leader" + _query(to=to))
        return decoded(accepted(answer), _Leader).leader

    async def _change(self, method: str, path_qs: str, body: Any = None) -> Members:  # noqa: ANN401
        encoded = None if body is None else msgspec.json.encode(body)
        return decoded(accepted(await self._operate(method, path_qs, encoded)), Members)


def _path(name: str) -> str:
    return f"{MEMBERS}/{quote(name, safe='')}"


def _addresses(raft: str, http: str, resp: str) -> dict[str, str]:
    """As the body has them; nodes of an older version know no `resp`, and refuse it."""
    said = {"raft": raft, "http": http}
    return {**said, "resp": resp} if resp else said


def _query(**parameters: str | int | None) -> str:
    """What was said; False, None and "" are not, but 0 is."""
    said = {k: v for k, v in parameters.items() if v is not None and v is not False and v != ""}
    text = "&".join(f"{k}={'true' if v is True else quote(str(v))}" for k, v in said.items())
    return f"?{text}" if text else ""
