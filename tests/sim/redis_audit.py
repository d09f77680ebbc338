"""What must hold of Redis' keys in every state that any node comes to, and of clients' answers.

Money in hashes adds up; what was put somewhere once is there once, or was taken once; a number goes
up by one for each increment; nobody writes over what he has not seen; keys last until their
deadline and not beyond; the rows of collections are those that their keys describe.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raftcache.command.calls import Call
from raftcache.command.values import Pairs, Value
from raftcache.state.items import LEASED, ZSET, described, read_header
from raftcache.state.rows import ID_SIZE_BYTES, id_of
from tests.sim.redis_steps import is_known, is_unknown

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

BANKS: Final = (b"bank0", b"bank1")
FIELDS: Final = (b"a", b"b", b"c")
OPENING_BALANCE: Final = 100
TOTAL: Final = OPENING_BALANCE * len(BANKS) * len(FIELDS)
TODO: Final = b"todo"
DOING: Final = b"doing"
BAGS: Final = (b"bag0", b"bag1")
HEAP: Final = b"heap"
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
}
"""Where unique things are, by kind."""
ROWS_CHECKED_EVERY: Final = 16


class Things:
    """Of one kind: each is put somewhere once, and taken once at most."""

    def __init__(self, world: World, kind: str) -> None:
        self._world, self._kind = world, kind
        self._put: dict[bytes, Value] = {}  # what the answer said; None: there was none yet
        self._taken: set[bytes] = set()
        self.maybe_taken = 0
        """So many may have been taken by who never heard of it."""

    def put(self, things: tuple[bytes, ...]) -> None:
        """Somebody asks for it now."""
        self._put.update(dict.fromkeys(things))

    def was_put(self, things: tuple[bytes, ...], value: Value) -> None:
        self._put.update(dict.fromkeys(things, value))

    def take(self, things: list[bytes]) -> None:
        """Somebody was told that he has them."""
        for thing in things:
            if thing in self._taken:
                self._world.fail(f"a {self._kind} was taken twice", f"{thing!r}")
            self._taken.add(thing)
        self._world.count[f"{self._kind}s taken"] += len(things)

    def judge(self, left: list[bytes]) -> None:
        """left: at the end."""
        self._world.count[f"{self._kind}s left"] += len(left)
        there = self._taken | set(left)
        acknowledged = {thing for thing, value in self._put.items() if isinstance(value, int)}
        lost = sorted(acknowledged - there)
        maybe = {thing for thing, value in self._put.items() if value is None or is_unknown(value)}
        wrong = {
            "is there, and was taken": sorted(self._taken & set(left)),
            "is there, and nobody put it there": sorted(there - acknowledged - maybe),
            "was acknowledged, and is lost": lost if len(lost) > self.maybe_taken else [],
        }
        for sentence, things in wrong.items():
            if things:
                self._world.fail(f"a {self._kind} {sentence}", f"{things}")


class Count:
    """A number that only goes up, by one."""

    def __init__(self, world: World, kind: str) -> None:
        self._world, self._kind = world, kind
        self._told: set[int] = set()
        self._maybe = 0

    def ask(self, count: int) -> int:
        """So many increments are asked for now; what they will be above."""
        self._maybe += count
        return max(self._told, default=0)

    def answer(self, floor: int, values: list[Value]) -> None:
        """floor: what ask returned; the values are of one pipeline, which is done in its order."""
        numbers = [int(value) for value in values if is_known(value)]
        if numbers != sorted(numbers):
            self._world.fail("a pipeline was not done in its order", f"{numbers}, {self._kind}")
        for value in values:
            self._maybe -= not is_unknown(value)
            if not is_known(value):
                continue
            number = int(value)
            if number <= floor or number in self._told:
                detail = f"{number} of the {self._kind}, above {floor}"
                self._world.fail("an increment was not done once", detail)
            self._told.add(number)
            self._world.count["increments"] += 1

    def judge(self, last: int) -> None:
        if not len(self._told) <= last <= len(self._told) + self._maybe:
            detail = f"{last} in the {self._kind}, {len(self._told)} done, {self._maybe} maybe"
            self._world.fail("increments were not done once", detail)


class _Seen(NamedTuple):
    """Of a key that ends, by one life of one member."""

    index: int
    deadline_ms: int


class RedisAudit:
    """Of all members; they are looked at after each batch that they apply."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.things = {kind: Things(world, kind) for kind in PLACES}
        self.counts = {kind: Count(world, kind) for kind in COUNTERS}
        self.is_opened = False
        self._opened_at = 0  # a revision at which there was money
        self._bases: dict[bytes | None, bytes] = {}
        self._fleeting: dict[tuple[str, int, bytes], _Seen] = {}

    def swapped(self, base: bytes | None, value: bytes) -> None:
        """Who had seen the base in the register was told that his value has replaced it."""
        if base in self._bases:
            detail = f"{base!r} by {self._bases[base]!r} and {value!r}"
            self._world.fail("an update was lost", detail)
        self._bases[base] = value
        self._world.count["swaps"] += 1

    # -- states ------------------------------------------------------------------------------------

    def look(self, member: Member, index: int) -> None:
        """At all that a reader could see there now."""
        money = (value for values in self._read(member, *BANKS_READ) for value in values)
        self._check_money(member, [int(value or 0) for value in money])
        for kind, calls in PLACES.items():
            there = Counter(thing for things in self._read(member, *calls) for thing in things)
            if twice := [thing for thing, count in there.items() if count > 1]:
                self._world.fail(f"a {kind} is there twice", f"{twice} at {member.name}, {index}")
        self._check_heap(member)
        self._check_fleeting(member, index)
        if index % ROWS_CHECKED_EVERY == 0:
            self.check_rows(member)

    def _read(self, member: Member, *calls: Call) -> list[Any]:
        """Of sets, the members."""
        values = member.machine.call(calls, member.machine.now_ms)
        return [getattr(value, "members", value) for value in values]

    def _check_money(self, member: Member, balances: list[int]) -> None:
        revision = member.machine.revision
        if balances and not self._opened_at:
            self._opened_at = revision
        opened = balances or (self._opened_at and revision >= self._opened_at)
        if opened and (len(balances) != len(BANKS) * len(FIELDS) or sum(balances) != TOTAL):
            self._world.fail("money does not add up", f"{balances} at {member.name}")

    def _check_heap(self, member: Member) -> None:
        """Its two orders, by member and by score, tell the same."""
        (pairs,) = self._read(member, (b"ZRANGE", HEAP, b"0", b"-1", b"WITHSCORES"))
        ranks = pairs.pairs if isinstance(pairs, Pairs) else list(pairwise(pairs))[::2]
        members = [name for name, _ in ranks]
        scores = self._read(member, (b"ZMSCORE", HEAP, *members))[0] if members else []
        order = [(score, name) for name, score in ranks]
        if scores != [score for score, _ in order] or order != sorted(order):
            self._world.fail("a heap is in disorder", f"{ranks} at {member.name}: {scores}")

    def _check_fleeting(self, member: Member, index: int) -> None:
        """Such a key is there until its deadline, which only a later write of it can change."""
        machine = member.machine
        for key in FLEETING:
            item, at = machine.get(key), (member.name, member.life, key)
            if item is not None:
                if item.deadline_ms <= machine.now_ms:
                    detail = f"{item.deadline_ms} <= {machine.now_ms} at {member.name}"
                    self._world.fail("a key outlived its deadline", detail)
                self._fleeting[at] = _Seen(index, item.deadline_ms)
            elif (seen := self._fleeting.pop(at, None)) is not None:
                self._world.count["expired"] += 1
                if seen.index == index - 1 and machine.now_ms < seen.deadline_ms:
                    detail = f"{key!r} at {member.name}: {machine.now_ms} < {seen.deadline_ms}"
                    self._world.fail("a key was gone before its deadline", detail)

    def check_rows(self, member: Member, *, is_last: bool = False) -> None:
        """Those that keys describe are there, and else only those of collections that are gone."""
        state = member.machine._state
        rows, counts, sizes = state.rows, Counter[int](), Counter[int]()
        for name in rows.names(0, len(rows)):
            counts[id_of(name)] += 1
            sizes[id_of(name)] += len(name) - ID_SIZE_BYTES + len(rows.get(name) or b"")
        for key, packed in state.keyspace.span(b"", b""):
            kind = read_header(packed).kind
            if kind <= LEASED:
                continue
            told = described(packed)
            found = counts.pop(told.id, 0), sizes[told.id]
            if found != (told.count * (2 if kind == ZSET else 1), told.size_bytes):
                detail = f"{key!r} at {member.name}: {told}, and {found}"
                self._world.fail("rows are not as their key says", detail)
        if strays := set(counts) - set(rows.gone):
            self._world.fail("rows without a key", f"{strays} at {member.name}")
        if is_last and rows.gone:
            self._world.fail("rows of what is gone are kept", f"{rows.gone} at {member.name}")

    # -- the end -----------------------------------------------------------------------------------

    def judge(self, member: Member) -> None:
        """By what one of the members holds, which are equal now."""
        for kind, calls in PLACES.items():
            left = self._read(member, *calls)
            self.things[kind].judge([thing for things in left for thing in things])
        for kind, (_, read) in COUNTERS.items():
            (number,) = self._read(member, read)
            self.counts[kind].judge(int(number or 0))


BANKS_READ: Final[tuple[Call, ...]] = tuple((b"HVALS", bank) for bank in BANKS)
