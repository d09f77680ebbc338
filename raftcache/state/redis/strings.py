"""Strings: the commands that set, read and count."""

from __future__ import annotations

from typing import Final

from raftcache.command.values import Value
from raftcache.state.redis.parsing import (
    SYNTAX,
    Refuse,
    in_range,
    integer,
)
from raftcache.state.redis.store import KEEP, Handler, Store

_OVERFLOW: Final = "ERR increment or decrement would overflow"


def _get(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.string(args[0])


def _set(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) > 2:
        raise Refuse(SYNTAX)
    store.set_string(args[0], args[1])
    return "OK"


def _strlen(store: Store, args: tuple[bytes, ...]) -> Value:
    value = store.string(args[0])
    return 0 if value is None else len(value)


def _append(store: Store, args: tuple[bytes, ...]) -> Value:
    value = (store.string(args[0]) or b"") + args[1]
    store.set_string(args[0], value, KEEP)
    return len(value)


def _incrby(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args[0], integer(args[1]))


def _add(store: Store, key: bytes, by: int) -> Value:
    value = store.string(key)
    number = in_range((0 if value is None else integer(value)) + by, _OVERFLOW)
    store.set_string(key, b"%d" % number, KEEP)
    return number


def _incr(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args[0], 1)


def _decr(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args[0], -1)


def _mget(store: Store, args: tuple[bytes, ...]) -> Value:
    found = [(key, store.find(key)) for key in args]
    return [None if each is None or each.kind > 2 else each.value for _, each in found]


def _mset(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) % 2:
        raise Refuse("ERR wrong number of arguments for 'mset' command")
    for key, value in zip(args[::2], args[1::2], strict=True):
        store.set_string(key, value)
    return "OK"


CALLS: Final[dict[bytes, Handler]] = {
    b"APPEND": _append,
    b"DECR": _decr,
    b"GET": _get,
    b"INCR": _incr,
    b"INCRBY": _incrby,
    b"MGET": _mget,
    b"MSET": _mset,
    b"SET": _set,
    b"STRLEN": _strlen,
}

LONE: Final = frozenset((b"APPEND", b"DECR", b"GET", b"INCR", b"INCRBY", b"SET", b"STRLEN"))
"""See execute.LONE."""
