"""Which calls of a pipeline may share an entry, if they may take long: see WIDE.

Every node stands still while it does one entry. One call is bounded by what it may look at and
change; but a thousand of those in one entry would be minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from raftcache.command.call_table import keys_of
from raftcache.command.calls import WIDE, Call
from raftcache.command.integers import integer_or_none
from raftcache.command.limits import BATCH_WIDTH_MAX
from raftcache.service.memory import end_bytes
from raftcache.service.uncounted import DRAWING
from raftcache.state.machine import Machine

_TAKING: Final = frozenset((b"SPOP", b"ZPOPMAX", b"ZPOPMIN"))
"""Take one element, unless a count is given, which is none of the largest."""

_OF_ITEMS: Final = frozenset(
    b"DELEX DIGEST EXPIRE EXPIREAT GETBIT PERSIST PEXPIRE PEXPIREAT RENAME RENAMENX".split()
)
"""Look at all of a string, or write it anew; of a collection hardly anything."""

_OF_ONE: Final = frozenset(b"LINDEX LMOVE LPOP LSET RPOP RPOPLPUSH".split())
"""Look at one element of a list, unless a count is given."""

_POPPING: Final = frozenset((b"LPOP", b"RPOP"))

_OF_FIELDS: Final = frozenset((b"HGET", b"HMGET", b"HSTRLEN"))

_OF_STRINGS: Final = frozenset(
    b"""
    APPEND BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS GETRANGE SETBIT SETRANGE SUBSTR
    GET GETDEL GETEX GETSET MGET PFCOUNT PFMERGE SET
    """.split()
)

_NARROW: Final = _OF_ITEMS | _OF_ONE | _OF_FIELDS | _OF_STRINGS
"""What elements there are besides does not matter to them."""


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
    added, added_kib = dict[bytes, int](), dict[bytes, int]()  # by those before, to each key
    for call in calls:
        width, keys = 0, keys_of(call)
        if _is_wide(call):
            width = _width(machine, call, keys) + sum([added_kib.get(key, 0) for key in keys])
            if call[0] not in _NARROW:
                width += sum([added.get(key, 0) for key in keys])
        kib = max(end_bytes(call), sum(map(len, call))) >> 10
        for key in keys:
            added[key] = added.get(key, 0) + len(call) - 2
            added_kib[key] = added_kib.get(key, 0) + kib
        yield width


def _width(machine: Machine, call: Call, keys: Sequence[bytes]) -> int:
    """Of one call, by what is there."""
    name, size = call[0], len(call)
    if name in _OF_ITEMS:
        return sum(map(machine.item_bytes, keys)) >> 10
    if name in _OF_FIELDS:
        return sum([machine.field_bytes(call[1], field) for field in call[2:]]) >> 10
    if name in _OF_ONE and not (size > 2 and name in _POPPING):
        return machine.element_bytes(call[1]) >> 10
    width = sum(map(machine.width, keys))
    if name in DRAWING and size > 2 and (count := integer_or_none(call[2]) or 0) < 0:
        return max(-count, -count * machine.element_bytes(call[1]) >> 10, width)
    return width
