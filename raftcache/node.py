"""The composition root: makes the parts of one node, starts them in order, stops them in reverse.

Start: lock the data directory, read back the log, load the newest snapshot, make the engine, listen
to the peers, and only then listen to clients. Stop: hand leadership over while peers still hear
us, finish requests in flight, then end the log; so that nobody is refused who could be served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import uvloop

from raftcache.cluster.group import GroupView
from raftcache.cluster.joining import join
from raftcache.cluster.status import NodeStatus
from raftcache.collector import Collector
from raftcache.command import versions
from raftcache.command.limits import VALUE_SIZE_BYTES_MAX
from raftcache.config import Config, Eviction, LogFormat
from raftcache.errors import BadConfig, Fatal
from raftcache.front.http import HttpFront
from raftcache.front.redis import RedisFront
from raftcache.ports import Disk
from raftcache.raft.assembly import assemble, restore
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.datadir import (
    DirectoryLock,
    Identity,
    cluster_id_of,
    open_data_dir,
    read_identity,
    refuse_fenced,
)
from raftcache.raft.greetings import Identity as PeerIdentity
from raftcache.raft.members import NOBODY, Configuration, Member, bootstrap
from raftcache.raft.peer import LinkCounters
from raftcache.raft.replica import Replica
from raftcache.raft.transport import Links
from raftcache.service.eviction.accesses import Accesses
from raftcache.service.eviction.evictor import Evictor
from raftcache.service.eviction.shares import policy_of
from raftcache.service.expiry import Expiry
from raftcache.service.kv import KvService
from raftcache.service.memory import Memory, history_size_bytes_max
from raftcache.state.machine import Machine
from raftcache.system import (
    SystemClock,
    SystemDice,
    SystemDisk,
    ThreadLane,
    configure_logging,
    give_memory_back,
    open_files_max,
)

EXIT_STOPPED: Final = 0
EXIT_BAD_CONFIG: Final = 2
EXIT_FATAL: Final = 70
"""As sysexits.h has it: an internal error; the log's last line says which."""

FILES_SPARED: Final = 160
"""Open files for what is no client: the log, snapshots and backups, links to peers, and who comes
to the Raft port and has not greeted yet."""

logger = logging.getLogger("raftcache.node")


def run(config: Config) -> int:
    """Run one node until SIGTERM or SIGINT; blocking. Returns the exit code of the process."""
    configure_logging(config.log_format is LogFormat.JSON, config.log_level)
    try:
        return uvloop.run(_serve(within_open_files(config)))
    except BadConfig as error:
        logger.error("cannot start", extra={"why": error.detail})
        return EXIT_BAD_CONFIG
    except Fatal as error:
        logger.error("cannot start", extra={"why": error.detail, "error": type(error).__name__})
        return EXIT_FATAL
    except OSError as error:
        logger.error("cannot start", extra={"why": str(error), "error": type(error).__name__})
        return EXIT_FATAL


