"""HyperLogLogs in Redis' own format, byte for byte, so that values can be carried over.

    "HYLL" ENCODING 0 0 0 COUNT(8, little-endian) REGISTERS

16,384 registers, each of them the longest row of zeros that an element's hash had behind the 14
bits that chose the register. Dense: 6 bits each, the lowest ones first. Sparse: runs of equal ones,
00LLLLLL so many zeros, 01LLLLLL LLLLLLLL too, 1VVVVVLL a value of up to 32 for up to four; one less
than meant is written, everywhere. COUNT is what was estimated last; its highest bit says that
registers have changed since. The estimate is that of Otmar Ertl, "New cardinality estimation
algorithms for HyperLogLog sketches", section 4.3 (arXiv:1702.01284), in the order of Redis' sums.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from functools import lru_cache
from typing import Final

from raftcache.command.limits import INTEGER_MIN
from raftcache.state.redis.parsing import Refuse

INDEX_BITS: Final = 14
REGISTERS: Final = 1 << INDEX_BITS
_RANK_BITS: Final = 64 - INDEX_BITS

_MAGIC: Final = b"HYLL"
_DENSE: Final = 0
_SPARSE: Final = 1
_HEADER_SIZE_BYTES: Final = 16
_DENSE_SIZE_BYTES: Final = _HEADER_SIZE_BYTES + REGISTERS * 6 // 8
SPARSE_SIZE_BYTES_MAX: Final = 3000
"""With the header; what grows beyond it becomes dense (hll-sparse-max-bytes)."""

_STALE: Final = 0x80
_ZEROS_MAX: Final = 64
_VALUE_MAX: Final = 32
_SAME_MAX: Final = 4

EMPTY: Final = _MAGIC + bytes((_SPARSE,)) + bytes(11) + b"\x7f\xff"

NO_SKETCH: Final = "WRONGTYPE Key is not a valid HyperLogLog string value."
CORRUPT: Final = "INVALIDOBJ Corrupted HLL object detected"

COUNTED_MAX: Final = 128
"""Estimates that are remembered, of 12 KiB each at most."""


# Hashing: MurmurHash64A, as Redis seeds it.

_MIX: Final = 0xC6A4A7935BD1E995
_SEED: Final = 0xADC83B19
_WORD: Final = (1 << 64) - 1
_EIGHT: Final = struct.Struct("<Q")


def _hash(element: bytes) -> int:
    number = _SEED ^ (len(element) * _MIX & _WORD)
    whole = len(element) & ~7
    for (piece,) in _EIGHT.iter_unpack(element[:whole]):
        piece = piece * _MIX & _WORD
        piece ^= piece >> 47
        number = (number ^ (piece * _MIX & _WORD)) * _MIX & _WORD
    if rest := element[whole:]:
        number = (number ^ int.from_bytes(rest, "little")) * _MIX & _WORD
    number ^= number >> 47
    number = number * _MIX & _WORD
    return number ^ number >> 47


def register_of(element: bytes) -> tuple[int, int]:
    """The register that an element belongs to, and what it raises it to."""
    number = _hash(element)
    row = number >> INDEX_BITS | 1 << _RANK_BITS
    return number & (REGISTERS - 1), (row & -row).bit_length()


# Registers: a byte for each.


def _moved(by: int, mask: int) -> bytes:
    """For bytes.translate: those bits of the mask, so many places higher."""
    return bytes([(byte & mask) << by if by > 0 else (byte & mask) >> -by for byte in range(256)])


_UNPACK: Final = tuple(_moved(*each) for each in ((0, 63), (-6, 192), (2, 15), (-4, 240), (4, 3)))
_PACK: Final = tuple(_moved(*each) for each in ((6, 3), (-2, 60), (4, 15), (-4, 48), (2, 63)))
_LAST: Final = _moved(-2, 252)


def _or(one: bytes | bytearray, other: bytes | bytearray) -> bytes:
    number = int.from_bytes(one, "little") | int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")


def _unpacked(packed: bytes) -> bytearray:
    """Of three bytes four registers, all of them at once."""
    first, second, third = packed[::3], packed[1::3], packed[2::3]
    low, high, second_low, second_high, third_low = _UNPACK
    registers = bytearray(REGISTERS)
    registers[::4] = first.translate(low)
    registers[1::4] = _or(first.translate(high), second.translate(second_low))
    registers[2::4] = _or(second.translate(second_high), third.translate(third_low))
    registers[3::4] = third.translate(_LAST)
    return registers


def _packed(registers: bytearray) -> bytes:
    second_low, second_high, third_low, third_high, last = _PACK
    packed = bytearray(_DENSE_SIZE_BYTES - _HEADER_SIZE_BYTES)
    packed[::3] = _or(registers[::4], registers[1::4].translate(second_low))
    packed[1::3] = _or(registers[1::4].translate(second_high), registers[2::4].translate(third_low))
    packed[2::3] = _or(registers[2::4].translate(third_high), registers[3::4].translate(last))
    return bytes(packed)


_HIGHEST: Final = int.from_bytes(b"\x80" * REGISTERS, "little")


def highest(one: bytearray, other: bytearray) -> bytearray:
    """Of each two registers the higher one: 16,384 subtractions in one, none of which borrows."""
    left, right = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    is_left = ((left | _HIGHEST) - right) & _HIGHEST
    chosen = right ^ ((left ^ right) & (is_left - (is_left >> 7)))
    return bytearray(chosen.to_bytes(REGISTERS, "little"))


# Estimating.

_FAR: Final = float(1 << 63)
_ALPHA: Final = 0.721347520444481703680


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z, before = 1.0, x, math.nan
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1 - x, math.nan
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) * (1 - x) * y
    return z / 3


def estimate(registers: bytearray) -> int:
    """How many different elements there were; of registers that no elements make, any number.

    In any case one of 64 bits: a number that is none of these has no place in an answer.
    """
    counts = [registers.count(rank) for rank in range(_RANK_BITS + 2)]
    m = float(REGISTERS)
    z = m * _tau((m - counts[_RANK_BITS + 1]) / m)
    for count in counts[_RANK_BITS:0:-1]:
        z = (z + count) * 0.5
    z += m * _sigma(counts[0] / m)
    number = _ALPHA * m * m / z if z else math.inf
    if number >= _FAR:
        return INTEGER_MIN  # as processors have it
    return int(number) + (number - int(number) >= 0.5)


# Runs.


def _run(value: int, length: int) -> bytes:
    """In as few bytes as it may have."""
    if value:
        return bytes((_STALE | (value - 1) << 2 | (length - 1),))
    if length <= _ZEROS_MAX:
        return bytes((length - 1,))
    return bytes((0x40 | (length - 1) >> 8, (length - 1) & 0xFF))


def _length(run: bytes) -> int:
    if run[0] & 0x80:
        return (run[0] & 3) + 1
    return ((run[0] & 63) << 8 | run[1] if run[0] & 0x40 else run[0]) + 1


def _value(run: bytes) -> int:
    return (run[0] >> 2 & 31) + 1 if run[0] & 0x80 else 0


_SHORT: Final = [bytes((byte,)) for byte in range(256)]
_SPELLED: Final = [bytes((_value(run),)) * _length(run) for run in _SHORT[:64] + _SHORT[128:]]
_SPELLED[64:64] = [b""] * 64
"""The registers of each run of one byte."""


class _Runs:
    """The sparse form, while a call works on it. registers: as they were at first."""

    def __init__(self, data: bytes) -> None:
        """Refuses what is not 16,384 registers."""
        self.runs: list[bytes] = []
        self._starts: list[int] = []
        spelled: list[bytes] = []
        at = start = 0
        while at < len(data) and start <= REGISTERS:
            run = data[at : at + 2] if data[at] & 0xC0 == 0x40 else _SHORT[data[at]]
            at += 2 if data[at] & 0xC0 == 0x40 else 1
            registers = _SPELLED[run[0]] or bytes(_length(run.ljust(2, b"\0")))
            self.runs.append(run)
            self._starts.append(start)
            spelled.append(registers)
            start += len(registers)
        if at != len(data) or start != REGISTERS:
            raise Refuse(CORRUPT)
        self.registers = bytearray(b"".join(spelled))
        self._size_bytes = _HEADER_SIZE_BYTES + len(data)

    def put(self, index: int, value: int) -> bool:
        """Raise a register; False, and nothing, if that takes the dense form."""
        at = bisect_right(self._starts, index) - 1
        start, run = self._starts[at], self.runs[at]
        behind = start + _length(run) - index - 1
        around, pieces, starts = _value(run), list[bytes](), list[int]()
        for each, length, first in ((around, index - start, start), (value, 1, index)):
            if length:
                pieces.append(_run(each, length))
                starts.append(first)
        if behind:
            pieces.append(_run(around, behind))
            starts.append(index + 1)
        more = sum(map(len, pieces)) - len(run)
        if more > 0 and self._size_bytes + more > SPARSE_SIZE_BYTES_MAX:
            return False
        self._size_bytes += more
        self.runs[at : at + 1], self._starts[at : at + 1] = pieces, starts
        self._join(max(at - 1, 0))
        return True

    def _join(self, at: int) -> None:
        """Make one run of neighbours that have become equal: Redis looks at five."""
        runs = self.runs
        for _ in range(5):
            if at >= len(runs) - 1:
                return
            value, length = _value(runs[at]), _length(runs[at])
            both = length + _length(runs[at + 1])
            if value and value == _value(runs[at + 1]) and both <= _SAME_MAX:
                runs[at : at + 2] = [_run(value, both)]
                del self._starts[at + 1]
                self._size_bytes -= 1
            else:
                at += 1


# Values.


class Sketch:
    """A value, while a call works on it."""

    def __init__(self, value: bytes) -> None:
        """value: see check."""
        self._header = value[:_HEADER_SIZE_BYTES]
        self._runs: _Runs | None = None
        body = value[_HEADER_SIZE_BYTES:]
        if self.is_dense:
            self.registers = _unpacked(body)
        else:
            self._runs = _Runs(body)
            self.registers = self._runs.registers

    @property
    def is_dense(self) -> bool:
        return self._header[len(_MAGIC)] == _DENSE

    def raise_to(self, index: int, value: int) -> bool:
        """Whether the register was lower."""
        if value <= self.registers[index]:
            return False
        self.registers[index] = value
        if self._runs is not None and (value > _VALUE_MAX or not self._runs.put(index, value)):
            self.densify()
        return True

    def densify(self) -> None:
        self._header = _MAGIC + bytes((_DENSE,)) + self._header[len(_MAGIC) + 1 :]
        self._runs = None

    def value(self) -> bytes:
        """As it is to be kept, without an estimate."""
        body = _packed(self.registers) if self._runs is None else b"".join(self._runs.runs)
        return self._header[:-1] + bytes((self._header[-1] | _STALE,)) + body


def check(value: bytes) -> None:
    """Refuse what is no HyperLogLog."""
    encoding = value[len(_MAGIC)] if len(value) >= _HEADER_SIZE_BYTES else -1
    if not value.startswith(_MAGIC) or encoding not in (_DENSE, _SPARSE):
        raise Refuse(NO_SKETCH)
    if encoding == _DENSE and len(value) != _DENSE_SIZE_BYTES:
        raise Refuse(NO_SKETCH)


def count_of(value: bytes) -> int:
    """The estimate that a value tells, or the one of its registers. value: see check."""
    if not value[_HEADER_SIZE_BYTES - 1] & _STALE:
        return int.from_bytes(value[8:_HEADER_SIZE_BYTES], "little")
    return _counted(value)


@lru_cache(COUNTED_MAX)
def _counted(value: bytes) -> int:
    """Remembered beside the state: who reads changes nothing, so the value cannot tell it."""
    return estimate(Sketch(value).registers)
