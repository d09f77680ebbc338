"""One run of one seed: a cluster, its clients, its faults, and the verdict."""

from __future__ import annotations

import random
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from unittest import mock

from raftcache.ports import Disk
from raftcache.raft import backlog, compaction, log, room, shipping, window
from raftcache.raft.engine import applying, replication
from raftcache.raft.entries import Entry
from raftcache.raft.members import bootstrap
from raftcache.raft.places import Stretch
from raftcache.state import clients, tombstones
from tests.sim import editions, numbered
from tests.sim import profile as profiles
from tests.sim.checker import Checker
from tests.sim.clients import Clients
from tests.sim.ending import Ending
from tests.sim.member import Host, Member
from tests.sim.nemesis import Nemesis
from tests.sim.network import Message, Network
from tests.sim.numbered import NumberedClients
from tests.sim.operators import Operators
from tests.sim.profile import Profile
from tests.sim.redis_clients import SWEPT_AFTER_S, RedisClients
from tests.sim.saving import Savings
from tests.sim.schedule import DriftingClock, Schedule, SeededDice
from tests.sim.sessions import Sessions
from tests.sim.store import Store
from tests.sim.verdicts import kind_of

READ_BACK: Final = backlog.read_back

Tell: TypeAlias = Callable[[str], None]
"""Takes the trace, line by line."""

STEPS_MAX = 1_000_000
TOMBSTONES = 256
FIRST_REQUEST_S = 1.0
WALL_MS = 1_700_000_000_000


