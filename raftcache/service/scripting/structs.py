"""Numbers and strings as bytes for scripts, as Lua's struct has them, which Redis brings along.

Formats are those of lua_struct.c: > and < choose the order of bytes, ! what numbers are aligned to,
x is a byte of padding, b B h H l L T i I are integers, f and d floats, c and s strings.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

from raftcache.command.integers import WORD, bits_of, wrapped
from raftcache.command.limits import INTEGER_MIN
from raftcache.service.scripting.answers import (
    Answer,
    Lua,
    Unfit,
    answer,
    number_text,
)

FORMAT_SIZE_BYTES_MAX: Final = 64 << 10
"""Read in 50 ms."""

INTEGER_SIZE_MAX: Final = 32
RESULTS_MAX: Final = 7_000
"""Of one unpack: about what Lua's stack holds."""

_C_INTEGER_MAX: Final = (1 << 31) - 1
_ALIGNMENT: Final = 8
_SIZES: Final = {**dict.fromkeys("bBx", 1), "h": 2, "H": 2, "f": 4, **dict.fromkeys("lLTd", 8)}
_INTEGERS: Final = frozenset("bBhHlLTiI")
_SHORT: Final = b"bad argument #2 to 'unpack' (data string too short)"


class _Format:
    """Reads a format, option by option. at: the place in the bytes, where the option stands."""

    def __init__(self, function: bytes, text: bytes, at: int = 0) -> None:
        self.at, self.order = at, "little"
        self._function = function
        self._text = text.partition(b"\0")[0].decode("latin-1")
        self._next, self._alignment = 0, 1
        if len(text) > FORMAT_SIZE_BYTES_MAX:
            raise self.fault(1, b"format too long")

    def __iter__(self) -> _Format:
        return self

    def __next__(self) -> tuple[str, int]:
        """An option and its size, with `at` moved to where it is aligned."""
        if self._next == len(self._text):
            raise StopIteration
        option = self._text[self._next]
        self._next += 1
        size = self._size(option)
        if size and option != "c":
            unit = min(size, self._alignment)
            self.at += (unit - (self.at & (unit - 1))) & (unit - 1)
        return option, size

    def _size(self, option: str) -> int:
        if option == "c":
            return self._number(1)
        if option not in "iI":
            return _SIZES.get(option, 0)
        size = self._number(4)
        if size > INTEGER_SIZE_MAX:
            raise Unfit(b"integral size %d is larger than limit of %d" % (size, INTEGER_SIZE_MAX))
        return size

    def _number(self, default: int) -> int:
        start = self._next
        while self._next < len(self._text) and self._text[self._next] in "0123456789":
            self._next += 1
        digits = self._text[start : self._next].lstrip("0")
        if start == self._next:
            return default
        if len(digits) > len(str(_C_INTEGER_MAX)) or int(digits or 0) > _C_INTEGER_MAX:
            raise Unfit(b"integral size overflow")
        return int(digits or 0)

    def control(self, option: str) -> None:
        """What is no value says how those behind it are written."""
        match option:
            case " ":
                pass
            case ">" | "<":
                self.order = "big" if option == ">" else "little"
            case "!":
                alignment = self._number(_ALIGNMENT)
                if alignment < 1 or alignment & (alignment - 1):
                    raise Unfit(b"alignment %d is not a power of 2" % alignment)
                self._alignment = alignment
            case _:
                raise self.fault(1, b"invalid format option '%b'" % option.encode("latin-1"))

    def fault(self, number: int, why: bytes) -> Unfit:
        return Unfit(b"bad argument #%d to '%b' (%b)" % (number, self._function, why))


# Arguments, as Lua's own library takes them.


def _kind(value: Lua) -> bytes:
    match value:
        case bool():
            return b"boolean"
        case int() | float():
            return b"number"
        case None:
            return b"nil"
        case _:
            return b"string" if type(value) is bytes else b"table"


def _wrong(function: bytes, values: tuple[Lua, ...], at: int, wanted: bytes) -> Unfit:
    is_there = at < len(values) or (at and function == b"pack")  # it has a nil behind them
    found = _kind(_at(values, at)) if is_there else b"no value"
    why = b"%b expected, got %b" % (wanted, found)
    return Unfit(b"bad argument #%d to '%b' (%b)" % (at + 1, function, why))


def _at(values: tuple[Lua, ...], at: int) -> Lua:
    return values[at] if at < len(values) else None


def _string(function: bytes, values: tuple[Lua, ...], at: int) -> bytes:
    value = _at(values, at)
    if isinstance(value, (int, float)) and type(value) is not bool:
        return number_text(value, 14)
    if type(value) is not bytes:
        raise _wrong(function, values, at, b"string")
    return value


def _number(function: bytes, values: tuple[Lua, ...], at: int) -> float:
    value = _at(values, at)
    number = None if type(value) is bool else value
    if type(value) is bytes:
        number = _parsed(value)
    if not isinstance(number, (int, float)):
        raise _wrong(function, values, at, b"number")
    return float(number)


