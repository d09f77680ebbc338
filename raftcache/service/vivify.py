"""Reads that refill: of all who miss a key, exactly one in the cluster is told to bring it back.

The model is memcached's meta commands (vivify and early recache, W and Z flags). A read that finds
its key is a plain read; one that misses it asks the log for the right to refill it (state/refills).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from raftcache.command.replies import Item, Reply, Status
from raftcache.command.words import Vivify
from raftcache.errors import Overloaded, RaftcacheError
from raftcache.ports import Loop
from raftcache.service.kv import LINEARIZABLE, Kv, Outcome
from raftcache.state.machine import Machine

POLL_MS: Final = 10
"""How often those who wait for a refill look at the state of their node."""

WAITING_MAX: Final = 10_000
"""Reads that wait for refills at a time."""


class Role(Enum):
    """What a read that may refill is told."""

    HIT = "hit"
    WON = "won"
    LOST = "lost"


class Wish(Struct, frozen=True):
    """What a reader asks for: how long its right would last, how early a key counts as stale, and
    how long it would wait for another's refill."""

    right_ms: int
    early_ms: int = 0
    wait_ms: int = 0


class Vivified(Struct, frozen=True):
    """What it gets: the value, fresh or soon stale; None if there is none. token: of the right."""

    role: Role
    item: Item | None
    token: int = 0


VivifyDone: TypeAlias = Callable[[Vivified | RaftcacheError], None]


class Vivifier(Protocol):
    """Shape of the service, for front doors."""

    def vivify(self, key: bytes, wish: Wish, done: VivifyDone) -> None:
        """Read the key, linearizable; done is called exactly once, later or at once."""
        ...


class _Waiter(Struct):
    key: bytes
    wish: Wish
    done: VivifyDone


class VivifyService:
    """The real one, over the keys of this node."""

    def __init__(self, kv: Kv, machine: Machine, loop: Loop) -> None:
        self._kv, self._machine, self._loop = kv, machine, loop
        self._waiting: list[_Waiter] = []
        self._polls = False

    def vivify(self, key: bytes, wish: Wish, done: VivifyDone) -> None:
        """See Vivifier."""
        self._kv.read(key, LINEARIZABLE, lambda found: self._found(key, wish, found, done))

    def _found(
        self, key: bytes, wish: Wish, found: Item | RaftcacheError | None, done: VivifyDone
    ) -> None:
        if isinstance(found, RaftcacheError):
            done(found)
        elif found is not None and not self._is_stale_soon(found, wish):
            done(Vivified(Role.HIT, found))
        else:
            command = Vivify(key, wish.right_ms, wish.early_ms)
            self._kv.write(command, lambda outcome: self._decided(key, wish, outcome, done))

    def _is_stale_soon(self, item: Item, wish: Wish) -> bool:
        return 0 < item.deadline_ms <= self._kv.now_ms() + wish.early_ms

    def _decided(self, key: bytes, wish: Wish, outcome: Outcome, done: VivifyDone) -> None:
        """The log has said who refills; this node has applied it, and so may answer."""
        if isinstance(outcome, RaftcacheError):
            done(outcome)
            return
        assert isinstance(outcome, Reply)
        item = self._machine.get(key)
        match outcome.status:
            case Status.UNCHANGED if item is None:
                self._found(key, wish, None, done)  # it was there, and went before we looked
            case Status.UNCHANGED:
                done(Vivified(Role.HIT, item))
            case Status.WON:
                done(Vivified(Role.WON, item, outcome.revision))
            case Status.LOST if item is not None or wish.wait_ms <= 0:
                done(Vivified(Role.LOST, item))
            case Status.LOST:
                self._wait(_Waiter(key, wish, done))
            case _:
                done(Overloaded("too many keys are being refilled"))

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self, waiter: _Waiter) -> None:
        if len(self._waiting) >= WAITING_MAX:
            waiter.done(Overloaded(f"{len(self._waiting)} reads wait for refills already"))
            return
        self._waiting.append(waiter)
        if not self._polls:
            self._polls = True
            self._loop.call_later(POLL_MS / 1000, self._poll)

    def _poll(self) -> None:
        self._polls = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            self._look(waiter)

    def _look(self, waiter: _Waiter) -> None:
        """What was applied here since the right was lost came after the read began."""
        key, wish, done = waiter.key, waiter.wish, waiter.done
        left = replace(wish, wait_ms=wish.wait_ms - POLL_MS)
        item = self._machine.get(key)
        if item is not None:
            done(Vivified(Role.LOST, item))
        elif left.wait_ms <= 0:
            done(Vivified(Role.LOST, None))
        elif self._machine.right(key, self._kv.now_ms()) is None:
            self._found(key, left, None, done)  # nobody refills it any more: ask for the right
        else:
            self._wait(_Waiter(key, left, done))
