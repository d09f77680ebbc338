"""Sends the same calls to a redis-server and to another, and finds the first reply that differs.

Calls go one by one, or, with whole, as one pipeline; in the end all that is stored is compared, so
that a wrong write is found even if nothing read it. Three kinds of calls need more than a reply:
scans are followed to their end and their unions compared; picks by chance must come from what
is there, as many and as often as Redis says; and what SPOP took from one is taken from the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.differential import judge
from tests.differential.grammar import EVERY_CURSOR
from tests.support.resp_wire import Call, Reply, RespWire, packed, plain

SCAN_STEPS_MAX: Final = 1000

CLOSED: Final[Reply] = ("closed", None)
"""In the place of a reply: the connection has ended."""

LOOKER: Final = -1
"""Who reads what is stored: a connection that nothing else uses."""

POPULATIONS: Final[dict[bytes, tuple[bytes, ...]]] = {
    b"SRANDMEMBER": (b"SMEMBERS",),
    b"SPOP": (b"SMEMBERS",),
    b"HRANDFIELD": (b"HGETALL",),
    b"ZRANDMEMBER": (b"ZRANGE", b"0", b"-1", b"WITHSCORES"),
    b"RANDOMKEY": (b"KEYS", b"*"),
}
"""How to read all that a pick may come from; a key stands second."""

WHOLE: Final[dict[bytes, tuple[bytes, ...]]] = {
    b"string": (b"GET",),
    b"list": (b"LRANGE", b"0", b"-1"),
    b"set": (b"SMEMBERS",),
    b"hash": (b"HGETALL",),
    b"zset": (b"ZRANGE", b"0", b"-1", b"WITHSCORES"),
    b"stream": (b"XRANGE", b"-", b"+"),
}


class Step(NamedTuple):
    """A call, and which of the clients makes it."""

    who: int
    call: tuple[bytes, ...]


@dataclass(frozen=True)
class Differs:
    """A reply that is not the same, after what had been sent before it."""

    before: tuple[Step, ...]
    step: Step
    redis: Reply
    other: Reply

    def __str__(self) -> str:
        steps = "\n".join(f"  {s.who}: {_words(s.call)}" for s in (*self.before, self.step))
        return f"{steps}\n  redis:     {self.redis}\n  raftcache: {self.other}"

    @property
    def is_meant(self) -> judge.Difference | None:
        return judge.meant(self.step.call, self.redis, self.other)


def _words(call: Call) -> str:
    return " ".join(repr(word)[2:-1] or "''" for word in call)


class Side:
    """One server, with a connection for each client that takes part, and one more to look."""

    def __init__(self, address: Path | int) -> None:
        self.address = address
        self.wires: list[RespWire] = []

    def begin(self, clients: int, protocol: int) -> None:
        """Nothing is stored, and connections are new."""
        self.close()
        self.wires = [RespWire(self.address) for _ in range(clients + 1)]
        for wire in self.wires:
            wire.call(b"HELLO", b"%d" % protocol)
        assert self.wires[LOOKER].call(b"FLUSHALL") == ("+", b"OK")

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        self.wires = []

    def ask(self, who: int, call: tuple[bytes, ...]) -> Reply:
        """One call as it is, and its reply."""
        return self.wires[who].call(*call)

    def call(self, step: Step) -> Reply:
        try:
            return self._every(step) if judge.is_scan(step.call) else self.ask(step.who, step.call)
        except (EOFError, OSError):
            return CLOSED

    def pipeline(self, steps: Sequence[Step]) -> list[Reply]:
        """Replies to calls of the first client; after one that says the connection ended, none."""
        wire = self.wires[0]
        replies: list[Reply] = []
        try:
            wire.send(b"".join(packed(step.call) for step in steps))
            while len(replies) < len(steps):
                replies.append(wire.read())
        except (EOFError, OSError):
            replies.append(CLOSED)
        return replies

    def _every(self, step: Step) -> Reply:
        """All that a scan finds, in an order of its own; or its error."""
        cursor, found = b"0", list[Reply]()
        for _ in range(SCAN_STEPS_MAX):
            call = tuple(cursor if word == EVERY_CURSOR else word for word in step.call)
            reply = self.ask(step.who, call)
            if reply[0] != "*":
                return reply
            (_, cursor), (sign, content) = reply[1]
            found.extend(content)
            if cursor == b"0":
                return sign, _gathered(found, step.call[0].upper())
        return "endless", step.call


def _gathered(found: list[Reply], name: bytes) -> list[Any]:
    """Without those that came twice, which a scan may do."""
    width = 2 if name in (b"HSCAN", b"ZSCAN") else 1
    return sorted({tuple(found[i : i + width]) for i in range(0, len(found), width)})


def _is_pick(call: Call) -> bool:
    return call[0].upper() in POPULATIONS


class Play:
    """One example, on both sides."""

    def __init__(self, redis: Side, other: Side, clients: int, protocol: int) -> None:
        self._redis, self._other = redis, other
        self._done: list[Step] = []
        self._queued: dict[int, list[Call]] = {}
        for side in (redis, other):
            side.begin(clients, protocol)

    def run(self, steps: Sequence[Step], whole: bool) -> Differs | None:
        """The first reply that differs, or the first thing stored that does."""
        for run in _runs(steps, whole):
            if len(run) == 1:
                differs = self._step(run[0])
            else:
                replies = zip(run, self._redis.pipeline(run), self._other.pipeline(run))  # noqa: B905
                differs = next(filter(None, (self._judge(*each) for each in replies)), None)
            if differs:
                return differs
        return self._audit()

    def _step(self, step: Step) -> Differs | None:
        if not _is_pick(step.call):
            return self._judge(step, self._redis.call(step), self._other.call(step))
        population = self._population(step.call)
        redis, other = self._redis.call(step), self._other.call(step)
        if not _is_fair(step.call, redis, other, population):
            return Differs(tuple(self._done), step, redis, other)
        if step.call[0].upper() == b"SPOP" and redis[0] != "-":
            self._take_the_same(step.call[1], redis, other, population)
        self._done.append(step)
        return None

    def _judge(self, step: Step, redis: Reply, other: Reply) -> Differs | None:
        queued = self._queue(step, redis)
        if not judge.agree(step.call, redis, other, queued):
            return Differs(tuple(self._done), step, redis, other)
        self._done.append(step)
        return None

    def _queue(self, step: Step, redis: Reply) -> list[Call]:
        """The calls of the transaction that this step executes."""
        if redis == ("+", b"QUEUED"):
            self._queued.setdefault(step.who, []).append(step.call)
            return []
        if step.call[0].upper() in (b"EXEC", b"DISCARD", b"RESET"):
            return self._queued.pop(step.who, [])
        return []

    def _population(self, call: Call) -> Reply:
        name, *rest = POPULATIONS[call[0].upper()]
        key = call[1:2] if name != b"KEYS" else ()
        return self._redis.call(Step(LOOKER, (name, *key, *rest)))

    def _take_the_same(self, key: bytes, redis: Reply, other: Reply, population: Reply) -> None:
        """Both have lost members by chance; from now on Redis has lost the other's."""
        gone, wanted = (set(_items(reply, 1)) for reply in (redis, other))
        if gone != wanted and len(gone) < len(population[1]):
            for name, members in ((b"SADD", gone), (b"SREM", wanted)):
                self._redis.call(Step(LOOKER, (name, key, *(member for (member,) in members))))

    def _audit(self) -> Differs | None:
        """All that is stored, as far as both have it."""
        for call in self._readings():
            step = Step(LOOKER, call)
            if differs := self._judge(step, self._redis.call(step), self._other.call(step)):
                return differs
        return None

    def _readings(self) -> Iterator[tuple[bytes, ...]]:
        yield (b"KEYS", b"*")
        for key in sorted(plain(self._redis.call(Step(LOOKER, (b"KEYS", b"*"))))):
            yield (b"TYPE", key)
            name, *rest = WHOLE[plain(self._redis.call(Step(LOOKER, (b"TYPE", key))))]
            yield (name, key, *rest)
            if name == b"XRANGE":
                yield (b"XINFO", b"STREAM", key)
            yield (b"PTTL", key)


