"""Integers of 64 bits: as text, in the one form that counters and Redis have for each; as bits."""

from __future__ import annotations

import re
from typing import Final

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN

WORD: Final = 1 << 64
"""Bits are below."""

_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")


def integer_or_none(text: bytes) -> int | None:
    """A signed 64-bit decimal integer in its one canonical form, as Redis' string2ll has it."""
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else None


def wrapped(number: int) -> int:
    """What 64 bits make of an integer."""
    return (number - INTEGER_MIN) % WORD + INTEGER_MIN


def bits_of(number: float) -> int:
    """64 bits, as processors make them of a double; those of x86 if it is no such number."""
    if INTEGER_MIN <= number < WORD:
        return int(number) % WORD
    return 0 if number > 0 else 1 << 63
