"""What Redis clients of the simulator ask for, and what they make of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from raftcache.command.calls import Call
from raftcache.command.values import NIL_ARRAY, Failure, Members, Pairs, Value
from tests.sim.redis_keys import (
    BAGS,
    BANKS,
    COUNTERS,
    DOING,
    FIELDS,
    FLEETING,
    HEAP,
    OPENING_BALANCE,
    REGISTER,
    TODO,
    TOTAL,
)
from tests.sim.redis_ledger import Ledger
from tests.sim.redis_post import Post
from tests.sim.redis_steps import Script, Step, is_known, is_undone

if TYPE_CHECKING:
    import random

    from tests.sim.world import World

ROOMS: Final = tuple(b"room%d" % number for number in range(4))
"""Keys that hold anything, and are renamed, copied and deleted."""
LARGE: Final = b"large"
LARGE_SIZE_BYTES: Final = 1000
READS_TOO_LARGE: Final = 20
"""So many reads of it are more than is remembered of a transaction."""
TOO_LONG: Final = b"x" * 1001
"""An element, or a value."""


MOVE: Final = b"""
local source, target, amount = ARGV[1], ARGV[2], ARGV[3]
redis.call('HSET', KEYS[1], source, redis.call('HGET', KEYS[1], source) - amount)
redis.call('HSET', KEYS[2], target, redis.call('HGET', KEYS[2], target) + amount)
local total = 0
for bank = 3, #KEYS do
  for _, balance in ipairs(redis.call('HVALS', KEYS[bank])) do total = total + balance end
