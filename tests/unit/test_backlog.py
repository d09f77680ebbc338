"""Entries that are on the disk alone: read back whole and right, or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from raftcache.errors import Corrupt, Fatal
from raftcache.raft.backlog import Backlog
from raftcache.raft.entries import Entry
from raftcache.raft.log import Log
from raftcache.raft.stock import Node
from raftcache.raft.wal import Wal
from tests.support.lanes import HeldLane
from tests.support.memory_disk import MemoryDisk

PEER, OTHER = Node("n2"), Node("n3")
SEGMENT_SIZE_BYTES = 4096
READ_SIZE_BYTES = 1024
MUCH = 1 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.raft.log.TAIL_SIZE_BYTES_MAX", 0)
    monkeypatch.setattr("raftcache.raft.backlog.READ_SIZE_BYTES", READ_SIZE_BYTES)


class Bench(HeldLane):
    """A log on a disk, as an outbox writes it; reads wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.fatal: list[Exception] = []
        self.progress = 0
        self.rows: list[Entry] = []
        self.open()

    def open(self) -> None:
        self.wal, recovered = Wal.open(self.disk, SEGMENT_SIZE_BYTES, sync=True)
        self.log = Log(recovered, self.wal.places)
        self.backlog = Backlog(self.disk, self.log, self, self._progressed, self.fatal.append)

    def _progressed(self) -> None:
        self.progress += 1

    def add(self, count: int, term: int = 1, size_bytes: int = 20) -> None:
        """So many entries, in one block."""
        for _ in range(count):
            index = self.log.last_index + 1
            row = Entry(b"%d.%d " % (index, term) + b"x" * size_bytes, index, term)
            self.rows.append(row)
            self.log.add(*row)
        self.write()

    def truncate(self, index: int) -> None:
        """From this one on."""
        self.log.deleteEntriesFrom(index - self.log.first_index)
        del self.rows[index - 1 :]

    def write(self) -> None:
        while (block := self.log.take_block()) is not None:
            self.log.block_durable(block, self.wal.write(block))

    def forget(self, applied_index: int | None = None) -> None:
        self.log.forget_commands(self.log.last_index if applied_index is None else applied_index)

    def drop_before(self, index: int) -> None:
        self.wal.drop_before(index)
        self.wal.remove_dropped()

    def read(self, index: int, size_bytes_max: int = MUCH, node: Node = PEER) -> list[Entry]:
        """What one message holds, once it came."""
        entries = self.backlog.take(node, index, size_bytes_max)
        if not entries and self.jobs:
            self.run_one()
            entries = self.backlog.take(node, index, size_bytes_max)
        return entries

    def read_all(self, index: int) -> list[Entry]:
        found: list[Entry] = []
        while index + len(found) < self.log.kept_index:
            entries = self.read(index + len(found))
            assert entries
            found += entries
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.wal.close()
    assert not bench.jobs
    assert bench.disk.open_files == 0, "a file was left open"


def test_it_comes_with_the_second_question(bench: Bench) -> None:
    bench.add(3)
    bench.add(2)
    bench.forget()
    assert bench.backlog.take(PEER, 2, MUCH) == []
    assert bench.backlog.take(PEER, 2, MUCH) == []
    assert len(bench.jobs) == 1, "one read for each peer at a time"
    bench.run_one()
    assert bench.progress == 1
    assert bench.backlog.take(PEER, 2, MUCH) == bench.rows[1:]


