"""Calls that may answer far more than entries of the log count of them (Store.count_answer).

A line of a client may ask for gigabytes so: a thousand times a name of 64 KiB. Every node makes
what an entry answers, and does so again when it starts, so such calls do not travel as they came:
what only reads is read, and what writes is rehearsed, as a script is. Both count all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from raftcache.command.call_table import stores
from raftcache.command.calls import Call
from raftcache.command.integers import integer_or_none
from raftcache.command.limits import VALUE_SIZE_BYTES_MAX
from raftcache.state.redis.store import BYTES_READ_MAX
from raftcache.state.rows import NAME_SIZE_BYTES_MAX

DRAWING: Final = frozenset((b"HRANDFIELD", b"SPOP", b"SRANDMEMBER", b"ZRANDMEMBER"))
"""Take a count: of the three that only read, below 0 for elements that may be the same."""

UNCOUNTED: Final = DRAWING | frozenset((b"HSCAN", b"SORT", b"SORT_RO", b"XINFO", b"XPENDING"))
"""GETEX is one, too, but it is bounded, and pipelines divide it by what it answers (width.py)."""

_ANY: Final = BYTES_READ_MAX + 1
_FOLLOWING: Final = frozenset((b"BY", b"GET"))


def are_uncounted(calls: Sequence[Call]) -> bool:
    """Whether these may answer too much for one entry together."""
    longest = sum([call[0] == b"GETEX" for call in calls]) * VALUE_SIZE_BYTES_MAX
    return longest + sum(map(_at_most_bytes, calls)) > BYTES_READ_MAX


def is_uncounted(call: Call) -> bool:
    """Whether it may answer too much for an entry."""
    return _at_most_bytes(call) > BYTES_READ_MAX


def apart(calls: Sequence[Call]) -> Sequence[Call]:
    """The first of these, as many as one entry may answer; if that is none, the first one, with its
    like behind it if they only read."""
    total_bytes = 0
    for place, call in enumerate(calls):
        total_bytes += _at_most_bytes(call)
        if total_bytes > BYTES_READ_MAX:
            return calls[:place] or list(takewhile(_is_read, calls)) or calls[:1]
    return calls


def _is_read(call: Call) -> bool:
    return is_uncounted(call) and not (call[0] == b"SPOP" or stores(call))


def _at_most_bytes(call: Call) -> int:
    """What it answers uncounted; about."""
    name, size = call[0], len(call)
    if name not in UNCOUNTED:
        return 0
    if name in DRAWING:
        count = integer_or_none(call[2]) if size > 2 else 1
        return abs(count or 0) * NAME_SIZE_BYTES_MAX
    if name in (b"SORT", b"SORT_RO") and _FOLLOWING.isdisjoint(map(bytes.upper, call[2:])):
        return 0
    return _ANY