end
return total
"""
COUNT: Final = b"return redis.call(unpack(ARGV))"
TAKE: Final = b"return redis.call('LRANGE', KEYS[1], 0, 9)[1] and redis.call('LPOP', KEYS[1])"
PUT: Final = b"""
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
return redis.call('SADD', KEYS[1], ARGV[1])
"""
FAIL: Final = b"redis.call('DEL', KEYS[1]) redis.call('SADD', KEYS[2], 'x') error('half way')"


class Asks:
    """Scripts for all clients of one run."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        self._ledger, self._chance = ledger, chance
        self._last = 0
        self._post = Post(ledger, chance, self._unique)
        self._scripts: Final = (
            self._move,
            self._move_as_seen,
            self._fail_to_move,
            self._script,
            self._script,
            *3 * (self._count,),
            self._look,
            self._swap,
            self._work,
            self._play_with_marbles,
            self._heap,
            *2 * (self._post.next,),
            self._fleet,
            self._rearrange,
        )

    @property
    def _world(self) -> World:
        """Where they are now."""
        return self._ledger.world

    def next(self) -> Script:
        """What another client does."""
        if not self._ledger.is_opened:
            return self._open()
        return self._chance.choice(self._scripts)()

    def _unique(self, count: int = 1) -> tuple[bytes, ...]:
        self._last += count
        return tuple(b"%d" % (self._last - place) for place in range(count))

    def _is_lucky(self) -> bool:
        return self._chance.random() < 0.5

    # -- money -------------------------------------------------------------------------------------

    def _open(self) -> Script:
        """As often as you like: it is opened once."""
        fields = [(bank, field) for bank in BANKS for field in FIELDS]
        calls = [(b"HSETNX", *each, b"%d" % OPENING_BALANCE) for each in fields]
        (values,) = yield Step((*calls, (b"SET", LARGE, b"l" * LARGE_SIZE_BYTES)), {})
        if isinstance(values, list):
            self._ledger.is_opened = True
        self._world.count["Calls refused"] += is_undone(values)

    def _pair(self) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes], int]:
        places = [(bank, field) for bank in BANKS for field in FIELDS]
        source, target = self._chance.sample(places, 2)
        return source, target, self._chance.randrange(1, 40)

    def _move(self) -> Script:
        source, target, amount = self._pair()
        calls: tuple[Call, ...] = (
            (b"HINCRBY", *source, b"%d" % -amount),
            (b"HINCRBY", *target, b"%d" % amount),
            *((b"HVALS", bank) for bank in BANKS),
        )
        (values,) = yield Step(calls, {}, is_once=self._is_lucky())
        if isinstance(values, list):
            self._world.count["moves"] += 1
            money = sum(int(value) for each in values[2:] for value in each)
            if money != TOTAL:
                self._world.fail("money does not add up", f"{values} in a transaction")

    def _move_as_seen(self) -> Script:
        """WATCH, HGET, and EXEC with what follows from that."""
        source, target, amount = self._pair()
        keys = tuple(dict.fromkeys((source[0], target[0])))
        revisions = yield Step(keys, is_watch=True)
        if isinstance(revisions[0], Failure):
            return
        had, got = yield Step(((b"HGET", *source), (b"HGET", *target)))
        if isinstance(had, Failure):
            return
        calls = (
            (b"HSET", *source, b"%d" % (int(had) - amount)),
            (b"HSET", *target, b"%d" % (int(got) + amount)),
        )
        watched = dict(zip(keys, revisions, strict=True))
        (value,) = yield Step(calls, watched, is_once=self._is_lucky())
        self._world.count["moves as seen"] += isinstance(value, list)
        self._world.count["moves too late"] += value is NIL_ARRAY

    def _fail_to_move(self) -> Script:
        """What fails half way has not happened, and what stands beside it has."""
        (bank, field), target, amount = self._pair()
        bad: Call
        match self._chance.randrange(4):
            case 0:  # rows were changed
                bad = (b"HSET", bank, field, b"0", b"other", TOO_LONG)
            case 1:  # a collection lost its key
                bad = (b"MSET", bank, b"string", b"string", TOO_LONG)
            case 2:  # the same in a transaction of which the answer is too large
                calls = ((b"DEL", bank), *[(b"GET", LARGE)] * READS_TOO_LARGE)
                (values,) = yield Step(calls, {}, is_once=True)
                self._expect_failures(values)
                return
            case _:  # the wrong type
                bad = (b"SADD", bank, b"member")
        good = (b"HINCRBY", bank, field, b"%d" % -amount), (b"HINCRBY", *target, b"%d" % amount)
        (values,) = yield Step((good[0], bad, good[1]), {}, is_once=self._is_lucky())
        self._expect_failures(values[1] if isinstance(values, list) else values)

    def _expect_failures(self, value: Value) -> None:
        self._world.count["failed half way"] += is_known(value)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, Failure) for each in values):
            self._world.fail("what must fail was done", f"{value}")

    # -- scripts -----------------------------------------------------------------------------------

    def _script(self) -> Script:
        """What is read, decided and done within a script."""
        match self._chance.randrange(8):
            case 0:
                return self._count_by_script()
            case 1:
                return self._take("job", (TAKE, b"1", TODO), 1, is_script=True)
            case 2:
                return self._fail_by_script()
            case 3 | 4:
                things = self._unique()
                head = PUT, b"1", self._chance.choice(BAGS)
                return self._put("marble", head, things, things, is_script=True)
            case _:
                return self._move_by_script()

    def _move_by_script(self) -> Script:
        source, target, amount = self._pair()
        words = (source[1], target[1], b"%d" % amount)
        call = (MOVE, b"%d" % (2 + len(BANKS)), source[0], target[0], *BANKS, *words)
        (total,) = yield Step((call,), is_once=self._is_lucky(), is_script=True)
        self._world.count["moves by script"] += total == TOTAL
        if is_known(total) and total != TOTAL:
            self._world.fail("money does not add up", f"{total} within a script")

    def _count_by_script(self) -> Script:
        kind = self._chance.choice(tuple(COUNTERS))
        count, size = self._ledger.counts[kind], self._chance.choice((1, 3))
        asked = count.ask(size)
        calls = ((COUNT, b"0", *COUNTERS[kind][0]),) * size
        values = yield Step(calls, is_once=self._is_lucky(), is_script=True)
        count.answer(asked, values)

    def _fail_by_script(self) -> Script:
        banks = self._chance.sample(BANKS, 2)
        (value,) = yield Step(((FAIL, b"2", *banks),), is_once=self._is_lucky(), is_script=True)
        self._expect_failures(value)

    # -- numbers -----------------------------------------------------------------------------------

    def _count(self) -> Script:
        kind = self._chance.choice(tuple(COUNTERS))
        size, count = self._chance.choice((1, 4)), self._ledger.counts[kind]
        asked = count.ask(size)
        values = yield Step((COUNTERS[kind][0],) * size, is_once=self._chance.random() < 0.8)
        count.answer(asked, values)

    def _look(self) -> Script:
        """At what others count."""
        count = self._ledger.counts["string"]
        looked = count.look()
        (value,) = yield Step((COUNTERS["string"][1],))
        if is_known(value):
            count.seen(looked, int(value or 0))

    def _swap(self) -> Script:
        """WATCH, GET, EXEC: nobody's write is overwritten unseen."""
        (revision,) = yield Step((REGISTER,), is_watch=True)
        if isinstance(revision, Failure):
            return
        (base,) = yield Step(((b"GET", REGISTER),))
        if isinstance(base, Failure):
            return
        (mine,) = self._unique()
        swap = (b"SET", REGISTER, mine)
        (value,) = yield Step((swap,), {REGISTER: revision}, is_once=self._is_lucky())
        if isinstance(value, list):
            self._ledger.swapped(base, mine)

    def exec_as_watched(self, watched: Mapping[bytes, int]) -> Script:
        """EXEC alone, by who has watched long ago: the register, or banks, which he looks at."""
        (mine,) = self._unique()
        swap = (b"GET", REGISTER), (b"SET", REGISTER, mine)
        look = tuple((b"HVALS", bank) for bank in BANKS)
        is_swap = REGISTER in watched
        (value,) = yield Step(swap if is_swap else look, watched, is_once=True)
        if isinstance(value, list) and is_swap:
            self._ledger.swapped(value[0], mine)

    # -- unique things -----------------------------------------------------------------------------

    def _put(
        self,
        kind: str,
        head: Call,
        things: tuple[bytes, ...],
        tail: Call,
        *,
        is_script: bool = False,
    ) -> Script:
        ledger = self._ledger.things[kind]
        ledger.put(things)
        call = (*head, *tail)
        (value,) = yield Step((call,), is_once=self._is_lucky(), is_script=is_script)
        ledger.was_put(things, value)

    def _take(self, kind: str, call: Call, count_max: int, *, is_script: bool = False) -> Script:
        """Twice in one pipeline at times."""
        ledger, size = self._ledger.things[kind], self._chance.choice((1, 1, 2))
        ledger.take(size * count_max)
        step = Step((call,) * size, is_once=self._is_lucky(), is_script=is_script)
        for value in (yield step):
            ledger.was_taken(count_max, _things(value), value)

    def _work(self) -> Script:
        """A queue: jobs are pushed, moved to those under way, done or put back."""
        chance = self._chance
        match chance.randrange(8):
            case 0 | 1:
                things = self._unique(chance.choice((1, 3)))
                return self._put("job", (b"RPUSH", TODO), things, things)
            case 2:
                return self._take("job", (b"LPOP", TODO, b"2"), 2)
            case 3:
                return self._take("job", (b"BLPOP", DOING, TODO, b"0"), 1)
            case 4:
                return self._finish()
            case 5:
                return self._just((b"RPOPLPUSH", DOING, TODO))
            case _:
                return self._just((b"LMOVE", TODO, DOING, b"LEFT", b"RIGHT"))

    def _finish(self) -> Script:
        """Take the first of those under way out by its name."""
        (job,) = yield Step(((b"LINDEX", DOING, b"0"),))
        if not isinstance(job, bytes):
            return
        ledger = self._ledger.things["job"]
        ledger.take(1)
        (value,) = yield Step(((b"LREM", DOING, b"1", job),), is_once=self._is_lucky())
        ledger.was_taken(1, [job] if value == 1 else [], value)

    def _just(self, *calls: Call) -> Script:
        values = yield Step(calls, is_once=self._is_lucky())
        self._world.count["rearranged"] += all(map(is_known, values))
        self._world.count["entries added"] += calls[0][0] == b"XADD" and type(values[0]) is bytes

    def _play_with_marbles(self) -> Script:
        chance = self._chance
        bag, other = chance.sample(BAGS, 2)
        match chance.randrange(6):
            case 0 | 1:
                things = self._unique(chance.choice((1, 4)))
                return self._put("marble", (b"SADD", bag), things, things)
            case 2:
                return self._take("marble", (b"SPOP", bag), 1)
            case 3:
                return self._take("marble", (b"SPOP", bag, b"3"), 3)
            case _:
                return self._pass_on(bag, other)

    def _pass_on(self, bag: bytes, other: bytes) -> Script:
        """To the other bag, what was seen in this one."""
        (thing,) = yield Step(((b"SRANDMEMBER", bag),))
        if isinstance(thing, bytes):
            yield from self._just((b"SMOVE", bag, other, thing))

    def _heap(self) -> Script:
        chance = self._chance
        match chance.randrange(5):
            case 0 | 1:
                things = self._unique(2)
                tail = [part for thing in things for part in (self._score(), thing)]
                return self._put("node", (b"ZADD", HEAP), things, tuple(tail))
            case 2:
                return self._take("node", (b"ZPOPMIN", HEAP), 1)
            case 3:
                return self._take("node", (b"ZPOPMAX", HEAP, b"2"), 2)
            case _:
                return self._lift()

    def _score(self) -> bytes:
        return b"%d" % self._chance.randrange(-9, 9)

    def _lift(self) -> Script:
        """The first, to another place; not if it was taken meanwhile."""
        (things,) = yield Step(((b"ZRANGE", HEAP, b"0", b"0"),))
        if isinstance(things, list) and things:
            yield from self._just((b"ZADD", HEAP, b"XX", b"INCR", self._score(), things[0]))

    # -- keys that come and go ---------------------------------------------------------------------

    def _fleet(self) -> Script:
        """Such a key is never without a deadline."""
        key, ms = self._chance.choice(FLEETING), self._chance.choice((b"200", b"700", b"3000"))
        (value,) = self._unique()
        if self._is_lucky():
            yield from self._just((b"SET", key, value, b"PX", ms))
            return
        makes = (b"RPUSH", b"1", b"2"), (b"SADD", b"1", b"2"), (b"ZADD", b"1", b"2")
        name, *rest = self._chance.choice(makes)
        calls = ((b"DEL", key), (name, key, *rest), (b"PEXPIRE", key, ms))
        yield Step(calls, {}, is_once=self._is_lucky())

    def _rearrange(self) -> Script:
        chance = self._chance
        room, other = chance.choice(ROOMS), chance.choice(ROOMS)
        things = self._unique(chance.choice((1, 3, 30)))
        numbered = tuple(part for thing in things for part in (thing, thing))
        return self._just(
            chance.choice(
                (
                    (b"RPUSH", room, *things),
                    (b"SADD", room, *things),
                    (b"HSET", room, *numbered),
                    (b"ZADD", room, *numbered),
                    (b"XADD", room, b"MAXLEN", b"20", b"*", *numbered),
                    (b"XTRIM", room, b"MAXLEN", b"3"),
                    (b"XGROUP", b"CREATE", room, b"g", b"0", b"MKSTREAM"),
                    (b"XREADGROUP", b"GROUP", b"g", things[0], b"STREAMS", room, b">"),
                    (b"XGROUP", b"DESTROY", room, b"g"),
                    (b"RENAME", room, other),
                    (b"COPY", room, other, b"REPLACE"),
                    (b"COPY", BANKS[0], room, b"REPLACE"),
                    (b"SUNIONSTORE", room, *BAGS),
                    (b"ZUNIONSTORE", room, b"1", HEAP),
                    (b"SET", room, *things[:1]),
                    (b"DEL", room, other),
                    (b"UNLINK", room),
                )
            )
        )


def _things(value: Any) -> list[bytes]:
    """That were taken, as each kind of pop answers."""
    match value:
        case bytes():
            return [value]
        case Members(members):
            return list(members)
        case Pairs(pairs):
            return [thing for thing, _ in pairs]
        case [bytes() as key, bytes() as thing] if key in (TODO, DOING):
            return [thing]
        case list():
            return [thing for thing in value if isinstance(thing, bytes)]  # and not its score
        case _:
            return []