def _runs(steps: Sequence[Step], whole: bool) -> Iterator[list[Step]]:
    """Steps that are sent together."""
    run: list[Step] = []
    for step in steps:
        if whole and step.who == 0 and not _is_pick(step.call) and not judge.is_scan(step.call):
            run.append(step)
            continue
        if run:
            yield run
        yield [step]
        run = []
    if run:
        yield run


def _items(reply: Reply, width: int) -> list[tuple[Any, ...]]:
    """Its elements, in tuples of width, whichever way they are nested."""
    content = plain(reply)
    if isinstance(content, dict):
        return list(content.items()) if width == 2 else [(key,) for key in content]
    if not isinstance(content, list):
        return [(content,)]
    flat = [e for each in content for e in (each if isinstance(each, list) else [each])]
    return [tuple(flat[i : i + width]) for i in range(0, len(flat), width)]


def _is_fair(call: Call, redis: Reply, other: Reply, population: Reply) -> bool:
    """Whether the other's pick is one that Redis could have made, too."""
    if redis[0] != other[0] or redis[0] == "-" or None in (redis[1], other[1]):
        return redis == other
    width = 2 if call[-1].upper() in (b"WITHVALUES", b"WITHSCORES") else 1
    ours = _items(other, width)
    pairs = call[0].upper() in (b"HRANDFIELD", b"ZRANDMEMBER")
    there = {each[:width] for each in _items(population, 2 if pairs else 1)}
    again = len(call) > 2 and call[2].startswith(b"-")
    distinct = again or len(set(ours)) == len(ours)
    return len(ours) == len(_items(redis, width)) and distinct and set(ours) <= there