def _parsed(text: bytes) -> float | None:
    """Of a string that Lua takes for a number, too."""
    word = text.strip(b" \t\n\v\f\r")
    try:
        is_hex = word.lstrip(b"+-")[:2].lower() == b"0x"
        return float.fromhex(word.decode()) if is_hex else float(word) if b"_" not in word else None
    except ValueError:
        return None
    except OverflowError:
        return -math.inf if word.startswith(b"-") else math.inf


# What scripts call.


def pack(*values: Lua) -> Answer:
    """struct.pack: values as the format says."""

    def work() -> bytes:
        reader, out, taken = _Format(b"pack", _string(b"pack", values, 0)), bytearray(), 1
        for option, size in reader:
            out += bytes(reader.at - len(out))
            if option in _INTEGERS:
                bits = bits_of(_number(b"pack", values, taken))
                word = bits.to_bytes(max(size, 8), "little")[:size]
                out += word if reader.order == "little" else word[::-1]
            elif option == "x":
                out += b"\0"
            elif option in "fd":
                out += _float(_number(b"pack", values, taken), option, reader.order)
            elif option in "cs":
                text = _string(b"pack", values, taken)
                if len(text) < size:
                    raise reader.fault(taken + 2, b"string too short")
                out += (text[:size] if size else text) + (b"\0" if option == "s" else b"")
            else:
                reader.control(option)
            taken += option in _INTEGERS or option in "fdcs"
            reader.at = len(out)
        return bytes(out)

    return answer(work)


def _float(number: float, option: str, order: str) -> bytes:
    mark = (">" if order == "big" else "<") + option
    try:
        return struct.pack(mark, number)
    except OverflowError:
        return struct.pack(mark, math.copysign(math.inf, number))


def _integer(word: bytes, option: str, order: str) -> float:
    size = len(word)
    bits = int.from_bytes(word, order) % WORD  # type: ignore[arg-type]
    if option.islower():
        mask = -1 << (size * 8 - 1) % 64  # more than 8 bytes: as processors shift
        if bits & mask:
            bits = (bits | mask) % WORD
        bits = wrapped(bits)
    return float(bits)


def unpack(to_table: Callable[[Lua], Lua]) -> Callable[..., Answer]:
    """struct.unpack: what stands there, and the place behind it, as a table with their number n."""

    def work(values: tuple[Lua, ...]) -> Lua:
        text, data = _string(b"unpack", values, 0), _string(b"unpack", values, 1)
        start = 1.0
        if len(values) > 2 and values[2] is not None:
            start = _number(b"unpack", values, 2)
        place = int(start) if INTEGER_MIN <= start < -INTEGER_MIN else INTEGER_MIN
        if place == 0:
            raise Unfit(b"bad argument #3 to 'unpack' (offset must be 1 or greater)")
        reader = _Format(b"unpack", text, (place - 1) % WORD)
        found = _found(reader, data)
        found.append(float(reader.at + 1))
        return to_table({**dict(enumerate(found, 1)), b"n": len(found)})

    return lambda *values: answer(lambda: work(values))


def _found(reader: _Format, data: bytes) -> list[Lua]:
    found: list[Lua] = []
    for option, size in reader:
        if option == "c" and size == 0:
            _check_room(reader, data, 0)
            size = _told_size(found)
        _check_room(reader, data, size)
        word = data[reader.at : reader.at + size]
        if option in _INTEGERS:
            found.append(_integer(word, option, reader.order))
        elif option in "fd":
            mark = ">" if reader.order == "big" else "<"
            found += struct.unpack(mark + option, word)
        elif option == "c":
            found.append(word)
        elif option == "s":
            end = data.find(b"\0", reader.at)
            if end < 0:
                raise Unfit(b"unfinished string in data")
            found.append(data[reader.at : end])
            size = end + 1 - reader.at
        elif option != "x":
            reader.control(option)
        if len(found) > RESULTS_MAX:
            raise Unfit(b"stack overflow (too many results)")
        reader.at += size
    return found


def _told_size(found: list[Lua]) -> int:
    """The number that stood before, in place of which its string is answered."""
    told = found.pop() if found else None
    number = _parsed(told) if type(told) is bytes else told
    if number is None:
        raise Unfit(b"format 'c0' needs a previous size")
    return bits_of(number)


def _check_room(reader: _Format, data: bytes, size: int) -> None:
    if size > len(data) or reader.at > len(data) - size:
        raise Unfit(_SHORT)


def size(*values: Lua) -> Answer:
    """struct.size: of what the format says."""

    def work() -> float:
        reader = _Format(b"size", _string(b"size", values, 0))
        for option, size in reader:
            if option == "s" or (option == "c" and not size):
                name = "s" if option == "s" else "c0"
                raise reader.fault(1, b"option '%b' has no fixed size" % name.encode())
            if not (option.isascii() and option.isalnum()):
                reader.control(option)
            reader.at += size
        return float(reader.at)

    return answer(work)
