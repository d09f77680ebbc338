"""The keys that Redis clients of the simulator use, and how they are read."""

from __future__ import annotations

from typing import Any, Final

from raftcache.command.calls import Call
from raftcache.state.machine import Machine

BANKS: Final = (b"bank0", b"bank1")
FIELDS: Final = (b"a", b"b", b"c")
OPENING_BALANCE: Final = 100
TOTAL: Final = OPENING_BALANCE * len(BANKS) * len(FIELDS)
TODO: Final = b"todo"
DOING: Final = b"doing"
BAGS: Final = (b"bag0", b"bag1")
HEAP: Final = b"heap"
PARCELS: Final = b"parcels"
GROUP: Final = b"drivers"
REGISTER: Final = b"register"
FLEETING: Final = tuple(b"fleeting%d" % number for number in range(4))
COUNTERS: Final[dict[str, tuple[Call, Call]]] = {
    "string": ((b"INCR", b"count"), (b"GET", b"count")),
    "hash": ((b"HINCRBY", b"counts", b"f", b"1"), (b"HGET", b"counts", b"f")),
    "zset": ((b"ZINCRBY", b"scores", b"1", b"m"), (b"ZSCORE", b"scores", b"m")),
}
"""How each counts up, and how it is read."""
PLACES: Final[dict[str, tuple[Call, ...]]] = {
    "job": ((b"LRANGE", TODO, b"0", b"-1"), (b"LRANGE", DOING, b"0", b"-1")),
    "marble": ((b"SMEMBERS", BAGS[0]), (b"SMEMBERS", BAGS[1])),
    "node": ((b"ZRANGE", HEAP, b"0", b"-1"),),
    "parcel": (),
}
"""Where unique things are, by kind; parcels: see things."""


def read(machine: Machine, *calls: Call) -> list[Any]:
    """What they answer as of what is applied; of sets, the members."""
    values = machine.call(calls, machine.now_ms)
    return [getattr(value, "members", value) for value in values]


def balances(machine: Machine) -> list[int]:
    """Of all fields of all banks; none, if they are not opened."""
    banks = read(machine, *((b"HVALS", bank) for bank in BANKS))
    return [int(value or 0) for values in banks for value in values]


def things(machine: Machine, kind: str) -> list[bytes]:
    """All of a kind, wherever they are; a parcel is there until a consumer of GROUP is given it."""
    if kind == "parcel":
        (groups,) = read(machine, (b"XINFO", b"GROUPS", PARCELS))
        last = groups[0][b"last-delivered-id"] if groups and isinstance(groups, list) else b"0-0"
        return parcels(machine, b"(" + last)
    return [thing for place in read(machine, *PLACES[kind]) for thing in place]


def number(machine: Machine, kind: str) -> int:
    """What a counter has come to."""
    return int(read(machine, COUNTERS[kind][1])[0] or 0)


def parcels(machine: Machine, start: bytes = b"-") -> list[bytes]:
    """Those of the stream from an id on."""
    (entries,) = read(machine, (b"XRANGE", PARCELS, start, b"+"))
    return [fields[1] for _, fields in entries]


def undelivered(machine: Machine) -> set[bytes]:
    """Parcels that were given to somebody, and not acknowledged."""
    (pending,) = read(machine, (b"XPENDING", PARCELS, GROUP, b"-", b"+", b"100000"))
    if not isinstance(pending, list):
        return set()
    return {thing for each in pending for thing in _at(machine, each[0])}


def _at(machine: Machine, id: bytes) -> list[bytes]:
    (entries,) = read(machine, (b"XRANGE", PARCELS, id, id))
    return [fields[1] for _, fields in entries]
