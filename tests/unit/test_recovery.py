"""One node's data, recovered: whatever its log and snapshot look like, nothing in them is lost."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from raftcache.cluster import recovery
from raftcache.cluster.beginning import bumped
from raftcache.command import versions
from raftcache.command.codec import batch, encode
from raftcache.command.leasing import LockAcquire
from raftcache.command.limits import REVISION_BUMP, REVISION_BUMPED_MAX
from raftcache.command.words import Put
from raftcache.config import Storage
from raftcache.errors import BadConfig, Corrupt
from raftcache.raft import members
from raftcache.raft.assembly import restore
from raftcache.raft.datadir import cluster_id_of, open_data_dir, read_identity
from raftcache.raft.engine.base import REGULAR, STAMP_SIZE_BYTES
from raftcache.raft.entries import NO_OP, START, Block, Entry, Position
from raftcache.raft.inspection import read_log
from raftcache.raft.members import Configuration, Member
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine
from raftcache.system import SystemDisk
from tests.fixtures import make
from tests.sim.lane import do_some
from tests.support.memory_disk import MemoryDisk

MEMBERS = Configuration(
    3, tuple(Member(n, f"{n}-data", f"{n}:7500", f"{n}:7400", True) for n in ("n1", "n2", "n3"))
)
ADDRESSES = {"n1": "n1:7500"}


def put(index: int, term: int) -> Entry:
    stamp = index.to_bytes(STAMP_SIZE_BYTES, "little")
    return Entry(REGULAR + stamp + batch([encode(Put(b"%d" % index, b"x"))]), index, term)


def node(
    log: list[Entry],
    base: Position = START,
    snapshot: Position | None = None,
    committed_index: int | None = None,
) -> MemoryDisk:
    """What n1 has: a log after a base, and a snapshot of all puts up to an index."""
    disk = MemoryDisk()
    open_data_dir(disk, "n1", "old", "n1-data")
    wal, _ = Wal.open(disk, 1 << 16, sync=True)
    wal.write(Block(7, "n2", base != START, base, log, committed_index))
    wal.close()
    if snapshot is not None:
        machine = Machine()
        for index in range(4, snapshot.index + 1):
            machine.apply(index, put(index, 1).command[1 + STAMP_SIZE_BYTES :])
        meta = SnapshotMeta(
            index=snapshot.index,
            term=snapshot.term,
            cluster_id="old",
            now_ms=machine.now_ms,
            members=members.to_builtins(MEMBERS),
        )
        writer = SnapshotStore(disk).writer(meta)
        for piece in machine.dump():
            writer.write(piece)
        writer.finish()
    return disk


def head() -> list[Entry]:
    return [
        Entry(NO_OP, 1, 0),
        Entry(NO_OP, 2, 1),
        Entry(members.encode(MEMBERS), 3, 1),
    ]


NODES = {
    "a log": lambda: node([*head(), *(put(i, 2) for i in range(4, 10))]),
    "a snapshot, and a log behind it": lambda: node(
        [put(i, 2) for i in range(7, 10)], Position(6, 2), Position(6, 2)
    ),
    "a snapshot within the log": lambda: node(
        [*head(), *(put(i, 2) for i in range(4, 10))], START, Position(6, 2)
    ),
    "a snapshot beyond the log": lambda: node(head(), START, Position(9, 2)),
    "a snapshot that contradicts the log": lambda: node(
        [*head(), *(put(i, 1) for i in range(4, 12))], START, Position(9, 2)
    ),
}


@pytest.mark.parametrize("kind", NODES)
def test_all_that_the_node_had_is_in_the_new_cluster_of_itself(kind: str) -> None:
    disk = NODES[kind]()
    plan = recovery.plan(disk, REVISION_BUMP)
    assert (plan.last, plan.committed_index, plan.term) == (Position(9, 2), 9, 7)
    assert (plan.machine.count, plan.revision) == (6, 6)
    assert plan.lost == ("n2", "n3")
    new = recovery.recover(disk, plan, ADDRESSES, "new-data")
    assert new.cluster_id not in ("old", cluster_id_of(ADDRESSES))
    assert new.cluster_id == cluster_id_of(ADDRESSES, new.origin)
    assert read_identity(disk) == new
    assert new.member_id == "new-data"

    machine = Machine()
    restored = restore(disk, machine, Storage())
    assert (restored.applied_index, restored.log.last_index) == (10, 10)
    assert restored.log.getCurrentTerm() == 8
    assert (machine.count, machine.now_ms) == (6, 9)
    assert {machine.get(b"%d" % i).mod_revision for i in range(4, 10)} == set(range(1, 7))
    last = restored.configuration
    assert last is not None
    assert last.members == (
        Member("n1", "new-data", "n1:7500", "n1:7400", True, versions.COMMANDS),
    )
    assert set(last.removed) == {"n1-data", "n2-data", "n3-data"}
    assert last.version > MEMBERS.version
    assert len(disk.names("snapshots")) == len(disk.names("wal")) == 1


@pytest.mark.parametrize("kind", NODES)
def test_no_number_that_a_lost_write_may_have_is_given_again(kind: str) -> None:
    disk = NODES[kind]()
    plan = recovery.plan(disk, REVISION_BUMP)
    assert plan.machine.revision == 6 + REVISION_BUMP
    recovery.recover(disk, plan, ADDRESSES, "new-data")
    machine = Machine()
    restore(disk, machine, Storage())
    assert machine.revision == 6 + REVISION_BUMP
    for forgotten in (0, 6, 7, 5 + REVISION_BUMP):
        assert machine.history.position_after(forgotten) is None
    assert machine.history.position_after(machine.revision) is not None
    (token,) = machine.apply(10, batch([encode(LockAcquire(b"lock", 1000))]))
    assert token.number == 7 + REVISION_BUMP


@pytest.mark.parametrize("snapshot", [None, Position(6, 2)])
def test_what_nobody_may_have_committed_is_there_above_the_revisions_of_what_is_lost(
    snapshot: Position | None,
) -> None:
    """Another cluster may have acknowledged other writes under the revisions that this log gave."""
    log = [*head(), *(put(i, 2) for i in range(4, 10))]
    disk = node(log, START, snapshot, committed_index=7)
    plan = recovery.plan(disk, REVISION_BUMP)
    assert (plan.last, plan.committed_index, plan.revision) == (Position(9, 2), 7, 6)
    recovery.recover(disk, plan, ADDRESSES, "new-data")
    machine = Machine()
    restore(disk, machine, Storage())
    revisions = [machine.get(b"%d" % i).mod_revision for i in range(4, 10)]
    assert revisions == [1, 2, 3, 4, REVISION_BUMP + 5, REVISION_BUMP + 6]
    assert machine.revision == REVISION_BUMP + 6


def test_all_of_an_older_log_counts_as_committed(tmp_path: Path) -> None:
    folder = make.unpack(tmp_path, 1)
    disk = SystemDisk(folder)
    plan = recovery.plan(disk, REVISION_BUMP)
    assert plan.committed_index == plan.last.index > 0
    assert plan.machine.revision == plan.revision + REVISION_BUMP
    newest = max(plan.machine.get(key.encode()).mod_revision for key in make.KEYS)
    assert newest < plan.revision


@pytest.mark.parametrize("committed_index", [1, 3, 5])
def test_all_of_a_snapshot_is_committed(committed_index: int) -> None:
    log = [*head(), *(put(i, 2) for i in range(4, 10))]
    disk = node(log, START, Position(6, 2), committed_index)
    assert recovery.plan(disk, 100).committed_index == 6


def test_where_nothing_was_lost_revisions_go_on() -> None:
    disk = NODES["a log"]()
    recovery.recover(disk, recovery.plan(disk, 0), ADDRESSES, "new-data")
    machine = Machine()
    restore(disk, machine, Storage())
    assert machine.revision == 6


@pytest.mark.parametrize("bump", [-1, REVISION_BUMPED_MAX - 5, 1 << 64])
def test_a_bump_out_of_bounds_changes_nothing(bump: int) -> None:
    disk = NODES["a log"]()
    before = read_identity(disk)
    with pytest.raises(BadConfig, match=f"raised by 0 to {REVISION_BUMPED_MAX - 6}, not by {bump}"):
        recovery.plan(disk, bump)
    assert read_identity(disk) == before
    plan = recovery.plan(disk, REVISION_BUMPED_MAX - 6)
    recovery.recover(disk, plan, ADDRESSES, "new-data")


def test_without_a_bump_any_revision_is_one_to_go_on_from() -> None:
    assert bumped(REVISION_BUMPED_MAX + 5, 0) == REVISION_BUMPED_MAX + 5
    with pytest.raises(BadConfig, match="raised by 0 to 0, not by 1"):
        bumped(REVISION_BUMPED_MAX + 5, 1)


def test_a_node_that_has_nothing_yet_can_begin_too() -> None:
    disk = MemoryDisk()
    open_data_dir(disk, "n1", "old", "n1-data")
    recovery.recover(disk, recovery.plan(disk, 7), ADDRESSES, "new-data")
    machine = Machine()
    restored = restore(disk, machine, Storage())
    assert (restored.log.last_index, restored.applied_index, machine.revision) == (1, 1, 7)
    assert restored.configuration is not None
    assert restored.configuration.voters == {"n1"}


def test_looking_changes_nothing() -> None:
    disk = NODES["a snapshot within the log"]()
    before = {
        f"{f}/{n}": disk.read(f"{f}/{n}") for f in ("wal", "snapshots") for n in disk.names(f)
    }
    recovery.plan(disk, 0)
    after = {f"{f}/{n}": disk.read(f"{f}/{n}") for f in ("wal", "snapshots") for n in disk.names(f)}
    assert before == after


def test_a_crash_after_any_change_is_recovered_again() -> None:
    """Nothing is lost; the revision is raised once, or once more if that was done already."""
    make = NODES["a snapshot within the log"]
    disk, changes, raised = make(), list[str](), set[int]()
    plan = recovery.plan(disk, 100)
    disk.hook = lambda operation, path: changes.append(operation)
    recovery.recover(disk, plan, ADDRESSES, "first-data")
    assert len(changes) > 10
    for done in range(len(changes) + 1):
        disk, dice = make(), random.Random(done)
        plan = recovery.plan(disk, 100)
        work = partial(recovery.recover, disk, plan, ADDRESSES, "first-data")
        do_some(work, disk, dice, [done])
        disk.crash(dice)
        plan = recovery.plan(disk, 100)
        assert plan.last.index in (9, 10)
        assert (plan.machine.count, plan.revision) == (6, 6 if plan.last.index == 9 else 106)
        new = recovery.recover(disk, plan, ADDRESSES, "second-data")
        assert read_identity(disk) == new
        machine = Machine()
        assert restore(disk, machine, Storage()).log.last_index == plan.last.index + 1
        raised.add(machine.revision)
    assert raised == {106, 206}


def test_a_segment_that_was_being_made_when_the_process_ended_is_no_damage() -> None:
    disk = NODES["a log"]()
    disk.put("wal/new.tmp", b"half of a head")
    plan = recovery.plan(disk, 0)
    assert plan.last == Position(9, 2)
    report = read_log(disk)
    assert report.damage is None
    assert [segment.path for segment in report.segments] == ["wal/0000000000000001.seg"]
    recovery.recover(disk, plan, ADDRESSES, "new-data")
    assert restore(disk, Machine(), Storage()).log.last_index == 10


def test_damage_is_no_ground_to_build_on() -> None:
    disk = NODES["a log"]()
    path = "wal/0000000000000001.seg"
    file = disk.open(path)
    file.write_at(600, bytes((disk.read(path)[600] ^ 1,)))
    file.close()
    with pytest.raises(Corrupt):
        recovery.plan(disk, 0)


def test_only_this_node_can_be_the_member() -> None:
    disk = NODES["a log"]()
    plan = recovery.plan(disk, 0)
    with pytest.raises(BadConfig, match="as the only member"):
        recovery.recover(disk, plan, {"n1": "a:1", "n2": "b:1"}, "new-data")
    with pytest.raises(BadConfig, match="nothing to recover"):
        recovery.plan(MemoryDisk(), 0)
