"""The books of Redis clients: what they put, took, counted and wrote over, as they were told.

What was put somewhere once is there once, or was taken once; a number goes up by one for each
increment; nobody writes over what he has not seen. The books are carried on where a cluster ends
and another begins with what is left of it: by what it begins with, and what of that was committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcache.command.values import Value
from tests.sim import redis_keys
from tests.sim.redis_heritage import Kept
from tests.sim.redis_keys import COUNTERS, PLACES
from tests.sim.redis_steps import is_known, is_unknown

if TYPE_CHECKING:
    from raftcache.state.machine import Machine
    from tests.sim.world import World


class Things:
    """Of one kind: each is put somewhere once, and taken once at most."""

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self._ledger, self._kind = ledger, kind
        self._put: dict[bytes, Value] = {}  # what the answer said; None: there was none yet
        self._taken: set[bytes] = set()
        self._gone: set[bytes] = set()  # taken in the cluster before, whoever was told
        self._being_taken = self._maybe_taken = 0  # so many at most, and nobody was told yet

    def put(self, things: tuple[bytes, ...]) -> None:
        """Somebody asks for it now."""
        self._put.update(dict.fromkeys(things))

    def was_put(self, things: tuple[bytes, ...], value: Value) -> None:
        self._put.update(dict.fromkeys(things, value))

    def take(self, count: int) -> None:
        """Somebody asks for so many now."""
        self._being_taken += count

    def was_taken(self, count: int, things: list[bytes], value: Value) -> None:
        """He was told that he has these, of so many that he had asked for; or nothing is known."""
        self._being_taken -= count
        self._maybe_taken += count * is_unknown(value)
        world = self._ledger.world
        for thing in things if is_known(value) else ():
            if thing in self._taken:
                world.fail(f"a {self._kind} was taken twice", f"{thing!r}")
            self._taken.add(thing)
            world.count[f"{self._kind}s taken"] += 1

    def goes_on(self, committed: Kept, kept: Kept) -> None:
        """In another cluster: what it does not begin with is lost, and not to be seen again."""
        left = set(redis_keys.things(kept.machine, self._kind))
        told = committed.put - set(redis_keys.things(committed.machine, self._kind))
        self._taken &= told
        self._gone = (self._put.keys() & kept.put) - left
        asked = {thing: v for thing, v in self._put.items() if not isinstance(v, int)}
        self._put = asked | dict.fromkeys(self._put.keys() & kept.put, 1)
        self._maybe_taken = 0

    def judge(self, machine: Machine) -> None:
        """At the end, by what is there."""
        left = set(redis_keys.things(machine, self._kind))
        world = self._ledger.world
        world.count[f"{self._kind}s left"] += len(left)
        there = self._taken | left
        acknowledged = {thing for thing, value in self._put.items() if isinstance(value, int)}
        lost = sorted(acknowledged - there - self._gone)
        maybe = {thing for thing, value in self._put.items() if value is None or is_unknown(value)}
        if self._kind == "parcel":  # somebody has it, though nobody was told
            lost = sorted(set(lost) - redis_keys.undelivered(machine))
        may_be_lost = len(lost) <= self._being_taken + self._maybe_taken and self._kind != "parcel"
        wrong = {
            "is there, and was taken": sorted((self._taken | self._gone) & left),
            "is there, and nobody put it there": sorted(there - acknowledged - maybe),
            "was acknowledged, and is lost": [] if may_be_lost else lost,
        }
        for sentence, some in wrong.items():
            if some:
                world.fail(f"a {self._kind} {sentence}", f"{some}")


class Count:
    """A number that only goes up, by one."""

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self._ledger, self._kind = ledger, kind
        self._told: set[int] = set()
        self._asked = self._maybe = 0  # increments under way, and those that nobody was told of
        self._epoch = 0

    def ask(self, count: int) -> tuple[int, int]:
        """So many increments are asked for now; what they will be above, and in which cluster."""
        self._asked += count
        return self.look()

    def look(self) -> tuple[int, int]:
        """Somebody asks for the number now: what it must have come to, and in which cluster."""
        return max(self._told, default=0), self._epoch

    def seen(self, looked: tuple[int, int], number: int) -> None:
        """looked: what look returned. The cluster before may have come to more."""
        floor, epoch = looked
        if epoch == self._epoch and number < floor:
            self._ledger.world.fail("a GET is stale", f"{number} of the {self._kind}, not {floor}")

    def answer(self, asked: tuple[int, int], values: list[Value]) -> None:
        """asked: what ask returned; the values are of one pipeline, which is done in its order.

        Where it was asked for in the cluster before, some of it may be lost, and done again behind
        what is not; or had been told to nobody, and was not committed, and is left all the same.
        """
        world = self._ledger.world
        floor, epoch = asked
        numbers = [int(value) for value in values if is_known(value)]
        if epoch != self._epoch:
            floor = 0
        elif numbers != sorted(numbers):
            world.fail("a pipeline was not done in its order", f"{numbers}, {self._kind}")
        self._asked -= len(values)
        self._maybe += sum(map(is_unknown, values))
        for number in numbers:
            if number <= floor or number in self._told:
                detail = f"{number} of the {self._kind}, above {floor}"
                world.fail("an increment was not done once", detail)
            self._told.add(number)
            world.count["increments"] += 1

    def goes_on(self, committed: Kept, kept: Kept) -> None:
        """In another cluster: numbers above what is left of what was told are given again."""
        last = redis_keys.number(committed.machine, self._kind)
        self._told = {number for number in self._told if number <= last}
        self._maybe = redis_keys.number(kept.machine, self._kind) - len(self._told)
        self._epoch += 1

    def judge(self, machine: Machine) -> None:
        """At the end, by what is there."""
        last, told = redis_keys.number(machine, self._kind), len(self._told)
        maybe = self._asked + self._maybe
        if not told <= last <= told + maybe:
            detail = f"{last} in the {self._kind}, {told} done, {maybe} maybe"
            self._ledger.world.fail("increments were not done once", detail)


class Ledger:
    """All books of one run. world: where its clients are."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.things = {kind: Things(self, kind) for kind in PLACES}
        self.counts = {kind: Count(self, kind) for kind in COUNTERS}
        self.is_opened = False
        """There is money."""
        self.acknowledged: set[bytes] = set()
        """Parcels whose consumer was told that they are; another set in each cluster."""
        self._bases: dict[bytes | None, bytes] = {}

    def swapped(self, base: bytes | None, value: bytes) -> None:
        """Who had seen the base in the register was told that his value has replaced it."""
        if base in self._bases:
            detail = f"{base!r} by {self._bases[base]!r} and {value!r}"
            self.world.fail("an update was lost", detail)
        self._bases[base] = value
        self.world.count["swaps"] += 1

    def goes_on(self, world: World, committed: Kept, kept: Kept) -> None:
        """In another cluster, which begins with what is kept.

        committed: what of that was committed in the one before, so that clients had a right to it.
        """
        self.world, self.acknowledged = world, set()
        for book in (*self.things.values(), *self.counts.values()):
            book.goes_on(committed, kept)
        self.is_opened = bool(redis_keys.balances(kept.machine))
        written = committed.written
        self._bases = {base: value for base, value in self._bases.items() if value in written}

    def judge(self, machine: Machine) -> None:
        """By the state that all of it has led to."""
        for book in (*self.things.values(), *self.counts.values()):
            book.judge(machine)