def within_open_files(config: Config) -> Config:
    """With as many connections as the process may have open, beside what the node itself opens.

    Else clients could take the last one, and the log could not begin its next file: a node that
    cannot write to its log stops. Raises BadConfig if not even one would be left.
    """
    limits, doors = config.limits, 1 if config.resp is None else 2
    wanted = FILES_SPARED + doors * limits.connections_max
    may_open = open_files_max(wanted)
    if may_open >= wanted:
        return config
    fit = (may_open - FILES_SPARED) // doors
    if fit < 1:
        raise BadConfig(
            f"this process may have {may_open} files open (ulimit -n), and a node needs"
            f" {FILES_SPARED} beside one for each connection"
        )
    numbers = {"connections_max": fit, "open_files_max": may_open, "open_files_wanted": wanted}
    logger.warning("fewer connections than --connections-max: see ulimit -n", extra=numbers)
    watchers = max(1, limits.watchers_max * fit // limits.connections_max)
    limits = replace(limits, connections_max=fit, watchers_max=min(limits.watchers_max, watchers))
    return replace(config, limits=limits)


@contextlib.contextmanager
def stopped(data_dir: Path) -> Iterator[Disk]:
    """The disk of a node that does not run, and cannot be started meanwhile; for tools.

    Raises BadConfig if it runs.
    """
    lock = DirectoryLock(data_dir)
    try:
        yield SystemDisk(data_dir)
    finally:
        lock.release()


def disk_of(data_dir: Path) -> Disk:
    """The disk of a node that may run, for those who only read."""
    return SystemDisk(data_dir)


async def _serve(config: Config) -> int:
    node = Node(config)
    loop = asyncio.get_running_loop()
    starting = loop.create_task(node.start())

    def end() -> None:
        node.ask_to_stop()
        starting.cancel()  # nothing, once it has started; who joins may wait for a minute

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        error = await node.wait()
    finally:
        await node.stop()
    return EXIT_STOPPED if error is None else EXIT_FATAL


@dataclass(frozen=True, slots=True)
class _Core:
    """A node below its front doors."""

    identity: Identity
    myself: Member
    machine: Machine
    time: ClusterTime


class Node:
    """One member of one cluster, in one process."""

    def __init__(self, config: Config) -> None:
        assert config.limits.value_size_bytes_max <= VALUE_SIZE_BYTES_MAX
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Exception | None] = self._loop.create_future()
        self._undo = contextlib.AsyncExitStack()  # what start() did, to be undone in reverse
        self._link_counters = LinkCounters()
        self._links: Links
        self._replica: Replica
        self._stopping = False

    def ask_to_stop(self) -> None:
        """Let wait() return; what a signal does."""
        if not self._ended.done():
            self._ended.set_result(None)

    async def wait(self) -> Exception | None:
        """Until the node is asked to stop (None) or must stop (the reason)."""
        return await self._ended

    def _fail(self, error: Exception) -> None:
        logger.critical("the node must stop", extra={"why": str(error)})
        if not self._ended.done():
            self._ended.set_result(error)

    async def start(self) -> None:
        """Everything, in order. If a step fails, stop() undoes those before it."""
        core = await self._start_core()
        expiry = Expiry(
            self._replica, core.machine, core.time, self._loop, self._config.timing.heartbeat_s
        )
        expiry.start()
        self._undo.callback(expiry.stop)
        await self._start_front(core)
        collector = Collector(self._loop)
        collector.start()
        self._undo.callback(collector.stop)
        config = self._config
        doors = {"http": config.http, "resp": config.resp, "raft": config.raft}
        addresses = {door: str(address) for door, address in doors.items() if address is not None}
        cluster = {"cluster": core.identity.cluster_id}
        logger.info("serving", extra={"node": config.name, **addresses, **cluster})

    async def _start_core(self) -> _Core:
        """What is on the disk, and the group that goes on from there."""
        config, disk = self._config, SystemDisk(self._config.data_dir)
        lock = DirectoryLock(config.data_dir)
        self._undo.callback(lock.release)
        refuse_fenced(disk)
        stored = read_identity(disk)
        clock, dice = SystemClock(), SystemDice()
        myself = self._myself(dice.token(8).hex() if stored is None else stored.member_id)
        cluster_id, first = await self._first(myself, stored)
        joins = config.join is not None
        identity = open_data_dir(disk, config.name, cluster_id, myself.id, joins=joins)
        machine = self._machine()
        restored = restore(disk, machine, config.storage)
        if restored.wal is not None:
            self._undo.callback(restored.wal.close)
        if first is None and not restored.knows_members:
            _, first = await join(str(config.join), myself)
        lanes = [ThreadLane("log"), ThreadLane("bulk")]
        for lane in lanes:
            self._undo.callback(lane.close)  # before the log, for it may be writing a block
        self._links = self._link(identity, myself, clock, dice)
        self._replica, time = assemble(
            restored,
            identity,
            first or NOBODY,
            myself,
            machine,
            self._links,
            config.timing,
            config.storage,
            config.limits.writes_pending_max,
            config.limits.pending_size_bytes_max,
            clock=clock,
            dice=dice,
            loop=self._loop,
            log_lane=lanes[0],
            bulk_lane=lanes[1],
            release=give_memory_back,
            on_fatal=self._fail,
        )
        self._replica.poll_for_rounds()
        await self._links.start()
        self._undo.push_async_callback(self._links.stop)
        self._replica.start()
        self._undo.callback(self._replica.stop)
        return _Core(identity, myself, machine, time)

    async def _start_front(self, core: _Core) -> None:
        """The services, and the doors in front of them."""
        config, machine, limits = self._config, core.machine, self._config.limits
        memory, evictor, accesses = self._keep_within_memory(machine)
        note_read = None if accesses is None else accesses.note
        kv = KvService(
            self._replica,
            machine,
            core.time,
            limits.value_size_bytes_max,
            limits.reads_pending_max,
            memory if limits.memory_size_bytes_max else None,
            note_read,
        )
        redis = self._redis_front(core, kv, note_read)
        status = NodeStatus(
            config,
            core.identity.cluster_id,
            self._replica,
            machine,
            self._link_counters,
            memory.view,
            lambda: {**http.gauges(), **evictor.gauges(), **(redis.gauges() if redis else {})},
        )
        http = HttpFront(
            config,
            kv,
            machine,
            self._replica,
            status,
            core.identity.cluster_id,
            SystemClock(),
            self._loop,
            redis.counters if redis else None,
        )
        for front in (http, redis):
            if front is not None:
                await front.start()
                self._undo.push_async_callback(front.stop, config.timing.shutdown_timeout_s)

    def _redis_front(
        self, core: _Core, kv: KvService, note_read: Callable[[bytes], None] | None
    ) -> RedisFront | None:
        """The door for Redis clients, if there is one."""
        config, replica, links = self._config, self._replica, self._links
        if config.resp is None:
            return None
        world = SystemClock(), SystemDice(), self._loop
        cluster_id = core.identity.cluster_id
        group = GroupView(config, cluster_id, core.myself, replica, lambda: links.linked)
        front = RedisFront(config, kv, core.machine, replica, group, links, *world, note_read)
        links.passed_on |= front.passed_on
        return front

    def _machine(self) -> Machine:
        size_bytes_max = self._config.limits.memory_size_bytes_max
        return Machine(history_size_bytes_max(size_bytes_max)) if size_bytes_max else Machine()

    def _keep_within_memory(self, machine: Machine) -> tuple[Memory, Evictor, Accesses | None]:
        """What counts and limits memory; the evictor runs only if there is a limit."""
        limits, replica = self._config.limits, self._replica
        policy = policy_of(limits.eviction)
        accesses = None if policy is None else Accesses()
        memory = Memory(
            machine,
            limits.memory_size_bytes_max,
            limits.eviction,
            0 if policy is None else policy.KEY_COST_BYTES,
            lambda: len(replica.configuration.members),
        )
        report = self._links.pass_on
        evictor = Evictor(memory, machine, replica, policy, accesses, report, self._loop)
        if limits.eviction is not Eviction.NOEVICTION:
            self._links.passed_on["accesses"] = evictor.merge
            evictor.start()
            self._undo.callback(evictor.stop)
        return memory, evictor, accesses

    def _myself(self, member_id: str) -> Member:
        """As this node greets its peers, and asks to join."""
        config = self._config
        raft, http = str(config.raft_advertise), str(config.http_advertise)
        resp = "" if config.resp_advertise is None else str(config.resp_advertise)
        return Member(config.name, member_id, raft, http, False, versions.COMMANDS, resp)

    async def _first(
        self, myself: Member, stored: Identity | None
    ) -> tuple[str | None, Configuration | None]:
        """The cluster's id and its members to begin with; None for what the disk knows."""
        config = self._config
        if config.join is None and stored is not None and stored.joined:
            return None, NOBODY  # whoever leads will find it, and tell it the members
        if config.join is None:
            addresses = {name: str(address) for name, address in config.members.items()}
            origin = "" if stored is None else stored.origin
            return cluster_id_of(config.members, origin), bootstrap(addresses)
        if stored is None:
            return await join(config.join, myself)
        return None, None

    def _link(
        self, identity: Identity, myself: Member, clock: SystemClock, dice: SystemDice
    ) -> Links:
        return Links(
            PeerIdentity(
                myself.name,
                identity.cluster_id,
                identity.incarnation,
                myself.id,
                myself.raft,
                myself.http,
                myself.commands_version,
                myself.resp,
                dice.token(8).hex(),
            ),
            self._config.raft,
            clock=clock,
            dice=dice,
            counters=self._link_counters,
            on_activity=lambda: self._replica.heed(),
            elsewhere=self._config.peers,
        )

    async def stop(self) -> None:
        """Hand leadership over, then undo start() in reverse; safe after a failed start."""
        if not self._stopping:
            self._stopping = True
            await self._hand_over()
            await self._undo.aclose()
            logger.info("stopped", extra={"node": self._config.name})

    async def _hand_over(self) -> None:
        """While this node leads and another can take over, let it; within the shutdown timeout."""
        timing = self._config.timing
        if hasattr(self, "_replica") and self._replica.transfer(None, timing.election_max_s):
            deadline = self._loop.time() + 2 * timing.election_max_s
            while self._replica.leader in (None, self._config.name):
                if self._loop.time() > deadline:
                    logger.warning("nobody took over the leadership in time")
                    return
                await asyncio.sleep(timing.heartbeat_s / 4)
