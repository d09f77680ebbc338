"""Backups on real processes: saved under load, verified, restored, exported and imported."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache.cli.local import HOST
from tests.support.cluster import Cluster, running, until
from tests.support.command_line import raftcache, succeeds

pytestmark = pytest.mark.cluster

BIG = "x" * 300_000
"""A few of them make a backup of several pieces."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("backup")) as cluster:
        yield cluster


def endpoint(cluster: Cluster, name: str) -> tuple[str, str]:
    return "--endpoints", cluster.nodes[name].url


def members(cluster: Cluster) -> str:
    return ",".join(f"{n.name}={HOST}:{n.raft_port}" for n in cluster.nodes.values())


def test_a_backup_from_any_node_has_all_that_was_acknowledged(
    cluster: Cluster, tmp_path: Path
) -> None:
    for i, name in enumerate(cluster.nodes):
        cluster.write("n1", f"before:{i}", f"{i}")
        said = succeeds("snapshot", "save", tmp_path / name, "--json", *endpoint(cluster, name))
        status = cluster.status(name)
        assert status is not None
        assert said.json["cluster_id"] == status["cluster_id"]
        exported = succeeds("snapshot", "export", tmp_path / name).out.splitlines()
        assert f"before:{i}" in {json.loads(line)["key"] for line in exported}
        assert len(exported) == said.json["keys"]


def test_a_backup_taken_while_writes_go_on_is_of_one_moment(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Writers keep a = b at every revision they wrote a at; a backup never shows a ahead by two."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            cluster.write("n1", "a", str(number))
            cluster.write("n2", "b", str(number))

    for i in range(20):
        cluster.write("n1", f"big:{i}", BIG)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: cluster.read("n3", "b"), "nothing was written")
        for attempt in range(3):
            file = tmp_path / str(attempt)
            before = cluster.read("n3", "b")
            succeeds("snapshot", "save", file, *endpoint(cluster, "n3"))
            lines = succeeds("snapshot", "export", file).out.splitlines()
            values = {line["key"]: line["value"] for line in map(json.loads, lines)}
            assert int(values["a"]) - int(values["b"]) in (0, 1)
            assert before is not None
            assert int(values["b"]) >= int(before)
            assert values["big:19"] == BIG
    finally:
        stop.set()
        writer.join()