def chance_of(seed: int) -> random.Random:
    """All that is random in a run; the first that is drawn is its profile."""
    return random.Random(f"simulation {seed}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was violated first, and where."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended; verdict None: everything held."""

    seed: int
    size: int
    verdict: Verdict | None
    count: Counter[str]
    virtual_s: float
    trace: int
    """A checksum over everything that happened."""


class World:
    """Everything in one run; the parts find each other through it."""

    cluster_id = "simulated"
    is_over = False
    """Another world has come after it; what is left of this one is judged by what was."""

    def __init__(
        self,
        seed: int,
        profile: str | Profile,
        make: type[Host] = Member,
        tell: Tell | None = None,
        before: World | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """before: the world that this one comes after, in the same time and with the same dice.

        names: who is there from the beginning, if not the first ones.
        """
        self.chance = chance_of(seed) if before is None else before.chance
        self.dice = SeededDice(self.chance)
        self.seed, self._tell = seed, tell if before is None else before._tell
        drawn = (
            profiles.of_seed(seed, profile, self.chance) if isinstance(profile, str) else profile
        )
        self.profile = drawn
        self.schedule = Schedule() if before is None else before.schedule
        self.count: Counter[str] = Counter() if before is None else before.count
        self.faulty = True
        self.revision_reached = 0
        """No node of this world has come to a higher one, and no client was told of one."""
        self.revision_before = 0
        """The same, of the world before."""
        self.verdict: Verdict | None = None
        self.trace = 0 if before is None else before.trace
        pool = [f"n{i + 1}" for i in range(max(drawn.size, drawn.pool))]
        self.names = list(names) or pool[: drawn.size]
        """Who is there from the beginning."""
        self.late: set[str] = set()
        """Those of them that somebody else starts."""
        self.ending = Ending()
        self.bootstrap = bootstrap({name: f"{name}:7500" for name in self.names})
        self.network = Network(self, pool)
        self.checker, self.clients = Checker(self), Clients(self)
        self.sessions, self.store, self.redis = Sessions(self), Store(self), RedisClients(self)
        self.numbered = NumberedClients(self)
        self.nemesis, self.operators = Nemesis(self), Operators(self)
        self.savings = Savings(self) if drawn.ends == "restore" else None
        self.members: dict[str, Any] = {n: make(self, n, self._clock()) for n in pool}
        self.network.hosts |= self.members

    def _clock(self) -> DriftingClock:
        drift, chance = self.profile.drift, self.chance
        jump_ms = self.profile.wall_jump_ms
        wall_ms = WALL_MS + chance.randint(-jump_ms, jump_ms)
        rate = chance.uniform(1 - drift, 1 + drift)
        return DriftingClock(self.schedule, rate, chance.uniform(0, 1000), wall_ms)

    def run(self) -> Result:
        """Play it to the end, or to the first violation, and judge it."""
        self.play()
        if self.verdict is None:
            self.judge()
        virtual_s = self.schedule.now_s
        return Result(self.seed, len(self.names), self.verdict, self.count, virtual_s, self.trace)

    def judge(self) -> None:
        """How it has ended."""
        self._check_liveness()
        self.sessions.judge()
        if self.profile.store:
            self.store.judge()
        if self.profile.redis and self.verdict is None:
            self.redis.judge()
        if self.profile.numbered and self.verdict is None:
            self.numbered.judge()

    def play(self) -> None:
        """Let it happen."""
        self.note("{0}", self.profile)
        with self._small_limits():
            for name in self.names:
                if name not in self.late:
                    self.members[name].start()
            self.schedule.at(FIRST_REQUEST_S, self.clients.begin)
            for _ in range(self.profile.sessions):
                self.schedule.at(FIRST_REQUEST_S, self.sessions.begin)
            for _ in range(self.profile.store):
                self.schedule.at(FIRST_REQUEST_S, self.store.begin)
            for _ in range(self.profile.redis):
                self.schedule.at(FIRST_REQUEST_S, self.redis.begin)
            for _ in range(self.profile.numbered):
                self.schedule.at(FIRST_REQUEST_S, self.numbered.begin)
            for after_s in SWEPT_AFTER_S if self.profile.redis else ():
                self.schedule.at(self.profile.quiet_from_s + after_s, self.redis.sweep)
            self.schedule.at(0.5, self.nemesis.strike)
            self.schedule.at(self.profile.heal_at_s, self.nemesis.heal)
            if self.profile.change_rate:
                self.schedule.at(1.0, self.operators.act)
            if self.profile.late_crash:
                self.schedule.at(self.profile.quiet_from_s + 1, self.nemesis.crash_late)
            if not self.schedule.run(self.profile.duration_s, STEPS_MAX):
                self.fail("runaway", f"{STEPS_MAX} steps")

    @staticmethod
    def small_state() -> AbstractContextManager[object]:
        """Images are small while this lasts: what their parts have at least would be most of it."""
        return mock.patch.object(tombstones, "PLACES", TOMBSTONES)

    @contextmanager
    def _small_limits(self) -> Iterator[None]:
        p = self.profile
        with (
            editions.played() if p.upgrade_rate else nullcontext(),
            self.small_state(),
            mock.patch.multiple(clients, **numbered.LIMITS) if p.numbered else nullcontext(),
            mock.patch.object(replication, "APPEND_SIZE_BYTES_MAX", p.append_size_bytes),
            mock.patch.object(applying, "APPLY_SIZE_BYTES_MAX", p.apply_size_bytes),
            mock.patch.object(window, "WINDOW_MESSAGES_MAX", p.window_messages),
            mock.patch.object(shipping, "CHUNK_SIZE_BYTES", p.chunk_size_bytes),
            mock.patch.object(log, "TAIL_SIZE_BYTES_MAX", p.tail_size_bytes),
            mock.patch.object(backlog, "READ_SIZE_BYTES", p.chunk_size_bytes),
            mock.patch.object(backlog, "read_back", self._reads_back),
            self._hasty() if p.disk_segments else nullcontext(),
        ):
            yield

    @staticmethod
    @contextmanager
    def _hasty() -> Iterator[None]:
        """Where room is scarce, it is looked for all the time."""
        with (
            mock.patch.object(room, "LOOK_S", 0.1),
            mock.patch.object(room, "SNAPSHOT_AGAIN_S", 1.0),
            mock.patch.object(compaction, "ROOM_AGAIN_S", 1.0),
        ):
            yield

    def _reads_back(self, disk: Disk, stretch: Stretch, index: int) -> list[Entry]:
        self.count["read back"] += 1
        return READ_BACK(disk, stretch, index)

    # -- what happened -----------------------------------------------------------------------------

    def note(self, text: str, *args: object) -> None:
        """One line of the trace."""
        line = f"{self.schedule.now_s:.6f} " + text.format(*args)
        self.trace = zlib.crc32(line.encode(), self.trace)
        if self._tell is not None:
            self._tell(line)

    def given(self, member: Host, before: int, after: int) -> None:
        """A node applied what took all revisions between the two; its tokens are among these."""
        self.revision_reached = max(self.revision_reached, after)
        if before < min(after, self.revision_before):
            detail = f"{before + 1} at {member.name}, {self.revision_before} was before"
            self.fail("a revision of what was lost is given again", detail)

    def doubled(self, name: str, why: str, hello: Message) -> None:
        """A node was told that its data must not be used any more."""
        self.note("{0} is refused: {1}, of {2}", name, why, hello)
        self.count["told of a copy"] += 1
        if not self.members[name].is_put_back:
            self.fail("told of a copy that there is not", f"{name}: {why}")

    def fail(self, kind: str, detail: str) -> None:
        """Something did not hold; the first time counts."""
        if self.verdict is None:
            self.note("VIOLATION {0}: {1}", kind, detail)
            self.verdict = Verdict(kind, f"{detail}, at {self.schedule.now_s:.3f} s")
            self.schedule.over = True

    def fail_by(self, member: Host, error: Exception) -> None:
        """A node stopped itself, or its code broke."""
        lines = "".join(traceback.format_exception(error)[-6:])
        self.fail(kind_of(error), f"{member.name}: {error}\n{lines}")

    def _lost_a_majority(self) -> bool:
        """Whether a configuration counts somewhere that too few of its voters' data are left for.

        A change that was asked for at the moment when a disk was lost may leave that one without a
        majority of what it changed to, and no other one with a majority of what was before.
        """
        data = {m.name: m.data_id for m in self.members.values()}
        counting = [m.configuration for m in self.members.values() if m.alive and not m.expelled]
        return any(
            not c.is_majority(frozenset(m.name for m in c.members if m.id in ("", data[m.name])))
            for c in counting
            if c.version > 0
        )

    def _check_liveness(self) -> None:
        """After the healing: one leader, equal replicas, and an end to every call."""
        belonging = self.checker.configuration.members
        members = [self.members[m.name] for m in belonging]
        serving = [m for m in self.members.values() if m.alive and not m.expelled]
        leaders = [m.name for m in serving if m.is_leader]
        last = self.checker.last_committed
        state = f"leaders {leaders}, {self._progress()}, last committed {last}"
        away = [m.name for m in members if not m.alive or m.expelled]
        stray = [m for m in self.members.values() if m not in members and m.alive]
        if self.profile.pool and self._lost_a_majority():
            self.count["majorities lost"] += 1
        elif away:
            self.fail("liveness: a member is away", f"{away}; {state}")
        elif len(leaders) != 1:
            self.fail("liveness: not one leader", state)
        elif any(m.applied_index != last for m in members):
            self.fail("liveness: not converged", state)
        elif half := [m.name for m in members if m.keeps_half_a_snapshot]:
            self.fail("liveness: half a snapshot is kept", f"{half}; {state}")
        elif len({m.digest for m in members}) != 1:
            self.fail("liveness: digests differ", state)
        elif self.clients.acknowledged_at_s < self.profile.heal_at_s + 0.5:
            self.fail("liveness: no progress after the healing", state)
        elif waiting := self.clients.still_waiting + self.operators.still_waiting:
            self.fail("liveness: a call never ended", f"{waiting[:5]}; {state}")
        elif unknown := self._unknown_addresses(self.members[leaders[0]]):
            self.fail("liveness: an address was said, and is not known", f"{unknown}; {state}")
        elif unaware := [m.name for m in stray if not m.expelled]:
            self.fail("liveness: removed, and does not know it", f"{unaware}; {state}")

    def _unknown_addresses(self, leader: Host) -> list[str]:
        """Of members of the newer version, though the leader is of it, too."""
        if not editions.address(leader):
            return []
        said = {name: editions.address(member) for name, member in self.members.items()}
        return [m.name for m in self.checker.configuration.members if m.resp != said[m.name]]

    def _progress(self) -> str:
        members = [m for m in self.members.values() if m.alive]
        indexes = {m.name: (m.term, m.commit_index, m.applied_index) for m in members}
        return f"term and indexes {indexes}, members {self.checker.configuration.members}"
