"""One key's value and what is kept with it, packed in one bytes object.

A fixed header, the content type in ASCII, the value: one object a key instead of seven, which is
most of the memory of a million small keys, and one argument for the digest and the image.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from raftcache.command.limits import CONTENT_TYPE_SIZE_BYTES_MAX, VALUE_SIZE_BYTES_MAX
from raftcache.command.replies import Collection, Item

_HEADER: Final = struct.Struct("<QQQQBB")
_HEADER_SIZE_BYTES: Final = _HEADER.size
_unpack_header: Final = _HEADER.unpack_from

_unpack_end: Final = struct.Struct("<16xQ8xBB").unpack_from
"""Of the header only what tells a plain string: deadline or lease, kind, size of content type."""

_unpack_revision: Final = struct.Struct("<Q").unpack_from

_PLAIN_HEADER: Final = struct.Struct("<QQ8xQBB")
_AFTER_REVISION: Final = struct.Struct("<8xQQQB")
assert _PLAIN_HEADER.size == _HEADER_SIZE_BYTES

pack_plain_header: Final = _PLAIN_HEADER.pack
"""Of a string that does not end: revision, create revision, version, STRING, and the size of the
content type. Outside this module for Keyspace.put_run alone, where a call is a tenth of a write."""

unpack_after_revision: Final = _AFTER_REVISION.unpack_from
"""Of a packed item: create revision, deadline or lease, version and kind. For the same."""

STRING: Final = 1
LEASED: Final = 2
"""Kinds of items: the second goes with a lease, whose id stands in the place of the deadline."""

HASH: Final = 3
LIST: Final = 4
SET: Final = 5
ZSET: Final = 6
STREAM: Final = 7
"""Kinds of collections: the value describes it (see rows.py)."""

TYPES: Final = {HASH: "hash", LIST: "list", SET: "set", ZSET: "zset", STREAM: "stream"}

_KIND_AT: Final = 32

_PLAIN: Final = (0, STRING, 0)

_DESCRIPTOR: Final = struct.Struct("<QQQ")
DESCRIPTOR_SIZE_BYTES: Final = _DESCRIPTOR.size

STREAM_END_SIZE_BYTES: Final = 40
"""What stands behind the descriptor of a stream (see redis/stream_rows.py)."""

GROUPS_END_SIZE_BYTES: Final = 16
"""What follows if it has groups; and then the ids of their collections."""

GROUPS_MAX: Final = 1024
"""Of one stream: all their ids are written with each change of it."""

GROUP_ID: Final = struct.Struct(">Q")
"""Of the collection of one."""

_END_AT: Final = _HEADER_SIZE_BYTES + DESCRIPTOR_SIZE_BYTES

PACKED_SIZE_BYTES_MAX: Final = (
    _HEADER_SIZE_BYTES + CONTENT_TYPE_SIZE_BYTES_MAX + VALUE_SIZE_BYTES_MAX
)

PACKED_SIZE_BYTES_PLAIN_MAX: Final = _HEADER_SIZE_BYTES + VALUE_SIZE_BYTES_MAX
"""Without a content type."""

assert CONTENT_TYPE_SIZE_BYTES_MAX < 1 << 8  # its size is the header's last byte
assert _KIND_AT == _HEADER_SIZE_BYTES - 2


class Stored(Struct, frozen=True, gc=False):
    """A packed item and the fields of its header, in the header's order; lease 0 for none."""

    packed: bytes
    mod_revision: int
    create_revision: int
    deadline_ms: int
    version: int
    kind: int
    content_type_size_bytes: int
    lease: int = 0

    @property
    def content_type(self) -> bytes:
        return self.packed[_HEADER_SIZE_BYTES : _HEADER_SIZE_BYTES + self.content_type_size_bytes]

    @property
    def value(self) -> bytes:
        return self.packed[_HEADER_SIZE_BYTES + self.content_type_size_bytes :]

    @property
    def value_size_bytes(self) -> int:
        return len(self.packed) - _HEADER_SIZE_BYTES - self.content_type_size_bytes


class Descriptor(Struct, frozen=True, gc=False):
    """What an item says of its collection.

    count: of its elements. size_bytes: of the names and values of its rows, without the id. end:
    what else is said of a stream.
    """

    id: int
    count: int
    size_bytes: int
    end: bytes = b""

    def pack(self) -> bytes:
        return _DESCRIPTOR.pack(self.id, self.count, self.size_bytes) + self.end


