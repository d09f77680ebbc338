"""The memory limit: what counts, and whether there is room for a write.

Counted is what every node counts alike, the state and the policy's knowledge of its keys; an eighth
of the limit, 64 MiB at most, is set apart for the history, which is each node's own. Refused is
only what grows the state, by the node that takes it and from its own applied state; deletes,
expiries and reads go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from raftcache.command.call_table import find
from raftcache.command.calls import Call, Calls
from raftcache.command.integers import integer_or_none
from raftcache.command.leasing import LeaseGrant, LockAcquire
from raftcache.command.limits import HISTORY_SIZE_BYTES_MAX
from raftcache.command.words import (
    Append,
    Command,
    Increment,
    LeasedPut,
    Operation,
    Put,
    Refill,
    Txn,
)
from raftcache.config import Eviction
from raftcache.errors import OutOfMemory, Overloaded, RaftcacheError
from raftcache.state.items import packed_size_bytes
from raftcache.state.keyspace import DEADLINE_COST_BYTES, KEY_COST_BYTES
from raftcache.state.leases import KEY_COST_BYTES as LEASED_KEY_COST_BYTES
from raftcache.state.leases import LEASE_COST_BYTES
from raftcache.state.locks import PLACE_COST_BYTES
from raftcache.state.machine import Machine
from raftcache.state.rows import ROW_COST_BYTES
from raftcache.state.sessions import RECORD_COST_BYTES

T = TypeVar("T")

HISTORY_SHARE: Final = 8
"""The part of the limit that the history may take, up to its own limit."""

HIGH_SHARE: Final = 16
LOW_SHARE: Final = 8
"""Eviction begins when less than a sixteenth of the budget is free, and ends when an eighth is."""

_GROWING: Final = (Put, LeasedPut, Refill, Append, Increment, Txn, LeaseGrant, LockAcquire, Calls)

_INTEGER_SIZE_BYTES: Final = 20
_TOKEN_SIZE_BYTES: Final = 128
"""Of a remembered reply, packed; about."""


def history_size_bytes_max(size_bytes_max: int) -> int:
    """What the history may take of a memory limit."""
    return min(size_bytes_max // HISTORY_SHARE, HISTORY_SIZE_BYTES_MAX)


class Memory:
    """The limit of one node, and the writes under way here that will need room.

    Writes of all members are under way at once, and none knows of the others': so this node takes
    only as much as would fit if every member took the same. One write alone always may.
    """

    def __init__(
        self,
        machine: Machine,
        size_bytes_max: int,
        eviction: Eviction,
        key_cost_bytes: int,
        members: Callable[[], int],
    ) -> None:
        """key_cost_bytes: what the policy takes for each key. members: how many take writes."""
        self._machine, self._members, self.eviction = machine, members, eviction
        self._key_cost_bytes = key_cost_bytes
        self.size_bytes_max = size_bytes_max
        self.budget_size_bytes: Final = size_bytes_max - history_size_bytes_max(size_bytes_max)
        """The limit without the history's part."""
        self._pending_size_bytes = 0
        self.refused = 0
        """Writes that were turned away."""
        self.low_size_bytes: Final = self.budget_size_bytes - self.budget_size_bytes // LOW_SHARE
        self.high_size_bytes: Final = self.budget_size_bytes - self.budget_size_bytes // HIGH_SHARE

    def view(self) -> dict[str, Any]:
        """For those who look at the node."""
        return {
            "size_bytes": self.used_size_bytes + self._machine.history.size_bytes,
            "size_bytes_max": self.size_bytes_max or None,
            "state_size_bytes": self.used_size_bytes,
            "history_size_bytes": self._machine.history.size_bytes,
            "eviction": str(self.eviction),
        }

    @property
    def used_size_bytes(self) -> int:
        """What counts against the budget, as of the last entry applied."""
        machine = self._machine
        return machine.memory_size_bytes + machine.count * self._key_cost_bytes

    def cost_bytes(self, key: bytes, item_size_bytes: int) -> int:
        """What evicting a key frees."""
        return len(key) + item_size_bytes + KEY_COST_BYTES + self._key_cost_bytes

    def admit(self, command: Command, done: Callable[[T], None]) -> Callable[[T], None]:
        """What to call with the outcome instead of done; raises OutOfMemory or Overloaded."""
        growth = self._growth(command)
        if growth <= 0:
            return done
        if isinstance(command, _GROWING) and command.once is not None:
            growth += RECORD_COST_BYTES + _TOKEN_SIZE_BYTES
        if (why := self._refusal(growth)) is not None:
            self.refused += 1
            raise why
        self._pending_size_bytes += growth

        def landed(outcome: T) -> None:
            self._pending_size_bytes -= growth
            done(outcome)

        return landed

    def _refusal(self, growth: int) -> RaftcacheError | None:
        free = self.budget_size_bytes - self.used_size_bytes
        pending = self._pending_size_bytes
        if growth <= free and (not pending or self._members() * (pending + growth) <= free):
            return None
        fits_later = growth <= self.budget_size_bytes - self.high_size_bytes and self._gives_way()
        if growth <= free or fits_later:
            return Overloaded("the memory limit is reached, room is being made")
        return OutOfMemory(
            f"the memory limit of {self.size_bytes_max} bytes leaves {max(0, free)},"
            f" and this needs {growth}"
        )

    def _gives_way(self) -> bool:
        """Whether there are keys that the policy may evict."""
        match self.eviction:
            case Eviction.NOEVICTION:
                return False
            case Eviction.VOLATILE_TTL:
                return bool(self._machine.soonest(1))
            case _:
                return self._machine.count > 0

    def _growth(self, command: Command | Operation) -> int:
        """By how much the state will grow at most; 0 or less for what does not, or hardly."""
        match command:
            case Put() | Refill():
                size_bytes = packed_size_bytes(len(command.content_type), len(command.value))
                due = DEADLINE_COST_BYTES + len(command.key) if command.ttl_ms else 0
                return self._item_growth(command.key, size_bytes, due)
            case LeasedPut():
                size_bytes = packed_size_bytes(len(command.content_type), len(command.value))
                return self._item_growth(command.key, size_bytes, LEASED_KEY_COST_BYTES)
            case LeaseGrant():
                return LEASE_COST_BYTES
            case LockAcquire():
                return PLACE_COST_BYTES
            case Append():
                new = self._item_growth(command.key, packed_size_bytes(0, 0), 0)
                return len(command.value) + max(0, new)
            case Increment():
                if self._machine.weigh(command.key) is not None:
                    return 0  # by a digit, now and then
                return self._item_growth(command.key, packed_size_bytes(0, _INTEGER_SIZE_BYTES), 0)
            case Calls():
                return self._calls_growth(command)
            case Txn():
                branches = (command.success, command.failure)
                return max(
                    sum(max(0, self._growth(each)) for each in branch) for branch in branches
                )
            case _:
                return 0

    def _calls_growth(self, command: Calls) -> int:
        """As if all that they say were new: it is not known here what of it is.

        And what they bring about without saying it: zeros up to a place, and copies. Other calls
        that write what they have read are bounded by what may be read.
        """
        growing = [call for call in command.calls if _grows(call)]
        ends: dict[bytes, int] = {}
        copied = 0
        for call in growing:
            if call[0] == b"COPY":
                copied += sum(map(self._weight_bytes, call[1:2]))
            elif 0 < (end := end_bytes(call)) <= command.size_bytes_max:
                ends[call[1]] = max(end, ends.get(call[1], 0))
        zeros = sum([max(0, end - self._weight_bytes(key)) for key, end in ends.items()])
        said = sum([len(argument) + ROW_COST_BYTES for call in growing for argument in call[2:]])
        names = sum([len(call[1]) for call in growing if len(call) > 1])
        costs = len(growing) * (KEY_COST_BYTES + self._key_cost_bytes)
        return said + names + costs + zeros + copied

    def _weight_bytes(self, key: bytes) -> int:
        held = self._machine.weigh(key)
        return 0 if held is None else held[1]

    def _item_growth(self, key: bytes, size_bytes: int, due_bytes: int) -> int:
        held = self._machine.weigh(key)
        if held is None:
            return self.cost_bytes(key, size_bytes) + due_bytes
        return size_bytes - held[1]


