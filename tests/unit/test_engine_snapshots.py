"""Snapshots, sentence by sentence: rules 3, 4 and 7 of docs/decisions/0001-engine.md.

Raft: the extended paper, section 7. Each test plays one scenario to the corrected engine, and shows
that the engine as installed breaks the rule.
"""

from __future__ import annotations

import gzip
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pysyncobj.node import Node

from raftcache.command.codec import batch, encode
from raftcache.command.words import Put
from raftcache.config import Storage
from raftcache.errors import Corrupt, Fatal
from raftcache.raft.datadir import open_data_dir
from raftcache.raft.entries import NO_OP, START, Block, Entry, Position
from raftcache.raft.members import to_builtins
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine
from tests.sim.stock import as_installed
from tests.support.memory_disk import MemoryDisk
from tests.support.sim_bench import (
    MEMBERS,
    MYSELF,
    SEGMENT_SIZE_BYTES,
    TIMING,
    Ours,
    Stock,
    entry,
)

CHUNK_SIZE_BYTES = 64


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with as_installed():
        yield
    logging.disable(logging.NOTSET)


def snapshot(disk: MemoryDisk, index: int, term: int) -> bytes:
    """Put a snapshot of a state with one key on a disk; the bytes of its file."""
    machine = Machine()
    machine.apply(5, batch([encode(Put(b"key", b"value"))]))
    disk.make_folder("snapshots")
    known = to_builtins(MEMBERS)
    meta = SnapshotMeta(index=index, term=term, members=known, cluster_id="bench", now_ms=5)
    writer = SnapshotStore(disk).writer(meta)
    for piece in machine.dump():
        writer.write(piece)
    writer.finish()
    return disk.read(f"snapshots/{meta.name}")


def data_dir(first: Position, terms: list[int], term: int) -> MemoryDisk:
    """A disk with a log: entries of these terms behind a first position."""
    disk = MemoryDisk()
    open_data_dir(disk, "n1", "bench", MYSELF.id)
    wal, _ = Wal.open(disk, SEGMENT_SIZE_BYTES, sync=True)
    rows = [Entry(*entry(first.index + i, t)) for i, t in enumerate(terms, 1)]
    wal.write(Block(term, None, first != START, first, rows))
    wal.close()
    return disk


def send_chunk(
    bench: Ours, file: bytes, offset: int, last: bool, term: int = 3, commit: int = 50
) -> None:
    end = len(file) if last else offset + CHUNK_SIZE_BYTES
    bench.feed(
        "n2",
        type="snapshot_chunk",
        term=term,
        index=40,
        index_term=2,
        offset=offset,
        data=file[offset:end],
        last=last,
        commit_index=commit,
    )


# -- rule 3 ----------------------------------------------------------------------------------------


def test_nothing_commits_until_the_whole_snapshot_is_installed() -> None:
    """Figure 13: "Reply and wait for more data chunks if done is false": a chunk says nothing about
    the log of its receiver, whose tail may never have been committed.
    """
    tail = [1, 1, 1, 1]
    ours = Ours(log=tail)
    ours.connect()
    file = snapshot(MemoryDisk(), 40, 2)
    send_chunk(ours, file, 0, last=False)
    assert ours.commit_index == 1
    assert ours.terms == tail
    stock = Stock(log=tail)
    stock.connect()
    chunk = (b"first of many", True, False)
    stock.feed("n2", type="append_entries", term=3, commit_index=50, serialized=chunk)
    assert stock.commit_index == 5, "stock commits, and acknowledges, its own tail"


def test_a_whole_snapshot_takes_the_place_of_a_log_that_does_not_reach_it() -> None:
    """Section 7: "If instead the snapshot contains new information ... the follower discards its
    entire log; it is all superseded by the snapshot".
    """
    ours = Ours(log=[1, 1, 1, 1])
    ours.connect()
    file = snapshot(MemoryDisk(), 40, 2)
    send_chunk(ours, file, 0, last=False)
    assert ours.sent("snapshot_ack")[-1]["offset"] == CHUNK_SIZE_BYTES
    send_chunk(ours, file, CHUNK_SIZE_BYTES, last=True)
    assert (ours.applied_index, ours.commit_index, ours.engine.last_index) == (40, 40, 40)
    assert ours.machine.get(b"key") is not None
    assert ours.sent("next_node_idx")[-1]["next_node_idx"] == 41
    ours.append("n2", 3, (40, 2), [3], commit=41)
    assert ours.applied_index == 41


def test_entries_behind_a_snapshot_that_matches_are_kept() -> None:
    """Section 7: "if the follower receives a snapshot that describes a prefix of its log", then
    "entries following the snapshot are still valid and must be retained".
    """
    ours = Ours(log=[2] * 44)
    ours.connect()
    send_chunk(ours, snapshot(MemoryDisk(), 40, 2), 0, last=True)
    assert ours.applied_index == 40
    assert ours.engine.last_index == 45