def described(packed: bytes) -> Descriptor:
    """The collection of an item of one."""
    end = packed[_END_AT:] if packed[_KIND_AT] == STREAM else b""
    collection, count, size_bytes = _DESCRIPTOR.unpack_from(packed, _HEADER_SIZE_BYTES)
    return Descriptor(collection, count, size_bytes, end)


def collections_of(packed: bytes) -> tuple[int, ...]:
    """The ids of the collections of an item of one: its own, and those of the groups of a stream.

    All of them have their key, or lose it, together.
    """
    return described(packed).id, *group_ids(packed)


def group_ids(packed: bytes) -> tuple[int, ...]:
    """Of the collections of the groups of an item that is a stream; none of any other."""
    at = _END_AT + STREAM_END_SIZE_BYTES + GROUPS_END_SIZE_BYTES
    if packed[_KIND_AT] != STREAM or len(packed) <= at:
        return ()
    return tuple(number for (number,) in GROUP_ID.iter_unpack(packed[at:]))


def weight_bytes(packed: bytes) -> int:
    """What the item takes, with the rows of its collection if it has one."""
    size_bytes = len(packed)
    return size_bytes + described(packed).size_bytes if packed[_KIND_AT] > LEASED else size_bytes


def width(packed: bytes) -> int:
    """About how much a call does that looks at all of the item: the elements of its collection, or
    the KiB, whichever are more."""
    if packed[_KIND_AT] <= LEASED:
        return len(packed) >> 10
    descriptor = described(packed)
    return max(descriptor.count, descriptor.size_bytes >> 10)


def element_bytes(packed: bytes) -> int:
    """Of each element of the item's collection, with its name, on average; of a string, itself."""
    if packed[_KIND_AT] <= LEASED:
        return len(packed)
    descriptor = described(packed)
    return descriptor.size_bytes // max(1, descriptor.count)


def pack(
    mod_revision: int,
    create_revision: int,
    deadline_ms: int,
    version: int,
    content_type: bytes,
    value: bytes,
    lease: int = 0,
    kind: int = STRING,
) -> bytes:
    """The item as one bytes object; deadline_ms and lease 0 for none, one of them at most.

    kind: STRING, also with a lease, or that of a collection.
    """
    assert not (deadline_ms and lease)
    size = len(content_type)
    if lease:
        kind = LEASED
    header = _HEADER.pack(mod_revision, create_revision, deadline_ms or lease, version, kind, size)
    return header + content_type + value


def pack_next(old: bytes | None, revision: int, content_type: bytes, value: bytes) -> bytes | None:
    """A string that takes the place of an item, or of none, at a later revision; neither ends.

    None if the old item has a deadline or a lease, or is no string: what then is to be done is
    more. The same as pack would make, on the way of most writes.
    """
    created, version = revision, 1
    if old is not None:
        created, end, version, kind = unpack_after_revision(old)
        if end or kind != STRING:
            return None
        version += 1
    header = pack_plain_header(revision, created, version, STRING, len(content_type))
    return header + content_type + value


def plain_value(packed: bytes) -> bytes | None:
    """The value of a string that does not end; None for what has a deadline or lease, or is none.

    The same as a header and its value would tell, on the way of most reads.
    """
    _, _, end, _, kind, size = _unpack_header(packed)
    return None if end or kind != STRING else packed[_HEADER_SIZE_BYTES + size :]


def plain_values(found: Sequence[bytes | None]) -> list[bytes] | None:
    """The values of strings that do not end and have no content type; None if any is another thing.

    plain_value of each, in three quarters of the time.
    """
    first = found[0]
    if first is None or _unpack_end(first) != _PLAIN:
        return None  # where one is another thing, most are
    try:
        ends = list(map(_unpack_end, found))  # type: ignore[arg-type]
    except TypeError:  # of None
        return None
    if ends.count(_PLAIN) != len(ends):
        return None
    return [packed[_HEADER_SIZE_BYTES:] for packed in found]  # type: ignore[index]


def is_sound_plain(packed: bytes, revision: int) -> bool:
    """Whether it is a string that does not end, without a content type, and has no fault.

    False says nothing: `fault` has to be asked. On the way of most items of an image.
    """
    if len(packed) > PACKED_SIZE_BYTES_PLAIN_MAX or len(packed) < _HEADER_SIZE_BYTES:
        return False
    modified, created, end, version, kind, size = _unpack_header(packed)
    if end or size or kind != STRING:
        return False
    is_sound: bool = 1 <= created <= modified <= revision and 1 <= version <= modified - created + 1
    return is_sound


