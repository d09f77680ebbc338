"""Lists: the commands that push, read and change."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Final

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN
from raftcache.command.values import Value
from raftcache.state import notes
from raftcache.state.redis.list_rows import List
from raftcache.state.redis.parsing import SYNTAX, Refuse, at_least, integer
from raftcache.state.redis.store import Handler, Store

_RANK_ZERO: Final = (
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use"
    " negative to start from the end of the list"
)


def _list(store: Store, key: bytes) -> List:
    return store.collection(List, key)


# Ends.


def _push(store: Store, args: tuple[bytes, ...], *, left: bool, if_exists: bool = False) -> Value:
    found = _list(store, args[0])
    if if_exists and not found.exists:
        return 0
    found.push(args[1:], left=left)
    store.notify(notes.LIST, b"lpush" if left else b"rpush", args[0])
    return found.count


# Reading.


def _llen(store: Store, args: tuple[bytes, ...]) -> Value:
    return _list(store, args[0]).count


def _lrange(store: Store, args: tuple[bytes, ...]) -> Value:
    first, last = integer(args[1]), integer(args[2])
    found = _list(store, args[0])
    return found.values(*found.span_of(first, last))


def _lindex(store: Store, args: tuple[bytes, ...]) -> Value:
    found = _list(store, args[0])
    if not found.exists:
        return None
    place = found.place_of(integer(args[1]))
    return None if place is None else found.at(place)


def _lpos(store: Store, args: tuple[bytes, ...]) -> Value:
    rank, count, look_max = 1, None, 0
    rest = iter(args[2:])
    for option in rest:
        text = next(rest, None)
        if text is None:
            raise Refuse(SYNTAX)
        match option.upper():
            case b"RANK":
                rank = integer(text)
                if not rank:
                    raise Refuse(_RANK_ZERO)
            case b"COUNT":
                count = at_least(text, 0, "ERR COUNT can't be negative")
            case b"MAXLEN":
                look_max = at_least(text, 0, "ERR MAXLEN can't be negative")
            case _:
                raise Refuse(SYNTAX)
    if rank == INTEGER_MIN:
        rank = -1  # as in Redis, whose rank overflows
    found = _list(store, args[0])
    looked = found.search(args[1], reverse=rank < 0, look_max=look_max)
    matches = islice((place for place, _ in looked), abs(rank) - 1, None)
    return next(matches, None) if count is None else list(islice(matches, count or None))


# Changing.


def _lset(store: Store, args: tuple[bytes, ...]) -> Value:
    key, index, value = args
    found = _list(store, key)
    if not found.exists:
        raise Refuse("ERR no such key")
    place = found.place_of(integer(index))
    if place is None:
        raise Refuse("ERR index out of range")
    found.set(place, value)
    store.notify(notes.LIST, b"lset", key)
    return "OK"


def _linsert(store: Store, args: tuple[bytes, ...]) -> Value:
    key, where, pivot, value = args
    where = where.upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise Refuse(SYNTAX)
    found = _list(store, key)
    if not found.exists:
        return 0
    place = next((place for place, _ in found.search(pivot)), None)
    if place is None:
        return -1
    found.insert(place + (where == b"AFTER"), value)
    store.notify(notes.LIST, b"linsert", key)
    return found.count


def _lrem(store: Store, args: tuple[bytes, ...]) -> Value:
    key, text, value = args
    count = max(integer(text), -INTEGER_MAX)
    found = _list(store, key)
    matches = (name for _, name in found.search(value, reverse=count < 0))
    names = list(islice(matches, abs(count) or None))
    if names:
        found.remove(names)
        store.notify(notes.LIST, b"lrem", key)
    return len(names)


def _ltrim(store: Store, args: tuple[bytes, ...]) -> Value:
    key, first, last = args[0], integer(args[1]), integer(args[2])
    found = _list(store, key)
    if found.exists:
        found.keep(*found.span_of(first, last))
        store.notify(notes.LIST, b"ltrim", key)
    return "OK"


CALLS: Final[dict[bytes, Handler]] = {
    b"LINDEX": _lindex,
    b"LINSERT": _linsert,
    b"LLEN": _llen,
    b"LPOS": _lpos,
    b"LPUSH": partial(_push, left=True),
    b"LPUSHX": partial(_push, left=True, if_exists=True),
    b"LRANGE": _lrange,
    b"LREM": _lrem,
    b"LSET": _lset,
    b"LTRIM": _ltrim,
    b"RPUSH": partial(_push, left=False),
    b"RPUSHX": partial(_push, left=False, if_exists=True),
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