def test_a_saved_file_is_there_whole_or_not_at_all(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    for i in range(20):
        cluster.write("n1", f"big:{i}", BIG)
    said = succeeds("snapshot", "save", file, *endpoint(cluster, "n2"))
    assert "Saving" in said.err
    assert list(tmp_path.iterdir()) == [file]
    again = raftcache("snapshot", "save", file, *endpoint(cluster, "n2"))
    assert again.code == 2
    assert "--force" in again.err
    succeeds("snapshot", "save", file, "--force", *endpoint(cluster, "n2"))

    nobody = raftcache("snapshot", "save", tmp_path / "other", "--endpoints", "http://127.0.0.1:9")
    assert nobody.code == 3
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_cut_off_or_flipped_is_refused_with_its_offset(
    cluster: Cluster, tmp_path: Path
) -> None:
    file, damaged = tmp_path / "backup", tmp_path / "damaged"
    for i in range(4):
        cluster.write("n1", f"big:{i}", BIG)
    succeeds("snapshot", "save", file, *endpoint(cluster, "n1"))
    data = file.read_bytes()
    dice = random.Random(7)
    for _ in range(6):
        cut = dice.randrange(len(data))
        damaged.write_bytes(data[:cut])
        said = raftcache("snapshot", "verify", damaged, "--json")
        assert said.code == 1
        assert 0 <= said.json["offset"] <= cut
        flipped = bytearray(data)
        at = dice.randrange(len(data))
        flipped[at] ^= 1 << dice.randrange(8)
        damaged.write_bytes(flipped)
        said = raftcache("snapshot", "verify", damaged, "--json")
        assert said.code == 1
        assert said.json["offset"] <= at
        assert not said.json["ok"]
    restored = raftcache(
        *("snapshot", "restore", damaged, "--data-dir", tmp_path / "new", "--name", "n1"),
        *("--cluster", members(cluster)),
    )
    assert restored.code == 3
    assert "offset" in restored.err
    assert not (tmp_path / "new" / "meta").exists()


def test_a_client_that_stands_still_holds_up_nobody(cluster: Cluster) -> None:
    for i in range(40):
        cluster.write("n1", f"big:{i}", BIG)
    stuck = []
    try:
        for _ in range(2):
            one = socket.create_connection((HOST, cluster.nodes["n1"].http_port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(b"GET /v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(15) == b"HTTP/1.1 200 OK"
            stuck.append(one)
        third = cluster.call("n1", "GET", "/v1/snapshot")
        assert third.status == 429
        assert int(third.headers["Retry-After"]) >= 1
        assert cluster.put("n1", "meanwhile", "x").status in (200, 201)
        assert cluster.read("n1", "meanwhile") == "x"
    finally:
        for one in stuck:
            one.close()
    answer = until(lambda: _served(cluster), "the places did not become free")
    assert len(answer) > 40 * len(BIG)


def _served(cluster: Cluster) -> bytes | None:
    answer = cluster.call("n1", "GET", "/v1/snapshot")
    return answer.body if answer.status == 200 else None


def test_a_node_that_dies_half_way_leaves_an_answer_that_is_visibly_cut_off(
    tmp_path: Path,
) -> None:
    with running(tmp_path, size=1) as alone:
        for i in range(40):
            alone.write("n1", f"big:{i}", BIG)
        connection = http.client.HTTPConnection(HOST, alone.nodes["n1"].http_port)
        connection.request("GET", "/v1/snapshot")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read(1000)
        alone.kill("n1")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
        connection.close()


def test_a_restored_cluster_has_the_same_keys_and_is_another_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    pairs = {f"kept:{i}": f"value {i}" for i in range(30)}
    for key, value in pairs.items():
        cluster.write("n1", key, value)
    cluster.write("n1", "short-lived", "x", "?ttl=1h")
    file = tmp_path / "backup"
    saved = succeeds("snapshot", "save", file, "--json", *endpoint(cluster, "n3")).json
    cluster.write("n1", "too-late", "x")

    with Cluster(tmp_path / "new", 3) as new:
        for name, node in new.nodes.items():
            place = ("--data-dir", node.folder, "--name", name, "--cluster", members(new))
            succeeds("snapshot", "restore", file, *place)
            again = raftcache("snapshot", "restore", file, *place)
            assert again.code == 2
            assert "not empty" in again.err
        new.start_all()
        status = new.settled()
        assert status["cluster_id"] != saved["cluster_id"]
        assert status["keys"] == saved["keys"]
        for name in new.nodes:
            assert {key: new.read(name, key) for key in pairs} == pairs
            assert new.read(name, "too-late") is None
            left_ms = int(new.get(name, "short-lived").headers["X-Raftcache-TTL-Ms"])
            assert 0 < left_ms <= 3_600_000
        new.write("n2", "new", "x")
        for name in new.nodes:
            new.kill(name)
        new.start_all()
        assert new.read("n3", "new") == "x"
        assert new.read("n1", "kept:7") == "value 7"
        again = raftcache("snapshot", "save", tmp_path / "second", *endpoint(new, "n1"), "--json")
        assert again.json["cluster_id"] == status["cluster_id"]


def test_a_member_that_was_not_restored_cannot_mix_in(cluster: Cluster, tmp_path: Path) -> None:
    cluster.write("n1", "kept", "x")
    file = tmp_path / "backup"
    succeeds("snapshot", "save", file, *endpoint(cluster, "n1"))
    with Cluster(tmp_path / "new", 3) as new:

        def restore(name: str) -> None:
            place = ("--data-dir", new.nodes[name].folder, "--name", name)
            succeeds("snapshot", "restore", file, *place, "--cluster", members(new))

        restore("n1")
        restore("n2")
        for name in new.nodes:
            new.start(name)
        until(lambda: "another cluster" in new.said("n3") or None, "n3 was not refused")

        def refuses(name: str) -> bool:
            with contextlib.suppress(OSError):  # it does not listen yet
                return new.get(name, "kept").status == 503
            return False

        until(lambda: all(refuses(name) for name in new.nodes), "somebody serves, or nobody does")
        new.kill("n3")
        shutil.rmtree(new.nodes["n3"].folder)
        restore("n3")
        new.start("n3")
        assert new.read(new.leader(), "kept") == "x"


def test_keys_go_out_and_come_in_as_json_lines(cluster: Cluster, tmp_path: Path) -> None:
    cluster.write("n1", "text", 'with "quotes" and ä', "?ttl=1h")
    binary = cluster.call("n1", "PUT", "/v1/kv/%FF%00", bytes(range(256)))
    assert binary.status in (200, 201)
    file, lines = tmp_path / "backup", tmp_path / "lines"
    succeeds("snapshot", "save", file, *endpoint(cluster, "n1"))
    succeeds("snapshot", "export", file, "--output", lines)
    exported = [json.loads(line) for line in lines.read_text().splitlines()]
    (text,) = [one for one in exported if one.get("key") == "text"]
    assert text["value"] == 'with "quotes" and ä'
    assert 3_500_000 < text["ttl_ms"] <= 3_600_000

    cluster.call("n1", "DELETE", "/v1/kv/text")
    cluster.call("n1", "DELETE", "/v1/kv/%FF%00")
    said = succeeds("snapshot", "import", lines, "--json", *endpoint(cluster, "n2"))
    assert said.json == {"imported": len(exported)}
    assert cluster.call("n3", "GET", "/v1/kv/%FF%00").body == bytes(range(256))
    back = cluster.get("n3", "text")
    assert back.body.decode() == 'with "quotes" and ä'
    assert 3_500_000 < int(back.headers["X-Raftcache-TTL-Ms"]) <= text["ttl_ms"]


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "k"}', '{"key": "k", "value_base64": "!"}'])
def test_a_line_that_is_none_is_named(cluster: Cluster, tmp_path: Path, line: str) -> None:
    lines = tmp_path / "lines"
    lines.write_text(f'{{"key": "first", "value": "x"}}\n{line}\n')
    said = raftcache("snapshot", "import", lines, *endpoint(cluster, "n1"))
    assert said.code == 2
    assert "line 2" in said.err
