"""The whole state as bytes, and back: canonical, so equal states give equal images.

    image  = header, [tables,] item*, [rows,] record*, footer   integers little-endian
    header = "raftcach", format u32, items u64, records u64, first record u64, revision u64, now u64
    tables = count u64 of each table, then their records        from format 2: see TABLES
    item   = key size u16, packed size u32, key, packed item    in key order
    rows   = next id u64, count u64, row*                       from format 3, in the order of names
    row    = name size u32, value size u32, name, value
    record = size u16, packed record                            those remembered: oldest first
    footer = digest u64

The digest covers all of it: each byte is in the hash of an item, or of a record of whatever kind,
in the term for the header, or decides where the others begin.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Final, TypeAlias

from raftcache.command import versions
from raftcache.command.limits import KEY_SIZE_BYTES_MAX, REQUESTS_REMEMBERED_MAX
from raftcache.errors import Corrupt
from raftcache.state import items, rows
from raftcache.state.passes import Pass
from raftcache.state.remembered import RECORD_SIZE_BYTES_MAX
from raftcache.state.state import Part, State
from raftcache.state.table import RECORD_SIZE_BYTES_MAX as TABLE_RECORD_SIZE_BYTES_MAX
from raftcache.state.table import TIME_MS_MAX

SLICE_SIZE_BYTES: Final = 64 << 10
"""What a slice aims at; one large item may exceed it."""

TABLES: Final = {2: 4, 3: 4, 4: 5, 5: 5, 6: 7, 7: 7}
"""How many of State.tables an image of each format has; 1 has none."""

TOMBSTONES_SINCE: Final = 4
"""The format that has tombstones; and streams, for what writes one has brought these."""

GROUPS_SINCE: Final = 5
"""The format that has consumer groups: from the first call on that may have made one."""

CLIENTS_SINCE: Final = 6
"""The format that has clients, while there are any, without consumer groups; the next has both."""

WITH_GROUPS: Final = (GROUPS_SINCE, CLIENTS_SINCE + 1)

SLICE_KEYS_MAX: Final = 500
"""Keys looked at for one slice: about half a millisecond, most of it spent waiting for memory."""

_MAGIC: Final = b"raftcach"
_HEADER: Final = struct.Struct("<8sIQQQQQ")
_ITEM: Final = struct.Struct("<HI")
_ROWS: Final = struct.Struct("<QQ")
_ROW: Final = struct.Struct("<II")
_RECORD: Final = struct.Struct("<H")
_COUNT: Final = struct.Struct("<Q")
_FOOTER: Final = struct.Struct("<Q")

assert KEY_SIZE_BYTES_MAX < 1 << 16
assert RECORD_SIZE_BYTES_MAX < 1 << 16
assert TABLE_RECORD_SIZE_BYTES_MAX < 1 << 16
assert 2 * KEY_SIZE_BYTES_MAX < TABLE_RECORD_SIZE_BYTES_MAX


def dump(state: State) -> Generator[bytes, None, None]:
    """The image of the state as of this call, in slices of bounded size and work.

    The state may change between two slices. A slice may be empty. Closing the iterator, or
    reaching its end, ends the dump; only one at a time.
    """
    slices = _slices(state)
    next(slices)  # runs to the first yield: the state is captured now, not when it is first read
    return slices


def _slices(state: State) -> Generator[bytes, None, None]:
    keyspace, records = state.keyspace, state.sessions.records()
    has_rows = state.rows.next_id > 1 or state.sessions.calls > 0
    footer = _FOOTER.pack(state.digest)
    parts = state.tables()
    tables = [part.records() for part in parts]
    version = 2 if state.sessions.transactions or any(tables) else 1
    version = 3 if has_rows else version
    version = TOMBSTONES_SINCE if state.tombstones.are_kept else version
    version = GROUPS_SINCE if state.has_groups else version
    version = CLIENTS_SINCE + state.has_groups if state.clients.count else version
    del tables[TABLES.get(version, 0) :]
    header = _HEADER.pack(
        _MAGIC,
        version,
        len(keyspace),
        len(records),
        state.sessions.first,
        state.revision,
        state.now_ms,
    )
    rows_header = _ROWS.pack(state.rows.next_id, len(state.rows))
    walk = keyspace.begin_pass(state.revision)
    try:
        walk_rows = state.rows.begin_pass()
        yield b""  # for dump()
        yield header
        if version > 1:
            yield b"".join(_COUNT.pack(len(records)) for records in tables)
            packed = (map(part.pack, table) for part, table in zip(parts, tables, strict=False))
            yield from _chunks(chain.from_iterable(packed))
        yield from _pieces(walk, _ITEM)
        if version > 2:
            yield rows_header
            yield from _pieces(walk_rows, _ROW)
    finally:
        keyspace.end_pass()
        state.rows.end_pass()
    yield from _chunks(records)
    yield footer


def _pieces(walk: Pass, sizes: struct.Struct) -> Iterator[bytes]:
    """What is walked, each name and value behind their sizes."""
    while not walk.done:
        taken = walk.take(SLICE_KEYS_MAX, SLICE_SIZE_BYTES)
        yield b"".join([sizes.pack(len(name), len(value)) + name + value for name, value in taken])


def _chunks(records: Iterable[bytes]) -> Iterator[bytes]:
    """Records behind their sizes, joined to slices."""
    chunk = bytearray()
    for packed in records:
        if chunk and len(chunk) + len(packed) > SLICE_SIZE_BYTES:
            yield bytes(chunk)
            chunk.clear()
        chunk += _RECORD.pack(len(packed)) + packed
    if chunk:
        yield bytes(chunk)


_Stage: TypeAlias = "Callable[[memoryview, int], int | None]"


class Loader:
    """Builds a state beside the one in use; the work of a feed is bounded by its size.

    adopt: takes the finished state, on install.
    """

    def __init__(self, adopt: Callable[[State], None]) -> None:
        self._adopt = adopt
        self._pending = bytearray()  # fed, and not yet whole enough to be read
        self._offset_bytes = 0  # of the first pending byte in the image
        self._stage: _Stage = self._header
        self._state = State()
        self._version = 0
        self._last_key = b""
        self._tables: list[tuple[int, Part]] = []  # those not read yet, with records left of each
        self._items_left = self._rows_left = self._records_left = 0
        self._has_rows = False  # and their header was not read yet
        self._last_row = b""
        self._collections: set[int] = set()
        self._complete = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the image, split anywhere; Corrupt if they cannot be an image.

        BadConfig if they are one that a newer raftcache wrote.
        """
        self._pending += data
        at = 0
        with memoryview(self._pending) as view:
            while (end := self._stage(view, at)) is not None:
                assert at < end <= len(view)
                self._offset_bytes += end - at
                at = end
        del self._pending[:at]

    def install(self) -> None:
        """Hand over the loaded state; Corrupt if the image has not come to its end."""
        if not self._complete:
            raise self._corrupt("the image ends early")
        self._adopt(self._state)

    # The stages: each reads one part of the image at an offset and returns where it ends, or None
    # while the part is not whole yet.

    def _header(self, view: memoryview, at: int) -> int | None:
        end = at + _HEADER.size
        if end > len(view):
            return None
        fields = _HEADER.unpack_from(view, at)
        magic, version, self._items_left, self._records_left, first, revision, now_ms = fields
        if magic != _MAGIC:
            raise self._corrupt("this is no image")
        versions.refuse_newer("the image in the snapshot", version, versions.IMAGE)
        if version < 1:
            raise self._corrupt(f"an image of format {version}")
        if now_ms >= TIME_MS_MAX or self._records_left > REQUESTS_REMEMBERED_MAX:
            raise self._corrupt(f"cluster time {now_ms} ms and {self._records_left} records")
        self._state = State(revision, now_ms, first)
        self._state.has_groups = version in WITH_GROUPS
        self._has_rows = version > 2
        self._version = version
        if version > 1:
            self._stage = self._counts
        else:
            self._next_stage()
        return end

    def _counts(self, view: memoryview, at: int) -> int | None:
        tables = self._state.tables()[: TABLES[self._version]]
        end = at + _COUNT.size * len(tables)
        if end > len(view):
            return None
        counts = [count for (count,) in _COUNT.iter_unpack(view[at:end])]
        for count, table in zip(counts, tables, strict=True):
            if count > table.records_max:
                raise self._corrupt(f"{count} records of at most {table.records_max}")
        self._tables = list(zip(counts, tables, strict=True))
        self._next_stage()
        return end

    def _row(self, view: memoryview, at: int) -> int | None:
        """The next record of the first table that has any left."""
        left, table = self._tables[0]
        found = self._sized(view, at, table.size_bytes_max)
        if found is None:
            return None
        packed, end = found
        if why := table.load(packed, self._state.revision):
            raise self._corrupt(why)
        self._tables[0] = left - 1, table
        self._next_stage()
        return end

    def _sized(self, view: memoryview, at: int, size_bytes_max: int) -> tuple[bytes, int] | None:
        """A record behind its size, and where it ends."""
        packed_at = at + _RECORD.size
        if packed_at > len(view):
            return None
        (size_bytes,) = _RECORD.unpack_from(view, at)
        if size_bytes > size_bytes_max:
            raise self._corrupt(f"a record of {size_bytes} bytes")
        end = packed_at + size_bytes
        return None if end > len(view) else (bytes(view[packed_at:end]), end)

    def _item(self, view: memoryview, at: int) -> int | None:
        key_at = at + _ITEM.size
        if key_at > len(view):
            return None
        key_size_bytes, packed_size_bytes = _ITEM.unpack_from(view, at)
        if not 1 <= key_size_bytes <= KEY_SIZE_BYTES_MAX:
            raise self._corrupt(f"a key of {key_size_bytes} bytes")
        if packed_size_bytes > items.PACKED_SIZE_BYTES_MAX:
            raise self._corrupt(f"an item of {packed_size_bytes} bytes")
        packed_at = key_at + key_size_bytes
        end: int = packed_at + packed_size_bytes
        if end > len(view):
            return None
        self._load_item(bytes(view[key_at:packed_at]), bytes(view[packed_at:end]))
        self._items_left -= 1
        if not self._items_left:
            self._next_stage()
        return end

    def _load_item(self, key: bytes, packed: bytes) -> None:
        if key <= self._last_key:
            raise self._corrupt("keys out of order")
        keyspace = self._state.keyspace
        if items.is_sound_plain(packed, self._state.revision) and not keyspace.quotas.sizes:
            self._last_key = key
            keyspace.put_plain(key, packed, None)
            return
        if why := items.fault(packed, self._state.revision):
            raise self._corrupt(why)
        self._last_key = key
        stored = items.read_header(packed)
        if why := self._state.leases.fault(stored.lease):
            raise self._corrupt(why)
        keyspace.put(key, packed, stored.deadline_ms, None)
        if stored.kind == items.STREAM and self._version < TOMBSTONES_SINCE:
            raise self._corrupt(f"a stream in an image of format {self._version}")
        if stored.kind > items.LEASED:
            self._load_collections(items.collections_of(packed))

    def _load_collections(self, ids: tuple[int, ...]) -> None:
        if len(ids) > 1 and not self._state.has_groups:
            raise self._corrupt(f"a consumer group in an image of format {self._version}")
        for collection in ids:
            if collection in self._collections or not self._has_rows:
                raise self._corrupt("a collection with two keys, or without rows")
            self._collections.add(collection)

    def _rows_header(self, view: memoryview, at: int) -> int | None:
        end = at + _ROWS.size
        if end > len(view):
            return None
        next_id, self._rows_left = _ROWS.unpack_from(view, at)
        if not max(self._collections, default=0) < next_id <= rows.ID_MAX:
            raise self._corrupt(f"the next collection is {next_id}")
        self._state.rows.next_id = next_id
        self._has_rows = False
        self._next_stage()
        return end

    def _collection_row(self, view: memoryview, at: int) -> int | None:
        name_at = at + _ROW.size
        if name_at > len(view):
            return None
        name_size_bytes, value_size_bytes = _ROW.unpack_from(view, at)
        if max(name_size_bytes, value_size_bytes) > items.PACKED_SIZE_BYTES_MAX:
            raise self._corrupt(f"a row of {name_size_bytes} and {value_size_bytes} bytes")
        value_at = name_at + name_size_bytes
        end: int = value_at + value_size_bytes
        if end > len(view):
            return None
        self._load_row(bytes(view[name_at:value_at]), bytes(view[value_at:end]))
        self._rows_left -= 1
        self._next_stage()
        return end

    def _load_row(self, name: bytes, value: bytes) -> None:
        if why := rows.fault(name, value):
            raise self._corrupt(why)
        if name <= self._last_row:
            raise self._corrupt("rows out of order")
        self._last_row = name
        collection = rows.id_of(name)
        if not 1 <= collection < self._state.rows.next_id:
            raise self._corrupt(f"a row of collection {collection}, which never was")
        if collection not in self._collections:  # its key is gone
            gone = self._state.rows.gone
            if not gone or gone[-1] != collection:
                gone.add(collection)
        self._state.rows.put(name, value)

    def _record(self, view: memoryview, at: int) -> int | None:
        found = self._sized(view, at, RECORD_SIZE_BYTES_MAX)
        if found is None:
            return None
        packed, end = found
        if why := self._state.sessions.load(packed, self._state.now_ms):
            raise self._corrupt(why)
        self._records_left -= 1
        self._next_stage()
        return end

    def _footer(self, view: memoryview, at: int) -> int | None:
        end = at + _FOOTER.size
        if end > len(view):
            return None
        (digest,) = _FOOTER.unpack_from(view, at)
        if digest != self._state.digest:
            raise self._corrupt(f"digest {self._state.digest:016x}, written as {digest:016x}")
        self._complete = True
        self._stage = self._nothing
        return end

    def _nothing(self, view: memoryview, at: int) -> int | None:
        if at < len(view):
            raise self._corrupt("bytes after the end of the image")
        return None

    def _next_stage(self) -> None:
        while self._tables and not self._tables[0][0]:
            self._tables.pop(0)
        if self._tables:
            self._stage = self._row
        elif self._items_left:
            self._stage = self._item
        elif self._has_rows:
            self._stage = self._rows_header
        elif self._rows_left:
            self._stage = self._collection_row
        else:
            self._stage = self._record if self._records_left else self._footer

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt("image", self._offset_bytes, why)
