"""`raftcache serve` as an operator meets it: bad starts, durability, what its log looks like.

A bad start is one clear sentence and an exit code: 2 for what to say differently, 70 for data
that cannot be used. Never a traceback, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftcache.cli.local import HOST, LocalNode, anywhere
from tests.support.cluster import PATIENCE_S, Cluster, running, until

pytestmark = pytest.mark.cluster


def flags(node: LocalNode, **other: str) -> list[str]:
    """A cluster of one; keywords replace what is said, None leaves a flag out."""
    said = {
        "name": node.name,
        "data_dir": str(node.folder),
        "http": f"{HOST}:{node.http_port}",
        "raft": f"{HOST}:{node.raft_port}",
        "cluster": f"{node.name}={HOST}:{node.raft_port}",
    } | other
    return [f"--{name.replace('_', '-')}={value}" for name, value in said.items() if value]


def refused(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a node that does not start, and what it said; never a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "raftcache", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "serving" not in done.stderr, done.stderr
    assert not done.stdout
    return done.returncode, done.stderr


@pytest.fixture
def free(tmp_path: Path) -> LocalNode:
    """A place where a node could live."""
    return anywhere(tmp_path, 1)[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node that runs, for tests that do it no harm."""
    with running(tmp_path_factory.mktemp("alone"), size=1) as cluster:
        yield cluster


def test_garbage_at_the_raft_port_is_counted_where_an_operator_sees_it(alone: Cluster) -> None:
    before = alone.metric("n1", "link_bad_frames_total")
    with socket.create_connection((HOST, alone.nodes["n1"].raft_port), PATIENCE_S) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert stranger.recv(1) == b""  # closed
    assert alone.metric("n1", "link_bad_frames_total") == before + 1
    assert "bad frame" in alone.said("n1")
    assert alone.put("n1", "unharmed", "yes").status in (200, 201)


# -- what the operator said ------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["http", "raft"])
def test_a_port_in_use_is_named(free: LocalNode, which: str) -> None:
    port = {"http": free.http_port, "raft": free.raft_port}[which]
    with socket.create_server((HOST, port)):
        code, said = refused(flags(free))
    assert code == 2
    assert f"{HOST}:{port}" in said
    assert "address already in use" in said.lower()


def test_the_data_of_another_cluster_or_node_is_left_alone(
    free: LocalNode, alone: Cluster, tmp_path: Path
) -> None:
    data = tmp_path / "copy"
    shutil.copytree(alone.nodes["n1"].folder, data)
    before = contents(data)
    code, said = refused(flags(free, data_dir=str(data)))  # other ports are another cluster
    assert (code, "say the --cluster that it began with" in said) == (2, True)
    cluster = f"x={HOST}:{free.raft_port}"
    code, said = refused(flags(free, data_dir=str(data), name="x", cluster=cluster))
    assert code == 2
    assert "the data directory belongs to node 'n1', this is node 'x'" in said
    assert contents(data) == before


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_second_process_on_the_same_data_is_refused(free: LocalNode, alone: Cluster) -> None:
    first = alone.nodes["n1"]
    code, said = refused(flags(free, data_dir=str(first.folder)))
    assert code == 2
    assert f"in use by another process (pid {alone.pid('n1')})" in said
    assert alone.put("n1", "unharmed", "yes").status in (200, 201)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"http": "0.0.0.0:7401", "http_advertise": "10.0.0.1:7401"}, "--insecure"),
        ({"raft": "10.0.0.1:7501", "cluster": "n1=10.0.0.1:7501"}, "--insecure"),
        ({"cluster": "n2=127.0.0.1:7501"}, "does not hold"),
        ({"election_min": "100ms", "heartbeat": "60ms"}, "three times --heartbeat"),
        ({"durability": "maybe"}, "must be one of fsync, os, memory"),
    ],
    ids=lambda said: said if isinstance(said, str) else "",
)
def test_settings_that_cannot_work_are_refused_before_anything_is_made(
    free: LocalNode, other: dict[str, str], words: str
) -> None:
    code, said = refused(flags(free, **other))
    assert code == 2
    assert words in said
    assert not free.folder.exists()


def test_a_data_directory_that_is_a_file_is_named(free: LocalNode) -> None:
    free.folder.write_text("not a folder")
    code, said = refused(flags(free))
    assert code == 70
    assert str(free.folder) in said


# -- damaged data ----------------------------------------------------------------------------------

