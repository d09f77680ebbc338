"""Redis clients: pipelines and transactions at any member, numbered ones tried again at others.

What they ask for, and what they make of the answers, are the scripts of redis_asks.py; what must
hold is in redis_audit.py and redis_ledger.py. The service under them is the real one. Where their
cluster ends and another begins, they go on there with what they know, and under the same numbers.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.service.scripting.acts import Act, ScriptCall
from raftcache.service.scripting.scripts import Scripts
from raftcache.service.wording import once_of
from tests.sim.redis_asks import Asks
from tests.sim.redis_audit import RedisAudit
from tests.sim.redis_heritage import Kept
from tests.sim.redis_keys import COUNTERS
from tests.sim.redis_ledger import Ledger
from tests.sim.redis_steps import UNKNOWN, Script, Step, is_known, is_undone, is_unknown

if TYPE_CHECKING:
    from tests.sim.world import World

TRIES_MAX: Final = 6
RETRY_S_MAX: Final = 0.5
RESUME_S: Final = 0.05
SWEPT_AFTER_S: Final = (2.0, 2.4, 2.8)
"""Since it was quiet."""
PATIENCE_S: Final = 3.0
"""After which a client takes it that its node is gone."""


@dataclass
class _Asking:
    """A step under way. values: what is known by now of each call."""

    step: Step
    number: int
    tries: int = 1
    values: list[Value] | None = None
    is_over: bool = False

    @property
    def tokens(self) -> list[bytes]:
        places = [0] * self.step.size if self.step.is_script else range(self.step.size)
        return [b"redis%d.%d" % (self.number, place) for place in places]

    @property
    def is_open(self) -> bool:
        """Whether it is to be asked for again. Scripts that have done something are, once."""
        values = self.values or [UNKNOWN]
        if self.step.is_script and self.tries == 1 and None not in values:
            return True
        return not all(map(is_known, values))

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

    def goes_on(self, committed: Kept) -> None:
        """In another cluster, which has done what was committed, and perhaps more."""
        values = self.values or [UNKNOWN] * self.step.size
        done = [token in committed.tokens for token in self.tokens]
        self.values = [value if was else UNKNOWN for value, was in zip(values, done, strict=True)]
        self.tries = 1


def _stays(value: Value) -> bool:
    return is_known(value) and value is not NIL_ARRAY


def _from(step: Step, script: Script) -> Script:
    """The script that was to ask for this step next."""
    values = yield step
    with suppress(StopIteration):
        while True:
            values = yield script.send(values)


@dataclass(eq=False)
class _Client:
    """One of them: with a step under way, or soon to go on with what is known of the last one.

    watched: revisions that it was told of last. before: the same, in the cluster before.
    is_late: it has no other script after this one.
    """

    script: Script
    asking: _Asking | None = None
    values: list[Value] | None = None
    is_late: bool = False
    watched: dict[bytes, int] = field(default_factory=dict)
    before: dict[bytes, int] = field(default_factory=dict)


def _part(scripts: Scripts, source: bytes, count: bytes, *rest: bytes) -> ScriptCall:
    """One call of a script, as EVAL has it."""
    script = scripts.load(source)
    assert not isinstance(script, Failure), script
    return ScriptCall(script, rest[: int(count)], rest[int(count) :])


class RedisClients:
    """All Redis clients of one run."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self._last = 0
        self.audit, self._ledger = RedisAudit(world), Ledger(world)
        self._asks = Asks(self._ledger, world.chance)
        self._clients: list[_Client] = []
        self._come: list[_Client] = []  # from the cluster before, and have not begun yet
        self._committed = self._kept = Kept({})  # of what was asked for there

    def begin(self) -> None:
        """One client more: a new one, or one who was there in the cluster before.

        Then also one who comes with what that one has watched there, and had done with it already.
        """
        if not self._come:
            self._clients.append(_Client(self._asks.next()))
            self._go_on(self._clients[-1])
            return
        client = self._come.pop()
        self._clients.append(client)
        late = dict(client.before)
        if late:
            self._resume(_Client(self._asks.exec_as_watched(late), is_late=True, before=late))
        self._resume(client)

    def _resume(self, client: _Client) -> None:
        """As soon as somebody could answer."""
        world, asking = self._world, client.asking
        leads = any(m.alive and m.is_leader for m in world.members.values())
        if not leads and world.schedule.now_s < world.profile.heal_at_s:
            world.schedule.after(RESUME_S, self._resume, client)
        elif asking is None:
            self._go_on(client)
        elif asking.step.is_once:
            world.count["numbered, and asked again"] += 1
            self._try(client, asking)
        else:
            self._answered(client, asking, asking.tries, None)

    def goes_on(self, before: RedisClients, committed: Kept, kept: Kept) -> None:
        """With their clients, in a cluster that begins with what is kept.

        committed: what of that was committed. The clients begin anew if there is no money yet.
        """
        self._last, self._ledger, self._asks = before._last, before._ledger, before._asks
        self._committed, self._kept = committed, kept
        self._ledger.goes_on(self._world, committed, kept)
        if not self._ledger.is_opened:
            return
        self.audit.begins_opened()
        self._come = before._clients
        for client in self._come:
            client.before = client.watched
            if client.asking is not None:
                client.asking.goes_on(committed)

    def look(self, member: Any) -> None:
        """One GET of this node."""
        count = self._ledger.counts["string"]
        looked, (_, call) = count.look(), COUNTERS["string"]

        def done(values: list[Value]) -> None:
            if is_known(values[0]):
                count.seen(looked, int(values[0] or 0))

        member.later(0, member.redis.get, call[1:], done)

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
        self._ledger.judge(members[0].machine)

    def end(self, committed: Kept) -> None:
        """The cluster has ended: what everybody was told counts, by all that was committed."""
        for client in self._clients:
            if client.asking is None:
                step, client.values = self._next_step(client), None
                client.script = self._asks.next() if step is None else _from(step, client.script)
        self._ledger.judge(committed.machine)

    def _begin_anew(self, client: _Client) -> None:
        """The next script, some time after the last one."""
        is_quiet = self._world.schedule.now_s >= self._world.profile.quiet_from_s
        if not is_quiet and not client.is_late:
            client.script, client.values, client.before = self._asks.next(), None, {}
            self._go_on(client)

    def _go_on(self, client: _Client) -> None:
        step = self._next_step(client)
        if step is None:
            self._after_a_while(self._begin_anew, client)
        else:
            self._last += 1
            client.asking = _Asking(step, self._last)
            self._try(client, client.asking)

    def _next_step(self, client: _Client) -> Step | None:
        """What its script asks for, by what it was told; None if it is over."""
        script, values = client.script, client.values
        try:
            return next(script) if values is None else script.send(values)
        except StopIteration:
            return None

    def _after_a_while(self, act: Any, *args: Any) -> None:
        gap_s = self._chance.expovariate(1 / self._world.profile.redis_gap_s)
        self._world.schedule.after(gap_s, act, *args)

    def _try(self, client: _Client, asking: _Asking) -> None:
        world = self._world
        awake = [m for m in world.members.values() if m.alive]
        if awake:
            member = self._chance.choice(awake)
            member.later(0, self._ask, member, client, asking, asking.tries)
        world.schedule.after(PATIENCE_S, self._answered, client, asking, asking.tries, None)

    def _ask(self, member: Any, client: _Client, asking: _Asking, number: int) -> None:
        step, redis = asking.step, member.redis
        tokens = asking.tokens if step.is_once else None

        def done(found: Any) -> None:
            values = found if isinstance(found, list) else [found] * step.size
            self._answered(client, asking, number, values)

        if step.is_script:
            once = None if tokens is None else once_of(tokens[0], step.calls, atomic=True)
            parts = [_part(member.scripts, *call) for call in step.calls]
            member.scripts.run(Act(parts, done, once=once))
        elif step.is_watch:
            redis.revisions(step.calls, done)
        elif step.watched is None and tokens is None and all(c[0] == b"GET" for c in step.calls):
            redis.get([key for _, key in step.calls], done)
        elif step.watched is None:
            redis.run(step.calls, done, tokens=tokens)
        else:
            token = b"" if tokens is None else tokens[0]
            redis.transact(step.calls, step.watched, lambda value: done([value]), token)

    def _answered(
        self, client: _Client, asking: _Asking, number: int, values: list[Value] | None
    ) -> None:
        """The answer to a try; None: there was none in time."""
        if asking is not client.asking or asking.tries != number:
            return  # late: it was tried again, or is over
        world, step = self._world, asking.step
        if not asking.learn(values):
            world.fail("a replay was answered otherwise", f"{step}: {asking.values}, {values}")
        assert asking.values is not None
        world.note("redis {0} {1}: {2}", asking.number, step, asking.values)
        if "ERR internal" in str(asking.values):
            world.fail("a mistake of the server", f"{step}: {asking.values}")
        if step.is_once and asking.tries < TRIES_MAX and asking.is_open:
            world.count["retries"] += 1
            asking.tries += 1  # whatever else answers this try is late
            world.schedule.after(self._chance.uniform(0, RETRY_S_MAX), self._try, client, asking)
            return
        self._note_watch(client, asking, asking.values)
        client.asking, client.values = None, asking.values
        self._after_a_while(self._go_on, client)

    def _note_watch(self, client: _Client, asking: _Asking, values: list[Value]) -> None:
        step = asking.step
        if step.is_watch:
            told = zip(step.calls, values, strict=True)
            client.watched = {key: revision for key, revision in told if isinstance(revision, int)}
            client.before = {}
        elif step.watched and step.watched.items() <= client.before.items():
            is_replay = asking.tokens[0] in self._kept.tokens
            self._check_watch(step, values[0], is_replay=is_replay)

    def _check_watch(self, step: Step, value: Value, *, is_replay: bool) -> None:
        """What was watched in the cluster before is what this one begins with, or EXEC fails.

        What was told of a lost write may be true of one that was not committed, and is kept. Below
        0 it is the revision at which the key was absent.
        """
        count, machine, watched = self._world.count, self._kept.machine, step.watched or {}
        lost = [key for key, at in watched.items() if machine.revision_of(key) != max(0, at)]
        count["watched, and lost"] += bool(lost) and value is NIL_ARRAY
        if isinstance(value, list) and not is_replay:
            is_right = max(watched.values()) <= self._committed.machine.revision
            count["watched, and kept" if is_right else "watched, and another"] += 1
            if lost:
                self._world.fail("what was watched is lost, and EXEC was done", f"{lost}: {step}")
