"""Reads that refill: of all who miss a key, exactly one in the cluster is told to bring it back.

The model is memcached's meta commands (vivify and early recache, W and Z flags). A read that finds
its key is a plain read; one that misses it asks the log for the right to refill it (state/refills).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from raftcache.command.replies import Item, Reply, Status
from raftcache.command.words import Vivify
from raftcache.errors import NotLeader, Overloaded, RaftcacheError
from raftcache.ports import Clock, Loop
from raftcache.service.calls import IsHere
from raftcache.service.kv import LINEARIZABLE, Kv, Outcome
from raftcache.state.machine import Machine

POLL_MS: Final = 10
"""How often those who wait for a refill look at the state of their node."""

LOOKS_MAX: Final = 250
"""In one turn of the loop, a millisecond: who comes after them looks in the next."""

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

    def vivify(self, key: bytes, wish: Wish, is_here: IsHere, done: VivifyDone) -> None:
        """Read the key, linearizable; done is called exactly once, later or at once.

        is_here: whoever has gone waits no more, and wins nothing.
        """
        ...


class _Reader(Struct, frozen=True):
    """until_s: the end of its wait."""

    key: bytes
    wish: Wish
    until_s: float
    is_here: IsHere
    done: VivifyDone


class VivifyService:
    """The real one, over the keys of this node."""

    def __init__(self, kv: Kv, machine: Machine, clock: Clock, loop: Loop) -> None:
        self._kv, self._machine, self._clock, self._loop = kv, machine, clock, loop
        self._waiting: deque[_Reader] = deque()
        self._polls = False
        self._stopped = ""

    def stop(self, why: str) -> None:
        """Nobody waits any more, and whoever does is told to ask another node."""
        self._stopped = why
        waiting, self._waiting = self._waiting, deque()
        for reader in waiting:
            reader.done(NotLeader(why))

    def vivify(self, key: bytes, wish: Wish, is_here: IsHere, done: VivifyDone) -> None:
        """See Vivifier."""
        until_s = self._clock.monotonic_s() + wish.wait_ms / 1000
        reader = _Reader(key, wish, until_s, is_here, done)
        self._kv.read(key, LINEARIZABLE, lambda found: self._found(reader, found))

    def _found(self, reader: _Reader, found: Item | RaftcacheError | None) -> None:
        if isinstance(found, RaftcacheError):
            reader.done(found)
        elif found is not None and not self._is_stale_soon(found, reader.wish):
            reader.done(Vivified(Role.HIT, found))
        else:
            command = Vivify(reader.key, reader.wish.right_ms, reader.wish.early_ms)
            self._kv.write(command, lambda outcome: self._decided(reader, outcome))

    def _is_stale_soon(self, item: Item, wish: Wish) -> bool:
        return 0 < item.deadline_ms <= self._kv.now_ms() + wish.early_ms

    def _decided(self, reader: _Reader, outcome: Outcome) -> None:
        """The log has said who refills; this node has applied it, and so may answer."""
        done = reader.done
        if isinstance(outcome, RaftcacheError):
            done(outcome)
            return
        assert isinstance(outcome, Reply)
        item = self._machine.get(reader.key)
        match outcome.status:
            case Status.UNCHANGED if item is None:
                self._found(reader, None)  # it was there, and went before we looked
            case Status.UNCHANGED:
                done(Vivified(Role.HIT, item))
            case Status.WON:
                done(Vivified(Role.WON, item, outcome.revision))
            case Status.LOST if item is not None or not self._may_wait(reader):
                done(Vivified(Role.LOST, item))
            case Status.LOST:
                self._wait(reader)
            case _:
                done(Overloaded("too many keys are being refilled"))

    # -- waiting -----------------------------------------------------------------------------------

    def _may_wait(self, reader: _Reader) -> bool:
        return self._clock.monotonic_s() < reader.until_s and reader.is_here()

    def _wait(self, reader: _Reader) -> None:
        if self._stopped:
            reader.done(NotLeader(self._stopped))
            return
        if len(self._waiting) >= WAITING_MAX:
            reader.done(Overloaded(f"{len(self._waiting)} reads wait for refills already"))
            return
        self._waiting.append(reader)
        self._poll_soon()

    def _poll_soon(self) -> None:
        if self._waiting and not self._polls:
            self._polls = True
            self._loop.call_later(POLL_MS / 1000, self._poll)

    def _poll(self) -> None:
        """Look for the next of them, who then are the last. One asks for the right to a key."""
        self._polls = False
        asked: set[bytes] = set()
        for _ in range(min(LOOKS_MAX, len(self._waiting))):
            self._look(self._waiting.popleft(), asked)
        self._poll_soon()

    def _look(self, reader: _Reader, asked: set[bytes]) -> None:
        """What was applied here since the right was lost came after the read began."""
        key = reader.key
        item = self._machine.get(key)
        if item is not None or not self._may_wait(reader):
            reader.done(Vivified(Role.LOST, item))
        elif key in asked or self._machine.right(key, self._kv.now_ms()) is not None:
            self._waiting.append(reader)
        else:  # nobody refills it any more
            asked.add(key)
            self._found(reader, None)
