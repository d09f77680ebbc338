"""Integers as text: in the one form that counters and Redis have for each."""

from __future__ import annotations

import re
from typing import Final

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN

_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")


def integer_or_none(text: bytes) -> int | None:
    """A signed 64-bit decimal integer in its one canonical form, as Redis' string2ll has it."""
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else None
