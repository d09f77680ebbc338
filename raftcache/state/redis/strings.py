"""Strings: the commands that set, read and change them; see counters.py for those that count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from raftcache.command.calls import Call
from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.command.values import Value
from raftcache.state.items import LEASED
from raftcache.state.notes import GENERIC, STRING
from raftcache.state.redis import string_options
from raftcache.state.redis.parsing import TOO_LONG, WRONG_TYPE, Refuse, clamped, integer
from raftcache.state.redis.store import KEEP, Handler, Store
from raftcache.state.redis.string_options import COMPARISONS, OF_GETEX, OF_MSETEX, OF_SET
from raftcache.state.runs import PlainWrite

_PLAIN_SIZE: Final = 3
"""SET, a key and a value."""

_PAIRS_MAX: Final = (1 << 31) - 1


# Setting.


def _set(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) == 2:
        store.set_string(args[0], args[1])
        store.notify(STRING, b"set", args[0])
        return "OK"
    key, value, *words = args
    options = string_options.read(words, OF_SET)
    string_options.check_match(options.condition, options.match)
    deadline_ms = string_options.deadline_ms(options, store.now_ms, "set")
    before = store.string(key) if options.is_get else None
    is_set = _may_set(store, key, options)
    if is_set:
        _put(store, key, value, deadline_ms)
    if options.is_get:
        return before
    return "OK" if is_set else None


def set_run(store: Store, calls: Iterable[Call]) -> int:
    """Do SETs without options that come first, as many as need no more than that; how many.

    Each answers OK. The others, and those with mistakes, are for _set.
    """
    if not store.may_run:
        return 0
    return len(store.changes.put_run(_plain_sets(calls, store.size_bytes_max)))


def _plain_sets(calls: Iterable[Call], size_bytes_max: int) -> Iterator[PlainWrite]:
    for call in calls:
        if len(call) != _PLAIN_SIZE:
            return
        name, key, value = call
        if name != b"SET" or not 1 <= len(key) <= KEY_SIZE_BYTES_MAX or len(value) > size_bytes_max:
            return
        yield key, 0, value


def _put(store: Store, key: bytes, value: bytes, deadline_ms: int = 0) -> None:
    store.set_string(key, value, deadline_ms)
    store.notify(STRING, b"set", key)
    if deadline_ms > 0:
        store.notify(GENERIC, b"expire", key)


def _may_set(store: Store, key: bytes, options: string_options.Options) -> bool:
    condition = options.condition
    if not condition:
        return True
    if condition in COMPARISONS:
        return string_options.holds(condition, options.match, store.string(key))
    return (store.find(key) is None) is (condition == b"NX")


def _setnx(store: Store, args: tuple[bytes, ...]) -> Value:
    if store.find(args[0]) is not None:
        return 0
    _put(store, args[0], args[1])
    return 1


def _setex(store: Store, args: tuple[bytes, ...]) -> Value:
    return _set_for(store, args, b"EX", "setex")


def _psetex(store: Store, args: tuple[bytes, ...]) -> Value:
    return _set_for(store, args, b"PX", "psetex")


def _set_for(store: Store, args: tuple[bytes, ...], unit: bytes, command: str) -> Value:
    key, time, value = args
    _put(store, key, value, string_options.deadline_of(unit, time, store.now_ms, command))
    return "OK"


def _getset(store: Store, args: tuple[bytes, ...]) -> Value:
    before = store.string(args[0])
    _put(store, args[0], args[1])
    return before


# Several keys.


def _mget(store: Store, args: tuple[bytes, ...]) -> Value:
    values: list[Value] = []
    for key in args:
        found = store.find(key)
        if found is None or found.kind > LEASED:
            values.append(None)
            continue
        store.count_bytes(found.value_size_bytes)
        values.append(found.value)
    return values


def _mset(store: Store, args: tuple[bytes, ...]) -> Value:
    _set_all(store, _paired(args, "mset"))
    return "OK"


def _msetnx(store: Store, args: tuple[bytes, ...]) -> Value:
    pairs = _paired(args, "msetnx")
    if any(store.find(key) is not None for key, _ in pairs):
        return 0
    _set_all(store, pairs)
    return 1


def _paired(args: tuple[bytes, ...], command: str) -> list[tuple[bytes, bytes]]:
    if len(args) % 2:
        raise Refuse(f"ERR wrong number of arguments for '{command}' command")
    return list(zip(args[::2], args[1::2], strict=True))


def _set_all(store: Store, pairs: list[tuple[bytes, bytes]], deadline_ms: int = 0) -> None:
    store.count_rows(len(pairs))
    for key, value in pairs:
        _put(store, key, value, deadline_ms)


def _msetex(store: Store, args: tuple[bytes, ...]) -> Value:
    why = "ERR invalid numkeys value"
    count = integer(args[0], why)
    if not 1 <= count <= _PAIRS_MAX:
        raise Refuse(why)
    end = 1 + 2 * count
    if len(args) < end:
        raise Refuse("ERR wrong number of key-value pairs")
    options = string_options.read(args[end:], OF_MSETEX)
    deadline_ms = string_options.deadline_ms(options, store.now_ms, "msetex")
    pairs = _paired(args[1:end], "msetex")
    if options.condition:
        absent = options.condition == b"NX"
        if not all((store.find(key) is None) is absent for key, _ in pairs):
            return 0
    _set_all(store, pairs, deadline_ms)
    return 1


# Reading.


def _get(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.string(args[0])


def _getex(store: Store, args: tuple[bytes, ...]) -> Value:
    key = args[0]
    options = string_options.read(args[1:], OF_GETEX)
    found = store.find(key)
    if found is None:
        return None
    if found.kind > LEASED:
        raise Refuse(WRONG_TYPE)
    deadline_ms = string_options.deadline_ms(options, store.now_ms, "getex")
    store.count_answer(found.value_size_bytes)
    if deadline_ms or (options.lifetime and store.deadline_ms(found)):
        store.set_deadline(key, found, deadline_ms)
        store.notify(GENERIC, _redated(deadline_ms, store.now_ms), key)
    return found.value


def _redated(deadline_ms: int, now_ms: int) -> bytes:
    """What such a deadline does to a key, in Redis' word."""
    if deadline_ms == 0:
        return b"persist"
    return b"expire" if deadline_ms > now_ms else b"del"


