"""The commands about leases and locks, and how a reader sees these: a part of `words`.

Ids of leases, tokens and places are revisions: each is taken once, and a later one is higher.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from raftcache.command.once import Once


class LeaseGrant(Struct, array_like=True, tag=12, frozen=True):
    """A new lease (CREATED); its id, in number, is the revision that this takes."""

    ttl_ms: int
    once: Once | None = None


class LeaseKeepAlive(Struct, array_like=True, tag=13, frozen=True):
    """Give a lease its whole time to live again (CHANGED)."""

    lease: int
    once: Once | None = None


class LeaseRevoke(Struct, array_like=True, tag=14, frozen=True):
    """End a lease and remove its keys, in one revision (DELETED, with their count)."""

    lease: int
    once: Once | None = None


class LockAcquire(Struct, array_like=True, tag=15, frozen=True):
    """Take a lock (GRANTED), or a place in its queue (QUEUED), or neither (LOCKED).

    wait_ms: how long the place lasts at most; 0 for no place. delay_ms: how long nobody gets the
    lock after this owner let it run out. value: shown to everybody while it is held.
    """

    name: bytes
    ttl_ms: int
    wait_ms: int = 0
    delay_ms: int = 0
    value: bytes = b""
    once: Once | None = None


class LockStay(Struct, array_like=True, tag=16, frozen=True):
    """Somebody waits at a place: it lasts for another LOCK_PLACE_MS, within what was asked for.

    QUEUED with the count of stays in number; GRANTED if it holds the lock by now.
    """

    name: bytes
    place: int
    once: Once | None = None


class LockLeave(Struct, array_like=True, tag=17, frozen=True):
    """Nobody waits at a place any more: it goes, and so does what was granted to it meanwhile.

    stays: as many as whoever leaves knows of; if there were more, another one waits there, and
    nothing changes (UNCHANGED).
    """

    name: bytes
    place: int
    stays: int
    once: Once | None = None


class LockKeepAlive(Struct, array_like=True, tag=18, frozen=True):
    """Give the holder its whole time to live again (CHANGED)."""

    name: bytes
    token: int
    once: Once | None = None


class LockRelease(Struct, array_like=True, tag=19, frozen=True):
    """The holder gives the lock up (DELETED): the first in the queue has it at once."""

    name: bytes
    token: int
    once: Once | None = None


Leasing: TypeAlias = LeaseGrant | LeaseKeepAlive | LeaseRevoke
Locking: TypeAlias = LockAcquire | LockStay | LockLeave | LockKeepAlive | LockRelease


class LeaseView(Struct, array_like=True, frozen=True):
    """A lease as a reader sees it; keys is how many it has."""

    id: int
    ttl_ms: int
    deadline_ms: int
    keys: int


class LockView(Struct, array_like=True, frozen=True):
    """A lock as a reader sees it.

    token: of the holder, 0 for nobody. deadline_ms: of the holder, or, without one, until when
    nobody gets it. waiting: places in the queue.
    """

    token: int = 0
    deadline_ms: int = 0
    waiting: int = 0
    value: bytes = b""
