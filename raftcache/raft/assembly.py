"""Puts one replica together: first what the disk remembers, then the parts around the engine.

The node and the simulator both start a replica through this door, so what is simulated is what
runs. Order matters and is checked: the snapshot is loaded before the log that follows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from raftcache.config import Durability, Storage, Timing
from raftcache.errors import BadConfig, Fatal
from raftcache.ports import Clock, Dice, Disk, Lane, Loop, StateMachine
from raftcache.raft import datadir, members, stock
from raftcache.raft.backlog import Backlog
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.compaction import Compactor
from raftcache.raft.datadir import WAL_FOLDER, Identity
from raftcache.raft.digests import Digests
from raftcache.raft.engine import Parts, SyncObj, last_stamp_ms
from raftcache.raft.entries import Block, Recovered
from raftcache.raft.greetings import Refusal
from raftcache.raft.log import Log
from raftcache.raft.members import Configuration, Member
from raftcache.raft.outbox import Outbox
from raftcache.raft.places import Place
from raftcache.raft.replica import Replica
from raftcache.raft.room import Room
from raftcache.raft.shipping import Receiving, Sender
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.stock import SyncObjConf, Transport
from raftcache.raft.wal import Wal

TRAILING_SHARE: Final = 8
"""Entries kept behind a snapshot take at most one part in so many of the log's size limit."""

NEVER_S: Final = 1e12
"""For the engine's timers that are not used here."""

