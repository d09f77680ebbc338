"""Locks: who holds each, and who waits for it, in the order in which they came.

One record for each place: of a holder, of an owner that let the lock run out and is followed by
its delay, or of a waiter. A lock that has no place is free. A holder's place is older than all
that wait for it, for the queue is fair.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from heapq import nsmallest
from typing import Final

from raftcache.command.leasing import LockView
from raftcache.command.limits import (
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    LOCK_DELAY_MS_MAX,
    LOCK_NAME_SIZE_BYTES_MAX,
    LOCK_QUEUE_MAX,
    LOCK_VALUE_SIZE_BYTES_MAX,
)
from raftcache.state.table import Numbered, Table

_SEED: Final = 0x10CC5

PLACE_COST_BYTES: Final = 800 + LOCK_NAME_SIZE_BYTES_MAX + LOCK_VALUE_SIZE_BYTES_MAX
"""What Python takes for a place, at most."""


class Role(IntEnum):
    """What a place is for."""

    WAITING = 0
    HOLDING = 1
    GONE = 2
    """It held the lock until its time was over: nobody gets it before the deadline."""


class Place(Numbered, frozen=True):
    """One place at a lock.

    token: a holder's, else 0. stays: how often somebody said that he waits there. until_ms: when
    his wait ends.
    """

    name: bytes
    role: Role
    token: int
    stays: int
    ttl_ms: int
    delay_ms: int
    until_ms: int
    value: bytes


class Locks:
    """All locks of a state."""

    __slots__ = ("_first", "_waiting", "changed", "table")

    def __init__(self) -> None:
        self.table = Table(Place, _SEED)
        self._first: dict[bytes, int] = {}  # the place that holds it, or delays it
        self._waiting: dict[bytes, dict[int, None]] = {}  # in order; of those that have any
        self.changed: set[bytes] = set()
        """Names whose holder or queue changed; for whoever follows them on this node, and no part
        of the state."""

    def first(self, name: bytes) -> Place | None:
        """Who holds the lock, or held it and delays it; None if it is free."""
        number = self._first.get(name)
        return None if number is None else self.table.get(number)

    def waiting(self, name: bytes) -> Collection[int]:
        """The places in its queue, first come first."""
        return self._waiting.get(name, ())

    def names(self, after: bytes, count_max: int) -> list[bytes]:
        """The first names behind one, in order, of locks that are not free."""
        return nsmallest(count_max, (name for name in self._first if name > after))

    def view(self, name: bytes, now_ms: int) -> LockView:
        """As a reader sees it at a cluster time."""
        first = self.first(name)
        if first is None:
            return LockView()
        places = [self.table.get(number) for number in self.waiting(name)]
        count = sum(place is not None and place.deadline_ms > now_ms for place in places)
        if first.role is Role.HOLDING and first.deadline_ms > now_ms:
            return LockView(first.token, first.deadline_ms, count, first.value)
        delay_ms = first.delay_ms if first.role is Role.HOLDING else 0
        return LockView(0, first.deadline_ms + delay_ms, count)

    @property
    def memory_size_bytes(self) -> int:
        """About what they take of the process's memory, names and values at their largest."""
        return len(self.table) * PLACE_COST_BYTES

    def token_of(self, name: bytes, number: int) -> int | None:
        """The token granted to a place, 0 while it waits; None if it is gone."""
        place = self.table.get(number)
        if place is None or place.name != name or place.role is Role.GONE:
            return None
        return place.token

    # For the commands.

    def put(self, place: Place) -> None:
        """Add a place, or change one."""
        self.table.put(place)
        self.changed.add(place.name)
        if place.role is Role.WAITING:
            self._waiting.setdefault(place.name, {})[place.number] = None
        else:
            self._leave_queue(place)
            self._first[place.name] = place.number

    def remove(self, place: Place) -> None:
        """Remove a place; if it was the first, the caller gives the lock to the next."""
        self.table.remove(place)
        self.changed.add(place.name)
        if place.role is Role.WAITING:
            self._leave_queue(place)
        else:
            del self._first[place.name]

    def _leave_queue(self, place: Place) -> None:
        queue = self._waiting.get(place.name)
        if queue is not None:
            queue.pop(place.number, None)
            if not queue:
                del self._waiting[place.name]

    # For images.

    def load(self, packed: bytes, revision: int) -> str | None:
        """Add the next place of an image; why it cannot be one, or None."""
        place = self.table.load(packed, revision)
        if isinstance(place, str):
            return place
        if why := _fault(place, revision):
            return why
        if (place.role is Role.WAITING) != (place.name in self._first):
            return f"place {place.number} has no sense in its lock"
        if len(self.waiting(place.name)) >= LOCK_QUEUE_MAX:
            return f"more than {LOCK_QUEUE_MAX} wait for one lock"
        self.put(place)
        return None


def _fault(place: Place, revision: int) -> str | None:
    if not (
        1 <= len(place.name) <= LOCK_NAME_SIZE_BYTES_MAX
        and len(place.value) <= LOCK_VALUE_SIZE_BYTES_MAX
        and LEASE_TTL_MS_MIN <= place.ttl_ms <= LEASE_TTL_MS_MAX
        and 0 <= place.delay_ms <= LOCK_DELAY_MS_MAX
        and place.stays >= 0
        and place.until_ms >= 0
    ):
        return f"place {place.number} has a field outside its limits"
    lowest, highest = (place.number, revision) if place.role is Role.HOLDING else (0, 0)
    if not lowest <= place.token <= highest:
        return f"place {place.number} has token {place.token} in a store at {revision}"
    return None