def revision_of(packed: bytes) -> int:
    """Of the write that made it."""
    revision: int = _unpack_revision(packed)[0]
    return revision


def version_of(packed: bytes) -> int:
    """How many writes there were since the key was created, the last one included."""
    version: int = _unpack_header(packed)[3]
    return version


def packed_size_bytes(content_type_size_bytes: int, value_size_bytes: int) -> int:
    """Of an item with these."""
    return _HEADER_SIZE_BYTES + content_type_size_bytes + value_size_bytes


def lease_of(packed: bytes) -> int:
    """The lease that the item goes with, 0 for none."""
    return read_header(packed).lease if packed[_KIND_AT] == LEASED else 0


def closed(packed: bytes, deadline_ms: int) -> bytes:
    """An item of a lease as one of the same deadline: what it was, once the lease has ended."""
    stored = read_header(packed)
    assert stored.lease
    return pack(
        stored.mod_revision,
        stored.create_revision,
        deadline_ms,
        stored.version,
        stored.content_type,
        stored.value,
    )


def read_header(packed: bytes) -> Stored:
    """The item with its header read and its value left where it is."""
    modified, created, end, version, kind, size = _unpack_header(packed)
    if kind == LEASED:
        return Stored(packed, modified, created, 0, version, kind, size, end)
    return Stored(packed, modified, created, end, version, kind, size)


def read(packed: bytes, now_ms: int) -> Item | None:
    """The item as a reader sees it at a cluster time: None once its own deadline has come.

    Whether its lease, if it has one, is over only `Leases.seen` can tell.
    """
    mod_revision, create_revision, deadline_ms, version, kind, size = _unpack_header(packed)
    lease = 0
    if kind == LEASED:
        lease, deadline_ms = deadline_ms, 0
    elif 0 < deadline_ms <= now_ms:
        return None
    elif kind > LEASED:
        type_name = TYPES[kind]
        return Collection(
            b"", "", create_revision, mod_revision, version, deadline_ms, 0, type_name
        )
    value_at = _HEADER_SIZE_BYTES + size
    content_type = packed[_HEADER_SIZE_BYTES:value_at].decode("ascii") if size else ""
    return Item(
        packed[value_at:], content_type, create_revision, mod_revision, version, deadline_ms, lease
    )


def read_plain(packed: bytes) -> Item | None:
    """The item, if these bytes are all that there is to know of it: a string without an end.

    None if it has a deadline or a lease, or is a collection.
    """
    end, kind, _ = _unpack_end(packed)
    return read(packed, 0) if kind == STRING and not end else None


def read_without_value(packed: bytes, now_ms: int) -> Item | None:
    """As read, with an empty value: a large one is not copied."""
    return read(packed[: _HEADER_SIZE_BYTES + packed[_HEADER_SIZE_BYTES - 1]], now_ms)


def fault(packed: bytes, revision: int) -> str | None:
    """Why these bytes cannot be an item of a store at that revision; None if they can."""
    if not _HEADER_SIZE_BYTES <= len(packed) <= PACKED_SIZE_BYTES_MAX:
        return f"an item of {len(packed)} bytes"
    stored = read_header(packed)
    if not 1 <= stored.create_revision <= stored.mod_revision <= revision:
        return (
            f"an item created at revision {stored.create_revision} and changed at "
            f"{stored.mod_revision} in a store at {revision}"
        )
    if not 1 <= stored.version <= stored.mod_revision - stored.create_revision + 1:
        return f"version {stored.version} after {stored.mod_revision} revisions"
    if not STRING <= stored.kind <= STREAM:
        return f"a value of kind {stored.kind}, unknown here"
    if stored.kind > LEASED and (stored.content_type or not _is_described(stored)):
        return "a collection that is not described"
    if stored.kind == LEASED and not stored.lease:
        return "an item with lease 0"
    if not (0 <= stored.value_size_bytes <= VALUE_SIZE_BYTES_MAX and stored.content_type.isascii()):
        return "a content type or value outside its limits"
    return None


def _is_described(stored: Stored) -> bool:
    """Whether the value of a collection has the size of what describes one of its kind."""
    rest = stored.value_size_bytes - DESCRIPTOR_SIZE_BYTES
    if stored.kind != STREAM:
        return rest == 0
    count, odd = divmod(rest - STREAM_END_SIZE_BYTES - GROUPS_END_SIZE_BYTES, GROUP_ID.size)
    return rest == STREAM_END_SIZE_BYTES or (not odd and 1 <= count <= GROUPS_MAX)