def _strlen(store: Store, args: tuple[bytes, ...]) -> Value:
    value = store.string(args[0])
    return 0 if value is None else len(value)


def _getrange(store: Store, args: tuple[bytes, ...]) -> Value:
    start, end = integer(args[1]), integer(args[2])
    value = store.string(args[0]) or b""
    if start < 0 and end < 0 and start > end:
        return b""
    start, end = clamped(start, end, len(value))
    return value[start : end + 1]


def _digest(store: Store, args: tuple[bytes, ...]) -> Value:
    value = store.string(args[0])
    return None if value is None else string_options.digest(value)


# Changing, deleting.


def _append(store: Store, args: tuple[bytes, ...]) -> Value:
    value = (store.string(args[0]) or b"") + args[1]
    store.set_string(args[0], value, KEEP)
    store.notify(STRING, b"append", args[0])
    return len(value)


def _setrange(store: Store, args: tuple[bytes, ...]) -> Value:
    key, offset, part = args[0], integer(args[1]), args[2]
    if offset < 0:
        raise Refuse("ERR offset is out of range")
    value = store.string(key) or b""
    if not part:
        return len(value)
    end = offset + len(part)
    if end > store.size_bytes_max:
        raise Refuse(TOO_LONG)
    changed = value[:offset].ljust(offset, b"\0") + part + value[end:]
    store.set_string(key, changed, KEEP)
    store.notify(STRING, b"setrange", key)
    return len(changed)


def _getdel(store: Store, args: tuple[bytes, ...]) -> Value:
    value = store.string(args[0])
    if value is not None:
        _remove(store, args[0])
    return value


def _remove(store: Store, key: bytes) -> int:
    if not store.remove(key):
        return 0
    store.notify(GENERIC, b"del", key)
    return 1


def _delex(store: Store, args: tuple[bytes, ...]) -> Value:
    key = args[0]
    if len(args) == 1:
        return _remove(store, key)
    if len(args) != 3:
        raise Refuse("ERR wrong number of arguments for 'delex' command")
    condition, match = args[1].upper(), args[2]
    found = store.find(key)
    if found is None:
        return 0
    if found.kind > LEASED:
        raise Refuse("ERR Key should be of string type if conditions are specified")
    if condition not in COMPARISONS:
        raise Refuse("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE")
    string_options.check_match(condition, match)
    return _remove(store, key) if string_options.holds(condition, match, found.value) else 0


CALLS: Final[dict[bytes, Handler]] = {
    b"APPEND": _append,
    b"DELEX": _delex,
    b"DIGEST": _digest,
    b"GET": _get,
    b"GETDEL": _getdel,
    b"GETEX": _getex,
    b"GETRANGE": _getrange,
    b"GETSET": _getset,
    b"MGET": _mget,
    b"MSET": _mset,
    b"MSETEX": _msetex,
    b"MSETNX": _msetnx,
    b"PSETEX": _psetex,
    b"SET": _set,
    b"SETEX": _setex,
    b"SETNX": _setnx,
    b"SETRANGE": _setrange,
    b"STRLEN": _strlen,
    b"SUBSTR": _getrange,
}

LONE: Final = frozenset(
    (
        b"APPEND",
        b"DELEX",
        b"DIGEST",
        b"GET",
        b"GETDEL",
        b"GETEX",
        b"GETRANGE",
        b"GETSET",
        b"PSETEX",
        b"SET",
        b"SETEX",
        b"SETNX",
        b"SETRANGE",
        b"STRLEN",
        b"SUBSTR",
    )
)
"""See execute.LONE."""
