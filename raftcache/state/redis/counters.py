"""Strings that hold numbers: the commands that count."""

from __future__ import annotations

from typing import Final

from raftcache.command.limits import INTEGER_MIN
from raftcache.command.values import Value
from raftcache.state.notes import STRING
from raftcache.state.redis.long_double import added, long_double
from raftcache.state.redis.parsing import Refuse, in_range, integer
from raftcache.state.redis.store import KEEP, Handler, Store

_OVERFLOW: Final = "ERR increment or decrement would overflow"


def _incr(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args[0], 1)


def _decr(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args[0], -1)


def _incrby(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args[0], integer(args[1]))


def _decrby(store: Store, args: tuple[bytes, ...]) -> Value:
    by = integer(args[1])
    if by == INTEGER_MIN:
        raise Refuse("ERR decrement would overflow")
    return _add(store, args[0], -by)


def _add(store: Store, key: bytes, by: int) -> Value:
    value = store.string(key)
    number = in_range((0 if value is None else integer(value)) + by, _OVERFLOW)
    store.set_string(key, b"%d" % number, KEEP)
    store.notify(STRING, b"incrby", key)
    return number


def _incrbyfloat(store: Store, args: tuple[bytes, ...]) -> Value:
    value = store.string(args[0])
    number = long_double(b"0" if value is None else value)
    text = added(number, long_double(args[1]))
    store.set_string(args[0], text, KEEP)
    store.notify(STRING, b"incrbyfloat", args[0])
    return text


CALLS: Final[dict[bytes, Handler]] = {
    b"DECR": _decr,
    b"DECRBY": _decrby,
    b"INCR": _incr,
    b"INCRBY": _incrby,
    b"INCRBYFLOAT": _incrbyfloat,
}

LONE: Final = frozenset(CALLS)
"""See execute.LONE."""