@pytest.mark.parametrize("begin", [2, 3, 7, 19, 40])
def test_all_that_is_forgotten_can_be_read_back_over_many_segments(
    bench: Bench, begin: int
) -> None:
    for term, count in enumerate((1, 4, 1, 9, 1, 1, 20, 3)):
        bench.add(count, term // 2, size_bytes=300)
    assert len(bench.disk.names("wal")) > 2
    bench.forget()
    assert bench.read_all(begin) == bench.rows[begin - 1 :]


def test_a_block_that_is_larger_than_one_read_comes_whole(bench: Bench) -> None:
    bench.add(1)
    bench.add(5, size_bytes=READ_SIZE_BYTES)
    bench.add(1)
    bench.forget()
    assert bench.read_all(2) == bench.rows[1:]


def test_messages_are_bounded_and_go_on_from_one_read(bench: Bench) -> None:
    bench.add(6, size_bytes=100)
    bench.forget()
    assert bench.read(2, 250) == bench.rows[1:3]
    assert bench.backlog.take(PEER, 4, 250) == bench.rows[3:5]
    assert bench.backlog.take(PEER, 6, 50) == bench.rows[5:], "one at least"


def test_each_peer_has_a_piece_of_its_own(bench: Bench) -> None:
    bench.add(6)
    bench.forget()
    assert bench.backlog.take(PEER, 2, MUCH) == bench.backlog.take(OTHER, 4, MUCH) == []
    bench.run_one()
    bench.run_one()
    assert bench.backlog.take(OTHER, 4, MUCH) == bench.rows[3:]
    assert bench.backlog.take(PEER, 2, MUCH) == bench.rows[1:]


def test_a_peer_that_turns_out_to_lack_more_is_given_that(bench: Bench) -> None:
    bench.add(6)
    bench.forget()
    assert bench.read(5, 1) == bench.rows[4:5]
    assert bench.read(3) == bench.rows[2:]


def test_what_is_in_memory_is_not_given_from_the_disk(bench: Bench) -> None:
    """Not yet applied, so it can still be truncated."""
    bench.add(6)
    bench.forget(applied_index=4)
    assert bench.log.kept_index == 5
    assert bench.read(2) == bench.rows[1:4]


def test_what_was_truncated_is_not_what_comes_back(bench: Bench) -> None:
    bench.add(4)
    bench.add(4)
    bench.truncate(4)
    bench.add(1, term=2)
    bench.add(3, term=3)
    bench.truncate(6)
    bench.add(2, term=4)
    bench.forget()
    assert bench.read_all(2) == bench.rows[1:]


def test_a_truncation_while_a_block_is_written_leaves_what_it_kept(bench: Bench) -> None:
    bench.add(2)
    for index in (3, 4, 5):
        bench.rows.append(Entry(b"in flight", index, 1))
        bench.log.add(*bench.rows[-1])
    block = bench.log.take_block()
    assert block is not None
    bench.truncate(4)
    bench.log.block_durable(block, bench.wal.write(block))
    bench.add(2, term=2)
    bench.forget()
    assert bench.read_all(2) == bench.rows[1:]


def test_a_log_that_begins_anew_has_no_older_places(bench: Bench) -> None:
    bench.add(5)
    bench.log.restart_at(3, 9)
    bench.write()
    bench.rows = [*bench.rows[:2], Entry(b"", 3, 9)]
    bench.add(4, term=9)
    bench.forget()
    assert bench.read_all(4) == bench.rows[3:]


def test_a_restarted_node_finds_what_lies_on_its_disk(bench: Bench) -> None:
    bench.add(4)
    bench.add(4)
    bench.truncate(7)
    bench.add(9, term=2, size_bytes=500)
    bench.wal.close()
    bench.open()
    bench.forget()
    assert bench.log.kept_index == len(bench.rows) + 1
    assert bench.read_all(2) == bench.rows[1:]
    bench.add(1, term=3)
    bench.forget()
    assert bench.read_all(2) == bench.rows[1:]


# -- what can go wrong -----------------------------------------------------------------------------


def many(bench: Bench) -> None:
    """More than one segment, none of it in memory."""
    for _ in range(10):
        bench.add(2, size_bytes=500)
    bench.forget()


def test_a_snapshot_that_covers_it_meanwhile_ends_the_reading(bench: Bench) -> None:
    """The segment may be gone, or not yet; either way the peer gets the snapshot."""
    many(bench)
    assert bench.backlog.take(PEER, 2, MUCH) == []
    bench.log.deleteEntriesTo(15)
    bench.drop_before(bench.log.first_index)
    assert "0000000000000001.seg" not in bench.disk.names("wal")
    bench.run_one()
    assert (bench.fatal, bench.progress) == ([], 1)
    index = bench.log.first_index + 1
    assert bench.read_all(index) == bench.rows[index - 1 :]


def test_a_segment_that_is_missing_stops_the_node(bench: Bench) -> None:
    many(bench)
    assert bench.backlog.take(PEER, 2, MUCH) == []
    bench.drop_before(15)
    bench.run_one()
    assert isinstance(bench.fatal[0], FileNotFoundError)


def test_a_disk_that_cannot_be_read_stops_the_node(bench: Bench) -> None:
    many(bench)
    assert bench.backlog.take(PEER, 2, MUCH) == []
    bench.disk.fail("read", errno.EIO)
    bench.run_one()
    bench.disk.hook = None
    assert isinstance(bench.fatal[0], OSError)
    assert bench.backlog.take(PEER, 2, MUCH) == []


@pytest.mark.parametrize("at", [513, 530, 560, 700])
def test_damage_stops_the_node_and_is_sent_to_nobody(bench: Bench, at: int) -> None:
    many(bench)
    name = f"wal/{bench.disk.names('wal')[0]}"
    data = bytearray(bench.disk.read(name))
    data[at] ^= 0x10
    bench.disk.put(name, bytes(data))
    assert bench.backlog.take(PEER, 2, MUCH) == []
    bench.run_one()
    assert isinstance(bench.fatal[0], Corrupt)
    assert "join the cluster again" in str(bench.fatal[0])
    assert bench.backlog.take(PEER, 2, MUCH) == []


def test_another_log_in_its_place_stops_the_node(bench: Bench) -> None:
    """Whole blocks, with checksums that match, but not those that this log wrote."""
    many(bench)
    foreign = Bench()
    for _ in range(10):
        foreign.add(2, term=7, size_bytes=500)
    name = "wal/0000000000000001.seg"
    bench.disk.put(name, foreign.disk.read(name))
    foreign.wal.close()
    bench.backlog.take(PEER, 2, MUCH)
    bench.run_one()
    with pytest.raises(Fatal, match="where entry 2 belongs"):
        bench.backlog.take(PEER, 2, MUCH)
    bench.backlog.stop()


def test_a_block_that_is_shorter_than_it_was_stops_the_node(bench: Bench) -> None:
    """Whole, and with a right checksum; what follows it is here as well."""
    bench.add(2)
    bench.add(1)
    bench.forget()
    foreign = Bench()
    foreign.add(1)
    name = "wal/0000000000000001.seg"
    block = slice(512, 640)
    data = bytearray(bench.disk.read(name))
    data[block] = foreign.disk.read(name)[block]
    bench.disk.put(name, bytes(data))
    foreign.wal.close()
    bench.backlog.take(PEER, 2, MUCH)
    bench.run_one()
    assert "has no entry 2 where" in str(bench.fatal[0])
    bench.backlog.stop()


def test_what_nobody_waits_for_any_more_changes_nothing(bench: Bench) -> None:
    many(bench)
    bench.backlog.take(PEER, 2, MUCH)
    bench.backlog.take(OTHER, 2, MUCH)
    bench.backlog.stop(PEER)
    bench.backlog.stop()
    bench.disk.fail("read", errno.EIO)
    bench.run_one()
    bench.run_one()
    bench.disk.hook = None
    assert (bench.fatal, bench.progress) == ([], 0)
    assert bench.read(2)[0] == bench.rows[1], "and it may be asked for again"