def test_entries_behind_a_snapshot_that_does_not_match_are_dropped() -> None:
    """They follow an entry that was never committed, and so were none of them."""
    ours = Ours(log=[1] * 44)
    ours.connect()
    send_chunk(ours, snapshot(MemoryDisk(), 40, 2), 0, last=True)
    assert (ours.applied_index, ours.engine.last_index) == (40, 40)


def test_a_damaged_snapshot_changes_nothing() -> None:
    """It is refused, and its sender begins anew."""
    ours = Ours(log=[1, 1, 1, 1])
    ours.connect()
    file = bytearray(snapshot(MemoryDisk(), 40, 2))
    file[-20] ^= 1
    send_chunk(ours, bytes(file), 0, last=True)
    assert ours.applied_index == 1
    assert ours.terms == [1, 1, 1, 1]
    assert ours.fatal == []
    assert ours.sent("snapshot_ack")[-1]["offset"] == 0
    assert ours.disk.names("snapshots") == []


def test_a_late_snapshot_is_answered_with_what_is_here() -> None:
    """What it covers is committed already."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 2, (1, 0), [2] * 44, commit=45)
    assert ours.applied_index == 45
    send_chunk(ours, snapshot(MemoryDisk(), 40, 2), 0, last=False)
    assert ours.sent("snapshot_ack") == []
    assert ours.sent("next_node_idx")[-1]["next_node_idx"] == 46


def test_what_came_of_a_snapshot_is_dropped_when_another_leader_comes() -> None:
    """Which may have in its log what is missing here, and never send a snapshot."""
    ours = Ours(log=[1, 1, 1, 1])
    ours.connect()
    file = snapshot(MemoryDisk(), 40, 2)
    send_chunk(ours, file, 0, last=False)
    assert ours.disk.names("snapshots") == ["received.tmp"]
    ours.append("n3", 4, (5, 1), [4], commit=6)
    assert ours.disk.names("snapshots") == []
    send_chunk(ours, file, 0, last=False, term=5)
    send_chunk(ours, file, CHUNK_SIZE_BYTES, last=True, term=5)
    assert ours.applied_index == 40


def test_a_snapshot_of_which_all_came_is_installed_whoever_leads_by_then() -> None:
    ours = Ours(log=[1, 1, 1, 1])
    ours.connect()
    file = snapshot(MemoryDisk(), 40, 2)
    send_chunk(ours, file, 0, last=False)
    ours.disk_works = False
    send_chunk(ours, file, CHUNK_SIZE_BYTES, last=True)
    ours.feed("n3", type="ping", term=4)
    ours.disk_works = True
    ours.turn()
    assert ours.applied_index == 40
    assert ours.disk.names("snapshots") == [f"{40:016}-{2:016}.snap"]


# -- rule 4 ----------------------------------------------------------------------------------------


def stock_dump(path: Path, state: dict[str, Any], index: int, term: int) -> str:
    """What stock leaves behind as its snapshot: its last two applied entries, and its members."""
    last, before = entry(index, term), entry(index - 1, term)
    data = (state, last, before, [Node("n1"), Node("n2"), Node("n3")])
    with gzip.open(path, "wb") as file:
        pickle.dump(data, file, 2)
    return str(path)


def test_entries_after_a_snapshot_survive_a_restart(tmp_path: Path) -> None:
    """Section 7: a snapshot replaces the entries up to its last included index, and no others."""
    disk = data_dir(Position(30, 1), [2] * 15, 2)
    snapshot(disk, 40, 2)
    ours = Ours(disk=disk)
    assert ours.applied_index == 40
    assert ours.engine.last_index == 45
    stock = Stock(log=[2] * 44, dump_file=stock_dump(tmp_path / "dump", {}, 40, 2))
    stock.turn()
    assert stock.terms[-1:] == [2]
    assert stock.engine._SyncObj__raftLog[-1][1] == 40, (
        "stock clears the journal: 41 to 45 are gone"
    )


def test_a_log_that_contradicts_its_snapshot_gives_way() -> None:
    """A snapshot holds only what was committed; a tail of another term at its index was not."""
    disk = data_dir(Position(30, 1), [1] * 15, 2)
    snapshot(disk, 40, 2)
    ours = Ours(disk=disk)
    assert (ours.applied_index, ours.engine.last_index) == (40, 40)
    assert ours.engine._SyncObj__raftLog[0] == Entry(NO_OP, 40, 2)


def test_a_log_that_begins_after_its_snapshot_is_refused() -> None:
    """What lies between them was acknowledged, and is missing."""
    disk = data_dir(Position(60, 2), [2] * 3, 2)
    snapshot(disk, 40, 2)
    with pytest.raises(Fatal, match="rejoin"):
        Ours(disk=disk)


# -- rule 7 ----------------------------------------------------------------------------------------


def test_a_snapshot_that_cannot_be_loaded_is_not_skipped(tmp_path: Path) -> None:
    """Its entries are no longer in the log: to go on without it is to forget them."""
    disk = data_dir(Position(38, 1), [2] * 7, 2)
    file = bytearray(snapshot(disk, 40, 2))
    file[len(file) // 2] ^= 0xFF
    disk.put("snapshots/" + disk.names("snapshots")[0], bytes(file))
    with pytest.raises(Corrupt, match="join the cluster again"):
        Ours(disk=disk)
    path = stock_dump(tmp_path / "dump", {"kept": True}, 40, 2)
    Path(path).write_bytes(b"damaged")
    stock = Stock(log=[2] * 3, dump_file=path)
    stock.turn()
    assert stock.errors == [], "stock logs it,"
    assert not hasattr(stock.engine, "kept"), "and goes on empty"
    stock.connect()
    assert stock.applied_index == 1


# -- what a leader does ----------------------------------------------------------------------------


def test_a_peer_that_needs_what_was_cut_is_sent_the_snapshot(monkeypatch: Any) -> None:
    """Section 7: "the leader must occasionally send snapshots to followers that lag behind", one
    chunk at a time, each when the one before it was acknowledged.
    """
    monkeypatch.setattr("raftcache.raft.shipping.CHUNK_SIZE_BYTES", CHUNK_SIZE_BYTES)
    disk = data_dir(Position(40, 2), [2], 2)
    file = snapshot(disk, 40, 2)
    ours = Ours(disk=disk)
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    received = b""
    while True:
        chunk = ours.sent("snapshot_chunk", "n2")[-1]
        assert chunk["offset"] == len(received)
        received += chunk["data"]
        if chunk["last"]:
            break
        ack = {"term": ours.term, "seq": chunk["seq"], "index": 40, "offset": len(received)}
        ours.feed("n2", type="snapshot_ack", **ack)
    assert received == file
    ours.acknowledge("n2", ours.term, 41)
    assert ours.sent("append_entries", "n2")[-1]["prevLogIdx"] == 40


def test_the_log_is_not_cut_while_a_snapshot_is_on_its_way() -> None:
    """Else the peer would need the next one when it has come, and never catch up."""
    disk = data_dir(Position(40, 2), [2], 2)
    snapshot(disk, 40, 2)
    ours = Ours(disk=disk, storage=Storage(snapshot_entries=5, trailing_entries=0))
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)

    def newest() -> int:
        meta = SnapshotStore.reading(disk).newest()
        assert meta is not None
        return meta.index

    def write(count: int) -> None:
        for _ in range(count):
            ours.propose(b"\x00" + batch([encode(Put(b"key", b"value"))]))
            ours.turn()
            ours.acknowledge("n3", ours.term, ours.engine.last_index + 1)
        ours.advance(TIMING.heartbeat_s)

    write(20)
    assert ours.applied_index == ours.engine.last_index
    assert newest() == 40
    ours.acknowledge("n2", ours.term, 41)
    assert ours.sent("append_entries", "n2")[-1]["prevLogIdx"] == 40
    ours.acknowledge("n2", ours.term, ours.engine.last_index + 1)
    write(1)
    assert newest() > 40


def test_a_transfer_of_a_snapshot_keeps_the_leader_in_office() -> None:
    """6.2: whoever takes chunks is alive."""
    disk = data_dir(Position(40, 2), [2], 2)
    snapshot(disk, 40, 2)
    ours = Ours(disk=disk)
    ours.connect()
    ours.win()
    for _ in range(20):
        ours.advance(TIMING.heartbeat_s)
        ack = {"term": ours.term, "seq": ours.last_seq, "index": 40, "offset": 0}
        ours.feed("n2", type="snapshot_ack", **ack)
    assert ours.is_leader


def test_a_leader_that_steps_down_lets_the_file_that_it_was_sending_go() -> None:
    """A pruned one takes up space for as long as it is open; and the log would not be cut."""
    disk = data_dir(Position(40, 2), [2], 2)
    snapshot(disk, 40, 2)
    ours = Ours(disk=disk)
    ours.connect()
    ours.win()
    open_before = disk.open_files
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    assert ours.sent("snapshot_chunk", "n2")
    assert disk.open_files == open_before + 1
    ours.feed("n3", type="ping", term=ours.term + 1)
    assert disk.open_files == open_before
