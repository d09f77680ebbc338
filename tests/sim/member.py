"""One node of the cluster: the real parts on simulated ground, through any number of lives."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from raftcache.command import versions
from raftcache.command.codec import decode
from raftcache.command.limits import VALUE_SIZE_BYTES_MAX
from raftcache.command.words import Command, Increment, Once, Put
from raftcache.config import Storage, Timing
from raftcache.errors import BadConfig, Fatal, RaftcacheError
from raftcache.raft import frames, members, stock
from raftcache.raft.assembly import Restored, assemble, restore
from raftcache.raft.datadir import SNAPSHOTS_FOLDER, Identity, open_data_dir, refuse_fenced
from raftcache.raft.engine import REGULAR, STAMP_SIZE_BYTES, SyncObj
from raftcache.raft.engine.membership import ChangeDone
from raftcache.raft.log import Log
from raftcache.raft.members import NOBODY, Change, Configuration
from raftcache.raft.replica import Replica
from raftcache.service.kv import KvService
from raftcache.service.redis import RedisService
from raftcache.service.scripting.acts import Player
from raftcache.service.scripting.scripts import Scripts
from tests.sim import editions, keeping
from tests.sim.lane import SimLane
from tests.sim.network import Greeting, Message, SimLinks
from tests.sim.schedule import DriftingClock
from tests.sim.verdicts import is_of_its_age, is_of_the_disk
from tests.sim.watched import Durable, WatchedMachine, WatchedWal
from tests.support.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from tests.sim.world import World

TIMING = Timing(request_timeout_s=2.0)
TRANSFER_TIMEOUT_S = 1.0
ELEMENT_SIZE_BYTES_MAX = 1000
"""Of what Redis clients write: tiny, so that the limit is met."""


class _Timer:
    """A call that has not happened yet."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Unready(Exception):
    """A node cannot start now."""


