"""`recover` and `rebuild` on real data directories, in the right order and in the wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache.raft import datadir
from raftcache.system import SystemDisk
from tests.support.cluster import Cluster, running, until
from tests.support.command_line import raftcache, succeeds
from tests.support.recovering import Alone, recover

pytestmark = pytest.mark.cluster

PAIRS = {f"key:{i}": f"value {i}" for i in range(30)}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path) as cluster:
        for key, value in PAIRS.items():
            cluster.write("n2", key, value)
        cluster.settled()
        yield cluster


def damage(folder: Path) -> Path:
    """Flip a bit in the first block: what lies between two blocks means nothing. The segment."""
    segment = min((folder / "wal").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[550] ^= 4
    segment.write_bytes(data)
    return segment


def test_one_of_three_goes_on_alone_and_the_lost_cannot_come_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    before = cluster.settled()
    running_still = recover(cluster, "n1", "--yes")
    assert running_still.code == 2
    assert "in use by another process" in running_still.err
    for name in cluster.nodes:
        cluster.kill(name)

    asked = recover(cluster, "n1", "--json")
    assert asked.code == 1
    assert asked.json["last_index"] >= before["applied_index"]
    assert asked.json["revision"] == before["revision"]
    assert asked.json["keys"] == len(PAIRS)
    assert asked.json["lost_members"] == ["n2", "n3"]
    assert recover(cluster, "n1", "--json").json == asked.json  # nothing was changed
    done = recover(cluster, "n1", "--yes", "--json").json
    assert done["cluster_id"] != before["cluster_id"]

    alone = Alone(tmp_path / "alone", 1)
    alone.nodes = cluster.nodes
    with alone:
        alone.start("n1")
        assert alone.leader() == "n1"
        status = alone.status("n1")
        assert status is not None
        assert status["cluster_id"] == done["cluster_id"]
        assert {key: alone.read("n1", key) for key in PAIRS} == PAIRS
        alone.write("n1", "new", "x")
        # With its old data, and its old list of members or none, nobody gets in.
        cluster.start("n2")
        until(lambda: "out of the cluster" in cluster.said("n2"), "n2 was let in")
        until(lambda: cluster.status("n2"), "n2 does not serve HTTP")
        assert cluster.get("n2", "new").status == 503
        cluster.kill("n2")
        refused = cluster.said("n2").count("out of the cluster")
        alone.start("n2")
        until(lambda: alone.said("n2").count("out of the cluster") > refused, "n2 was let in")
        alone.kill("n2")
        # With nothing, it joins.
        for path in sorted(alone.nodes["n2"].folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        alone.start("n2")
        until(lambda: alone.status("n2"), "n2 did not join")
        assert alone.read("n2", "new") == "x"
        alone.kill("n1")
        alone.start("n1")
        alone.leader()
        assert alone.read("n1", "key:3") == "value 3"


def test_only_the_node_itself_can_be_recovered(cluster: Cluster) -> None:
    for name in cluster.nodes:
        cluster.kill(name)
    folder = cluster.nodes["n1"].folder
    for members in ("n2=127.0.0.1:1", "n1=127.0.0.1:1,n2=127.0.0.1:2"):
        wrong = raftcache("recover", "--data-dir", folder, "--members", members, "--yes")
        assert wrong.code == 2
        assert "this is the data of n1" in wrong.err
    empty = cluster.nodes["n1"].folder.parent / "empty"
    empty.mkdir()
    nothing = raftcache("recover", "--data-dir", empty, "--members", "n1=127.0.0.1:1", "--yes")
    assert nothing.code == 2
    assert "nothing to recover" in nothing.err


def test_a_node_that_was_recovered_half_way_can_be_recovered_again(cluster: Cluster) -> None:
    """A crash between the new identity and the new state."""
    for name in cluster.nodes:
        cluster.kill(name)
    folder = cluster.nodes["n1"].folder
    log = {path: path.read_bytes() for path in (folder / "wal").iterdir()}
    first = recover(cluster, "n1", "--yes", "--json").json
    for path in (*(folder / "wal").iterdir(), *(folder / "snapshots").iterdir()):
        path.unlink()
    for path, data in log.items():
        path.write_bytes(data)
    second = recover(cluster, "n1", "--yes", "--json").json
    assert second["old_cluster_id"] == first["cluster_id"]
    assert second["last_index"] == first["last_index"]
    assert second["new_revision"] == first["new_revision"]
    assert second["cluster_id"] != first["cluster_id"]


def test_a_damaged_node_is_rebuilt_from_the_others(cluster: Cluster) -> None:
    leader, (broken, other) = cluster.leader(), cluster.followers()
    place = ("rebuild", "--data-dir", cluster.nodes[broken].folder)
    source = ("--from", cluster.nodes[leader].url)
    assert "in use by another process" in raftcache(*place, *source).err
    cluster.kill(broken)
    segment = damage(cluster.nodes[broken].folder)
    cluster.start(broken)
    assert cluster.exit_code(broken) == 70
    assert "join the cluster again" in cluster.said(broken)

    unreachable = raftcache(*place, "--from", "http://127.0.0.1:9", "--timeout", "1s")
    assert unreachable.code == 3
    assert segment.exists()
    stranger = raftcache(*place, *source, "--name", other)
    assert stranger.code == 2
    assert succeeds(*place, *source, "--json").json["node"] == broken
    cluster.start(broken)
    cluster.settled()
    assert {key: cluster.read(broken, key) for key in PAIRS} == PAIRS
    members = json.loads(cluster.call(leader, "GET", "/v1/cluster/members").body)["members"]
    assert [m["voter"] for m in members if m["name"] == broken] == [False]
    promoted = cluster.call(leader, "POST", f"/v1/cluster/members/{broken}?op=promote")
    assert promoted.status == 200
    cluster.kill(leader)
    assert cluster.leader([broken, other]) in (broken, other)


def test_a_fenced_node_does_not_start_until_it_is_rebuilt(cluster: Cluster) -> None:
    leader, (wrong, _) = cluster.leader(), cluster.followers()
    folder = cluster.nodes[wrong].folder
    cluster.kill(wrong)
    datadir.fence(SystemDisk(folder), "its state differs")
    cluster.start(wrong)
    assert cluster.exit_code(wrong) == 70
    assert "its state differs" in cluster.said(wrong)
    assert "raftcache rebuild" in cluster.said(wrong)
    verified = raftcache("wal", "verify", "--data-dir", folder, "--json")
    assert (verified.code, verified.json["ok"]) == (1, False)
    succeeds("rebuild", "--data-dir", folder, "--from", cluster.nodes[leader].url)
    cluster.start(wrong)
    cluster.settled()
    assert {key: cluster.read(wrong, key) for key in PAIRS} == PAIRS


def test_the_log_can_be_looked_at_while_its_node_runs(cluster: Cluster) -> None:
    folder = cluster.nodes["n1"].folder
    seen = succeeds("wal", "inspect", "--data-dir", folder, "--entries", "--json").json
    assert seen["damage"] is None
    assert seen["torn_bytes"] == 0
    assert seen["last_index"] == len(seen["entries"])
    assert sum("1 Put" in entry["holds"] for entry in seen["entries"]) == len(PAIRS)
    assert any("members, version 1" in entry["holds"] for entry in seen["entries"])
    assert succeeds("wal", "inspect", "--data-dir", folder).out
    verified = succeeds("wal", "verify", "--data-dir", folder, "--json").json
    status = cluster.settled()
    assert (verified["keys"], verified["digest"]) == (len(PAIRS), status["digest"])
    assert cluster.put("n1", "still", "served").status == 201


def test_a_folder_that_is_no_nodes_is_not_called_well(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("something else")
    for command in ("verify", "inspect"):
        said = raftcache("wal", command, "--data-dir", tmp_path)
        assert (said.code, said.out) == (2, b"")
        assert said.err == f"raftcache: bad configuration: {tmp_path} holds no data of a node\n"


def test_a_damaged_log_is_refused_with_file_and_offset(cluster: Cluster) -> None:
    cluster.kill("n1")
    folder = cluster.nodes["n1"].folder
    segment = damage(folder)
    data = segment.read_bytes()
    said = raftcache("wal", "verify", "--data-dir", folder, "--json")
    assert said.code == 1
    assert said.json["file"] == f"wal/{segment.name}"
    assert said.json["offset"] == 512
    assert "join" in said.json["why"]
    seen = succeeds("wal", "inspect", "--data-dir", folder, "--json").json
    assert f"offset {said.json['offset']}" in seen["damage"]
    assert segment.read_bytes() == data
