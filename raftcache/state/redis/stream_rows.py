"""Streams: a row for each entry, named by its id, so that rows are in the order of ids.

An id is a number of 128 bits, of which the upper half are milliseconds. What a stream remembers
beside its entries stands behind its descriptor: its last id, the greatest one deleted, and how many
entries were ever added. A stream without entries stays.

Its groups have a row each behind the entries, in the order of their names, and a collection each
for what belongs to them (stream_groups.py): so one that goes leaves its rows to be freed, however
many they are. The ids of these collections stand behind the descriptor, too, with the number and
the size of their rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Final, Protocol

import msgspec

from raftcache.command.values import Value
from raftcache.state.items import (
    GROUP_ID,
    GROUPS_END_SIZE_BYTES,
    STREAM,
    STREAM_END_SIZE_BYTES,
    Stored,
    group_ids,
)
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

_GROUPS_END: Final = struct.Struct(">QQ")

GROUP_LEAD: Final = b"\xff" * ID_SIZE_BYTES + b"g"
"""Before the name of a group in that of its row: behind all entries."""

assert _END.size == STREAM_END_SIZE_BYTES
assert _GROUPS_END.size == GROUPS_END_SIZE_BYTES


def name_of(number: int) -> bytes:
    """Of the row of the entry with this id."""
    return number.to_bytes(ID_SIZE_BYTES, "big")


def text_of(number: int) -> bytes:
    """An id as clients write it."""
    return b"%d-%d" % (number >> 64, number & HALF_MAX)


class Part(Protocol):
    """What is kept apart, and written when the call is over: a group."""

    def settle(self) -> None: ...


class Stream(Collection):
    """The entries of a key, by their ids.

    last, deleted: the id given last, and the greatest one that was deleted. added: entries ever.
    group_ids: of the collections of its groups. parts: those that the call works on, by their
    names.
    """

    KIND: ClassVar[int] = STREAM
    LEAD_SIZE_BYTES: ClassVar[int] = len(GROUP_LEAD)
    MAY_BE_EMPTY: ClassVar[bool] = True

    def __init__(self, store: Store, key: bytes, found: Stored | None) -> None:
        super().__init__(store, key, found)
        self.last = self.deleted = self.added = 0
        self.parts: dict[bytes, Part] = {}
        self.group_ids: list[int] = []
        self._apart_rows = self._apart_size_bytes = 0
        if found is not None:
            last, deleted, self.added = _END.unpack_from(self._end)
            self.last, self.deleted = (int.from_bytes(each, "big") for each in (last, deleted))
            self.group_ids = list(group_ids(found.packed))
        if self.group_ids:
            apart = _GROUPS_END.unpack_from(self._end, _END.size)
            self._apart_rows, self._apart_size_bytes = apart

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

    def walk(self, low: int, count_max: int) -> Iterator[tuple[int, list[bytes]]]:
        """The first entries with ids from low on; no entry may be changed meanwhile."""
        start = self.place(low)
        names = list(self._names(start, min(self.count, start + count_max)))
        for name in names:
            yield int.from_bytes(name, "big"), _decode(self._get(name) or b"")

    def entry(self, number: int) -> Value:
        """The one with this id, None if there is none."""
        value = self._get(name_of(number))
        return None if value is None else [text_of(number), _decode(value)]

    def id_at(self, place: int) -> int:
        return int.from_bytes(self._name_at(place), "big")

    @property
    def first(self) -> int:
        """The id of the first entry there is; 0 if there is none."""
        return self.id_at(0) if self.count else 0

    def group_record(self, name: bytes) -> bytes | None:
        """What the row of a group holds, None if there is none of this name."""
        return self._get(GROUP_LEAD + name)

    def group_records(self) -> list[tuple[bytes, bytes]]:
        """The names of all groups, in order, and what their rows hold."""
        pairs = self._pairs(self.count, self.count + len(self.group_ids))
        return [(name[len(GROUP_LEAD) :], record) for name, record in pairs]

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
        stay, groups = list(self._pairs(count, self.count)), self.group_records()
        self._begin_anew()
        self._take_id()
        self._size_bytes = self._apart_size_bytes
        for name, value in stay:
            self._put(name, value)
        for name, record in groups:
            self.put_group(name, record)
        self.count = len(stay)

    def set_last(self, last: int, deleted: int | None, added: int | None) -> None:
        """What is None stays as it is."""
        self.last = last
        self.deleted = self.deleted if deleted is None else deleted
        self.added = self.added if added is None else added
        self._changed = True

    def put_group(self, name: bytes, record: bytes) -> None:
        """Set the row of a group: none of its values has the limit of those of clients."""
        row = GROUP_LEAD + name
        old = self.store.changes.put_row(self._prefix + row, record)
        self._size_bytes += len(record) + (len(row) if old is None else -len(old))
        self._changed = True

    def drop_group(self, name: bytes, collection: int, rows: int, size_bytes: int) -> None:
        """A group goes, with so many rows of its collection."""
        self._remove(GROUP_LEAD + name)
        self.parts.pop(name, None)
        self.group_ids.remove(collection)
        self.note_apart(-rows, -size_bytes)

    def take_group_id(self) -> int:
        """For the collection of a new group."""
        if not self._id:
            self._take_id()
        collection = self._rows.take_id()
        self.group_ids.append(collection)
        return collection

    def note_apart(self, rows: int, size_bytes: int) -> None:
        """So many rows, and bytes, were added to the collections of groups."""
        self._apart_rows += rows
        self._apart_size_bytes += size_bytes
        self._size_bytes += size_bytes
        self._changed = True

    def settle(self) -> None:
        for part in self.parts.values():
            part.settle()
        if self._changed:
            self._end = _END.pack(name_of(self.last), name_of(self.deleted), self.added)
            if self.group_ids:
                self._end += _GROUPS_END.pack(self._apart_rows, self._apart_size_bytes)
                self._end = with_groups(self._end, self.group_ids)
        super().settle()


def with_groups(end: bytes, ids: Iterable[int]) -> bytes:
    """What stands behind the descriptor of a stream that has groups, with these ids in the end."""
    return end[: _END.size + _GROUPS_END.size] + b"".join(map(GROUP_ID.pack, ids))


def rows_of_groups(end: bytes) -> int:
    """How many rows belong to groups, from what stands behind a descriptor."""
    if len(end) <= _END.size:
        return 0
    apart, _ = _GROUPS_END.unpack_from(end, _END.size)
    ids = len(end) - _END.size - _GROUPS_END.size
    return int(apart) + ids // GROUP_ID.size
