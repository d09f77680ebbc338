"""Taking a snapshot beside the service: in slices, with pauses, and never half."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from raftcache.command.codec import batch, encode
from raftcache.command.words import Put
from raftcache.raft.compaction import PAUSE_S, ROOM_AGAIN_S, Compactor
from raftcache.raft.room import SPARED_SEGMENTS, Room
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.stock import SERIALIZER_STATE
from raftcache.state.image import SLICE_KEYS_MAX
from raftcache.state.machine import Machine
from tests.support.lanes import PromptLane
from tests.support.memory_disk import MemoryDisk
from tests.unit.seats import StoppedClock

SLICES = 5


class _Timers:
    """A loop whose timers fire when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        raise AssertionError("not used")

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> _Timers:
        assert not self.due
        self.due.append((delay, callback, args))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def fire(self) -> None:
        _, callback, args = self.due.pop()
        callback(*args)


def begun(segment_size_bytes: int = 0) -> tuple[Compactor, _Timers, MemoryDisk]:
    """A snapshot of SLICES slices of keys has begun."""
    disk, timers, machine = MemoryDisk(), _Timers(), Machine()
    for i in range(SLICES):
        keys = range(i * SLICE_KEYS_MAX, (i + 1) * SLICE_KEYS_MAX)
        machine.apply(1, batch([encode(Put(b"%d" % key, b"")) for key in keys]))

    def describe(index: int, term: int) -> SnapshotMeta:
        return SnapshotMeta(index=index, term=term, cluster_id="c", now_ms=1)

    def fatal(error: Exception) -> None:
        raise error

    compactor = Compactor(
        SnapshotStore(disk),
        PromptLane(),
        timers,
        machine,
        describe,
        Room(disk, StoppedClock(), segment_size_bytes),
        0,
        0,
        lambda: None,
        fatal,
    )
    compactor.serialize((None, (b"", 9, 1), None, None), 9)
    return compactor, timers, disk


def test_the_loop_is_left_alone_between_two_slices() -> None:
    compactor, timers, disk = begun()
    pauses = []
    while timers.due:
        pauses.append(timers.due[0][0])
        assert compactor.taken == 0
        timers.fire()
    assert compactor.taken == 1
    assert len(disk.names("snapshots")) == 1
    assert len(pauses) >= SLICES
    assert set(pauses) == {PAUSE_S}


@pytest.mark.parametrize("slices", [0, 1, SLICES])
def test_a_stop_between_two_slices_leaves_nothing_half_written(slices: int) -> None:
    compactor, timers, disk = begun()
    for _ in range(slices):
        timers.fire()
    assert disk.names("snapshots") == ["own.tmp"]
    compactor.stop()
    assert not timers.due
    assert disk.names("snapshots") == []
    assert compactor.taken == 0


def test_without_room_the_log_stays_and_the_next_one_is_tried_later() -> None:
    compactor, timers, disk = begun()
    timers.fire()
    asked: list[object] = []
    compactor.open_from(9, asked.append)
    disk.fail("write", errno.ENOSPC)
    timers.fire()
    assert compactor.waits_for_room
    assert (compactor.taken, compactor.failed) == (0, 1)
    assert disk.names("snapshots") == []
    compactor.open_from(9, asked.append)
    errors = [answer.errno for answer in asked if isinstance(answer, OSError)]
    assert errors == [errno.ENOSPC] * 2, "who waited, and who comes now, is told at once"
    assert timers.due[0][0] == ROOM_AGAIN_S
    disk.hook = None
    timers.fire()
    assert not compactor.waits_for_room
    assert compactor.checkSerializing()[0] == SERIALIZER_STATE.FAILED, "reported once"
    assert compactor.is_idle
    compactor.serialize((None, (b"", 9, 1), None, None), 9)
    while timers.due:
        timers.fire()
    assert (compactor.taken, compactor.failed) == (1, 1)


def test_a_snapshot_leaves_room_for_the_log() -> None:
    compactor, timers, disk = begun(segment_size_bytes=500)
    timers.fire()
    disk.free = 500 * SPARED_SEGMENTS - 1
    timers.fire()
    assert compactor.waits_for_room
    assert disk.names("snapshots") == []


def test_a_stop_while_there_is_no_room_leaves_no_timer() -> None:
    compactor, timers, disk = begun()
    disk.fail("write", errno.ENOSPC)
    timers.fire()
    compactor.stop()
    assert timers.due == []