SNAPSHOTS = ("--snapshot-entries", "30", "--trailing-entries", "5")
KEYS = {f"k{i}": f"value {i}" for i in range(100)}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A node that wrote KEYS and was killed: its data has a log, a snapshot and an identity."""
    with running(tmp_path_factory.mktemp("ended"), *SNAPSHOTS, size=1) as cluster:
        for key, value in KEYS.items():
            cluster.write("n1", key, value)
        folder = cluster.nodes["n1"].folder / "snapshots"
        until(lambda: [f.suffix for f in folder.iterdir()] == [".snap"], "no snapshot")
    return cluster


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def middle_of_log(folder: Path) -> Path:
    path = only(folder, "wal/*.seg")
    flip(path, path.read_bytes().index(b"value 50"))  # not what fills up a block: that is free
    return path


def head_of_log(folder: Path) -> Path:
    path = only(folder, "wal/*.seg")
    flip(path, 9)
    return path


def middle_of_snapshot(folder: Path) -> Path:
    path = only(folder, "snapshots/*.snap")
    flip(path, path.stat().st_size // 2)
    return path


def end_of_snapshot(folder: Path) -> Path:
    path = only(folder, "snapshots/*.snap")
    flip(path, path.stat().st_size - 1)
    return path


def middle_of_meta(folder: Path) -> Path:
    path = folder / "meta"
    flip(path, path.stat().st_size // 2)
    return path


def no_log(folder: Path) -> Path:
    shutil.rmtree(folder / "wal")
    return folder / "wal"


def no_meta(folder: Path) -> Path:
    (folder / "meta").unlink()
    return folder / "meta"


@pytest.mark.parametrize(
    "damage",
    [
        middle_of_log,
        head_of_log,
        middle_of_snapshot,
        end_of_snapshot,
        middle_of_meta,
        no_log,
        no_meta,
    ],
)
def test_damaged_data_is_refused_naming_file_and_offset(
    ended: Cluster, tmp_path: Path, damage: Callable[[Path], Path]
) -> None:
    node = ended.nodes["n1"]
    data = tmp_path / "copy"
    shutil.copytree(node.folder, data)
    damaged = damage(data)
    before = {path: data for path, data in contents(data).items() if path != "meta"}
    code, said = refused(flags(node, data_dir=str(data)))
    assert code == 70
    assert re.search(rf"{damaged.relative_to(data)}, offset \d+: ", said), said
    assert "remove the contents of the data directory" in said
    after = {path: data for path, data in contents(data).items() if path != "meta"}
    assert after == before


def test_a_bit_flipped_in_free_space_loses_nothing(ended: Cluster) -> None:
    with ended:
        path = only(ended.nodes["n1"].folder, "wal/*.seg")
        flip(path, path.stat().st_size // 2)
        ended.start_all()
        assert {key: ended.read("n1", key) for key in KEYS} == KEYS


# -- durability, and the log -----------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["fsync", "os", "memory"])
def test_every_durability_serves_and_restarts(tmp_path: Path, durability: str) -> None:
    with running(tmp_path, "--durability", durability, size=1) as cluster:
        cluster.write("n1", "key", "value")
        assert cluster.read("n1", "key") == "value"
        cluster.send("n1", signal.SIGTERM)
        assert cluster.exit_code("n1") == 0
        cluster.start_all()
        kept = None if durability == "memory" else "value"
        assert cluster.read("n1", "key") == kept
        lines = cluster.said("n1").splitlines()
        assert [line.split()[2] for line in lines].count("stopped") == 1
        assert len(lines) < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_waits_for_the_others_can_be_stopped(tmp_path: Path, number: int) -> None:
    with Cluster(tmp_path, 3) as cluster:
        cluster.start("n2")
        until(lambda: cluster.status("n2"), "it does not serve")
        assert cluster.get("n2", "key").status == 503
        cluster.send("n2", signal.Signals(number))
        assert cluster.exit_code("n2") == 0


def test_a_node_that_waits_to_join_can_be_stopped(free: LocalNode) -> None:
    alone = flags(free, cluster="", join="http://127.0.0.1:1")
    command = [sys.executable, "-m", "raftcache", "serve", *alone]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "waiting to join" in said
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
        assert process.wait() == 0, said
    assert said.count("waiting to join") < 20, "it went on asking"
    assert said.splitlines()[-1].split()[2] == "stopped"
