"""One node's data, recovered: whatever its log and snapshot look like, nothing in them is lost."""

from __future__ import annotations

import random

import pytest

from raftcache.cluster import recovery
from raftcache.command import versions
from raftcache.command.codec import batch, encode
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
from tests.support.memory_disk import MemoryDisk

MEMBERS = Configuration(
    3, tuple(Member(n, f"{n}-data", f"{n}:7500", f"{n}:7400", True) for n in ("n1", "n2", "n3"))
)
ADDRESSES = {"n1": "n1:7500"}


def put(index: int, term: int) -> Entry:
    stamp = index.to_bytes(STAMP_SIZE_BYTES, "little")
    return Entry(REGULAR + stamp + batch([encode(Put(b"%d" % index, b"x"))]), index, term)


def node(log: list[Entry], base: Position = START, snapshot: Position | None = None) -> MemoryDisk:
    """What n1 has: a log after a base, and a snapshot of all puts up to an index."""
    disk = MemoryDisk()
    open_data_dir(disk, "n1", "old", "n1-data")
    wal, _ = Wal.open(disk, 1 << 16, sync=True)
    wal.write(Block(7, "n2", base != START, base, log))
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
    plan = recovery.plan(disk)
    assert (plan.last, plan.term) == (Position(9, 2), 7)
    assert (plan.keys, plan.revision) == (6, 6)
    assert plan.lost == ("n2", "n3")
    new = recovery.recover(disk, plan, ADDRESSES, "new-data")
    assert new.cluster_id not in ("old", cluster_id_of(ADDRESSES))
    assert new.cluster_id == cluster_id_of(ADDRESSES, new.origin)
    assert read_identity(disk) == new
    assert new.member_id == "new-data"

    machine = Machine()
    restored = restore(disk, machine, Storage())
    assert restored.log.last_index == 10
    assert restored.log.getCurrentTerm() == 8
    for entry in restored.log[:]:
        if entry.index > restored.applied_index and entry.command[:1] == REGULAR:
            machine.apply(entry.index, entry.command[1 + STAMP_SIZE_BYTES :])
    assert machine.count == 6
    last = members.decode(restored.log[-1].command)
    assert last is not None
    assert last.members == (
        Member("n1", "new-data", "n1:7500", "n1:7400", True, versions.COMMANDS),
    )
    assert set(last.removed) == {"n1-data", "n2-data", "n3-data"}
    assert last.version > MEMBERS.version


def test_looking_changes_nothing() -> None:
    disk = NODES["a snapshot within the log"]()
    before = {
        f"{f}/{n}": disk.read(f"{f}/{n}") for f in ("wal", "snapshots") for n in disk.names(f)
    }
    recovery.plan(disk)
    after = {f"{f}/{n}": disk.read(f"{f}/{n}") for f in ("wal", "snapshots") for n in disk.names(f)}
    assert before == after


@pytest.mark.parametrize("seed", range(10))
def test_a_crash_half_way_is_recovered_again(seed: int) -> None:
    disk = NODES["a log"]()
    plan = recovery.plan(disk)
    operations = ("create", "write", "sync", "replace", "sync_folder")
    disk.fail(operations[seed % 5], 5)
    with pytest.raises(Exception, match="Input/output error"):
        recovery.recover(disk, plan, ADDRESSES, "first-data")
    disk.crash(random.Random(seed))
    plan = recovery.plan(disk)
    assert plan.last.index >= 9
    assert plan.keys == 6
    new = recovery.recover(disk, plan, ADDRESSES, "second-data")
    assert read_identity(disk) == new


def test_a_segment_that_was_being_made_when_the_process_ended_is_no_damage() -> None:
    disk = NODES["a log"]()
    disk.put("wal/new.tmp", b"half of a head")
    plan = recovery.plan(disk)
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
        recovery.plan(disk)


def test_only_this_node_can_be_the_member() -> None:
    disk = NODES["a log"]()
    plan = recovery.plan(disk)
    with pytest.raises(BadConfig, match="as the only member"):
        recovery.recover(disk, plan, {"n1": "a:1", "n2": "b:1"}, "new-data")
    with pytest.raises(BadConfig, match="nothing to recover"):
        recovery.plan(MemoryDisk())
