"""Whose a data directory is, and who may use it."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raftcache.config import Address
from raftcache.errors import BadConfig, Corrupt
from raftcache.raft.datadir import (
    DirectoryLock,
    Identity,
    cluster_id_of,
    open_data_dir,
    read_identity,
)
from raftcache.system import SystemDisk
from tests.support.memory_disk import MemoryDisk

CLUSTER = "0123456789abcdef"


@pytest.fixture
def disk() -> MemoryDisk:
    """One that node n1 ran on twice."""
    disk = MemoryDisk()
    open_data_dir(disk, "n1", CLUSTER, "id1")
    open_data_dir(disk, "n1", CLUSTER, "id1")
    return disk


def test_a_fresh_directory_is_claimed() -> None:
    disk = MemoryDisk()
    assert read_identity(disk) is None
    identity = open_data_dir(disk, "n1", CLUSTER, "id1")
    assert identity == Identity(CLUSTER, "n1", 1, "id1")
    assert read_identity(disk) == identity


def test_every_start_is_another_incarnation(disk: MemoryDisk) -> None:
    assert open_data_dir(disk, "n1", CLUSTER, "id1").incarnation == 3
    assert open_data_dir(disk, "n1", None, "id1").incarnation == 4


def test_an_incarnation_is_durable_before_it_is_used(disk: MemoryDisk) -> None:
    for seed in range(20):
        incarnation = open_data_dir(disk, "n1", CLUSTER, "id1").incarnation
        disk.crash(random.Random(seed))
        assert read_identity(disk) == Identity(CLUSTER, "n1", incarnation, "id1")


@pytest.mark.parametrize("path", ["wal/new.tmp", "snapshots/own.tmp", "snapshots/received.tmp"])
def test_what_took_the_last_room_as_the_process_ended_keeps_it_from_no_start(
    disk: MemoryDisk, path: str
) -> None:
    disk.size_bytes = 10_000
    disk.put(path, bytes(disk.free_size_bytes()))
    assert open_data_dir(disk, "n1", CLUSTER, "id1").incarnation == 3
    assert not disk.exists(path)


def test_a_crash_while_starting_damages_nothing(disk: MemoryDisk) -> None:
    for operation in ("create", "write", "sync", "replace", "sync_folder"):
        for seed in range(8):
            before = read_identity(disk)
            assert before is not None
            disk.fail(operation, errno.EIO)
            with pytest.raises(OSError, match="Input/output"):
                open_data_dir(disk, "n1", CLUSTER, "id1")
            assert disk.open_files == 0
            disk.crash(random.Random(seed))
            after = read_identity(disk)
            assert after is not None
            assert after.incarnation - before.incarnation in (0, 1)


def refused(disk: MemoryDisk, node: str, cluster_id: str | None, why: str) -> None:
    """Refused, and nothing changed."""
    before = {name: disk.read(name) for name in disk.names("")}
    with pytest.raises(BadConfig, match=why):
        open_data_dir(disk, node, cluster_id, "id1")
    assert before == {name: disk.read(name) for name in disk.names("")}


def test_another_nodes_directory_is_refused(disk: MemoryDisk) -> None:
    refused(disk, "n2", CLUSTER, "node 'n1', this is node 'n2'")


def test_another_clusters_directory_is_refused(disk: MemoryDisk) -> None:
    refused(disk, "n1", "fedcba9876543210", f"{CLUSTER}, .*fedcba9876543210")


def test_a_fresh_directory_needs_a_cluster() -> None:
    refused(MemoryDisk(), "n1", None, "no cluster id")


def test_a_newer_format_is_refused(disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.command.versions.DATA_DIR", 0)
    refused(disk, "n1", CLUSTER, "format 1, this raftcache knows 0")


def test_every_flipped_bit_of_meta_is_found(disk: MemoryDisk) -> None:
    good = disk.read("meta")
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            disk.put("meta", bytes(bad))
            with pytest.raises(Corrupt, match="join the cluster again") as caught:
                open_data_dir(disk, "n1", CLUSTER, "id1")
            assert caught.value.path == "meta"


def test_every_shortened_meta_is_found(disk: MemoryDisk) -> None:
    good = disk.read("meta")
    for size_bytes in range(len(good)):
        disk.put("meta", good[:size_bytes])
        with pytest.raises(Corrupt):
            read_identity(disk)


@pytest.mark.parametrize("path", ["wal/0000000000000001.seg", f"snapshots/{1:016}-{1:016}.snap"])
def test_data_without_meta_is_no_fresh_directory(path: str) -> None:
    disk = MemoryDisk()
    disk.put(path, b"")
    with pytest.raises(Corrupt, match="missing"):
        open_data_dir(disk, "n1", CLUSTER, "id1")


def test_all_members_derive_the_same_cluster_id() -> None:
    members = {"n1": Address("10.0.0.1", 7501), "n2": Address("10.0.0.2", 7502)}
    backwards = dict(reversed(members.items()))
    assert cluster_id_of(members) == cluster_id_of(backwards)
    assert cluster_id_of(members) == cluster_id_of({n: str(a) for n, a in members.items()})
    assert len(cluster_id_of(members)) == 16
    assert int(cluster_id_of(members), 16) > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("n1"),
        lambda m: m.update(n1="10.0.0.1:7502"),
        lambda m: m.update(n3="10.0.0.3:7503"),
    ],
)
def test_other_members_are_another_cluster(change: Callable[[dict[str, str]], object]) -> None:
    members = {"n1": "10.0.0.1:7501", "n2": "10.0.0.2:7502"}
    before = cluster_id_of(members)
    change(members)
    assert cluster_id_of(members) != before


@pytest.mark.parametrize("path", ["wal/00000001", "snapshots/20261127T1700", "wal/checkpoint.5"])
def test_the_folders_of_another_program_are_not_taken_for_damage(path: str) -> None:
    """Prometheus has these two as well; what to do about damage is to remove everything."""
    disk = MemoryDisk()
    disk.put(path, b"theirs")
    before = disk.read(path)
    with pytest.raises(BadConfig, match=f"holds {path}, which is no file of raftcache"):
        open_data_dir(disk, "n1", CLUSTER, "id1")
    with pytest.raises(BadConfig, match="another program"):
        read_identity(disk)
    assert disk.read(path) == before


def test_meta_on_the_real_disk(tmp_path: Path) -> None:
    disk = SystemDisk(tmp_path / "data")
    assert open_data_dir(disk, "n1", CLUSTER, "id1").incarnation == 1
    assert open_data_dir(disk, "n1", CLUSTER, "id1").incarnation == 2
    assert disk.names("") == ["meta"]


# The lock.

LOCK = """
import pathlib, sys
from raftcache.errors import BadConfig
from raftcache.raft.datadir import DirectoryLock
try:
    DirectoryLock(pathlib.Path(sys.argv[1]))
except BadConfig as e:
    print(e.detail)
else:
    print("locked")
"""


def lock_elsewhere(path: Path) -> str:
    command = [sys.executable, "-c", LOCK, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_only_one_process_uses_a_directory(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "data")
    pid = (tmp_path / "data" / "lock").read_text().strip()
    assert lock_elsewhere(tmp_path / "data").endswith(f"in use by another process (pid {pid})")
    lock.release()
    assert lock_elsewhere(tmp_path / "data") == "locked", "also when it ended without release"
    assert lock_elsewhere(tmp_path / "data") == "locked"


def test_a_lock_excludes_a_second_one_in_the_same_process(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(BadConfig):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()
