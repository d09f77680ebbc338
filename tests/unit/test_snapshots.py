"""Snapshots: their bytes at every split and with every flip, and their files through crashes."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.errors import Corrupt
from raftcache.raft import snapshot_format, snapshots
from raftcache.raft.snapshot_format import (
    CHUNK_SIZE_BYTES,
    SnapshotEncoder,
    SnapshotMeta,
    SnapshotReader,
)
from raftcache.raft.snapshots import SnapshotStore
from raftcache.system import SystemDisk
from tests.support.memory_disk import MemoryDisk

META = SnapshotMeta(
    index=7, term=3, cluster_id="c" * 16, now_ms=5, revision=6, digest=1 << 63, members={"n1": "a"}
)
NEWER = SnapshotMeta(index=70, term=3, cluster_id="c" * 16, now_ms=50)
NAME = "0000000000000007-0000000000000003.snap"
IMAGE = bytes(range(256)) * 3


def file_of(meta: SnapshotMeta, *slices: bytes) -> bytes:
    encoder = SnapshotEncoder()
    return b"".join([encoder.begin(meta), *map(encoder.add, slices), encoder.end()])


def read_all(data: bytes) -> tuple[SnapshotMeta, bytes]:
    reader = SnapshotReader("x.snap")
    image = b"".join(reader.feed(data))
    return reader.end(), image


def store_snapshot(store: SnapshotStore, meta: SnapshotMeta, image: bytes = IMAGE) -> None:
    writer = store.writer(meta)
    writer.write(image)
    writer.finish()


def image_of(store: SnapshotStore) -> bytes:
    raw = store.open_newest()
    assert raw is not None
    try:
        return b"".join(store.image(raw))
    finally:
        raw.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file has several."""
    monkeypatch.setattr(snapshot_format, "CHUNK_SIZE_BYTES", 100)


# The bytes.