class Host:
    """What a node stands on, whatever runs there: its clock, its links, its life and death."""

    def __init__(self, world: World, name: str, clock: DriftingClock) -> None:
        self.world, self.name, self.clock = world, name, clock
        self.life = self.incarnation = 0
        self.alive = False
        self.paused_until_s = 0.0
        self.is_put_back = False
        """What is on its disk is an older copy of it."""
        self.data_id = f"{name}-data"
        """Of what is on its disk, or was before its disk was lost."""
        self.commands_version = versions.COMMANDS_FIRST
        self.disk = self.empty_disk()
        self.links = SimLinks(world.network, name)
        clock.stalls, clock.stall_chance = world.chance.random, world.profile.stall_chance
        clock.on_stall = self._stall

    def empty_disk(self) -> MemoryDisk:
        profile = self.world.profile
        return MemoryDisk(profile.disk_segments * profile.segment_size_bytes)

    @property
    def keeps_half_a_snapshot(self) -> bool:
        """In memory, and on its disk; the rest may never come."""
        return self.disk.exists(f"{SNAPSHOTS_FOLDER}/received.tmp")

    # -- the loop it is given (see ports.Loop) -----------------------------------------------------

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.later(0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> _Timer:
        timer = _Timer()
        self.later(delay / self.clock.rate, lambda: timer.cancelled or callback(*args))
        return timer

    def later(self, delay_s: float, act: Callable[..., object], *args: Any) -> None:
        """Let this life of the node do something; in order, and not while it is paused."""
        self.world.schedule.after(delay_s, self._do, self.life, act, args)

    def _do(self, life: int, act: Callable[..., object], args: tuple[Any, ...]) -> None:
        if life != self.life or not self.alive:
            return
        world = self.world
        if self.paused_until_s > world.schedule.now_s:
            world.schedule.at(self.paused_until_s, self._do, life, act, args)
            return
        self.clock.ahead_s = 0.0
        self.enter()
        try:
            act(*args)
        except Exception as error:
            world.fail_by(self, error)
            return
        self.leave()
        world.checker.check(self)

    def _stall(self) -> None:
        """Time passes in the middle of a step: what the node reads from now on is later."""
        self.clock.ahead_s += self.world.chance.uniform(0.01, 1)
        self.pause(self.clock.ahead_s)
        self.world.count["stalls"] += 1

    def enter(self) -> None:
        """The engines of all nodes share one module: what it reads is this node's now."""

    def leave(self) -> None:
        """A step is over."""

    # -- links -----------------------------------------------------------------------------------

    def receive(self, sender: str, epoch: int, message: Message) -> None:
        self.later(0, self._receive, sender, epoch, message)

    def _receive(self, sender: str, epoch: int, message: Message) -> None:
        self.world.note("{0} > {1} {2}", sender, self.name, message)
        if self.links.receive(sender, epoch, message):
            if self.world.network.hosts[sender].world is not self.world:
                self.world.fail("heard a node of another cluster", f"{self.name}: {message}")
            self.heed()

    def link_up(self, hello: Greeting, epoch: int) -> None:
        """Known at once, so that no two links between the same nodes can overlap."""
        self.links.epochs[hello.member.name] = epoch
        self.later(0, self._link_up, hello, epoch)

    def _link_up(self, hello: Greeting, epoch: int) -> None:
        if self.links.epochs.get(hello.member.name) == epoch:
            self.links.up(hello._replace(member=editions.heard_by(self, hello.member)))
            self.wake()

    def link_down(self, peer: str, epoch: int) -> None:
        self.later(0, self._link_down, peer, epoch)

    def _link_down(self, peer: str, epoch: int) -> None:
        if self.links.epochs.get(peer, epoch) < epoch:
            self.links.down(peer)
            self.wake()

    def peer_gone(self, peer: str) -> None:
        """Nobody listens where it was."""
        self.later(0, self._peer_gone, peer)

    def _peer_gone(self, peer: str) -> None:
        if peer not in self.links.epochs:
            self.world.note("{0} finds nobody at {1}", self.name, peer)
            self.links.gone(self.world.network.nodes[peer])
            self.wake()

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life, if what is on the disk allows it."""
        assert not self.alive
        self._take_its_address()
        self.life += 1
        self.paused_until_s = self.clock.ahead_s = 0.0
        self.links = SimLinks(self.world.network, self.name)
        self.alive = True
        self.enter()
        try:
            self.boot()
        except Unready as why:
            self.world.note("{0} cannot start: {1}", self.name, why)
            self.alive = False
            self.leave()
            return
        except Exception as error:
            self.world.fail_by(self, error)
            return
        self.world.note("{0} starts its life {1}", self.name, self.life)
        self.links.started = True
        self.leave()
        self.world.network.dial_all(self.name)

    def _take_its_address(self) -> None:
        """Whoever had it, a node of another cluster, has ended, or does so now."""
        hosts = self.world.network.hosts
        if hosts[self.name] is not self:
            hosts[self.name].crash()
            hosts[self.name] = self

    def crash(self) -> None:
        if self.alive:
            self.world.note("{0} crashes", self.name)
            self.alive = False
            self.lose()
            self.links.epochs.clear()
            self.world.network.cut_all(self.name)

    def pause(self, seconds: float) -> None:
        self.paused_until_s = max(self.paused_until_s, self.world.schedule.now_s + seconds)

    # -- what a kind of node does ----------------------------------------------------------------

    expelled = ""
    """Why it is out of the cluster, as far as it knows."""

    def boot(self) -> None:
        """Raises Unready."""

    def lose(self) -> None: ...
    def wake(self) -> None: ...

    def heed(self) -> None:
        """A message came."""
        self.wake()

    def on_wire(self, message: Message) -> Message:
        """What arrives when this is sent."""
        return message


class Member(Host):
    """A node as node.py puts it together."""

    engine: SyncObj
    replica: Replica
    log: Log
    machine: WatchedMachine
    redis: RedisService
    scripts: Scripts

    def __init__(self, world: World, name: str, clock: DriftingClock) -> None:
        super().__init__(world, name, clock)
        self.durable = Durable()
        self.commands_version = editions.begins_with(self)
        self.first: Configuration = world.bootstrap
        """What it was started with; NOBODY if it joins, and was not told yet."""
        self.joins = self.must_join = False
        self.data_number = 1
        self._lost: dict[str, Durable] = {}  # data id -> what it held, until its disk was lost
        self._lanes: list[SimLane] = []

    @property
    def storage(self) -> Storage:
        """As the run has it by now: a story may have changed it."""
        p = self.world.profile
        return Storage(
            segment_size_bytes=p.segment_size_bytes,
            snapshot_entries=p.snapshot_entries,
            snapshot_log_size_bytes=1 << 20,
            trailing_entries=p.trailing_entries,
        )

    def boot(self) -> None:
        world = self.world
        try:
            refuse_fenced(self.disk)
            identity = open_data_dir(self.disk, self.name, world.cluster_id, self.data_id)
            self.machine = WatchedMachine(self)
            restored = restore(self.disk, self.machine, self.storage)
        except (OSError, Fatal) as error:
            self._give_up(error)
        assert identity.incarnation > self.incarnation or self.is_put_back
        assert identity.member_id == self.data_id
        self.incarnation = identity.incarnation
        if not self.is_put_back:  # else it counts as what it held until somebody notices
            self.durable.recovered(restored.log, restored.applied_index)
        self.must_join = self.first is NOBODY and not restored.knows_members
        if self.must_join:
            self.disk.kill()
            raise Unready("it has to ask again who the members are")
        try:
            self._assemble(restored, identity)
        except BadConfig as error:
            self._give_up(error)
        world.checker.started(self)
        world.checker.check(self)  # the whole log, before any of it is forgotten
        if self.joins:  # the next process has to find it on its disk, or to ask again
            self.first = NOBODY
        self.replica.start()

    def _give_up(self, error: Exception) -> NoReturn:
        """At its start: the process ends, which is right if the disk failed it, or it is too old.

        Then whoever looks after it has read why, and starts the newer one the next time.
        """
        if is_of_its_age(error):
            self.upgrade()
        elif not (is_of_the_disk(error) or self.is_put_back):
            raise error
        self.disk.kill()
        raise Unready(f"{error}")

    def wipe(self, joins: bool) -> None:
        """While it is down: the disk is replaced by an empty one; what it held is lost.

        joins: it will ask to be added; otherwise it is started as it was the first time.
        """
        assert not self.alive
        self._lost[self.data_id] = self.durable
        self.begin_data(self.data_number + 1)
        self.disk, self.durable, self.incarnation = self.empty_disk(), Durable(), 0
        self.is_put_back = False
        self.joins = joins
        self.first = NOBODY if joins else self.world.bootstrap

    def copied(self) -> MemoryDisk:
        """Its disk as it is now, as if the power failed at this moment."""
        disk = copy.deepcopy(self.disk)
        disk.crash(self.world.chance)
        return disk

    def put_back(self, disk: MemoryDisk) -> None:
        """While it is down: what was copied earlier takes the place of what it has."""
        assert not self.alive
        self.disk, self.is_put_back = disk, True

    def begin_data(self, number: int) -> str:
        """What will be on its disk has this id."""
        self.data_number, self.data_id = number, f"{self.name}-data{number}"
        return self.data_id

    def upgrade(self, version: int = 0) -> None:
        """From its next life on it is of this version, or the newer one."""
        self.commands_version = version or self.world.profile.upgrades_to
        self.world.count["upgrades"] += 1
        self.world.note("{0} is upgraded", self.name)

    def _assemble(self, restored: Restored, identity: Identity) -> None:
        assert restored.wal is not None
        self._lanes = [SimLane(self), SimLane(self)]
        self.replica, time = assemble(
            dataclasses.replace(restored, wal=WatchedWal(restored.wal, self.durable)),
            identity,
            self.first,
            self.world.network.record(self.name),
            self.machine,
            self.links,
            TIMING,
            self.storage,
            10_000,
            1 << 30,
            clock=self.clock,
            dice=self.world.dice,
            loop=self,
            log_lane=self._lanes[0],
            bulk_lane=self._lanes[1],
            release=lambda: None,
            on_fatal=self._stops_itself,
        )
        self.log, self.engine = restored.log, self.replica._engine
        loop: Any = self
        self._kv = KvService(self.replica, self.machine, time, VALUE_SIZE_BYTES_MAX, 10_000)
        self.redis = RedisService(
            self._kv, self.machine, self.world.dice, loop, ELEMENT_SIZE_BYTES_MAX, {}
        )
        self.scripts = Scripts(
            self._kv,
            self.machine,
            self.world.dice,
            loop,
            ELEMENT_SIZE_BYTES_MAX,
            Player(lambda call: 0, self._kv, lambda: 0.0),
            gathers=True,
        )

    def _stops_itself(self, error: Exception) -> None:
        if is_of_the_disk(error):
            self.world.nemesis.disk_failed(self.name)
        elif is_of_its_age(error):
            self.world.nemesis.too_old(self.name)
        else:
            self.world.fail_by(self, error)

    @property
    def expelled(self) -> str:
        return self.replica.expelled if self.alive else ""

    def lose(self) -> None:
        for lane in self._lanes:
            lane.crash()
        if self.world.chance.random() < 0.7:
            self.disk.crash(self.world.chance)
        else:
            self.disk.kill()

    def enter(self) -> None:
        stock.play(self.clock, self.world.dice)
        editions.play(self)

    def leave(self) -> None:
        editions.stop()

    def wake(self) -> None:
        self.replica.wake_for_all()

    def heed(self) -> None:
        self.replica.heed()

    def on_wire(self, message: Message) -> Message:
        if not self.world.profile.encode_frames:
            return message
        return frames.decode(frames.encode(message)[frames.HEADER_SIZE_BYTES :])

    # -- what clients do -------------------------------------------------------------------------

    def propose(self, uid: int, ended: Callable[[str, str], None]) -> None:
        """ended(outcome, why) with one of acknowledged, refused, unknown."""
        number = b"%d" % uid
        key = b"key%d" % (uid % 7)
        command: Command = Put(key, number, ttl_ms=500 if uid % 5 == 0 else None)
        if uid % 3 == 0:
            command = Increment(key, uid, once=Once(number, number.rjust(16)))
        newer = self._perhaps_newer()
        if newer:
            command = editions.new_command(key, Once(number, number.rjust(16)))

        def done(outcome: object) -> None:
            if not isinstance(outcome, RaftcacheError):
                self.world.count["newer commands"] += newer
                ended("acknowledged", "")
            else:
                self.world.count["newer commands refused"] += newer and outcome.definite
                ended("refused" if outcome.definite else "unknown", outcome.detail)

        self._kv.write(command, done)
        if self.world.profile.keeps:
            keeping.keep(self)

    def _perhaps_newer(self) -> bool:
        profile = self.world.profile
        if not profile.upgrade_rate or profile.upgrades_to < editions.NEWER:
            return False
        return self.world.chance.random() < editions.NEW_KIND_CHANCE

    def submit(self, command: Command, done: Callable[[object], None]) -> None:
        self._kv.write(command, done)

    def value_of(self, key: bytes) -> int:
        """A register, as of what is applied here; 0 if it is not there."""
        item = self.machine.get(key)
        return 0 if item is None else int(item.value)

    def read(self, ready: Callable[[int | None], None]) -> None:
        self.replica.read_index(ready)

    def holds_lease(self) -> bool:
        return self.replica.holds_lease()

    def transfer(self, to: str | None) -> None:
        self.replica.transfer(to, TRANSFER_TIMEOUT_S)

    def change(self, change: Change, done: ChangeDone) -> None:
        self.replica.change_members(change, done)

    # -- what the checker looks at ---------------------------------------------------------------

    @property
    def term(self) -> int:
        return int(self.engine.raftCurrentTerm)

    @property
    def is_leader(self) -> bool:
        return self.engine.is_leader

    @property
    def commit_index(self) -> int:
        return int(self.engine.raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self.engine.raftLastApplied)

    @property
    def entries(self) -> Sequence[tuple[bytes, int, int]]:
        return self.log

    @property
    def configuration(self) -> Configuration:
        return self.engine.configuration

    @property
    def match_indexes(self) -> dict[str, int]:
        return self.engine.match_indexes

    def holds_durably(self, index: int, term: int, data_id: str = "") -> bool:
        """As this data; lost data held, and rightly acknowledged, what it held."""
        return self._lost.get(data_id, self.durable).holds(index, term)

    @staticmethod
    def configuration_of(command: bytes) -> Configuration | None:
        """What an entry says of the members, if it does."""
        return members.decode(command)

    @staticmethod
    def uids_of(command: bytes) -> Iterable[int]:
        """Which proposals an entry holds, apart from those of sessions, who try again."""
        if command[:1] != REGULAR:
            return ()
        commands = [c for c in decode(command[1 + STAMP_SIZE_BYTES :]) if keeping.is_counted(c)]
        return [int(c.value if isinstance(c, Put) else c.once.token) for c in commands]

    @staticmethod
    def version_needed_by(command: bytes) -> int:
        """What a node must know to apply an entry."""
        if command[:1] != REGULAR:
            return versions.COMMANDS_FIRST
        return editions.needed_by(command[1 + STAMP_SIZE_BYTES :])

    @staticmethod
    def stamp_ms_of(command: bytes) -> int:
        regular = command[:1] == REGULAR
        return int.from_bytes(command[1 : 1 + STAMP_SIZE_BYTES], "little") if regular else 0

    @property
    def digest(self) -> int:
        return self.machine.digest
