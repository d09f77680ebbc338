"""Locks: waited for, held and followed.

A client that waits has a place in the replicated queue, and this node says for it, once in a
while, that it is still here. What becomes of the place is decided by the log alone: granted, or
gone. A retry of the same request, at any node, comes to the same place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from raftcache.command.leasing import (
    LockAcquire,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
    LockView,
)
from raftcache.command.limits import LOCK_PLACE_MS
from raftcache.command.replies import Reply, Status
from raftcache.errors import RaftcacheError, Unknown
from raftcache.service.calls import IsHere, become_fresh, written
from raftcache.service.kv import LINEARIZABLE, Kv, Want
from raftcache.state.machine import Machine

STAY_S: Final = LOCK_PLACE_MS / 1000 / 3
"""Between two words that somebody still waits: two may be lost."""

LOOK_S: Final = 1.0
"""Between two looks whether the client is still there."""

_IN_QUEUE: Final = "still in the queue: ask another node, with the same Idempotency-Key"

GRACE_S: Final = 10.0
"""After the end of a wait, for the log to say so; then its outcome is unknown."""


class Locks(Protocol):
    """Shape of the service, for front doors and their tests; every call raises what refused it."""

    async def acquire(self, command: LockAcquire, is_here: IsHere) -> Reply:
        """GRANTED, or what refused it; waits as long as the command says."""
        ...

    async def execute(self, command: LockKeepAlive | LockRelease) -> Reply:
        """Replicate the command."""
        ...

    async def show(self, name: bytes, want: Want) -> LockView:
        """Who holds it."""
        ...

    async def list(
        self, after: bytes, count_max: int, want: Want
    ) -> Sequence[tuple[bytes, LockView]]:
        """Locks that are not free, with names behind one, in order."""
        ...

    async def follow(self, name: bytes, since: int, wait_s: float, is_here: IsHere) -> LockView:
        """Who holds it, once that is not the token `since` (0 for nobody), or the wait is over."""
        ...


class LockService:
    """The real one. All methods on the loop."""

    def __init__(self, kv: Kv, machine: Machine) -> None:
        self._kv, self._machine = kv, machine
        self._followers: defaultdict[bytes, set[asyncio.Future[None]]] = defaultdict(set)
        self._stopping = False
        machine.on_locks = self._note

    def stop(self) -> None:
        """Whoever waits is told to ask another node."""
        self._stopping = True
        self._wake(None)

    async def execute(self, command: LockKeepAlive | LockRelease) -> Reply:
        return await written(self._kv, command)

    async def show(self, name: bytes, want: Want) -> LockView:
        await become_fresh(self._kv, self._machine, want)
        return self._machine.lock(name)

    async def list(
        self, after: bytes, count_max: int, want: Want
    ) -> Sequence[tuple[bytes, LockView]]:
        await become_fresh(self._kv, self._machine, want)
        return self._machine.locks(after, count_max)

    async def follow(self, name: bytes, since: int, wait_s: float, is_here: IsHere) -> LockView:
        now = asyncio.get_running_loop().time
        deadline_s = now() + wait_s
        view = await self.show(name, LINEARIZABLE)
        while view.token == since and (left_s := deadline_s - now()) > 0:
            if self._stopping or not is_here():
                break
            if await self._changed(name, min(left_s, LOOK_S)):
                view = self._machine.lock(name)
        return view if view.token != since else await self.show(name, LINEARIZABLE)

    async def acquire(self, command: LockAcquire, is_here: IsHere) -> Reply:
        reply = await written(self._kv, command)
        if reply.status is not Status.QUEUED:
            return reply
        wait = _Wait(self._kv, command.name, reply.number, None if reply.replayed else 0)
        if reply.replayed:
            await self._take_over(wait)
        now = asyncio.get_running_loop().time
        deadline_s, stay_s = now() + command.wait_ms / 1000 + GRACE_S, now() + STAY_S
        while (token := self._machine.lock_place(command.name, wait.place)) == 0:
            if not is_here():
                wait.leave()
                break
            if self._stopping or now() > deadline_s:
                raise Unknown(_IN_QUEUE)
            await self._changed(command.name, LOOK_S)
            if now() > stay_s:
                with contextlib.suppress(RaftcacheError):  # the next word may come in time
                    await wait.stay()
                stay_s = now() + STAY_S
        if not token:
            return Reply(Status.LOCKED, self._machine.revision, replayed=reply.replayed)
        view = self._machine.lock(command.name)
        deadline_ms = view.deadline_ms if view.token == token else 0
        return Reply(Status.GRANTED, token, 0, 0, token, deadline_ms, reply.replayed)

    async def _take_over(self, wait: _Wait) -> None:
        """Somebody may wait there already, at another node: from here on he cannot take it away.

        Unless that is sure the client must not hear that it holds the lock.
        """
        try:
            await wait.stay()
        except RaftcacheError as error:
            raise Unknown(f"{_IN_QUEUE}: {error.detail}") from error

    # Changes of locks.

    def _note(self, names: Collection[bytes] | None) -> None:
        if self._followers:
            asyncio.get_running_loop().call_soon(self._wake, names)

    def _wake(self, names: Collection[bytes] | None) -> None:
        for name in list(self._followers if names is None else names):
            for follower in self._followers.pop(name, ()):
                if not follower.done():
                    follower.set_result(None)

    async def _changed(self, name: bytes, timeout_s: float) -> bool:
        """Whether the lock changed, once it did or the time is over."""
        if self._stopping:
            return False
        follower: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers[name].add(follower)
        try:
            done, _ = await asyncio.wait((follower,), timeout=timeout_s)
        finally:
            if not follower.done():
                self._forget(name, follower)
        return bool(done)

    def _forget(self, name: bytes, follower: asyncio.Future[None]) -> None:
        followers = self._followers.get(name, set())
        followers.discard(follower)
        if not followers:
            self._followers.pop(name, None)


class _Wait:
    """One client at its place."""

    def __init__(self, kv: Kv, name: bytes, place: int, stays: int | None) -> None:
        """stays: how often somebody has said so there; None if that is not known."""
        self._kv, self._name, self.place = kv, name, place
        self._stays = stays
        self._is_alone = True

    async def stay(self) -> None:
        """Say that it is still here; raises what refused it."""
        reply = await written(self._kv, LockStay(self._name, self.place))
        if reply.status is Status.QUEUED:
            if self._stays is not None and reply.number != self._stays + 1:
                self._is_alone = False  # somebody else has said so meanwhile, and may do so again
            self._stays = reply.number

    def leave(self) -> None:
        """Say that it is gone; if that is lost, or others may wait there, its place runs out."""
        if self._is_alone and self._stays is not None:
            self._kv.write(LockLeave(self._name, self.place, self._stays), lambda outcome: None)