logger = logging.getLogger("raftcache.raft")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a node remembers: its state is in the machine, the rest is here."""

    disk: Disk
    wal: Wal | None
    log: Log
    store: SnapshotStore
    applied_index: int
    logged_ms: int
    configuration: Configuration | None
    """The members as of the snapshot; None if there is no snapshot."""

    @property
    def knows_members(self) -> bool:
        """Whether snapshot or log tell who the members are."""
        in_log = any(members.decode(entry.command) for entry in self.log[:])
        return self.configuration is not None or in_log


def restore(disk: Disk, machine: StateMachine, storage: Storage) -> Restored:
    """Read snapshot and log back. Blocking; raises Corrupt, and then nothing may be started.

    Rule 7: a snapshot that does not verify is not skipped: without it, acknowledged entries that
    the log no longer holds would be missing.
    """
    if storage.durability is Durability.MEMORY and disk.names(WAL_FOLDER):
        raise BadConfig(
            f"the data directory holds a log in {WAL_FOLDER}/, which --durability memory would"
            " leave unread: take --durability fsync, or another directory"
        )
    store = SnapshotStore(disk)
    if storage.durability is Durability.MEMORY:
        store.discard_all()
        return Restored(disk, None, Log(Recovered()), store, 1, 0, None)
    meta = store.load_newest(machine)
    sync = storage.durability is Durability.FSYNC
    wal, recovered = Wal.open(disk, storage.segment_size_bytes, sync)
    torn_bytes, log = recovered.torn_bytes, Log(recovered, wal.places)
    applied_index = 1
    if meta is not None:
        applied_index = meta.index
        _tie(log, meta)
    replayed = {"snapshot_index": meta.index if meta else None, "last_index": log.last_index}
    logger.info("restored", extra={**replayed, "torn_bytes": torn_bytes})
    logged_ms = max(machine.now_ms, last_stamp_ms(log))
    configuration = None if meta is None else members.from_builtins(meta.members)
    return Restored(disk, wal, log, store, applied_index, logged_ms, configuration)


def _tie(log: Log, meta: SnapshotMeta) -> None:
    """Rule 4: snapshot and log belong together by index and term; what follows it survives."""
    at = meta.index - log.first_index
    if len(log) and at < 0:
        raise Fatal(
            f"the log begins at {log.first_index}, behind the newest snapshot ({meta.index}): "
            "entries between them are missing. Empty this node's data directory and let it rejoin."
        )
    if at >= len(log) or log[at].term != meta.term:
        log.restart_at(meta.index, meta.term)


def assemble(
    restored: Restored,
    identity: Identity,
    first: Configuration,
    myself: Member,
    machine: StateMachine,
    links: Transport,
    timing: Timing,
    storage: Storage,
    writes_pending_max: int,
    pending_size_bytes_max: int,
    *,
    clock: Clock,
    dice: Dice,
    loop: Loop,
    log_lane: Lane,
    bulk_lane: Lane,
    release: Callable[[], None],
    on_fatal: Callable[[Exception], None],
) -> tuple[Replica, ClusterTime]:
    """A replica that is ready to start; the lanes must outlive it.

    first: the configuration before any in snapshot or log. myself: as this node greets its peers.
    release: gives free memory back to the system.
    """
    stock.play(clock, dice)
    time = ClusterTime(clock, restored.logged_ms)
    log, wal, store = restored.log, restored.wal, restored.store
    engine: SyncObj
    replica: Replica

    def fail(error: Exception) -> None:
        replica.fail(error)

    def wake() -> None:
        replica.wake_for_all()

    def written() -> None:
        replica.written()

    def removed(why: str) -> None:
        # Who finds other data here may be behind, and not know yet that this name began anew. Only
        # a node that nobody told the members yet has to believe it: it lost what it had.
        if why == Refusal.REMOVED or engine.configuration.version == 0:
            replica.expel(why)
            links.destroy()  # nobody lets it in any more, and it would come again and again

    def describe(index: int, term: int) -> SnapshotMeta:
        return SnapshotMeta(
            index=index,
            term=term,
            members=members.to_builtins(engine.configuration_at(index)),
            cluster_id=identity.cluster_id,
            now_ms=machine.now_ms,
            revision=machine.revision,
            digest=machine.digest,
        )

    def fence(why: str) -> None:
        replica.fence(why)
        if wal is not None:
            bulk_lane.submit(lambda: datadir.fence(restored.disk, why), _fenced)

    def doubled(why: str) -> None:
        fence(why)
        links.destroy()

    def write(block: Block) -> Place:
        assert wal is not None
        return wal.write(block)

    room = Room(restored.disk, clock, 0 if wal is None else storage.segment_size_bytes)
    compactor = Compactor(
        store,
        bulk_lane,
        loop,
        machine,
        describe,
        room,
        storage.trailing_entries,
        storage.snapshot_log_size_bytes // TRAILING_SHARE,
        wake,
        fail,
    )
    # As after taking it: segments hold more than the tail that is kept in memory behind a snapshot.
    log.deleteEntriesTo(compactor.keep_from(log, restored.applied_index) - log.first_index)
    outbox = Outbox(links, log, None if wal is None else write, log_lane, written, fail)
    parts = Parts(
        machine=machine,
        log=log,
        outbox=outbox,
        compactor=compactor,
        sender=Sender(store, bulk_lane, fail),
        backlog=Backlog(restored.disk, log, bulk_lane, wake, fail),
        receiving=Receiving(store, bulk_lane, machine, wake, fail),
        clock=clock,
        time=time,
        incarnation=identity.incarnation,
        applied_index=restored.applied_index,
        configuration=restored.configuration or first,
        myself=myself,
        digests=Digests(restored.applied_index, machine.digest),
        check_period_s=timing.check_period_s,
        fence=fence,
        room=room,
    )
    conf = _engine_conf(log, compactor, timing, storage)
    engine = SyncObj(identity.node, conf, parts)
    links.greeted = engine.greeted
    links.takes_guests = lambda: engine.is_lost
    links.gone = engine.peer_gone
    links.removed = removed
    links.doubled = doubled
    links.acknowledged = engine.acknowledged
    if storage.durability is Durability.FSYNC:
        links.holds = lambda: log.last_index
    replica = Replica(
        engine,
        outbox,
        log,
        clock,
        loop,
        timing,
        writes_pending_max,
        pending_size_bytes_max,
        storage.snapshot_log_size_bytes,
        _forgetting(wal, log_lane, bulk_lane, fail),
        release,
        on_fatal,
    )
    return replica, time


def _forgetting(
    wal: Wal | None, log_lane: Lane, bulk_lane: Lane, fail: Callable[[Exception], None]
) -> Callable[[int], None]:
    """forget(index): the log on disk ends there, and what is older is removed beside its writes."""

    def forget(index: int) -> None:
        if wal is not None:
            log_lane.submit(lambda: wal.drop_before(index), dropped)

    def dropped(_: None, error: Exception | None) -> None:
        assert wal is not None
        if error is None:
            bulk_lane.submit(wal.remove_dropped, lambda _, e: fail(e) if e else None)
        else:
            fail(error)

    return forget


def _fenced(_: object, error: Exception | None) -> None:
    if error is not None:  # it does not serve all the same, until somebody starts it again
        logger.error("the fence could not be written down", extra={"error": str(error)})


def _engine_conf(log: Log, compactor: Compactor, timing: Timing, storage: Storage) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        commandsWaitLeader=False,
        appendEntriesUseBatch=True,  # the tick sends, once per turn
        appendEntriesPeriod=timing.heartbeat_s,
        raftMinTimeout=timing.election_min_s,
        raftMaxTimeout=timing.election_max_s,
        leaderFallbackTimeout=timing.election_max_s,
        connectionTimeout=max(3.5, timing.election_max_s),
        logCompactionMinEntries=max(2, storage.snapshot_entries + storage.trailing_entries),
        logCompactionMinTime=NEVER_S,
        journalFile=log,
        fullDumpFile=compactor,
    )
