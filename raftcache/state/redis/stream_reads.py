"""Streams: the commands that read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from raftcache.command.integers import integer_or_none
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import NIL_ARRAY, Entries, Value
from raftcache.state.items import STREAM
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.stream_ids import end_of_range, read_id
from raftcache.state.redis.stream_rows import ID_MAX, Stream

TIMEOUT_MS_MAX: Final = INTEGER_MAX - (1 << 41)
"""About: Redis adds the present to it."""

_UNBALANCED: Final = (
    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
)
_ONLY_OF_GROUPS: Final = (
    "ERR The {} option is only supported by XREADGROUP. You called XREAD instead."
)
_NEW_OF_GROUPS: Final = (
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer>"
    " option."
)


def _xlen(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.collection(Stream, args[0]).count


def _xrange(store: Store, args: tuple[bytes, ...], *, reverse: bool) -> Value:
    key, start, end = (args[0], args[2], args[1]) if reverse else args[:3]
    low, high = end_of_range(start, is_end=False), end_of_range(end, is_end=True)
    count: int | None = None
    rest = iter(args[3:])
    for option in rest:
        text = next(rest, None)
        if text is None or option.upper() != b"COUNT":
            raise Refuse(SYNTAX)
        count = max(0, integer(text))
    found = store.collection(Stream, key)
    if not found.exists:
        return []
    if count == 0:
        return NIL_ARRAY
    return found.entries(low, high, count or 0, reverse=reverse)


class Reading(Struct):
    """What an XREAD or XREADGROUP asks for. count: of entries of each key, 0 for all.

    timeout_ms: None if it does not wait, 0 for as long as it takes. group, consumer: those of an
    XREADGROUP. keeps_none: what it is given is not pending.
    """

    keys: Sequence[bytes]
    ids: Sequence[bytes]
    count: int = 0
    timeout_ms: int | None = None
    group: bytes | None = None
    consumer: bytes = b""
    keeps_none: bool = False


def read_xread(args: Sequence[bytes], *, of_group: bool = False) -> Reading:
    """One with as many arguments as it needs; refuses what Redis refuses before it looks.

    of_group: it is an XREADGROUP.
    """
    asked = Reading((), ())
    rest = list(reversed(args))
    while rest:
        option = rest.pop().upper()
        if option == b"BLOCK" and rest:
            asked.timeout_ms = _timeout_ms(rest.pop())
        elif option == b"COUNT" and rest:
            asked.count = max(0, integer(rest.pop()))
        elif option == b"STREAMS" and rest:
            if len(rest) % 2:
                raise Refuse(_UNBALANCED)
            named, half = rest[::-1], len(rest) // 2
            asked.keys, asked.ids = named[:half], named[half:]
            if of_group and asked.group is None:
                raise Refuse("ERR Missing GROUP option for XREADGROUP")
            return asked
        elif (option == b"GROUP" and len(rest) >= 2) or option == b"NOACK":
            if not of_group:
                raise Refuse(_ONLY_OF_GROUPS.format(option.decode()))
            if option == b"NOACK":
                asked.keeps_none = True
            else:
                asked.group, asked.consumer = rest.pop(), rest.pop()
        else:
            break
    raise Refuse(SYNTAX)


def would_wait(call: Sequence[bytes]) -> bool:
    """Whether the first thing that an XREAD or XREADGROUP has, or that is wrong, is BLOCK."""
    if call[0] not in (b"XREAD", b"XREADGROUP"):
        return False
    place, of_group = 1, call[0] == b"XREADGROUP"
    while place + 1 < len(call):
        option = call[place].upper()
        if option == b"COUNT" and integer_or_none(call[place + 1]) is not None:
            place += 2
        elif of_group and option == b"GROUP":
            place += 3
        elif of_group and option == b"NOACK":
            place += 1
        else:
            return option == b"BLOCK"
    return False


def _timeout_ms(text: bytes) -> int:
    number = integer(text, "ERR timeout is not an integer or out of range")
    if number < 0:
        raise Refuse("ERR timeout is negative")
    if number > TIMEOUT_MS_MAX:
        raise Refuse("ERR timeout is out of range")
    return number


def begins(store: Store, asked: Reading) -> list[int]:
    """Behind which ids an XREAD looks, as it comes: $ is the last one there was."""
    return [_begin(store, key, text) for key, text in zip(asked.keys, asked.ids, strict=True)]


def _begin(store: Store, key: bytes, text: bytes) -> int:
    found = store.collection(Stream, key)
    if text == b"$":
        return found.last
    if text == b">":
        raise Refuse(_NEW_OF_GROUPS)
    return read_id(text)


def behind(store: Store, asked: Reading, ids: Sequence[int]) -> Value:
    """The entries behind these ids, for each key that has any; NIL_ARRAY if none has."""
    pairs: list[tuple[Value, Value]] = []
    for key, number in zip(asked.keys, ids, strict=True):
        found = store.find(key)
        if found is None or found.kind != STREAM:
            continue
        entries = store.collection(Stream, key).entries(number + 1, ID_MAX, asked.count)
        if entries:
            pairs.append((key, entries))
    return Entries(pairs) if pairs else NIL_ARRAY


def _xread(store: Store, args: tuple[bytes, ...]) -> Value:
    """It does not wait here: see service/stream_waiting.py."""
    asked = read_xread(args)
    return behind(store, asked, begins(store, asked))


CALLS: Final[dict[bytes, Handler]] = {
    b"XLEN": _xlen,
    b"XRANGE": partial(_xrange, reverse=False),
    b"XREAD": _xread,
    b"XREVRANGE": partial(_xrange, reverse=True),
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
