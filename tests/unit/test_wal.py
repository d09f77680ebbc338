"""The log on disk, over several segments: rotation, truncation, dropping, damage, bad disks."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from raftcache.command import versions
from raftcache.errors import Corrupt, Fatal
from raftcache.raft import blocks
from raftcache.raft.entries import START, Block, Entry, Position, Recovered
from raftcache.raft.log import Log
from raftcache.raft.wal import Wal
from raftcache.system import SystemDisk
from tests.support.memory_disk import MemoryDisk

SEGMENT = 2048
FIRST = "wal/0000000000000001.seg"
SECOND = "wal/0000000000000002.seg"
THIRD = "wal/0000000000000003.seg"


def open_wal(disk: MemoryDisk, sync: bool = True) -> tuple[Wal, Recovered]:
    return Wal.open(disk, SEGMENT, sync)


def reopen(disk: MemoryDisk) -> Recovered:
    """What the next process finds."""
    disk.kill()
    wal, recovered = open_wal(disk)
    wal.close()
    assert disk.open_files == 0
    return recovered


def block(prev: tuple[int, int], *commands: bytes, term: int = 1, restart: bool = False) -> Block:
    entries = [Entry(c, prev[0] + i, term) for i, c in enumerate(commands, 1)]
    return Block(term, "n1", restart, Position(*prev), entries)


def write_all(disk: MemoryDisk, blocks: Iterable[Block]) -> Wal:
    wal, _ = open_wal(disk)
    for b in blocks:
        wal.write(b)
    return wal


def rows(count: int, size_bytes: int = 400) -> list[Block]:
    """Blocks of one entry each; about three fill a segment."""
    return [
        block((i, 1 if i else 0), b"%d" % (i + 1) + bytes(size_bytes - 1)) for i in range(count)
    ]


def entries_of(blocks: Iterable[Block]) -> list[Entry]:
    return [entry for b in blocks for entry in b.entries]


def test_a_new_wal_is_empty() -> None:
    disk = MemoryDisk()
    _, recovered = open_wal(disk)
    assert recovered == Recovered() == reopen(disk)
    assert disk.names("wal") == ["0000000000000001.seg"]


def test_entries_and_vote_are_read_back() -> None:
    disk = MemoryDisk()
    write_all(disk, [block((0, 0), b"a", b"b"), Block(5, "n2", False, Position(2, 1), [])])
    expected = [Entry(b"a", 1, 1), Entry(b"b", 2, 1)]
    assert reopen(disk) == Recovered(expected, START, 5, "n2", untold_index=2)


def test_writing_goes_on_after_a_restart() -> None:
    disk = MemoryDisk()
    written = rows(9)
    for b in written:
        write_all(disk, [b]).close()
    assert len(disk.names("wal")) >= 3
    assert reopen(disk).entries == entries_of(written)


def test_a_truncation_is_read_back() -> None:
    disk = MemoryDisk()
    write_all(disk, [block((0, 0), b"a", b"b", b"c"), block((1, 1), b"B", term=2)])
    assert reopen(disk).entries == [Entry(b"a", 1, 1), Entry(b"B", 2, 2)]


def test_a_block_larger_than_a_segment_has_one_of_its_own() -> None:
    disk = MemoryDisk()
    written = [block((0, 0), b"a"), block((1, 1), bytes(5 * SEGMENT)), block((2, 1), b"c")]
    write_all(disk, written)
    assert reopen(disk).entries == entries_of(written)
    assert [len(disk.read(f"wal/{n}")) for n in disk.names("wal")] == [2048, 11264]


def test_a_large_first_block_replaces_the_empty_segment() -> None:
    disk = MemoryDisk()
    written = [block((0, 0), bytes(5 * SEGMENT))]
    write_all(disk, written)
    assert disk.names("wal") == ["0000000000000001.seg"]
    assert reopen(disk).entries == entries_of(written)


def test_segments_of_another_size_are_read_back() -> None:
    disk = MemoryDisk()
    written = rows(9)
    write_all(disk, written).close()
    wal, recovered = Wal.open(disk, 8 * SEGMENT, sync=True)
    wal.close()
    assert recovered.entries == entries_of(written)


# Dropping.


def drop_before(wal: Wal, index: int) -> None:
    wal.drop_before(index)
    wal.remove_dropped()


def stop_after(disk: MemoryDisk, operations: int) -> None:
    """After so many operations of the disk the process ends."""
    countdown = iter(range(operations, -1, -1))

    def stop(operation: str, path: str) -> None:
        if not next(countdown, 0):
            raise KeyboardInterrupt

    disk.hook = stop


def test_segments_below_an_index_are_dropped() -> None:
    disk = MemoryDisk()
    written = rows(9)
    wal = write_all(disk, written)
    before = disk.names("wal")
    drop_before(wal, 6)
    assert disk.names("wal") == before[-len(disk.names("wal")) :]
    assert len(disk.names("wal")) < len(before)
    recovered = reopen(disk)
    assert recovered.base.index < 6
    assert recovered.base == Position(recovered.base.index, 1)
    assert recovered.entries == entries_of(written)[recovered.base.index :]
    assert recovered.voted_for == "n1"


def test_the_entry_itself_is_not_dropped() -> None:
    disk = MemoryDisk()
    for index in range(1, 10):
        written = rows(9)
        wal = write_all(disk := MemoryDisk(), written)
        drop_before(wal, index)
        assert [e for e in reopen(disk).entries if e.index >= index] == entries_of(written)[
            index - 1 :
        ]


def test_the_last_segment_is_never_dropped() -> None:
    disk = MemoryDisk()
    wal = write_all(disk, rows(9))
    drop_before(wal, 1000)
    assert len(disk.names("wal")) == 1
    wal.write(block((9, 1), b"ten"))
    assert reopen(disk).entries[-1] == Entry(b"ten", 10, 1)


def test_a_restart_drops_everything_before_it() -> None:
    disk = MemoryDisk()
    wal = write_all(disk, rows(9))
    wal.write(block((4, 3), b"after", term=3, restart=True))
    wal.remove_dropped()
    assert len(disk.names("wal")) == 1
    after = [Entry(b"after", 5, 3)]
    assert reopen(disk) == Recovered(after, Position(4, 3), 3, "n1", untold_index=5)


@pytest.mark.parametrize(
    ("said", "committed_index", "untold_index"),
    [
        ([0, 2, 1], 2, 0),
        ([0, 0, 9], 3, 0),  # it knew of more than has come to its disk
        ([None, None, None], 0, 3),
        ([None, None, 1], 1, 2),
    ],
)
def test_what_is_committed_is_what_any_block_says(
    said: list[int | None], committed_index: int, untold_index: int
) -> None:
    disk = MemoryDisk()
    blocks_of_one = zip(rows(3), said, strict=True)
    write_all(disk, [replace(b, committed_index=index) for b, index in blocks_of_one])
    recovered = reopen(disk)
    assert (recovered.committed_index, recovered.untold_index) == (committed_index, untold_index)


def test_what_is_truncated_is_told_of() -> None:
    disk = MemoryDisk()
    later = replace(block((1, 1), b"other", b"more", term=2), committed_index=1)
    write_all(disk, [*rows(3), later])
    recovered = reopen(disk)
    assert [entry.term for entry in recovered.entries] == [1, 2, 2]
    assert (recovered.committed_index, recovered.untold_index) == (1, 1)


def test_a_segment_of_an_older_format_is_read_and_gets_no_block_of_this_one() -> None:
    disk = MemoryDisk()
    first, second = rows(2)
    write_all(disk, [first]).close()
    header = blocks.encode_segment_header(1, len(disk.read(FIRST)), versions.SEGMENT - 1)
    disk.put(FIRST, header + disk.read(FIRST)[len(header) :])
    before = disk.read(FIRST)
    write_all(disk, [second]).close()
    assert disk.read(FIRST) == before
    assert reopen(disk).entries == entries_of([first, second])
    assert disk.read(SECOND)[: len(header)] == blocks.encode_segment_header(2, SEGMENT)


def test_a_truncation_to_before_the_first_segment_left() -> None:
    """The log begins with the truncation then: what came before it is not known any more."""
    disk = MemoryDisk()
    wal = write_all(disk, rows(4))  # entries 1 to 3 in the first segment, 4 in the second
    assert len(disk.names("wal")) == 2
    wal.write(block((1, 1), b"x", b"y", b"z", b"w", term=2))
    drop_before(wal, 5)
    recovered = reopen(disk)
    assert disk.names("wal") == [SECOND.removeprefix("wal/")]
    assert recovered.base == Position(1, 1)
    assert [e.command for e in recovered.entries] == [b"x", b"y", b"z", b"w"]


def test_a_crash_while_dropping_leaves_no_gap() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        disk = MemoryDisk()
        written = rows(20)
        wal = write_all(disk, written)
        stop_after(disk, rng.randrange(8))
        with pytest.raises(KeyboardInterrupt):
            drop_before(wal, 15)
        disk.crash(rng)
        recovered = reopen(disk)
        assert [e for e in recovered.entries if e.index >= 15] == entries_of(written)[14:]


def test_what_was_dropped_and_is_not_removed_yet_is_read_back_and_dropped_again() -> None:
    disk = MemoryDisk()
    written = rows(20)
    wal = write_all(disk, written)
    names = disk.names("wal")
    wal.drop_before(15)
    assert disk.names("wal") == names, "removing is for another lane"
    wal.close()
    wal, recovered = open_wal(disk)
    assert recovered.entries == entries_of(written)
    drop_before(wal, 15)
    assert disk.names("wal") == names[-len(disk.names("wal")) :]
    assert len(disk.names("wal")) < len(names)


def test_a_crash_while_removing_beside_a_restart_leaves_no_gap() -> None:
    """What a restart leaves behind is removed after what was dropped before it."""
    for seed in range(40):
        rng = random.Random(seed)
        disk = MemoryDisk()
        wal = write_all(disk, rows(20))
        wal.drop_before(10)
        wal.write(block((30, 3), b"after", term=3, restart=True))
        stop_after(disk, rng.randrange(12))
        with suppress(KeyboardInterrupt):
            wal.remove_dropped()
        disk.crash(rng)
        assert reopen(disk).entries == [Entry(b"after", 31, 3)]


@pytest.mark.parametrize("operation", ["remove", "sync_folder"])
def test_a_disk_that_fails_while_removing_is_fatal(operation: str) -> None:
    disk = MemoryDisk()
    written = rows(9)
    wal = write_all(disk, written)
    wal.drop_before(6)
    disk.fail(operation, errno.EIO)
    with pytest.raises(Fatal, match=FIRST):
        wal.remove_dropped()
    wal.close()
    assert [e for e in reopen(disk).entries if e.index >= 6] == entries_of(written)[5:]


# Crashes.


def test_a_torn_block_is_cut_and_reported() -> None:
    disk = MemoryDisk()
    wal = write_all(disk, [block((0, 0), b"a")])
    whole = disk.read(FIRST)
    wal.write(block((1, 1), b"b" * 1000))
    torn = disk.read(FIRST)[:1024].ljust(SEGMENT, b"\0")
    disk.put(FIRST, torn)
    recovered = reopen(disk)
    assert recovered.entries == [Entry(b"a", 1, 1)]
    assert 0 < recovered.torn_bytes < SEGMENT
    assert disk.read(FIRST) == whole
    assert reopen(disk).torn_bytes == 0


def test_what_recovery_returns_survives_a_crash() -> None:
    """The process died between write and sync: the block is seen, and not yet on the disk."""
    for seed in range(10):
        disk = MemoryDisk()
        wal = write_all(disk, [block((0, 0), b"a")])
        disk.fail("sync", errno.EINTR)
        with pytest.raises(Fatal):
            wal.write(block((1, 1), b"b" * 1000))
        seen = reopen(disk)
        assert len(seen.entries) == 2
        disk.crash(random.Random(seed))
        assert reopen(disk) == seen


def test_without_sync_only_a_crash_of_the_machine_loses_blocks() -> None:
    disk = MemoryDisk()
    wal, _ = open_wal(disk, sync=False)
    written = rows(2)
    for b in written:
        wal.write(b)
    assert reopen(disk).entries == entries_of(written)


def test_an_unfinished_new_segment_is_forgotten() -> None:
    disk = MemoryDisk()
    written = rows(3)
    wal = write_all(disk, written)
    disk.fail("replace", errno.EIO)
    with pytest.raises(Fatal):
        wal.write(block((3, 1), bytes(1200)))
    assert "new.tmp" in disk.names("wal")
    assert reopen(disk).entries == entries_of(written)
    assert disk.names("wal") == ["0000000000000001.seg"]


# Damage.


@pytest.fixture
def damaged() -> MemoryDisk:
    """Three segments, to be damaged."""
    disk = MemoryDisk()
    write_all(disk, rows(8)).close()
    assert disk.names("wal") == [name.removeprefix("wal/") for name in (FIRST, SECOND, THIRD)]
    return disk


def assert_corrupt(disk: MemoryDisk, path: str, why: str) -> None:
    disk.kill()
    with pytest.raises(Corrupt, match=why) as caught:
        open_wal(disk)
    assert caught.value.path == path
    assert "join the cluster again" in caught.value.detail
    assert disk.open_files == 0


def test_every_flipped_byte_of_every_segment(damaged: MemoryDisk) -> None:
    recovered = reopen(damaged)
    for path in (FIRST, SECOND, THIRD):
        good = damaged.read(path)
        for position in range(SEGMENT):
            bad = bytearray(good)
            bad[position] ^= 1 << position % 8
            damaged.put(path, bytes(bad))
            damaged.kill()
            try:
                wal, found = open_wal(damaged)
            except Corrupt as e:
                assert (e.path, e.offset_bytes <= position) == (path, True)  # noqa: PT017
            else:
                wal.close()
                assert (found.entries, found.voted_for) == (recovered.entries, "n1")
        damaged.put(path, good)


@pytest.mark.parametrize("size_bytes", [1, 100, 300, 700])
@pytest.mark.parametrize("number", [1, 2])
def test_a_cut_that_fails_half_way_is_made_by_the_next_process(
    size_bytes: int, number: int
) -> None:
    """The simulator found it (seed 175 of its profile disks): a block that was written in part,
    then zeroed in part, looked damaged.
    """
    disk = MemoryDisk()
    wal = write_all(disk, [block((0, 0), b"a")])
    disk.fail("write", errno.ENOSPC)
    with pytest.raises(Fatal):
        wal.write(block((1, 1), b"b" * size_bytes))
    disk.kill()
    writes = iter(range(1, number + 1))

    def fail_at_the_last(operation: str, path: str) -> None:
        if operation == "write" and next(writes, number) == number:
            raise OSError(errno.EIO, "bad", path)

    disk.hook = fail_at_the_last
    with pytest.raises(OSError, match="bad"):
        open_wal(disk)
    assert reopen(disk).entries == [Entry(b"a", 1, 1)]


def test_any_file_cut_short_is_corrupt(damaged: MemoryDisk) -> None:
    for path in (FIRST, SECOND, THIRD):
        good = damaged.read(path)
        for size_bytes in range(0, SEGMENT, 13):
            damaged.put(path, good[:size_bytes])
            assert_corrupt(damaged, path, "not")
        damaged.put(path, good)


def test_a_torn_block_before_the_last_segment_is_corrupt(damaged: MemoryDisk) -> None:
    data = damaged.read(SECOND)
    damaged.put(SECOND, data[:1024].ljust(SEGMENT, b"\0"))
    assert_corrupt(damaged, SECOND, "missing before the next segment")


def test_a_segment_emptied_is_corrupt(damaged: MemoryDisk) -> None:
    data = damaged.read(SECOND)
    damaged.put(SECOND, data[:512].ljust(SEGMENT, b"\0"))
    assert_corrupt(damaged, SECOND, "missing before the next segment")


def test_a_missing_segment_is_corrupt(damaged: MemoryDisk) -> None:
    damaged.remove(SECOND)
    assert_corrupt(damaged, SECOND, "missing")


def test_a_segment_in_the_place_of_another_is_corrupt(damaged: MemoryDisk) -> None:
    damaged.put(SECOND, damaged.read(THIRD))
    assert_corrupt(damaged, SECOND, "not the whole of segment 2")


def test_the_only_segment_left_must_hold_something(damaged: MemoryDisk) -> None:
    damaged.remove(FIRST)
    damaged.remove(SECOND)
    data = damaged.read(THIRD)
    damaged.put(THIRD, data[:512].ljust(SEGMENT, b"\0"))
    assert_corrupt(damaged, THIRD, "older segments are gone")


def test_a_stranger_among_the_segments_is_corrupt(damaged: MemoryDisk) -> None:
    damaged.put("wal/0000000000000002.bak", b"")
    assert_corrupt(damaged, "wal/0000000000000002.bak", "not a segment")


def test_snapshots_without_a_log_are_corrupt() -> None:
    disk = MemoryDisk()
    disk.put("snapshots/0000000000000009-0000000000000001.snap", b"")
    assert_corrupt(disk, "wal", "there are snapshots")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Block(0, None, False, Position(2, 1), []), "term goes back"),
        (block((1, 7), b"x"), "the log has"),
        (Block(1, None, False, Position(2, 1), [Entry(b"", 4, 1)]), "cannot follow"),
        (Block(1, None, False, Position(2, 1), [Entry(b"", 3, 0)]), "cannot follow"),
    ],
)
def test_what_no_log_can_have_written_is_corrupt(bad: Block, why: str) -> None:
    disk = MemoryDisk()
    write_all(disk, [block((0, 0), b"a", b"b"), bad]).close()
    assert_corrupt(disk, FIRST, why)


def test_a_block_that_leaves_a_gap_is_not_written() -> None:
    wal = write_all(MemoryDisk(), [block((0, 0), b"a")])
    with pytest.raises(AssertionError):
        wal.write(block((2, 1), b"c"))


# Bad disks.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_write_or_sync_ends_the_wal(operation: str, number: int) -> None:
    for seed in range(10):
        disk = MemoryDisk()
        good, bad = rows(1), block((1, 1), b"b" * 700)
        wal = write_all(disk, good)
        disk.fail(operation, number, FIRST[:10])
        with pytest.raises(Fatal, match=FIRST):
            wal.write(bad)
        disk.hook = None
        before = disk.read(FIRST)
        with pytest.raises(Fatal, match="cannot be used any more"):
            wal.write(bad)
        with pytest.raises(Fatal):
            wal.drop_before(1)
        assert disk.read(FIRST) == before, "nothing is tried again"
        disk.crash(random.Random(seed))
        assert reopen(disk).entries in (entries_of(good), entries_of([*good, bad]))


@pytest.mark.parametrize("operation", ["create", "write", "sync", "replace", "sync_folder"])
def test_a_full_disk_at_a_new_segment_loses_nothing(operation: str) -> None:
    disk = MemoryDisk()
    written = rows(3)
    wal = write_all(disk, written)
    disk.fail(operation, errno.ENOSPC)
    with pytest.raises(Fatal, match="No space left"):
        wal.write(block((3, 1), bytes(1200)))
    wal.close()
    assert disk.open_files == 0
    assert reopen(disk).entries == entries_of(written)


def test_a_disk_that_cannot_be_read_is_no_damage() -> None:
    disk = MemoryDisk()
    write_all(disk, rows(1)).close()
    disk.fail("read", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        open_wal(disk)
    assert disk.open_files == 0


def test_a_closed_wal_is_closed() -> None:
    wal = write_all(MemoryDisk(), rows(1))
    wal.close()
    wal.close()
    with pytest.raises(Fatal, match="closed"):
        wal.write(block((1, 1), b"b"))


# The real disk.


def test_round_trip_on_the_real_disk(tmp_path: Path) -> None:
    disk = SystemDisk(tmp_path)
    wal, recovered = Wal.open(disk, SEGMENT, sync=True)
    log = Log(recovered)
    for index in range(1, 60):
        log.add(b"%d" % index * 50, index, index // 10)
        log.setCurrentTerm(index // 10, "n1")
        if index % 7 == 0:
            log.deleteEntriesFrom(len(log) - 1)
            log.add(b"again", index, index // 10 + (index % 10 == 9))
        while (taken := log.take_block()) is not None:
            wal.write(taken)
            log.block_durable(taken)
    drop_before(wal, 20)
    wal.close()
    wal, recovered = Wal.open(disk, SEGMENT, sync=True)
    wal.close()
    assert recovered.entries == log[recovered.base.index :]
    assert 0 < recovered.base.index < 20
    assert (recovered.term, recovered.voted_for) == (5, "n1")
    assert all(len(path.read_bytes()) == SEGMENT for path in (tmp_path / "wal").iterdir())
