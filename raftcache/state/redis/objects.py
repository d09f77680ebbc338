"""What Redis tells of how a value is kept, for the tools that ask; and what it takes here."""

from __future__ import annotations

from typing import Final

from raftcache.command.integers import integer_or_none
from raftcache.command.values import Value
from raftcache.state import leases
from raftcache.state.items import (
    HASH,
    LEASED,
    LIST,
    SET,
    STREAM,
    ZSET,
    Stored,
    described,
    weight_bytes,
)
from raftcache.state.keyspace import DEADLINE_COST_BYTES, KEY_COST_BYTES
from raftcache.state.redis.elements import Element, elements_after
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.stream_rows import rows_of_groups
from raftcache.state.rows import ID_SIZE_BYTES, ROW_COST_BYTES

_EMBEDDED_SIZE_BYTES_MAX: Final = 44
_DENSE_ELEMENTS_MAX: Final = {SET: 512, HASH: 512, ZSET: 128}
_DENSE_SIZE_BYTES_MAX: Final = 64
"""Up to here Redis 7.0, as it is configured by default, keeps a value in a denser way."""

_DENSE: Final = {SET: b"intset", HASH: b"listpack", ZSET: b"listpack"}
_ALWAYS: Final = {LIST: b"quicklist", STREAM: b"stream"}
_LOOSE: Final = {SET: b"hashtable", HASH: b"hashtable", ZSET: b"skiplist"}

NO_FREQUENCY: Final = (
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that"
    " when switching between policies at runtime LRU and LFU data will take some time to adjust."
)


def _object(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) != 2:
        raise Refuse(SYNTAX)
    subcommand, key = args
    found = store.find(key)
    if found is None:
        return None
    match subcommand.upper():
        case b"ENCODING":
            return _encoding(store, key, found)
        case b"REFCOUNT":
            return 1
        case b"IDLETIME":
            return 0
        case b"FREQ":
            raise Refuse(NO_FREQUENCY)
        case _:
            raise Refuse(SYNTAX)


def _encoding(store: Store, key: bytes, found: Stored) -> bytes:
    """How Redis would keep such a value, had it never been another one."""
    kind = found.kind
    if kind <= LEASED:
        if integer_or_none(found.value) is not None:
            return b"int"
        return b"embstr" if found.value_size_bytes <= _EMBEDDED_SIZE_BYTES_MAX else b"raw"
    if kind in _ALWAYS:
        return _ALWAYS[kind]
    count = described(found.packed).count
    if count > _DENSE_ELEMENTS_MAX[kind]:
        return _LOOSE[kind]
    elements = elements_after(store, key, found, None, count)
    return (_DENSE if all(_is_dense(kind, each) for each in elements) else _LOOSE)[kind]


def _is_dense(kind: int, element: Element) -> bool:
    name, value = element
    if kind == SET:
        return integer_or_none(name) is not None
    return max(len(name), len(value)) <= _DENSE_SIZE_BYTES_MAX


def _memory(store: Store, args: tuple[bytes, ...]) -> Value:
    """What a key takes of every node's memory; it looks at no elements, whatever SAMPLES says."""
    if args[0].upper() != b"USAGE" or len(args) == 1:
        raise Refuse(SYNTAX)
    key = args[1]
    rest = iter(args[2:])
    for word in rest:
        samples = next(rest, None)
        if word.upper() != b"SAMPLES" or samples is None:
            raise Refuse(SYNTAX)
        if integer(samples) < 0:
            raise Refuse(SYNTAX)
    found = store.find(key)
    return None if found is None else _size_bytes(key, found)


def _size_bytes(key: bytes, found: Stored) -> int:
    size_bytes = KEY_COST_BYTES + len(key) + weight_bytes(found.packed)
    if found.deadline_ms:
        size_bytes += DEADLINE_COST_BYTES + len(key)
    if found.lease:
        size_bytes += leases.KEY_COST_BYTES
    if found.kind > LEASED:
        descriptor = described(found.packed)
        rows = descriptor.count * (2 if found.kind == ZSET else 1)
        rows += rows_of_groups(descriptor.end)
        size_bytes += rows * (ROW_COST_BYTES + ID_SIZE_BYTES)
    return size_bytes


CALLS: Final[dict[bytes, Handler]] = {b"MEMORY": _memory, b"OBJECT": _object}

LONE: Final = frozenset(CALLS)
"""See execute.LONE: they change nothing."""
