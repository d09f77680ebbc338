"""Room on the disk: what is left for the log, and how a cluster that has none gets some again."""

from __future__ import annotations

from raftcache.command.codec import batch, encode
from raftcache.command.words import Delete, Put
from raftcache.config import Storage
from raftcache.raft.engine import REGULAR
from raftcache.raft.room import LOOK_S, SNAPSHOT_AGAIN_S, SPARED_SEGMENTS, Room
from tests.support.memory_disk import MemoryDisk
from tests.support.sim_bench import SEGMENT_SIZE_BYTES, Ours
from tests.unit.seats import StoppedClock

SEGMENT = 1000
VALUE = b"v" * (SEGMENT_SIZE_BYTES // 4)


def looked(room: Room, clock: StoppedClock, disk: MemoryDisk, free: int) -> Room:
    disk.free = free
    clock.now_s += LOOK_S
    room.look()
    return room


def test_a_disk_is_short_below_two_segments_and_no_more_with_three() -> None:
    disk, clock = MemoryDisk(), StoppedClock()
    room = Room(disk, clock, SEGMENT)
    assert not looked(room, clock, disk, SPARED_SEGMENTS * SEGMENT).is_short
    assert looked(room, clock, disk, SPARED_SEGMENTS * SEGMENT - 1).is_short
    assert looked(room, clock, disk, (SPARED_SEGMENTS + 1) * SEGMENT - 1).is_short
    assert not looked(room, clock, disk, (SPARED_SEGMENTS + 1) * SEGMENT).is_short


def test_a_log_that_is_not_on_the_disk_is_never_short() -> None:
    disk, clock = MemoryDisk(), StoppedClock()
    assert not looked(Room(disk, clock, 0), clock, disk, 0).is_short


def test_a_snapshot_may_take_what_is_left_once_a_minute() -> None:
    """What it lets go is all that makes room."""
    disk, clock = MemoryDisk(), StoppedClock()
    room = Room(disk, clock, SEGMENT)
    assert not looked(room, clock, disk, SPARED_SEGMENTS * SEGMENT).wants_snapshot
    assert room.spared_size_bytes == SPARED_SEGMENTS * SEGMENT
    assert looked(room, clock, disk, SPARED_SEGMENTS * SEGMENT - 1).wants_snapshot
    assert room.spared_size_bytes == 0
    assert not room.wants_snapshot
    clock.now_s += SNAPSHOT_AGAIN_S
    assert room.wants_snapshot


def test_a_node_whose_own_log_fills_its_disk_cuts_it_and_goes_on() -> None:
    """Nobody has to make room: there is some, where entries lie that a snapshot would cover."""
    storage = Storage(segment_size_bytes=SEGMENT_SIZE_BYTES, trailing_entries=0)
    ours = Ours(storage=storage, size=1)
    ours.disk.size_bytes = 10 * SEGMENT_SIZE_BYTES
    ours.campaign()
    written = 0
    while not ours.replica.is_full:
        ours.propose(REGULAR + batch([encode(Put(b"key", VALUE))]))
        ours.advance(LOOK_S)
        written += 1
    assert written > 20, "there was much of it"
    ours.propose(REGULAR + batch([encode(Delete(b"key"))]))
    ours.advance(2 * LOOK_S)
    assert not ours.replica.is_full
    assert ours.replica.snapshots == (1, 0)
    assert ours.disk.free_size_bytes() > 7 * SEGMENT_SIZE_BYTES
    assert ours.fatal == []
