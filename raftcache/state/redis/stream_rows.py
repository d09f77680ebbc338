"""Streams: a row for each entry, named by its id, so that rows are in the order of ids.

An id is a number of 128 bits, of which the upper half are milliseconds. What a stream remembers
beside its entries stands behind its descriptor: its last id, the greatest one deleted, and how many
entries were ever added. A stream without entries stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import msgspec

from raftcache.command.values import Value
from raftcache.state.items import STREAM, STREAM_END_SIZE_BYTES, Stored
from raftcache.state.redis.collection import Collection
from raftcache.state.redis.store import Store

ID_SIZE_BYTES: Final = 16
ID_MAX: Final = (1 << 128) - 1
HALF_MAX: Final = (1 << 64) - 1
"""Of the milliseconds of an id, and of its sequence number."""

NODE_ENTRIES: Final = 100
"""Redis keeps so many entries in one piece, and with ~ removes whole pieces: so does this."""

REMOVED_AT_ONCE_MAX: Final = 100
"""If more are removed, and fewer stay, those that stay move to other rows instead."""

_END: Final = struct.Struct(">16s16sQ")
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[bytes]).decode

assert _END.size == STREAM_END_SIZE_BYTES


def name_of(number: int) -> bytes:
    """Of the row of the entry with this id."""
    return number.to_bytes(ID_SIZE_BYTES, "big")


def text_of(number: int) -> bytes:
    """An id as clients write it."""
    return b"%d-%d" % (number >> 64, number & HALF_MAX)


class Stream(Collection):
    """The entries of a key, by their ids.

    last, deleted: the id given last, and the greatest one that was deleted. added: entries ever.
    """

    KIND: ClassVar[int] = STREAM
    MAY_BE_EMPTY: ClassVar[bool] = True

    def __init__(self, store: Store, key: bytes, found: Stored | None) -> None:
        super().__init__(store, key, found)
        self.last = self.deleted = self.added = 0
        if found is not None:
            last, deleted, self.added = _END.unpack(self._end)
            self.last, self.deleted = (int.from_bytes(each, "big") for each in (last, deleted))

    # Reading.

    def place(self, number: int) -> int:
        """How many entries have ids below this one, which may be ID_MAX + 1."""
        return self.count if number > ID_MAX else self._place(name_of(number))

    def entries(self, low: int, high: int, count: int = 0, *, reverse: bool = False) -> list[Value]:
        """Those with ids in [low, high]; count: so many at most, 0 for all."""
        start, stop = self.place(low), self.place(high + 1)
        if count and reverse:
            start = max(start, stop - count)
        elif count:
            stop = min(stop, start + count)
        pairs = self._pairs(start, stop, reverse=reverse)
        return [[text_of(int.from_bytes(name, "big")), _decode(value)] for name, value in pairs]

    def id_at(self, place: int) -> int:
        return int.from_bytes(self._name_at(place), "big")

    # Changing.

    def add(self, number: int, fields: Sequence[bytes]) -> None:
        """An entry behind all others; fields: names and values in turn."""
        assert number > self.last
        self._put(name_of(number), _encode(fields))
        self.last = number
        self.count += 1
        self.added += 1

    def discard(self, numbers: Iterable[int]) -> int:
        """How many of them were there."""
        gone = [number for number in numbers if self._remove(name_of(number)) is not None]
        self.count -= len(gone)
        self.deleted = max([self.deleted, *gone])
        return len(gone)

    def cut(self, count: int) -> None:
        """Remove so many, from the first one on."""
        if count <= max(self.count - count, REMOVED_AT_ONCE_MAX):
            for name in list(self._names(0, count)):
                self._remove(name)
            self.count -= count
            return
        stay = list(self._pairs(count, self.count))
        self._begin_anew()
        self._take_id()
        for name, value in stay:
            self._put(name, value)
        self.count = len(stay)

    def set_last(self, last: int, deleted: int | None, added: int | None) -> None:
        """What is None stays as it is."""
        self.last = last
        self.deleted = self.deleted if deleted is None else deleted
        self.added = self.added if added is None else added
        self._changed = True

    def settle(self) -> None:
        if self._changed:
            self._end = _END.pack(name_of(self.last), name_of(self.deleted), self.added)
        super().settle()
