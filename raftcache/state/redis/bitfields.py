"""Bit fields: integers of any width at any bit of a string."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from raftcache.command.values import Value
from raftcache.state.redis.bitmaps import READ_SIZE_BYTES_MAX, bit_offset, put_if_changed, widened
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import Handler, Store

_TYPE: Final = re.compile(rb"i([1-9]|[1-5][0-9]|6[0-4])|u([1-9]|[1-5][0-9]|6[0-3])")
_BAD_TYPE: Final = (
    "ERR Invalid bitfield type. Use something like i16 u8. "
    "Note that u64 is not supported but i64 is."
)
_ARGUMENTS: Final = {b"GET": 2, b"SET": 3, b"INCRBY": 3, b"OVERFLOW": 1}
_OVERFLOWS: Final = (b"WRAP", b"SAT", b"FAIL")

_WORD: Final = (1 << 64) - 1
"""A number below 0 counts as one of 64 bits where it sets an unsigned field."""


class _Field(NamedTuple):
    """Where an integer stands."""

    offset: int
    bits: int
    is_signed: bool

    @property
    def size_bytes(self) -> int:
        """Of a string that has it whole."""
        return (self.offset + self.bits + 7) >> 3

    def get(self, value: bytes | bytearray) -> int:
        """What it holds; zeros follow the string."""
        at = self.offset >> 3
        size = self.size_bytes - at
        number = int.from_bytes(value[at : at + size].ljust(size, b"\0"), "big")
        return self.wrapped(number >> self._behind)

    def set(self, value: bytearray, number: int) -> None:
        at, end = self.offset >> 3, self.size_bytes
        mask = (1 << self.bits) - 1
        around = int.from_bytes(value[at:end], "big") & ~(mask << self._behind)
        value[at:end] = (around | (number & mask) << self._behind).to_bytes(end - at, "big")

    @property
    def _behind(self) -> int:
        """Bits of its last byte that follow it."""
        return -(self.offset + self.bits) & 7

    def wrapped(self, number: int) -> int:
        """The number with the bits that there is room for."""
        number &= (1 << self.bits) - 1
        return number - (1 << self.bits) if self.is_signed and number >> (self.bits - 1) else number

    def saturated(self, number: int) -> int:
        """The nearest number that there is room for."""
        half = 1 << (self.bits - 1)
        least, end = (-half, half) if self.is_signed else (0, 2 * half)
        return min(max(number, least), end - 1)


class _Step(NamedTuple):
    """One subcommand; number: what to set or to add."""

    name: bytes
    field: _Field
    number: int
    overflow: bytes

    def new(self, old: int) -> int | None:
        """What the field shall hold; None if that is too much, and too much fails."""
        if self.name == b"INCRBY":
            number = old + self.number
        else:
            number = self.number if self.field.is_signed else self.number & _WORD
        if self.overflow == b"WRAP":
            return self.field.wrapped(number)
        nearest = self.field.saturated(number)
        return None if self.overflow == b"FAIL" and nearest != number else nearest


def _bitfield(store: Store, args: tuple[bytes, ...]) -> Value:
    key, steps = args[0], list(_steps(args[1:], store.size_bytes_max))
    size = max([step.field.size_bytes for step in steps if step.name != b"GET"], default=0)
    found = store.string(key)
    if not size:
        return [step.field.get(found or b"") for step in steps]
    value = widened(found or b"", size, store)
    replies = [_run(step, value) for step in steps]
    put_if_changed(store, key, bytes(value), found)
    return replies


def _run(step: _Step, value: bytearray) -> Value:
    old = step.field.get(value)
    if step.name == b"GET":
        return old
    new = step.new(old)
    if new is None:
        return None
    step.field.set(value, new)
    return new if step.name == b"INCRBY" else old


def _bitfield_ro(store: Store, args: tuple[bytes, ...]) -> Value:
    steps = list(_steps(args[1:], READ_SIZE_BYTES_MAX))
    if any(step.name != b"GET" for step in steps):
        raise Refuse("ERR BITFIELD_RO only supports the GET subcommand")
    value = store.string(args[0]) or b""
    return [step.field.get(value) for step in steps]


def _steps(words: tuple[bytes, ...], size_bytes_max: int) -> Iterator[_Step]:
    overflow, place = b"WRAP", 0
    while place < len(words):
        name = words[place].upper()
        count = _ARGUMENTS.get(name, len(words))
        arguments = words[place + 1 : place + 1 + count]
        if len(arguments) < count:
            raise Refuse(SYNTAX)
        place += 1 + count
        if name != b"OVERFLOW":
            field = _field(arguments[0], arguments[1], size_bytes_max)
            yield _Step(name, field, integer(arguments[2]) if count == 3 else 0, overflow)
            continue
        overflow = arguments[0].upper()
        if overflow not in _OVERFLOWS:
            raise Refuse("ERR Invalid OVERFLOW type specified")


def _field(kind: bytes, offset: bytes, size_bytes_max: int) -> _Field:
    found = _TYPE.fullmatch(kind)
    if found is None:
        raise Refuse(_BAD_TYPE)
    bits = int(kind[1:])
    times = bits if offset.startswith(b"#") else 1
    at = bit_offset(offset.removeprefix(b"#"), size_bytes_max, times)
    return _Field(at, bits, kind.startswith(b"i"))


CALLS: Final[dict[bytes, Handler]] = {b"BITFIELD": _bitfield, b"BITFIELD_RO": _bitfield_ro}

LONE: Final = frozenset(CALLS)
"""See execute.LONE."""
