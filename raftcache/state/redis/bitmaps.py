"""Bitmaps: strings as rows of bits, of which the first is the highest one of the first byte."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_, or_, xor
from typing import Final

from raftcache.command.integers import integer_or_none
from raftcache.command.values import Value
from raftcache.state.notes import GENERIC, STRING
from raftcache.state.redis.parsing import (
    SYNTAX,
    TOO_LONG,
    Refuse,
    clamped,
    integer,
)
from raftcache.state.redis.store import KEEP, Handler, Store

BAD_OFFSET: Final = "ERR bit offset is not an integer or out of range"
_BAD_BIT: Final = "ERR bit is not an integer or out of range"

READ_SIZE_BYTES_MAX: Final = 512 << 20
"""Of the string that a bit may be read from: Redis' largest one, for who only reads is not told how
long a string may become here."""


def bit_offset(text: bytes, size_bytes_max: int, times: int = 1) -> int:
    """The place of a bit in a string of such a size at most, told in so many bits each."""
    number = integer_or_none(text)
    if number is None or not 0 <= number * times < size_bytes_max * 8:
        raise Refuse(BAD_OFFSET)
    return number * times


def widened(value: bytes, size: int, store: Store) -> bytearray:
    """The string with zeros behind it, so that it has at least so many bytes."""
    if size > store.size_bytes_max:
        raise Refuse(TOO_LONG)
    return bytearray(value.ljust(size, b"\0"))


def put_if_changed(store: Store, key: bytes, value: bytes, before: bytes | None) -> None:
    """Write a string that had some bits set."""
    if value != before:
        store.set_string(key, value, KEEP)
        store.notify(STRING, b"setbit", key)


def _setbit(store: Store, args: tuple[bytes, ...]) -> Value:
    key, offset = args[0], bit_offset(args[1], store.size_bytes_max)
    on = integer(args[2], _BAD_BIT)
    if on not in (0, 1):
        raise Refuse(_BAD_BIT)
    found = store.string(key)
    value = widened(found or b"", (offset >> 3) + 1, store)
    mask = 0x80 >> (offset & 7)
    was = int(value[offset >> 3] & mask != 0)
    value[offset >> 3] ^= mask if was != on else 0
    put_if_changed(store, key, bytes(value), found)
    return was


def _getbit(store: Store, args: tuple[bytes, ...]) -> Value:
    offset = bit_offset(args[1], READ_SIZE_BYTES_MAX)
    value = store.string(args[0]) or b""
    return value[offset >> 3] >> (7 - (offset & 7)) & 1 if offset >> 3 < len(value) else 0


# Ranges.


def _bitcount(store: Store, args: tuple[bytes, ...]) -> Value:
    value = store.string(args[0])
    if value is None:
        return 0
    if len(args) == 1:
        return int.from_bytes(value, "big").bit_count()
    if len(args) not in (3, 4):
        raise Refuse(SYNTAX)
    start, end = integer(args[1]), integer(args[2])
    if start < 0 and end < 0 and start > end:
        return 0
    first, last = _bits(start, end, len(value), _bits_each(args[3:]))
    return _cut(value, first, last).bit_count() if first <= last else 0


def _bitpos(store: Store, args: tuple[bytes, ...]) -> Value:
    bit = integer(args[1])
    if bit not in (0, 1):
        raise Refuse("ERR The bit argument must be 1 or 0.")
    value = store.string(args[0])
    if value is None:
        return -1 if bit else 0
    if len(args) > 5:
        raise Refuse(SYNTAX)
    start, end, has_end = 0, -1, len(args) > 3
    if len(args) > 2:
        start = integer(args[2])
    each = _bits_each(args[4:])
    if has_end:
        end = integer(args[3])
    first, last = _bits(start, end, len(value), each)
    if first > last:
        return -1
    size = last - first + 1
    number = _cut(value, first, last)
    sought = number if bit else number ^ ((1 << size) - 1)
    if sought:
        return last + 1 - sought.bit_length()
    return -1 if bit or has_end else last + 1  # zeros follow a string that has no end


def _bits_each(unit: tuple[bytes, ...]) -> int:
    """How many bits a place of a range is."""
    match [word.upper() for word in unit]:
        case [b"BIT"]:
            return 1
        case [] | [b"BYTE"]:
            return 8
        case _:
            raise Refuse(SYNTAX)


def _bits(start: int, end: int, size: int, each: int) -> tuple[int, int]:
    """The first and the last bit of a range in a string of so many bytes."""
    start, end = clamped(start, end, size * 8 // each)
    return start * each, end * each + each - 1


def _cut(value: bytes, first: int, last: int) -> int:
    """The bits from the first to the last one as a number."""
    end = (last >> 3) + 1
    number = int.from_bytes(value[first >> 3 : end], "big") >> (end * 8 - 1 - last)
    return number & ((1 << (last - first + 1)) - 1)


# Several strings.

_JOINS: Final[dict[bytes, Callable[[int, int], int]]] = {b"AND": and_, b"OR": or_, b"XOR": xor}


def _bitop(store: Store, args: tuple[bytes, ...]) -> Value:
    name, target, keys = args[0].upper(), args[1], args[2:]
    if name != b"NOT" and name not in _JOINS:
        raise Refuse(SYNTAX)
    if name == b"NOT" and len(keys) != 1:
        raise Refuse("ERR BITOP NOT must be called with a single source key.")
    values = [store.string(key) or b"" for key in keys]
    size = max(map(len, values))
    store.count_bytes(sum([size - len(value) for value in values]))  # all become as long
    if not size:
        if store.remove(target):
            store.notify(GENERIC, b"del", target)
        return 0
    numbers = (int.from_bytes(value.ljust(size, b"\0"), "big") for value in values)
    if name == b"NOT":
        number = next(numbers) ^ ((1 << size * 8) - 1)
    else:
        number = reduce(_JOINS[name], numbers)
    store.set_string(target, number.to_bytes(size, "big"))
    store.notify(STRING, b"set", target)
    return size


CALLS: Final[dict[bytes, Handler]] = {
    b"BITCOUNT": _bitcount,
    b"BITOP": _bitop,
    b"BITPOS": _bitpos,
    b"GETBIT": _getbit,
    b"SETBIT": _setbit,
}

LONE: Final = frozenset((b"BITCOUNT", b"BITPOS", b"GETBIT", b"SETBIT"))
"""See execute.LONE."""
