"""Records under numbers that only rise, with deadlines and a running digest: leases and locks.

Records are frozen and put whole, so that a dump has them all by copying references, and their
order, that of their numbers, is the same on every node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct
from sortedcontainers import SortedList
from xxhash import xxh3_64_intdigest

from raftcache.state.records import pack, unpack

RECORD_SIZE_BYTES_MAX: Final = 4 << 10
"""Two keys and some numbers at most."""

TIME_MS_MAX: Final = 1 << 62
"""Cluster time stays below this, so that a time and a TTL fit in 63 bits."""


class Numbered(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What every record begins with; number: the revision at which it was made."""

    number: int
    deadline_ms: int


R = TypeVar("R", bound=Numbered)


class Table(Generic[R]):
    """The records of one kind; digest is the sum of a hash over each (see Keyspace)."""

    __slots__ = ("_decoder", "_due", "_last", "_records", "_seed", "digest")

    def __init__(self, shape: type[R], seed: int) -> None:
        """seed: another one for each kind, so that their digests differ."""
        self._decoder = msgspec.msgpack.Decoder(shape)
        self._seed = seed
        self._records: dict[int, R] = {}
        self._due = SortedList()  # (deadline, number)
        self._last = 0
        self.digest = 0

    def __len__(self) -> int:
        return len(self._records)

    def get(self, number: int) -> R | None:
        return self._records.get(number)

    def put(self, record: R) -> None:
        """Add a record with a number above all others, or replace the one of its number."""
        old = self._records.get(record.number)
        if old is None:
            assert record.number > self._last, "numbers only rise"
            self._last = record.number
        else:
            self.digest -= self._hash(old)
        if old is None or old.deadline_ms != record.deadline_ms:
            if old is not None:
                self._due.remove((old.deadline_ms, old.number))
            self._due.add((record.deadline_ms, record.number))
        self.digest += self._hash(record)
        self._records[record.number] = record

    def remove(self, record: R) -> None:
        """Remove a record that is there."""
        del self._records[record.number]
        self._due.remove((record.deadline_ms, record.number))
        self.digest -= self._hash(record)

    def next_deadline_ms(self) -> int | None:
        """The earliest deadline of any record."""
        return self._due[0][0] if self._due else None

    def first_overdue(self, now_ms: int) -> R | None:
        """The record whose deadline came first, of those whose deadline has come."""
        if not self._due or self._due[0][0] > now_ms:
            return None
        return self._records[self._due[0][1]]

    def overdue(self, now_ms: int) -> Iterator[R]:
        """All whose deadline has come, in that order; nothing may change while it is read."""
        for _, number in self._due.irange(maximum=(now_ms + 1,)):
            yield self._records[number]

    def records(self) -> list[R]:
        """All, by number."""
        return list(self._records.values())

    def load(self, packed: bytes, revision: int) -> R | str:
        """Add the next record of an image of a store at a revision; or why it cannot be one."""
        record = unpack(self._decoder.decode, packed)
        if isinstance(record, str):
            return record
        if not self._last < record.number <= revision:
            return f"record {record.number} after {self._last} in a store at {revision}"
        if not 0 <= record.deadline_ms < 2 * TIME_MS_MAX:
            return f"a deadline of {record.deadline_ms} ms"
        self.put(record)
        return record

    def _hash(self, record: R) -> int:
        return xxh3_64_intdigest(pack(record), self._seed)
