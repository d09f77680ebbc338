"""Sine, cosine and arcsine: as this machine has them, and with the same bits on all machines.

What C libraries answer differs in the last bit, by their version and by the processor. What goes
through the log must be equal on every node, so there they are made of integers, which are
fixed-point numbers of 128 binary places, and rounded once: to the nearest double, as good libraries
do nearly always. That takes ten times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

_PLACES: Final = 128
_ONE: Final = 1 << _PLACES
_HALF_PI: Final = 0x3243F6A8885A308D313198A2E03707344 >> 1
_QUARTER_PI: Final = _HALF_PI >> 1

_TINY: Final = 2.0**-26
"""Below, the sine and the arcsine of a number are nearest to the number itself."""


class Trigonometry(NamedTuple):
    """Angles are in radians, of a few turns; what an arcsine is of is 0 to 1."""

    sin: Callable[[float], float]
    cos: Callable[[float], float]
    asin: Callable[[float], float]


def _fixed(number: float) -> int:
    return int(number * float(_ONE))


def _series(angle: int, first: int, step: int) -> int:
    """The alternating series of the sine, or the cosine, up to an eighth of a turn."""
    square = angle * angle >> _PLACES
    total, term, sign = first, first, -1
    while term:
        term = (term * square >> _PLACES) // (step * (step + 1))
        total += sign * term
        sign, step = -sign, step + 2
    return total


def _sine(angle: int) -> int:
    quarters, rest = divmod(angle + _QUARTER_PI, _HALF_PI)
    rest -= _QUARTER_PI
    if quarters % 2:
        size = _series(rest, _ONE, 1)
    else:
        size = _series(abs(rest), abs(rest), 2)
        size = size if rest >= 0 else -size
    return -size if quarters % 4 > 1 else size


def _sin(angle: float) -> float:
    return angle if abs(angle) < _TINY else _sine(_fixed(angle)) / _ONE


def _cos(angle: float) -> float:
    return _sine(_fixed(angle) + _HALF_PI) / _ONE


def _asin(sine: float) -> float:
    if sine < _TINY:
        return sine
    if sine <= 0.5:
        return _arcsine(_fixed(sine)) / _ONE
    half = math.isqrt((_ONE - _fixed(sine)) << (_PLACES - 1))  # the sine of half of what is left
    return (_HALF_PI - 2 * _arcsine(half)) / _ONE


def _arcsine(sine: int) -> int:
    """Of up to a half: near it, from the first terms of its series, and by what that is wrong."""
    y = sine / _ONE
    square = y * y
    near = _fixed(y * (1 + square * (1 / 6 + square * (3 / 40 + square * (15 / 336)))))
    cosine = math.isqrt((_ONE << _PLACES) - sine * sine)
    wrong = (sine * _sine(near + _HALF_PI) - cosine * _sine(near)) >> _PLACES
    return near + wrong + (wrong * wrong * wrong >> 2 * _PLACES) // 6


OF_MACHINE: Final = Trigonometry(math.sin, math.cos, math.asin)
OF_ALL: Final = Trigonometry(_sin, _cos, _asin)
