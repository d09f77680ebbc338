"""Rights to refill a key that is missing or soon stale: one for a key, for a while.

A right ends when the key is written or deleted, by anybody: a refill that began before that must
not put back what it read then (leases as in Nishtala et al.: Scaling Memcache at Facebook, NSDI
2013). It survives that the key expires or is evicted. A dead right counts for nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from sortedcontainers import SortedDict, SortedList
from xxhash import xxh3_64_intdigest

from raftcache.command.limits import (
    KEY_SIZE_BYTES_MAX,
    REFILLS_FORGOTTEN_PER_ENTRY_MAX,
    REFILLS_MAX,
)
from raftcache.state.records import pack, unpack

_SEED: Final = 0x4EF111

REFILL_COST_BYTES: Final = 600
"""What Python takes for a right, beside its key; about."""


class Right(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """token: the revision at which it was won."""

    key: bytes
    token: int
    deadline_ms: int


_decoder: Final = msgspec.msgpack.Decoder(Right)


class Refills:
    """All rights of a state; digest is the sum of a hash over each (see Keyspace)."""

    __slots__ = ("_due", "by_key", "digest")

    def __init__(self) -> None:
        self.by_key = SortedDict()
        """All rights held, dead ones that were not dropped yet among them; to be read only."""
        self._due = SortedList()  # (deadline, key)
        self.digest = 0

    def __len__(self) -> int:
        """Rights held, dead ones that were not dropped yet among them."""
        return len(self.by_key)

    @property
    def memory_size_bytes(self) -> int:
        """About what it takes of the process's memory."""
        return len(self.by_key) * REFILL_COST_BYTES

    def living(self, key: bytes, now_ms: int) -> Right | None:
        """The right for a key, unless its time is over."""
        right: Right | None = self.by_key.get(key)
        return None if right is None or right.deadline_ms <= now_ms else right

    def make_room(self, now_ms: int) -> bool:
        """Drop a dead right if any other one may come; False if all are living, and it may not."""
        if len(self.by_key) < REFILLS_MAX:
            return True
        deadline_ms, key = self._due[0]
        if deadline_ms > now_ms:
            return False
        self.end(key)
        return True

    def put(self, right: Right) -> None:
        """Give the right; a dead one for the same key ends."""
        self.end(right.key)
        self.by_key[right.key] = right
        self._due.add((right.deadline_ms, right.key))
        self.digest += _hash(right)

    def end(self, key: bytes) -> None:
        """There is no right for this key any more."""
        right = self.by_key.pop(key, None)
        if right is not None:
            self._due.remove((right.deadline_ms, key))
            self.digest -= _hash(right)

    def end_range(self, start: bytes, end: bytes) -> None:
        """The same for the keys of [start, end); an empty end means to the last key."""
        for key in list(self.by_key.irange(start, end or None, inclusive=(True, False))):
            self.end(key)

    def forget(self, now_ms: int) -> None:
        """Drop some dead rights; bounded work."""
        for _ in range(REFILLS_FORGOTTEN_PER_ENTRY_MAX):
            if not self._due or self._due[0][0] > now_ms:
                return
            self.end(self._due[0][1])

    # For images.

    def records(self) -> list[Right]:
        """By key."""
        return list(self.by_key.values())

    def load(self, packed: bytes, revision: int) -> str | None:
        """See state.Part."""
        right = unpack(_decoder.decode, packed)
        if isinstance(right, str):
            return right
        if len(self) >= REFILLS_MAX:
            return f"more than {REFILLS_MAX} rights to refill"
        if self.by_key and right.key <= self.by_key.peekitem(-1)[0]:
            return "rights to refill out of order"
        if not (
            1 <= len(right.key) <= KEY_SIZE_BYTES_MAX
            and 1 <= right.token <= revision
            and 0 <= right.deadline_ms < 1 << 63
        ):
            return "a right outside its limits"
        self.put(right)
        return None


def _hash(right: Right) -> int:
    return xxh3_64_intdigest(pack(right), _SEED)
