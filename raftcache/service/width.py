"""Which calls of a pipeline may share an entry, if they may take long: see WIDE.

Every node stands still while it does one entry. One call is bounded by what it may look at and
change; but a thousand of those in one entry would be minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from raftcache.command.call_table import keys_of
from raftcache.command.calls import WIDE, Call
from raftcache.command.limits import BATCH_WIDTH_MAX
from raftcache.service.memory import end_bytes
from raftcache.state.machine import Machine

_TAKING: Final = frozenset((b"LPOP", b"RPOP", b"SPOP", b"ZPOPMAX", b"ZPOPMIN"))
"""Take one element, unless a count is given."""


def width_of(machine: Machine, calls: Sequence[Call]) -> int:
    """About the elements, or KiB, that calls look at, as their keys are now at this node.

    0 for those that do not depend on them, or hardly.
    """
    return sum(_widths(machine, calls)) if any(map(_is_wide, calls)) else 0


def as_many_as_share(machine: Machine, calls: Sequence[Call]) -> tuple[Sequence[Call], int]:
    """The first of the calls, at least one, so that they may share an entry; and their width."""
    total = 0
    if not any(map(_is_wide, calls)):
        return calls, total
    for place, width in enumerate(_widths(machine, calls)):
        if place and total + width > BATCH_WIDTH_MAX:
            return calls[:place], total
        total += width
    return calls, total


def _is_wide(call: Call) -> bool:
    name, size = call[0], len(call)
    if name == b"SET":
        return size > 3 and b"GET" in [option.upper() for option in call[3:]]
    return name in WIDE and not (size == 2 and name in _TAKING)


def _widths(machine: Machine, calls: Sequence[Call]) -> Iterator[int]:
    brought: dict[bytes, int] = {}  # by those before, to each key
    for call in calls:
        width, keys = 0, keys_of(call)
        if _is_wide(call):
            width = sum([machine.width(key) + brought.get(key, 0) for key in keys])
        size = len(call) - 2 + (max(end_bytes(call), sum(map(len, call))) >> 10)
        for key in keys:
            brought[key] = brought.get(key, 0) + size
        yield width
