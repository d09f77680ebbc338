"""What was lost had revisions: none of them is given again, and who comes with one is told so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from raftcache.cli.local import HOST
from raftcache.client import Entry, SyncClient
from raftcache.command.limits import REVISION_BUMP
from tests.support.cluster import Cluster, running, until
from tests.support.command_line import succeeds
from tests.support.recovering import Alone, recover

pytestmark = pytest.mark.cluster

KEY: Final = "near/balance"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path) as cluster:
        yield cluster


@dataclass(frozen=True)
class Told:
    """What clients were told by a cluster that is no more; revision: of its last write."""

    etag: str
    token: int
    lease: int
    cursor: str
    revision: int


def lock(cluster: Cluster, node: str) -> int:
    answer = cluster.call(node, "POST", "/v1/locks/job?ttl=1s&wait=1m")
    assert answer.status == 200, answer
    return int(answer.json["token"])


def lose(cluster: Cluster, node: str) -> Told:
    """Acknowledged, by a majority that will be lost; asked for at this node of it."""
    for number in range(20):
        cluster.write(node, f"lost:{number}", "x")
    etag = cluster.write(node, KEY, "lost").headers["ETag"]
    listed = cluster.call(node, "GET", "/v1/kv?prefix=lost:&limit=1").json
    lease = cluster.call(node, "POST", "/v1/leases?ttl=1h").json["lease"]
    token = lock(cluster, node)
    cluster.write(node, "last", "x")
    status = cluster.status(node)
    assert status is not None
    return Told(etag, token, lease, listed["after"], status["revision"])


def check_nothing_fits(cluster: Cluster, node: str, told: Told, kept: int) -> None:
    """kept: the revision that was left."""
    assert cluster.read(node, KEY) == "kept"
    late = cluster.put(node, KEY, "too late", If_Match=told.etag)
    assert late.status == 412, late
    late = cluster.call(node, "POST", f"/v1/locks/job?op=keepalive&token={told.token}")
    assert late.status == 409, late
    assert lock(cluster, node) > max(told.token, REVISION_BUMP)
    assert cluster.call(node, "POST", f"/v1/leases/{told.lease}?op=keepalive").status == 404
    written = cluster.write(node, KEY, "new").headers["ETag"]
    assert int(written.strip('"')) > told.revision + REVISION_BUMP // 2
    for since in (kept, told.revision, REVISION_BUMP):
        watch = cluster.call(node, "GET", f"/v1/watch?prefix=&since={since}&wait=1s")
        assert watch.status == 410, watch
        assert watch.json["oldest_revision"] == kept + REVISION_BUMP
    page = cluster.call(node, "GET", f"/v1/kv?prefix=lost:&limit=1&after={told.cursor}")
    assert page.status == 410, page
    rest = cluster.call(node, "GET", f"/v1/watch?prefix=&since={kept + REVISION_BUMP}&wait=1s")
    assert rest.status == 200
    assert cluster.put(node, KEY, "newest", If_Match=written).status == 200


def test_a_recovered_cluster_gives_no_number_of_what_was_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.write("n2", KEY, "kept")
    lock(cluster, "n2")
    kept = cluster.settled()["revision"]
    cluster.kill("n1")
    url = cluster.nodes["n2"].url
    with SyncClient([url], timeout_s=60.0) as client, client.near_cache() as near:
        told = lose(cluster, "n2")
        until(lambda: near.revision >= told.revision, "the near cache is behind")
        assert value(near.get(KEY.encode())) == b"lost"
        for name in ("n2", "n3"):
            cluster.kill(name)

        done = recover(cluster, "n1", "--yes", "--json").json
        assert (done["revision"], done["new_revision"]) == (kept, kept + REVISION_BUMP)

        alone = Alone(tmp_path / "alone", 1)
        alone.nodes = cluster.nodes
        with alone:
            alone.start("n1")
            check_nothing_fits(alone, alone.leader(), told, kept)
            # Who joins has the same numbers, and forgot the same.
            for path in sorted(alone.nodes["n2"].folder.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            alone.start("n2")
            until(lambda: alone.status("n2"), "n2 did not join")
            assert alone.read("n2", KEY) == "newest"
            watch = alone.call("n2", "GET", f"/v1/watch?prefix=&since={told.revision}&wait=1s")
            assert watch.status == 410
            until(lambda: near.revision > REVISION_BUMP, "it did not begin anew")
            assert value(near.get(KEY.encode())) == b"newest"


def test_what_a_leader_wrote_that_no_majority_heard_is_recovered_above_what_was_lost(
    tmp_path: Path,
) -> None:
    """The others may have acknowledged another one under the revision that it has on this disk."""
    with running(tmp_path, "--request-timeout", "900ms") as cluster:
        leader, followers = cluster.leader(), cluster.followers()
        before = cluster.write(leader, KEY, "kept").headers["ETag"]
        cluster.write(leader, "last", "x")
        kept = cluster.settled()["revision"]
        for name in followers:
            cluster.send(name, signal.SIGSTOP)
        unknown = cluster.put(leader, "unheard", "of")
        assert unknown.status == 503, unknown
        assert unknown.json["definite"] is False
        for name in cluster.nodes:
            cluster.kill(name)

        done = recover(cluster, leader, "--yes", "--json").json
        assert done["committed_index"] < done["last_index"]
        assert (done["revision"], done["new_revision"]) == (kept + 1, kept + 1 + REVISION_BUMP)

        alone = Alone(tmp_path / "alone", 1)
        alone.nodes, alone.left = cluster.nodes, leader
        with alone:
            alone.start(leader)
            alone.leader()
            assert alone.put(leader, KEY, "new", If_Match=before).status == 200, "it was committed"
            lost = alone.put(leader, "unheard", "new", If_Match=f'"{kept + 1}"')
            assert lost.status == 412, lost
            assert lost.headers["ETag"] == f'"{kept + 1 + REVISION_BUMP}"'


def value(entry: Entry | None) -> bytes:
    assert entry is not None
    return entry.value


def test_a_restored_cluster_gives_no_number_of_what_came_after_the_backup(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.write("n2", KEY, "kept")
    lock(cluster, "n2")
    file = tmp_path / "backup"
    saved = succeeds("snapshot", "save", file, "--json", "--endpoints", cluster.nodes["n1"].url)
    kept = saved.json["revision"]
    told = lose(cluster, "n3")
    cluster.stop()

    with Cluster(tmp_path / "new", 3) as new:
        members = ",".join(f"{n.name}={HOST}:{n.raft_port}" for n in new.nodes.values())
        place = ("snapshot", "restore", file, "--cluster", members, "--json")
        ids = set()
        for name, node in new.nodes.items():
            done = succeeds(*place, "--data-dir", node.folder, "--name", name).json
            assert done["new_revision"] == kept + REVISION_BUMP
            ids.add(done["cluster_id"])
        assert len(ids) == 1
        new.start_all()
        check_nothing_fits(new, "n2", told, kept)
