"""Redis clients: pipelines and transactions at any member, numbered ones tried again at others.

What they ask for, and what they make of the answers, are the scripts of redis_asks.py; what must
hold is in redis_audit.py. The service under them is the real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from raftcache.command.values import NIL_ARRAY, Value
from tests.sim.redis_asks import Asks
from tests.sim.redis_audit import RedisAudit
from tests.sim.redis_steps import UNKNOWN, Script, Step, is_known, is_undone, is_unknown

if TYPE_CHECKING:
    from tests.sim.world import World

TRIES_MAX: Final = 6
RETRY_S_MAX: Final = 0.5
SWEPT_AFTER_S: Final = (2.0, 2.4, 2.8)
"""Since it was quiet."""
PATIENCE_S: Final = 3.0
"""After which a client takes it that its node is gone."""


@dataclass
class _Asking:
    """A step under way. values: what is known by now of each call."""

    script: Script
    step: Step
    number: int
    tries: int = 1
    values: list[Value] | None = None
    is_over: bool = False

    @property
    def tokens(self) -> list[bytes]:
        return [b"redis%d.%d" % (self.number, place) for place in range(self.step.size)]

    def learn(self, values: list[Value] | None) -> bool:
        """What came of a try; whether it is what was known.

        What may have happened at one try still may have if another one is refused. Who waited for
        something and got nothing waits anew, so that is not known.
        """
        now = [UNKNOWN] * self.step.size if values is None else values
        before = self.values or now
        self.values = [
            old if _stays(old) or (is_unknown(old) and is_undone(new)) else new
            for old, new in zip(before, now, strict=True)
        ]
        pairs = zip(before, now, strict=True)
        return all(old == new for old, new in pairs if _stays(old) and is_known(new))


def _stays(value: Value) -> bool:
    return is_known(value) and value is not NIL_ARRAY


class RedisClients:
    """All Redis clients of one run."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self._last = 0
        self.audit = RedisAudit(world)
        self._asks = Asks(world, self.audit)

    def begin(self) -> None:
        """One client: the next script, some time after the last one."""
        if self._world.schedule.now_s < self._world.profile.quiet_from_s:
            self._go_on(self._asks.next(), None)

    def sweep(self) -> None:
        """When it is quiet: an entry that changes nothing; what is overdue or gone is removed."""
        for member in self._world.members.values():
            if member.alive:
                member.later(0, member.redis.run, ((b"DEL", b"nothing"),), lambda values: None)

    def judge(self) -> None:
        """At the end, when all members are equal."""
        members = [m for m in self._world.members.values() if m.alive and not m.expelled]
        for member in members:
            self.audit.look(member, member.applied_index)
            self.audit.check_rows(member, is_last=True)
        self.audit.judge(members[0])

    def _go_on(self, script: Script, answer: list[Value] | None) -> None:
        try:
            step = next(script) if answer is None else script.send(answer)
        except StopIteration:
            self._after_a_while(self.begin)
            return
        self._last += 1
        self._try(_Asking(script, step, self._last))

    def _after_a_while(self, act: Any, *args: Any) -> None:
        gap_s = self._chance.expovariate(1 / self._world.profile.redis_gap_s)
        self._world.schedule.after(gap_s, act, *args)

    def _try(self, asking: _Asking) -> None:
        world = self._world
        awake = [m for m in world.members.values() if m.alive]
        if awake:
            member = self._chance.choice(awake)
            member.later(0, self._ask, member, asking, asking.tries)
        world.schedule.after(PATIENCE_S, self._answered, asking, asking.tries, None)

    def _ask(self, member: Any, asking: _Asking, number: int) -> None:
        step, redis = asking.step, member.redis
        tokens = asking.tokens if step.is_once else None

        def done(found: Any) -> None:
            values = found if isinstance(found, list) else [found] * step.size
            self._answered(asking, number, values)

        if step.is_watch:
            redis.revisions(step.calls, done)
        elif step.watched is None and tokens is None and all(c[0] == b"GET" for c in step.calls):
            redis.get([key for _, key in step.calls], done)
        elif step.watched is None:
            redis.run(step.calls, done, tokens=tokens)
        else:
            token = b"" if tokens is None else tokens[0]
            redis.transact(step.calls, step.watched, lambda value: done([value]), token)

    def _answered(self, asking: _Asking, number: int, values: list[Value] | None) -> None:
        """The answer to a try; None: there was none in time."""
        if asking.is_over or asking.tries != number:
            return  # late: it was tried again, or is over
        world, step = self._world, asking.step
        if not asking.learn(values):
            world.fail("a replay was answered otherwise", f"{step}: {asking.values}, {values}")
        assert asking.values is not None
        world.note("redis {0} {1}: {2}", asking.number, step, asking.values)
        if "ERR internal" in str(asking.values):
            world.fail("a mistake of the server", f"{step}: {asking.values}")
        if step.is_once and asking.tries < TRIES_MAX and not all(map(is_known, asking.values)):
            world.count["retries"] += 1
            asking.tries += 1  # whatever else answers this try is late
            world.schedule.after(self._chance.uniform(0, RETRY_S_MAX), self._try, asking)
            return
        asking.is_over = True
        self._after_a_while(self._go_on, asking.script, asking.values)
