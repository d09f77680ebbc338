"""Keys that take another name, or what another one holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from raftcache.command.values import Value
from raftcache.state.items import LEASED, Descriptor, Stored, described, group_ids
from raftcache.state.notes import GENERIC, NEW
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.stream_groups import move_groups
from raftcache.state.redis.stream_rows import rows_of_groups
from raftcache.state.rows import ID_SIZE_BYTES, prefix_of

_INT_MAX: Final = (1 << 31) - 1
_INT_MIN: Final = -(1 << 31)


def _rename(store: Store, args: tuple[bytes, ...]) -> Value:
    _move(store, args[0], args[1], only_if_absent=False)
    return "OK"


def _renamenx(store: Store, args: tuple[bytes, ...]) -> Value:
    return int(_move(store, args[0], args[1], only_if_absent=True))


def _move(store: Store, key: bytes, new: bytes, *, only_if_absent: bool) -> bool:
    """Elements of a collection stay where they are, whatever their number: its id moves."""
    found = store.find(key)
    if found is None:
        raise Refuse("ERR no such key")
    if key == new:
        return False
    target = store.find(new)
    if target is not None and only_if_absent:
        return False
    store.changes.move_away(key, found)
    _give(store, new, target, found, found.value)
    store.notify(GENERIC, b"rename_from", key)
    store.notify(GENERIC, b"rename_to", new)
    return True


def _give(store: Store, key: bytes, target: Stored | None, found: Stored, value: bytes) -> None:
    """What the key held before is gone: it is told of as new, as in Redis."""
    store.write_like(key, target, found, value)
    if target is not None:
        store.notify(NEW, b"new", key)


def _copy(store: Store, args: tuple[bytes, ...]) -> Value:
    """Elements are copied, so there may be as many as one call may change."""
    key, new, *words = args
    replaces = _is_replacing(words)
    if key == new:
        raise Refuse("ERR source and destination objects are the same")
    found = store.find(key)
    if found is None:
        return 0
    target = store.find(new)
    if target is not None and not replaces:
        return 0
    value = found.value if found.kind <= LEASED else _copy_elements(store, found)
    _give(store, new, target, found, value)
    store.notify(GENERIC, b"copy_to", new)
    return 1


def _is_replacing(words: Sequence[bytes]) -> bool:
    """Whether there is REPLACE; the only DB there can be is 0."""
    replaces = False
    rest = iter(words)
    for word in rest:
        option = word.upper()
        if option == b"REPLACE":
            replaces = True
        elif option == b"DB" and (index := next(rest, None)) is not None:
            _check_database(index)
        else:
            raise Refuse(SYNTAX)
    return replaces


def _check_database(text: bytes) -> None:
    index = integer(text)
    if not _INT_MIN <= index <= _INT_MAX:
        raise Refuse(f"ERR value is out of range, value must between {_INT_MIN} and {_INT_MAX}")
    if index:
        raise Refuse("ERR DB index is out of range")


def _copy_elements(store: Store, found: Stored) -> bytes:
    """The descriptor of a new collection with the rows of another one."""
    old = described(found.packed)
    store.count_rows(old.count + rows_of_groups(old.end))
    new_id, end = _copy_rows(store, old.id), old.end
    if groups := group_ids(found.packed):
        end = move_groups(store, new_id, end, {each: _copy_rows(store, each) for each in groups})
    return Descriptor(new_id, old.count, old.size_bytes, end).pack()


def _copy_rows(store: Store, collection: int) -> int:
    """The id of a new collection with the rows of another one."""
    rows = store.state.rows
    new_id = rows.take_id()
    start, stop = rows.place(prefix_of(collection)), rows.place(prefix_of(collection + 1))
    prefix = prefix_of(new_id)
    for name in list(rows.names(start, stop)):
        value = rows.get(name)
        assert value is not None
        store.changes.put_row(prefix + name[ID_SIZE_BYTES:], value)
    return new_id


CALLS: Final[dict[bytes, Handler]] = {
    b"COPY": _copy,
    b"RENAME": _rename,
    b"RENAMENX": _renamenx,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
