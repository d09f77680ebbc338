"""Consumer groups of a stream: who has been given which entries, and has not acknowledged them.

A group has a row behind the entries of its stream (stream_rows.py), and a collection of its own:

    c, name            a consumer: its number, when it was seen last, how many entries it has
    n, number          the name of a consumer
    p, id              an entry that is pending: whose it is, since when, how often it was given
    q, number, id      nothing: so the entries of one consumer are in their order, too

So what is pending is in the order of ids, and an entry given or acknowledged costs two rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from msgspec import Struct

from raftcache.command.integers import WORD, wrapped
from raftcache.state import notes
from raftcache.state.items import GROUPS_MAX
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.store import Store
from raftcache.state.redis.stream_rows import (
    GROUP_LEAD,
    ID_MAX,
    ID_SIZE_BYTES,
    Stream,
    name_of,
    with_groups,
)
from raftcache.state.rows import ID_SIZE_BYTES as PREFIX_SIZE_BYTES
from raftcache.state.rows import NAME_SIZE_BYTES_MAX, prefix_of

READ_UNKNOWN: Final = -1
"""How many entries a group has read, if nobody can say."""

GIVEN_MAX: Final = 5000
"""Entries that one call is given, or claims, whatever its COUNT and keys: each takes two rows."""

GIVEN_SIZE_BYTES: Final = 8 << 20
"""It is given no more behind them."""

LOOK_COST: Final = 2
"""Of an entry that is looked up among those pending, in elements; beside its place in a walk."""

ROWS_AT_A_TIME: Final = 100
"""That are walked before anything may be changed."""

_RECORD: Final = struct.Struct(">Q16sqQQII")
_CONSUMER: Final = struct.Struct(">IQQ")
_PENDING: Final = struct.Struct(">IQQ")
_NUMBER: Final = struct.Struct(">I")


class Consumer(Struct, eq=False):
    """One of a group. pending: how many entries it has been given and has not acknowledged."""

    name: bytes
    number: int
    seen_ms: int
    pending: int = 0


class Pending(NamedTuple):
    """An entry that is pending. number: its id. deliveries: how often it was given."""

    number: int
    consumer: int
    delivered_ms: int
    deliveries: int


class Left(Struct):
    """What a call may still be given, or claim."""

    count: int
    size_bytes: int

    @property
    def is_nothing(self) -> bool:
        return self.count <= 0 or self.size_bytes <= 0

    def take(self, fields: Sequence[bytes]) -> None:
        """An entry with these is given."""
        self.count -= 1
        self.size_bytes -= sum(map(len, fields))


class Group:
    """One group, while a call works on it.

    last: the id of the entry given last. read: how many entries were added up to it, as far as that
    is known. pending, consumers: how many there are. size_bytes: of its collection.
    """

    def __init__(self, stream: Stream, name: bytes, record: bytes) -> None:
        self.stream, self.name, self._store = stream, name, stream.store
        self._rows = stream.store.state.rows
        fields = _RECORD.unpack(record)
        self.id, last, self.read, self.pending, self.size_bytes, self.consumers, self._next = fields
        self.last = int.from_bytes(last, "big")
        self._record, self._prefix = record, prefix_of(self.id)
        self._by_name: dict[bytes, Consumer] = {}
        self._by_number: dict[int, Consumer] = {}
        self._touched: dict[bytes, Consumer] = {}

    @property
    def rows(self) -> int:
        """Of its collection."""
        return 2 * int(self.pending + self.consumers)

    # Rows.

    def _get(self, name: bytes) -> bytes | None:
        value = self._rows.get(self._prefix + name)
        self._store.count_bytes(len(value or b""))
        return value

    def _put(self, name: bytes, value: bytes) -> None:
        old = self._store.changes.put_row(self._prefix + name, value)
        if old is None:
            self._note(1, len(name) + len(value))
        else:
            self._note(0, len(value) - len(old))

    def _remove(self, name: bytes) -> None:
        old = self._store.changes.remove_row(self._prefix + name)
        assert old is not None
        self._note(-1, -len(name) - len(old))

    def _note(self, rows: int, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self.stream.note_apart(rows, size_bytes)

    def _names(self, start: bytes, stop: bytes, count_max: int) -> list[bytes]:
        """Of the first rows from start on, and before stop, behind the prefix."""
        first, last = (self._rows.place(self._prefix + name) for name in (start, stop))
        names = list(self._rows.names(first, min(last, first + count_max)))
        self._store.count_elements(len(names))
        return [name[PREFIX_SIZE_BYTES:] for name in names]

    # Consumers.

    def consumer(self, name: bytes) -> Consumer | None:
        known = self._by_name.get(name)
        if known is not None:
            return known
        row = self._get(b"c" + name)
        return None if row is None else self._keep(Consumer(name, *_CONSUMER.unpack(row)))

    def _keep(self, consumer: Consumer) -> Consumer:
        self._by_name[consumer.name] = self._by_number[consumer.number] = consumer
        return consumer

    def create(self, name: bytes) -> Consumer:
        """A new consumer, seen now."""
        if len(name) > NAME_SIZE_BYTES_MAX:
            raise Refuse(f"ERR the name of a consumer has at most {NAME_SIZE_BYTES_MAX} bytes")
        self._store.count_rows()
        consumer = self._keep(Consumer(name, self._next, self._store.now_ms))
        self._next += 1
        self.consumers += 1
        self._put(b"n" + _NUMBER.pack(consumer.number), name)
        self._touched[name] = consumer
        self._store.notify(notes.STREAM, b"xgroup-createconsumer", self.stream.key)
        return consumer

    def seen(self, name: bytes) -> Consumer:
        """The consumer of this name, who may be new, and is there now."""
        consumer = self.consumer(name) or self.create(name)
        consumer.seen_ms = self._store.now_ms
        self._touched[name] = consumer
        return consumer

    def owner_name(self, number: int) -> bytes:
        """What the consumer of an entry that is pending is called, for an answer."""
        name = self.numbered(number).name
        self._store.count_answer(len(name))
        return name

    def numbered(self, number: int) -> Consumer:
        """The consumer of an entry that is pending."""
        known = self._by_number.get(number)
        if known is None:
            name = self._get(b"n" + _NUMBER.pack(number))
            assert name is not None
            known = self.consumer(name)
        assert known is not None
        return known

    def all_consumers(self) -> list[Consumer]:
        """In the order of their names."""
        names = self._names(b"c", b"d", self.consumers)
        self._store.count_answer(sum(map(len, names)))
        found = (self.consumer(name[1:]) for name in names)
        return [consumer for consumer in found if consumer is not None]

    def discard(self, consumer: Consumer) -> None:
        """It goes, with all that it had pending."""
        for each in list(self.walk(0, ID_MAX, consumer)):
            self.drop(each)
        self._remove(b"n" + _NUMBER.pack(consumer.number))
        self._remove(b"c" + consumer.name)
        self.consumers -= 1
        for known in (self._by_name, self._touched):
            known.pop(consumer.name, None)
        del self._by_number[consumer.number]

    # What is pending.

    def at(self, number: int) -> Pending | None:
        """What is known of an entry, if it is pending."""
        self._store.count_elements(LOOK_COST)
        row = self._get(b"p" + name_of(number))
        return None if row is None else Pending(number, *_PENDING.unpack(row))

    def walk(
        self, low: int, high: int, consumer: Consumer | None = None, most: int = ROWS_AT_A_TIME
    ) -> Iterator[Pending]:
        """Those with ids in [low, high], of one consumer or of all, in the order of their ids.

        most: how many are looked up at once. Those that were told already may change meanwhile.
        """
        lead = b"p" if consumer is None else b"q" + _NUMBER.pack(consumer.number)
        stop, most = lead + name_of(high) + b"\0", min(most, ROWS_AT_A_TIME)
        start = lead + name_of(low)
        while names := self._names(start, stop, most):
            for name in names:
                found = self.at(int.from_bytes(name[-ID_SIZE_BYTES:], "big"))
                if found is not None:
                    yield found
            start = names[-1] + b"\0"

    def first(self, count: int, consumer: Consumer | None = None) -> Iterator[Pending]:
        """So many of them, the lowest ids first."""
        return islice(self.walk(0, ID_MAX, consumer, count), count)

    def last_pending(self) -> int:
        """The highest id of those pending; there are some."""
        place = self._rows.place(self._prefix + b"q") - 1
        return int.from_bytes(self._rows.name_at(place)[-ID_SIZE_BYTES:], "big")

    def give(self, number: int, consumer: Consumer, delivered_ms: int, deliveries: int) -> None:
        """The entry is pending from now on, and belongs to this consumer."""
        self._store.count_rows()
        row, old = name_of(number), self.at(number)
        if old is None:
            self.pending += 1
        if old is None or old.consumer != consumer.number:
            if old is not None:
                self._take(old)
            consumer.pending += 1
            self._touched[consumer.name] = consumer
            self._put(b"q" + _NUMBER.pack(consumer.number) + row, b"")
        self._put(b"p" + row, _PENDING.pack(consumer.number, delivered_ms, deliveries % WORD))

    def drop(self, pending: Pending) -> None:
        """The entry is not pending any more."""
        self._store.count_rows()
        self._take(pending)
        self._remove(b"p" + name_of(pending.number))
        self.pending -= 1

    def _take(self, pending: Pending) -> None:
        """Its consumer has it no longer."""
        consumer = self.numbered(pending.consumer)
        consumer.pending -= 1
        self._touched[consumer.name] = consumer
        self._remove(b"q" + _NUMBER.pack(consumer.number) + name_of(pending.number))

    # The end.

    def settle(self) -> None:
        """Write what was changed; see Stream.settle."""
        for consumer in self._touched.values():
            row = _CONSUMER.pack(consumer.number, consumer.seen_ms, consumer.pending)
            self._put(b"c" + consumer.name, row)
        self._touched.clear()
        record = _record(
            self.id, self.last, self.read, self.pending, self.size_bytes, self.consumers, self._next
        )
        if record != self._record:
            self._record = record
            self.stream.put_group(self.name, record)


def _record(
    collection: int, last: int, read: int, pending: int, size_bytes: int, consumers: int, next_: int
) -> bytes:
    return _RECORD.pack(collection, name_of(last), read, pending, size_bytes, consumers, next_)


def find_group(stream: Stream, name: bytes) -> Group | None:
    """A group of a stream; what is changed of it is written with the stream."""
    known = stream.parts.get(name)
    if isinstance(known, Group):
        return known
    record = stream.group_record(name)
    if record is None:
        return None
    group = stream.parts[name] = Group(stream, name, record)
    return group


def all_groups(stream: Stream) -> list[Group]:
    """In the order of their names; to be looked at."""
    return [Group(stream, name, record) for name, record in stream.group_records()]


def create_group(stream: Stream, name: bytes, last: int, read: int) -> bool:
    """False if there is one of this name."""
    if find_group(stream, name) is not None:
        return False
    if len(name) > NAME_SIZE_BYTES_MAX:
        raise Refuse(f"ERR the name of a group has at most {NAME_SIZE_BYTES_MAX} bytes")
    if len(stream.group_ids) >= GROUPS_MAX:
        raise Refuse(f"ERR a stream has at most {GROUPS_MAX} consumer groups")
    stream.put_group(name, _record(stream.take_group_id(), last, read, 0, 0, 0, 0))
    return True


def destroy_group(group: Group) -> None:
    """Its rows are freed afterwards."""
    group.stream.drop_group(group.name, group.id, group.rows, group.size_bytes)


def move_groups(store: Store, collection: int, end: bytes, places: dict[int, int]) -> bytes:
    """In a copy of the rows of a stream: its groups have copies of their collections at places.

    end: what stands behind the descriptor of the stream; that of the copy.
    """
    rows = store.state.rows
    lead = prefix_of(collection) + GROUP_LEAD
    start, stop = rows.place(lead), rows.place(prefix_of(collection + 1))
    for name in list(rows.names(start, stop)):
        old, *rest = _RECORD.unpack(rows.get(name) or b"")
        store.changes.put_row(name, _RECORD.pack(places[old], *rest))
    return with_groups(end, places.values())


# How many entries a group has read.


def has_gap_behind(stream: Stream, number: int) -> bool:
    """Whether an entry from this id on was deleted, while some before it are there."""
    first, deleted = stream.first, stream.deleted
    return bool(stream.count and deleted and first <= deleted and number <= deleted)


def read_at(stream: Stream, number: int) -> int:
    """How many entries were added up to this id, READ_UNKNOWN if that cannot be told."""
    if not stream.added:
        return 0
    if number == stream.last or (not stream.count and number < stream.last):
        return stream.added
    if number > stream.last:
        return READ_UNKNOWN
    first = stream.first
    if (not stream.deleted or stream.deleted < first) and number <= first:
        return stream.added - stream.count + (number == first)
    return READ_UNKNOWN


def advance(group: Group, number: int) -> None:
    """The entry of this id is given, which is behind the last one."""
    stream = group.stream
    if group.read != READ_UNKNOWN and not has_gap_behind(stream, number):
        group.read = wrapped(group.read + 1)
    elif stream.added:
        group.read = wrapped(read_at(stream, number))
    group.last = number


def lag(group: Group) -> int | None:
    """How many entries are behind the last one given; None if that cannot be told."""
    stream = group.stream
    if not stream.added:
        return 0
    read = group.read
    if read == READ_UNKNOWN or has_gap_behind(stream, group.last):
        read = read_at(stream, group.last)
    return None if read == READ_UNKNOWN else wrapped(stream.added - read)
