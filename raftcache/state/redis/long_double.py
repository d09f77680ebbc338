"""Numbers as Redis has them where it adds fractions: C's long double on x86, digit for digit.

A long double has a mantissa of 64 bits there. Sums are made with fractions and rounded as the
processor does (IEEE 754: to the nearest, ties to even), so that every node has the same digits.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from raftcache.state.redis.parsing import NOT_FLOAT, Refuse

_DECIMAL: Final = re.compile(
    rb"([+-]?)(?:([0-9]+)\.?([0-9]*)|\.([0-9]+))(?:[eE]([+-]?)0*([0-9]+))?"
)
_HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0[xX](?:([0-9a-fA-F]+)\.?([0-9a-fA-F]*)|\.([0-9a-fA-F]+))(?:[pP]([+-]?)0*([0-9]+))?"
)
_INFINITY: Final = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE)

_MANTISSA_BITS: Final = 64
_EXPONENT_MIN: Final = -16445
"""Of the last bit: 2 to this is the smallest number above 0."""

_OVER: Final = Fraction(1 << 16384)
"""Numbers are below."""

_SIZE_BYTES_MAX: Final = 5 * 1024 - 1
"""Of a number as text, as in Redis."""

_POWER_MAX: Final = {10: 10_100, 2: 37_000}
"""By the root: beyond, a number is too large or too small whatever digits stand before it."""

_PLACES: Final = 17
"""Digits behind the point that Redis writes at most."""


def long_double(text: bytes, why: str = NOT_FLOAT) -> Fraction | float:
    """A number as C's strtold has it, a float if it is infinite; refuses all else, NaN too."""
    infinite = _INFINITY.fullmatch(text)
    if infinite is not None:
        return -math.inf if infinite[1] == b"-" else math.inf
    exact = _exact(text) if len(text) <= _SIZE_BYTES_MAX else None
    number = None if exact is None else _rounded(exact)
    if number is None or abs(number) >= _OVER or (exact and not number):
        raise Refuse(why)
    return number


def added(number: Fraction | float, by: Fraction | float) -> bytes:
    """The sum as text, without zeros at its end; refuses one that is not finite."""
    if isinstance(number, Fraction) and isinstance(by, Fraction):
        total = _rounded(number + by)
        if abs(total) < _OVER:
            return _text(total)
    raise Refuse("ERR increment would produce NaN or Infinity")


def _exact(text: bytes) -> Fraction | None:
    found, base, root = _DECIMAL.fullmatch(text), 10, 10
    if found is None:
        found, base, root = _HEXADECIMAL.fullmatch(text), 16, 2
    if found is None:
        return None
    sign, whole, behind, only_behind, power_sign, power = found.groups(b"")
    behind = behind or only_behind
    written = (whole + behind).decode()
    digits = int(written, base) if base == 16 else int(Decimal(written))  # int(str) has a limit
    if not digits:
        return Fraction(0)
    if len(power) > 5 or int(power or 0) > _POWER_MAX[root]:
        return None
    number = Fraction(-digits if sign == b"-" else digits, base ** len(behind))
    scale = Fraction(root) ** int(power or 0)
    return number / scale if power_sign == b"-" else number * scale


def _rounded(number: Fraction) -> Fraction:
    """The nearest long double, were there no largest one."""
    size = abs(number.numerator).bit_length() - number.denominator.bit_length()
    exponent = size - _MANTISSA_BITS
    if abs(number) >= _scaled(Fraction(1), size):
        exponent += 1
    exponent = max(exponent, _EXPONENT_MIN)
    return _scaled(Fraction(round(_scaled(number, -exponent))), exponent)


def _scaled(number: Fraction, exponent: int) -> Fraction:
    """The number times 2 to the exponent."""
    return number * (1 << exponent) if exponent >= 0 else number / (1 << -exponent)


def _text(number: Fraction) -> bytes:
    scaled = round(number * 10**_PLACES)
    digits = str(Decimal(abs(scaled))).zfill(_PLACES + 1)  # str(int) has a limit
    text = f"{digits[:-_PLACES]}.{digits[-_PLACES:]}".rstrip("0").rstrip(".")
    return (b"-" if scaled < 0 else b"") + text.encode()
