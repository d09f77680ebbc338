"""Integers as rows of 32 bits for scripts, as LuaBitOp has them, which Redis brings along."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from operator import and_, or_, xor
from typing import Final

from raftcache.service.scripting.answers import Answer, Lua, Unfit, answer

_WORD: Final = 1 << 32


def _bits(value: Lua) -> int:
    """The 32 bits of a number, which is rounded if it is no integer; or Unfit."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Unfit(b"bad argument to a function of bits (number expected)") from None
    return round(number) % _WORD if math.isfinite(number) else 0


def _signed(bits: int) -> int:
    bits %= _WORD
    return bits - _WORD if bits >> 31 else bits


def _rotated(bits: int, by: int) -> int:
    by %= 32
    return bits << by | bits >> (32 - by)


def _hex(number: Lua, digits: Lua = 8) -> bytes:
    count = _signed(_bits(digits))
    size = min(abs(count), 8)
    text = b"%08x" % _bits(number)
    return (text.upper() if count < 0 else text)[8 - size :]


def _over(operation: Callable[[int, int], int]) -> Callable[..., int]:
    return lambda first, *others: _signed(reduce(operation, map(_bits, others), _bits(first)))


def _shift(operation: Callable[[int, int], int]) -> Callable[..., int]:
    return lambda value, by: _signed(operation(_bits(value), _bits(by) % 32))


def _bit(function: Callable[..., Lua]) -> Callable[..., Answer]:
    def called(*values: Lua) -> Answer:
        try:
            return answer(lambda: function(*values))
        except TypeError:
            return None, b"bad argument to a function of bits (wrong number of them)"

    return called


_FUNCTIONS: Final[dict[str, Callable[..., Lua]]] = {
    "tobit": lambda value: _signed(_bits(value)),
    "tohex": _hex,
    "bnot": lambda value: _signed(~_bits(value)),
    "band": _over(and_),
    "bor": _over(or_),
    "bxor": _over(xor),
    "lshift": _shift(lambda bits, by: bits << by),
    "rshift": _shift(lambda bits, by: bits >> by),
    "arshift": _shift(lambda bits, by: _signed(bits) >> by),
    "rol": _shift(_rotated),
    "ror": _shift(lambda bits, by: _rotated(bits, -by)),
    "bswap": lambda value: _signed(int.from_bytes(_bits(value).to_bytes(4, "little"), "big")),
}

BIT: Final = {name.encode(): _bit(function) for name, function in _FUNCTIONS.items()}
"""By their names in Lua."""
