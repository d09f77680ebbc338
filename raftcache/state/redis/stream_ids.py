"""Ids of streams, as clients write them."""

from __future__ import annotations

import re
from typing import Final

from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.stream_rows import HALF_MAX, ID_MAX

_WRONG_ID: Final = "ERR Invalid stream ID specified as stream command argument"

_DIGITS: Final = re.compile(rb"[ \t\n\v\f\r]*[+-]?[0-9]+")
_ID_SIZE_BYTES_MAX: Final = 127


def _half(text: bytes) -> int:
    """As C's strtoull has it, with blanks, a sign and zeros before it; only 0 may be negative."""
    if not _DIGITS.fullmatch(text):
        raise Refuse(_WRONG_ID)
    number = int(text)
    if not 0 <= number <= HALF_MAX:
        raise Refuse(_WRONG_ID)
    return number


def read_id(text: bytes, missing: int = 0) -> int:
    """An id with both halves, or with the first one alone. Nothing but that: no - and +."""
    return read_open_id(text, missing)[0]


def read_open_id(text: bytes, missing: int, *, may_star: bool = False) -> tuple[int, bool]:
    """And whether its second half is left open by a star."""
    if len(text) > _ID_SIZE_BYTES_MAX or text in (b"-", b"+"):
        raise Refuse(_WRONG_ID)
    ms, dash, sequence = text.partition(b"\0")[0].partition(b"-")
    if may_star and sequence == b"*":
        return _half(ms) << 64, True
    return _half(ms) << 64 | (_half(sequence) if dash else missing), False


def end_of_range(text: bytes, *, is_end: bool) -> int:
    """The first or the last id of a range, - and + among them, and those with ( before them."""
    if text in (b"-", b"+"):
        return 0 if text == b"-" else ID_MAX
    missing = HALF_MAX if is_end else 0
    if len(text) == 1 or not text.startswith(b"("):
        return read_id(text, missing)
    number = read_id(text[1:], missing) + (-1 if is_end else 1)
    if not 0 <= number <= ID_MAX:
        raise Refuse(f"ERR invalid {'end' if is_end else 'start'} ID for the interval")
    return number