@pytest.mark.usefixtures("small_chunks")
@given(cuts=st.lists(st.integers(0, 1000), max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_bytes_may_come_split_anywhere(cuts: list[int]) -> None:
    data = file_of(META, IMAGE)
    reader = SnapshotReader("x.snap")
    parts: list[bytes] = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        assert not reader.complete or start >= len(data)
        parts += reader.feed(data[start:end])
    assert (reader.end(), b"".join(parts)) == (META, IMAGE)


def test_one_byte_at_a_time() -> None:
    reader = SnapshotReader("x.snap")
    image = b"".join(part for byte in file_of(META, IMAGE) for part in reader.feed(bytes([byte])))
    assert (reader.meta, reader.complete, image) == (META, True, IMAGE)


@pytest.mark.parametrize("size_bytes", [0, 1, 99, 100, 101, 200, 768])
@pytest.mark.usefixtures("small_chunks")
def test_the_file_depends_on_the_image_not_on_its_slices(size_bytes: int) -> None:
    image = IMAGE[:size_bytes]
    whole = file_of(META, image)
    assert whole == file_of(META, *(bytes([byte]) for byte in image))
    assert read_all(whole) == (META, image)


@pytest.mark.usefixtures("small_chunks")
def test_every_flipped_bit_is_found() -> None:
    data = file_of(META, IMAGE)
    for position in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[position] ^= 1 << bit
            with pytest.raises(Corrupt) as caught:
                read_all(bytes(bad))
            assert caught.value.path == "x.snap"
            assert caught.value.offset_bytes <= position


@pytest.mark.usefixtures("small_chunks")
def test_a_file_cut_short_anywhere_is_not_complete() -> None:
    data = file_of(META, IMAGE)
    for size_bytes in range(len(data)):
        with pytest.raises(Corrupt, match="cut off"):
            read_all(data[:size_bytes])


def test_bytes_after_the_end_are_found() -> None:
    with pytest.raises(Corrupt, match="after the end"):
        read_all(file_of(META, IMAGE) + b"\0")


@pytest.mark.usefixtures("small_chunks")
def test_chunks_of_another_order_or_file_are_found() -> None:
    data, other = file_of(META, IMAGE[:300]), file_of(META, IMAGE[1:301])
    done = 16 + 24
    starts = [len(file_of(META)) - done + i * (16 + 100) for i in range(4)]
    head, *chunks = [data[a:b] for a, b in zip([0, *starts], starts, strict=False)]
    end, foreign = data[-done:], other[starts[0] : starts[1]]
    first, second, third = chunks
    assert head + first + second + third + end == data
    with pytest.raises(Corrupt, match="checksum") as caught:
        read_all(head + second + first + third + end)
    assert caught.value.offset_bytes == starts[0], "found as it comes"
    for bad in (
        head + first + second + end,
        head + first + first + second + third + end,
        head + foreign + second + third + end,
    ):
        with pytest.raises(Corrupt):
            read_all(bad)


@pytest.mark.parametrize("changes", [{"version": 0}, {"index": 0}, {"term": -1}])
def test_a_meta_that_cannot_be_used_is_refused(changes: dict[str, int]) -> None:
    fields = {f: getattr(META, f) for f in META.__struct_fields__} | changes
    with pytest.raises(Corrupt, match="cannot use"):
        read_all(file_of(SnapshotMeta(**fields)))


def test_a_meta_above_the_limit_is_not_written() -> None:
    store = SnapshotStore(disk := MemoryDisk())
    members = "x" * snapshot_format.META_SIZE_BYTES_MAX
    with pytest.raises(ValueError, match="too large"):
        store.writer(SnapshotMeta(index=1, term=1, cluster_id="c", now_ms=0, members=members))
    assert disk.names("snapshots") == []


@given(data=st.binary(max_size=400), keep=st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_corrupt(data: bytes, keep: int) -> None:
    good = file_of(META, IMAGE)
    if good[:keep] + data != good:
        with pytest.raises(Corrupt):
            read_all(good[:keep] + data)


# The files.


def test_a_new_store_is_empty() -> None:
    store = SnapshotStore(MemoryDisk())
    assert store.newest() is None
    assert store.open_newest() is None
    assert store.load_newest(Machine()) is None


def test_a_snapshot_is_there_once_it_is_finished() -> None:
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    writer = store.writer(META)
    writer.write(IMAGE)
    assert store.newest() is None
    writer.finish()
    assert store.newest() == META
    assert disk.names("snapshots") == [NAME]
    assert image_of(store) == IMAGE
    assert disk.open_files == 0


def test_a_large_image() -> None:
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    image = random.Random(1).randbytes(3 * CHUNK_SIZE_BYTES + 5)
    store_snapshot(store, META, image)
    assert image_of(store) == image


def test_a_large_file_is_synced_as_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SYNC_EVERY_BYTES", CHUNK_SIZE_BYTES)
    disk = MemoryDisk()
    syncs: list[str] = []
    disk.hook = lambda operation, path: syncs.append(path) if operation == "sync" else None
    writer = SnapshotStore(disk).writer(META)
    for _ in range(4):
        writer.write(bytes(CHUNK_SIZE_BYTES))
    assert syncs == ["snapshots/own.tmp"] * 4


def test_the_newest_is_the_one_of_the_highest_index() -> None:
    store = SnapshotStore(MemoryDisk())
    store_snapshot(store, NEWER, b"newer")
    store_snapshot(store, META)
    assert store.newest() == NEWER
    assert image_of(store) == b"newer"


def test_prune_keeps_the_newest_and_what_is_being_sent() -> None:
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    store_snapshot(store, META)
    sending = store.open_newest()
    assert sending is not None
    store_snapshot(store, NEWER)
    store.prune()
    assert disk.names("snapshots") == [NEWER.name]
    assert sending.read(0, sending.size_bytes) == file_of(META, IMAGE)
    sending.close()


def test_discard_all_leaves_nothing() -> None:
    store = SnapshotStore(disk := MemoryDisk())
    store_snapshot(store, META)
    store.discard_all()
    assert disk.names("snapshots") == []


def test_aborted_and_unfinished_snapshots_leave_nothing() -> None:
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    writer = store.writer(META)
    writer.write(IMAGE)
    writer.abort()
    writer.abort()
    assert disk.names("snapshots") == []
    store.writer(META).write(IMAGE)
    store.receive(7, 3).write(b"RCS1")
    assert len(disk.names("snapshots")) == 2
    disk.kill()
    SnapshotStore(disk)
    assert disk.names("snapshots") == []


@pytest.mark.parametrize("operation", ["create", "write", "sync", "replace", "sync_folder"])
def test_a_bad_disk_never_leaves_half_a_snapshot(operation: str) -> None:
    for number in (errno.ENOSPC, errno.EIO):
        for seed in range(8):
            disk = MemoryDisk()
            store = SnapshotStore(disk)
            store_snapshot(store, META)
            disk.fail(operation, number)
            with pytest.raises(OSError, match=r"space|Input"):
                store_snapshot(store, NEWER, b"newer")
            disk.crash(random.Random(seed))
            store = SnapshotStore(disk)
            assert store.newest() in (META, NEWER)
            assert image_of(store) == (IMAGE if store.newest() == META else b"newer")
            store_snapshot(store, NEWER, b"again")
            assert image_of(store) == b"again"


def test_a_snapshot_that_cannot_begin_leaves_no_file_open() -> None:
    """Another one is tried a minute later, again and again while the disk is full."""
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    disk.free = 999
    with pytest.raises(OSError, match="what is left is for the log"):
        store.writer(META, 1000)
    assert disk.open_files == 0
    assert disk.names("snapshots") == []


def test_a_finished_snapshot_survives_a_crash() -> None:
    for seed in range(20):
        disk = MemoryDisk()
        store = SnapshotStore(disk)
        store_snapshot(store, META)
        store_snapshot(store, NEWER, b"newer")
        store.prune()
        disk.crash(random.Random(seed))
        store = SnapshotStore(disk)
        assert store.newest() == NEWER
        assert image_of(store) == b"newer"


def test_a_damaged_snapshot_is_refused_not_skipped() -> None:
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    store_snapshot(store, META)
    store_snapshot(store, NEWER)
    good = disk.read(f"snapshots/{NEWER.name}")
    for position in range(0, len(good), 5):
        bad = bytearray(good)
        bad[position] ^= 0x10
        disk.put(f"snapshots/{NEWER.name}", bytes(bad))
        with pytest.raises(Corrupt, match="join the cluster again") as caught:
            store.load_newest(Machine())
        assert caught.value.path == f"snapshots/{NEWER.name}"
    assert disk.open_files == 0


def test_a_snapshot_under_the_name_of_another_is_refused() -> None:
    disk = MemoryDisk()
    store = SnapshotStore(disk)
    store_snapshot(store, META)
    disk.put(f"snapshots/{NEWER.name}", disk.read(f"snapshots/{NAME}"))
    with pytest.raises(Corrupt, match="this is 0000000000000007"):
        store.newest()


# From the leader.


def test_a_snapshot_is_sent_and_received() -> None:
    there, here = SnapshotStore(MemoryDisk()), SnapshotStore(disk := MemoryDisk())
    store_snapshot(there, META)
    raw = there.open_newest()
    assert raw is not None
    receiver = here.receive(raw.meta.index, raw.meta.term)
    image = b""
    while receiver.size_bytes < raw.size_bytes:
        image += b"".join(receiver.write(raw.read(receiver.size_bytes, 100)))
    assert here.newest() is None
    assert receiver.finish() == META
    assert (image, image_of(here)) == (IMAGE, IMAGE)
    for seed in range(8):
        disk.crash(random.Random(seed))
        assert SnapshotStore(disk).newest() == META


def test_a_snapshot_that_was_not_whole_is_not_installed() -> None:
    data = file_of(META, IMAGE)
    for size_bytes in (0, 10, len(data) - 1):
        store = SnapshotStore(MemoryDisk())
        receiver = store.receive(7, 3)
        receiver.write(data[:size_bytes])
        with pytest.raises(Corrupt, match=r"as received.*cut off"):
            receiver.finish()
        receiver.abort()
        assert store.newest() is None


def test_damage_on_the_way_is_found_as_it_comes() -> None:
    data = bytearray(file_of(META, IMAGE))
    data[len(data) // 2] ^= 1
    receiver = SnapshotStore(disk := MemoryDisk()).receive(7, 3)
    with pytest.raises(Corrupt, match="as received"):
        receiver.write(bytes(data))
    receiver.abort()
    assert disk.names("snapshots") == []


def test_another_snapshot_than_the_one_announced_is_refused() -> None:
    store = SnapshotStore(MemoryDisk())
    receiver = store.receive(8, 3)
    receiver.write(file_of(META, IMAGE))
    with pytest.raises(Corrupt, match=NAME):
        receiver.finish()
    assert store.newest() is None


# Into the state machine.


class Machine:
    """A state machine that is its image; fits ports.StateMachine as far as it is used."""

    now_ms = digest = 0

    def __init__(self) -> None:
        self.state = b"old"

    def apply(self, now_ms: int, batch: bytes) -> Sequence[object]:
        raise NotImplementedError

    def dump(self) -> Iterator[bytes]:
        raise NotImplementedError

    def loader(self) -> Loader:
        return Loader(self)


class Loader:
    def __init__(self, machine: Machine) -> None:
        self._machine, self._new = machine, b""

    def feed(self, data: bytes) -> None:
        self._new += data

    def install(self) -> None:
        self._machine.state = self._new


def test_the_newest_is_loaded() -> None:
    store, machine = SnapshotStore(MemoryDisk()), Machine()
    store_snapshot(store, META)
    assert store.load_newest(machine) == META
    assert machine.state == IMAGE


def test_nothing_is_installed_from_a_damaged_snapshot() -> None:
    disk, machine = MemoryDisk(), Machine()
    store = SnapshotStore(disk)
    store_snapshot(store, META)
    disk.put(f"snapshots/{NAME}", disk.read(f"snapshots/{NAME}")[:-1])
    with pytest.raises(Corrupt, match="cut off"):
        store.load_newest(machine)
    assert machine.state == b"old"


@pytest.mark.parametrize("cut", [lambda data: data[:-1], lambda data: data])
def test_the_real_disk(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    store, machine = SnapshotStore(SystemDisk(tmp_path)), Machine()
    store_snapshot(store, META)
    store_snapshot(store, NEWER, IMAGE * 1000)
    store.prune()
    path = tmp_path / "snapshots" / NEWER.name
    whole = path.read_bytes()
    path.write_bytes(cut(whole))
    if cut(whole) == whole:
        assert store.load_newest(machine) == NEWER
        assert machine.state == IMAGE * 1000
    else:
        with pytest.raises(Corrupt):
            store.load_newest(machine)
    assert [p.name for p in (tmp_path / "snapshots").iterdir()] == [NEWER.name]
