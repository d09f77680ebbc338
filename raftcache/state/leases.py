"""Leases, and which keys go with each: what makes a key with a lease absent to a reader.

A lease that is overdue and still held is over for everybody, and so are its keys, though they may
be removed only by a later entry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from msgspec.structs import replace

from raftcache.command.leasing import LeaseView
from raftcache.command.limits import LEASE_KEYS_MAX, LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN
from raftcache.command.replies import Item
from raftcache.state.table import Numbered, Table

_SEED: Final = 0x1EA5E

LEASE_COST_BYTES: Final = 400
KEY_COST_BYTES: Final = 64
"""What Python takes for a lease, and for a key of one beside what any key takes."""


class Lease(Numbered, frozen=True):
    """Its number is its id."""

    ttl_ms: int


class Leases:
    """All leases of a state."""

    __slots__ = ("_key_count", "_keys", "table")

    def __init__(self) -> None:
        self.table = Table(Lease, _SEED)
        self._keys: dict[int, set[bytes]] = {}  # of those that have any
        self._key_count = 0

    def living(self, lease_id: int, now_ms: int) -> Lease | None:
        """The lease, unless it is over."""
        lease = self.table.get(lease_id)
        return None if lease is None or lease.deadline_ms <= now_ms else lease

    def deadline_ms(self, lease_id: int) -> int:
        """Of a lease that is held; 0 for id 0."""
        if not lease_id:
            return 0
        lease = self.table.get(lease_id)
        assert lease is not None, "a key outlived its lease"
        return lease.deadline_ms

    def seen(self, item: Item | None, now_ms: int) -> Item | None:
        """The item as a reader sees it at a cluster time, with the deadline of its lease."""
        if item is None or not item.lease:
            return item
        lease = self.table.get(item.lease)
        if lease is None:
            return item  # from the past, when its lease lived: see Changes
        return None if lease.deadline_ms <= now_ms else replace(item, deadline_ms=lease.deadline_ms)

    def keys(self, lease_id: int) -> Collection[bytes]:
        """In no order."""
        return self._keys.get(lease_id, ())

    def gone(self, now_ms: int) -> Iterator[bytes]:
        """The keys of leases that are over."""
        for lease in self.table.overdue(now_ms):
            yield from self.keys(lease.number)

    def view(self, lease_id: int, now_ms: int) -> LeaseView | None:
        """As a reader sees it."""
        lease = self.living(lease_id, now_ms)
        if lease is None:
            return None
        return LeaseView(lease_id, lease.ttl_ms, lease.deadline_ms, len(self.keys(lease_id)))

    @property
    def memory_size_bytes(self) -> int:
        """About what they take of the process's memory."""
        return len(self.table) * LEASE_COST_BYTES + self._key_count * KEY_COST_BYTES

    # For the keyspace.

    def move(self, key: bytes, before: int, after: int) -> None:
        """A key changed its lease; 0 for none."""
        if before:
            keys = self._keys[before]
            keys.remove(key)
            self._key_count -= 1
            if not keys:
                del self._keys[before]
        if after:
            self._keys.setdefault(after, set()).add(key)
            self._key_count += 1

    def shed(self, count_max: int) -> bool:
        """Free some keys of a state that was replaced; whether any are left."""
        for _ in range(count_max):
            if not self._keys:
                return False
            lease_id = next(iter(self._keys))
            self.move(next(iter(self._keys[lease_id])), lease_id, 0)
        return bool(self._keys)

    # For images.

    def load(self, packed: bytes, revision: int) -> str | None:
        """Add the next lease of an image; why it cannot be one, or None."""
        lease = self.table.load(packed, revision)
        if isinstance(lease, str):
            return lease
        if not LEASE_TTL_MS_MIN <= lease.ttl_ms <= LEASE_TTL_MS_MAX:
            return f"a lease of {lease.ttl_ms} ms"
        return None

    def fault(self, lease_id: int) -> str | None:
        """Why no further key can have this lease; None if one can, or for id 0."""
        if not lease_id:
            return None
        if self.table.get(lease_id) is None:
            return f"a key with lease {lease_id}, which there is not"
        if len(self.keys(lease_id)) >= LEASE_KEYS_MAX:
            return f"more than {LEASE_KEYS_MAX} keys with lease {lease_id}"
        return None
