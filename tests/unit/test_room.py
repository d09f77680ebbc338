"""Room on the disk: what is left for the log, and how a cluster that has none gets some again."""

from __future__ import annotations

from collections.abc import Collection

from raftcache.command.codec import batch, encode
from raftcache.command.words import Delete, Put
from raftcache.config import Storage
from raftcache.raft.engine import REGULAR
from raftcache.raft.room import LOOK_S, SNAPSHOT_AGAIN_S, SPARED_SEGMENTS, Room
from tests.support.memory_disk import MemoryDisk
from tests.support.sim_bench import SEGMENT_SIZE_BYTES, TIMING, Ours
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


def test_a_snapshot_may_take_what_is_left_at_once_and_then_each_minute() -> None:
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
    looked(room, clock, disk, (SPARED_SEGMENTS + 1) * SEGMENT)
    assert looked(room, clock, disk, 0).wants_snapshot, "it helped, and the next may, too"


def told(ours: Ours, short: Collection[str]) -> bool:
    """Whether a leader takes the cluster for full, when these of its peers say that they are."""
    for peer in ours.peers:
        says = {"short": peer in short}
        ours.feed(peer, type="pong", term=ours.term, seq=ours.last_seq, **says)
    ours.advance(TIMING.heartbeat_s)
    return ours.replica.is_full


def test_a_cluster_is_full_when_fewer_than_a_majority_have_room() -> None:
    ours = Ours(size=5)
    ours.connect()
    ours.win()
    assert not told(ours, ("n2", "n3"))
    assert told(ours, ("n2", "n3", "n4"))
    assert ours.sent("ping", "n2")[-1]["full"], "and all are told so"
    assert not told(ours, ("n2",))
    assert not ours.sent("ping", "n2")[-1]["full"]


def test_half_of_an_even_number_is_no_majority() -> None:
    ours = Ours(size=4)
    ours.connect()
    ours.win()
    assert not told(ours, ("n2",))
    assert told(ours, ("n2", "n3"))


def test_who_is_not_there_has_no_room_once_somebody_is_short() -> None:
    ours = Ours(size=5)
    ours.connect()
    ours.win()
    ours.disconnect("n4")
    assert not told(ours, ("n2",))
    ours.connect("n4")
    ours.disconnect("n3", "n4")
    assert not told(ours, ()), "links alone say nothing of disks"
    assert told(ours, ("n2",))


def test_a_follower_is_told_and_forgets_it_when_the_leader_says_so_no_more() -> None:
    ours = Ours()
    ours.connect()
    for full in (True, False, True):
        ours.feed("n2", type="ping", term=3, full=full)
        ours.advance(TIMING.heartbeat_s)
        assert ours.replica.is_full == full
    ours.feed("n2", type="ping", term=3)
    ours.advance(TIMING.heartbeat_s)
    assert not ours.replica.is_full, "a leader of an older version does not say"


def test_a_new_leader_has_heard_of_nobody_who_is_short() -> None:
    ours = Ours()
    ours.connect()
    ours.win()
    assert told(ours, ("n2", "n3"))
    ours.feed("n2", type="ping", term=ours.term + 1)
    ours.win()
    ours.advance(TIMING.heartbeat_s)
    assert not ours.replica.is_full


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
