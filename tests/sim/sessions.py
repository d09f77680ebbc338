"""Sessions: clients who try again with the same token, and whose histories must have an order.

Each does one thing at a time to a few registers: put, add, read. What may have happened is tried
again at another node, under its token, and is one call from the first try to the last answer. At
the end each register's calls are judged by the checker of chaos/linearizability.py: there must be
an order in which each happened once, and each answer was right.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from chaos.linearizability import Call, Undecided, first_inexplicable
from raftcache.command.words import Command, Increment, Once, Put
from raftcache.errors import RaftcacheError

if TYPE_CHECKING:
    from tests.sim.world import World

REGISTERS: Final = 3
TRIES_MAX: Final = 6
PATIENCE_S: Final = 3.0
"""After which a session takes it that its node is gone."""
PREFIX: Final = b"register"

Word: TypeAlias = tuple[str, int, int | None]
"""put, add or read; the number given; the number it answered, None if that is not known."""


def step(state: int, word: Word) -> int | None:
    """One register; 0 stands for one that is not there."""
    kind, given, answered = word
    after = {"put": given, "add": state + given, "read": state}[kind]
    return after if kind == "put" or answered in (None, after) else None


@dataclass
class _Op:
    """One call, through all of its tries."""

    number: int
    kind: str
    key: bytes
    invoked_s: float
    tries: int = 1
    may_have_happened: bool = False

    @property
    def command(self) -> Command:
        token = b"session%d" % self.number
        once = Once(token, token[-16:].rjust(16))
        if self.kind == "put":
            return Put(self.key, b"%d" % self.number, once=once)
        return Increment(self.key, self.number, once=once)


class Sessions:
    """All sessions of one run."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self._last = 0
        self._calls: dict[bytes, list[Call[Word]]] = defaultdict(list)
        self._under_way: dict[int, _Op] = {}
        self._first: dict[bytes, int] = {}  # what registers held in the beginning, if not 0

    def goes_on(self, before: Sessions, registers: dict[bytes, int]) -> None:
        """With other numbers than before, from what the registers hold."""
        self._last, self._first = before._last, registers

    def begin(self) -> None:
        """One session: the next call, some time after the last one."""
        world = self._world
        if world.schedule.now_s >= world.profile.quiet_from_s:
            return
        self._last += 1
        kind = self._chance.choices(("put", "add", "read"), (2, 3, 4))[0]
        key = PREFIX + b"%d" % self._chance.randrange(REGISTERS)
        op = self._under_way[self._last] = _Op(self._last, kind, key, world.schedule.now_s)
        self._try(op)

    def _next(self) -> None:
        gap_s = self._world.profile.session_gap_s
        self._world.schedule.after(self._chance.expovariate(1 / gap_s), self.begin)

    def _try(self, op: _Op) -> None:
        world = self._world
        awake = [m for m in world.members.values() if m.alive]
        if awake:
            member = self._chance.choice(awake)
            member.later(0, self._ask, member, op, op.tries)
        world.schedule.after(PATIENCE_S, self._answered, op, op.tries, None, False)

    def _ask(self, member: Any, op: _Op, number: int) -> None:
        def ready(index: int | None) -> None:
            self._answered(op, number, None if index is None else member.value_of(op.key), True)

        def done(outcome: Any) -> None:
            if isinstance(outcome, RaftcacheError):
                self._answered(op, number, None, outcome.definite)
            else:
                self._answered(op, number, outcome.number, True)

        if op.kind == "read":
            member.read(ready)
        else:
            member.submit(op.command, done)

    def _answered(self, op: _Op, number: int, answer: int | None, definite: bool) -> None:
        """The answer to a try: a number, or none, and then definite if it did not happen."""
        if op.tries != number or op.number not in self._under_way:
            return  # late: it was tried again, or is over
        op.may_have_happened |= not definite
        if answer is None and op.kind != "read" and op.tries < TRIES_MAX:
            self._world.count["retries"] += 1
            op.tries += 1  # whatever else answers this try is late
            self._world.schedule.after(self._chance.uniform(0, 0.5), self._try, op)
            return
        del self._under_way[op.number]
        self._note(op, answer)
        self._next()

    def _note(self, op: _Op, answer: int | None) -> None:
        self._world.note("session call {0} {1} {2}: {3}", op.number, op.kind, op.key, answer)
        invoked_ns, now_ns = _ns(op.invoked_s), _ns(self._world.schedule.now_s)
        word: Word = (op.kind, op.number, answer)
        if answer is not None:
            self._calls[op.key].append(Call(word, invoked_ns, now_ns))
        elif op.may_have_happened and op.kind != "read":
            self._calls[op.key].append(Call(word, invoked_ns))

    def judge(self) -> None:
        """Whether there is an order; of calls that never ended, one that may have them or not."""
        for op in self._under_way.values():
            op.may_have_happened = True
            self._note(op, None)
        for key, calls in sorted(self._calls.items()):
            self._world.count["calls judged"] += len(calls)
            try:
                last = first_inexplicable(calls, self._first.get(key, 0), step)
            except Undecided:
                self._world.count["histories undecided"] += 1
                continue
            if last is not None:
                self._world.fail("not linearizable", f"{key!r}: no order up to {last}")


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