def grows(command: Command) -> bool:
    """Whether it may bring something: not, where it only removes, or prolongs."""
    if isinstance(command, Calls):
        return any(map(_grows, command.calls))
    return isinstance(command, _GROWING)


def _grows(call: Call) -> bool:
    spec = find(call)
    return spec is not None and "denyoom" in spec.flags


def end_bytes(call: Call) -> int:
    """How long a string is at least when a call has put something in its place; 0 for other calls.

    Of one with faults it may be anything.
    """
    match call:
        case (b"SETRANGE", _, offset, value):
            return _place(offset) + len(value) if value else 0
        case (b"SETBIT", _, offset, _):
            return _place(offset) // 8 + 1
        case (b"BITFIELD", _, *words):
            steps = zip(words, words[1:], words[2:], strict=False)
            return max([_field_end_bytes(*step) for step in steps], default=0)
        case _:
            return 0


def _field_end_bytes(name: bytes, kind: bytes, offset: bytes) -> int:
    if name.upper() not in (b"SET", b"INCRBY"):
        return 0
    bits = _place(kind[1:])
    times = bits if offset.startswith(b"#") else 1
    return (_place(offset.removeprefix(b"#")) * times + bits + 7) // 8


def _place(text: bytes) -> int:
    return max(0, integer_or_none(text) or 0)
