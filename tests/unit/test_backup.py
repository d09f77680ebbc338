"""Snapshots held open for backups, what closes them, and what a slow client is told."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from raftcache.command.codec import batch, encode
from raftcache.command.words import Put
from raftcache.config import Durability, Storage
from raftcache.errors import BadConfig
from raftcache.raft.assembly import restore
from raftcache.raft.compaction import Compactor
from raftcache.raft.room import Room
from raftcache.raft.shipping import Sender
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.stock import Node
from raftcache.server.backup import PIECE_SIZE_BYTES, BackupRoutes
from raftcache.server.routes import RouteTable
from raftcache.state.machine import Machine
from tests.support.lanes import HeldLane
from tests.support.memory_disk import MemoryDisk
from tests.unit.seats import StoppedClock


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Its calls wait with the work of the lane."""

    def __init__(self, lane: HeldLane) -> None:
        self._lane = lane

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.call_later(0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer()
        self._lane.submit(lambda: None, lambda *_: timer.cancelled or callback(*args))
        return timer


class Bench:
    """A compactor over a machine of a few keys; index is the last entry applied."""

    def __init__(self) -> None:
        self.disk, self.lane, self.machine = MemoryDisk(), HeldLane(), Machine()
        self.store = SnapshotStore(self.disk)
        self.fatal: list[Exception] = []
        self.index = 0
        self.got: list[Any] = []
        self.compactor = Compactor(
            self.store,
            self.lane,
            Loop(self.lane),
            self.machine,
            self._describe,
            Room(self.disk, StoppedClock(), 0),
            0,
            0,
            lambda: None,
            self.fatal.append,
        )
        self.write(20)

    def _describe(self, index: int, term: int) -> SnapshotMeta:
        machine = self.machine
        return SnapshotMeta(
            index=index,
            term=term,
            cluster_id="c",
            now_ms=machine.now_ms,
            revision=machine.revision,
            digest=machine.digest,
        )

    def write(self, count: int) -> None:
        for _ in range(count):
            self.index += 1
            self.machine.apply(5, batch([encode(Put(b"%d" % self.index, b"x" * 40_000))]))

    def take(self) -> None:
        """As the engine does it, at its next tick."""
        self.compactor.checkSerializing()
        self.compactor.serialize((None, (b"", self.index, 1)), self.index - 1)

    def open_from(self, index: int) -> None:
        self.compactor.open_from(index, self.got.append)

    @property
    def names(self) -> list[str]:
        return self.disk.names("snapshots")


def test_a_snapshot_that_is_new_enough_is_opened_and_no_other_is_taken() -> None:
    bench = Bench()
    bench.take()
    bench.lane.run_all()
    bench.open_from(bench.index)
    bench.lane.run_all()
    (snapshot,) = bench.got
    assert snapshot is not None
    assert (snapshot.meta.index, snapshot.meta.revision) == (20, 20)
    assert not bench.compactor.is_wanted
    snapshot.close()
    bench.lane.run_all()
    assert bench.disk.open_files == 0


def test_one_that_is_too_old_waits_for_the_next() -> None:
    bench = Bench()
    bench.take()
    bench.lane.run_one()
    bench.write(5)
    bench.open_from(25)
    bench.lane.run_all()  # the snapshot that was being taken is of index 20
    assert bench.got == []
    assert not bench.compactor.is_wanted, "not before the engine has heard of the end of the first"
    bench.compactor.checkSerializing()
    assert bench.compactor.is_wanted
    bench.take()
    assert not bench.compactor.is_wanted, "one is being taken"
    bench.lane.run_all()
    (snapshot,) = bench.got
    assert snapshot is not None
    assert snapshot.meta.index == 25
    bench.compactor.checkSerializing()
    assert not bench.compactor.is_wanted


def test_an_open_snapshot_can_be_read_after_it_was_pruned() -> None:
    bench = Bench()
    bench.take()
    bench.lane.run_all()
    bench.open_from(20)
    bench.lane.run_all()
    (snapshot,) = bench.got
    assert snapshot is not None
    data = bench.disk.read(f"snapshots/{bench.names[0]}")
    bench.write(1)
    bench.take()
    bench.lane.run_all()
    assert len(bench.names) == 1
    assert bench.names[0] != snapshot.meta.name
    pieces: list[bytes | None] = []
    snapshot.read(100, 1000, lambda piece, _: pieces.append(piece))
    bench.lane.run_all()
    assert pieces == [data[100:1100]]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_snapshot_that_fails_leaves_no_file_behind(number: int) -> None:
    bench = Bench()
    bench.take()
    bench.lane.run_one()
    bench.disk.fail("write", number)
    bench.lane.run_all()
    stops = [e.errno for e in bench.fatal if isinstance(e, OSError)]
    assert stops == ([] if number == errno.ENOSPC else [number])
    assert bench.compactor.failed == 1
    assert bench.names == []
    assert bench.disk.open_files == 0


@pytest.mark.parametrize("steps", range(6))
def test_stopping_half_way_closes_everything_and_tells_who_waits(steps: int) -> None:
    bench = Bench()
    bench.take()
    bench.open_from(bench.index + 1)
    for _ in range(steps):
        bench.lane.run_one()
    bench.compactor.stop()
    bench.open_from(1)
    bench.lane.run_all()
    assert bench.got == [None, None]
    assert bench.disk.open_files == 0
    assert not [name for name in bench.names if name.endswith(".tmp")]
    assert bench.fatal == []


@pytest.mark.parametrize("steps", range(4))
def test_a_transfer_that_ends_closes_its_file(steps: int) -> None:
    bench = Bench()
    bench.take()
    bench.lane.run_all()
    sender = Sender(bench.store, bench.lane, bench.fatal.append)
    chunks: list[dict[str, Any]] = []
    sender.send(Node("n2"), lambda node, chunk: chunks.append(chunk))
    for _ in range(min(steps, 2)):
        bench.lane.run_one()
    if steps == 3:
        sender.acknowledged(Node("n2"), 20, len(chunks[0]["data"]))
    sender.stop()
    bench.lane.run_all()
    assert bench.disk.open_files == 0
    assert bench.fatal == []


def test_a_node_that_keeps_nothing_does_not_start_on_a_log() -> None:
    disk, storage = MemoryDisk(), Storage(durability=Durability.FSYNC)
    wal = restore(disk, Machine(), storage).wal
    assert wal is not None
    wal.close()
    with pytest.raises(BadConfig, match="holds a log"):
        restore(disk, Machine(), Storage(durability=Durability.MEMORY))


# -- over HTTP -----------------------------------------------------------------------------------


class FakeBackup:
    """As long as it is told to be; breaks at an offset, if there is one."""

    name, revision = "name.snap", 7

    def __init__(self, size_bytes: int, breaks_at: int | None = None) -> None:
        self.size_bytes, self.breaks_at = size_bytes, breaks_at
        self.closed = False

    async def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        if self.breaks_at is not None and offset_bytes >= self.breaks_at:
            raise OSError(errno.EIO, "Input/output error")
        return bytes(min(size_bytes, self.size_bytes - offset_bytes))

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class FakeBackups:
    def __init__(self, backup: FakeBackup) -> None:
        self.backup = backup

    async def open(self) -> FakeBackup:
        return self.backup


def answered(backup: FakeBackup, grace_s: float = 60.0, *, reads: bool = True) -> bytes | None:
    """What a client got; None if it was visibly cut off. It may be one that does not read."""

    async def scenario() -> bytes | None:
        application = web.Application()
        routes = BackupRoutes(FakeBackups(backup), grace_s, 1 << 40)
        routes.add_to(RouteTable(application.router))
        async with TestClient(TestServer(application), read_bufsize=1024) as client:
            answer = await client.get("/v1/snapshot")
            assert answer.status == 200
            while not reads and not backup.closed:  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # nobody tells a test
            try:
                return await answer.read()
            except aiohttp.ClientError:
                return None

    return asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_backup_is_sent_whole_and_closed() -> None:
    backup = FakeBackup(3 * PIECE_SIZE_BYTES + 5)
    assert answered(backup) == bytes(backup.size_bytes)
    assert backup.closed


def test_an_error_half_way_is_visible_to_the_client() -> None:
    backup = FakeBackup(3 * PIECE_SIZE_BYTES, breaks_at=PIECE_SIZE_BYTES)
    assert answered(backup) is None
    assert backup.closed


def test_a_client_that_is_too_slow_is_cut_off() -> None:
    backup = FakeBackup(64 << 20)
    assert answered(backup, grace_s=0.05, reads=False) is None
    assert backup.closed
