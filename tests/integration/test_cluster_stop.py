"""How a node ends: asked to, and it leaves nobody waiting; or because its disk failed."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator

import pytest

from raftcache.cli.local import HOST
from tests.support.cluster import Cluster, running, until

pytestmark = pytest.mark.cluster

# Long enough that followers may be suspended for a moment without losing their leader.
CALM = ("--election-min", "2s", "--election-max", "4s", "--request-timeout", "20s")
REQUESTS = 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("calm"), "--log-format", "json", *CALM) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """All three run and agree, whatever the test before did to them."""
    shared.start_all()
    return shared


def test_a_leader_that_is_asked_to_stop_hands_over_and_answers_everyone(cluster: Cluster) -> None:
    leader, followers = cluster.leader(), cluster.followers()
    term = cluster.settled()["term"]
    lines_before = len(cluster.logged(leader))
    for i in range(100):
        cluster.write(leader, f"earlier:{i}", "x")
    wires = [cluster.wire(leader) for _ in range(REQUESTS)]
    with cluster.suspended(*followers):  # so that these writes are in flight, all of them
        for i, wire in enumerate(wires):
            wire.send("PUT", f"/v1/kv/last:{i}", b"x")
        until(lambda: has_uncommitted(cluster, leader), "nothing is in flight")
        cluster.send(leader, signal.SIGTERM)
    statuses = [wire.answer().status for wire in wires]
    assert cluster.exit_code(leader) == 0
    assert statuses == [201] * REQUESTS
    successor = cluster.leader(followers)
    assert successor in followers
    assert cluster.settled(followers)["term"] > term
    for i in range(REQUESTS):
        assert cluster.read(successor, f"last:{i}") == "x"

    logged = cluster.logged(leader)
    (serving,) = [event for event in logged if event["event"] == "serving"]
    assert serving["http"] == f"{HOST}:{cluster.nodes[leader].http_port}"
    assert logged[-1]["event"] == "stopped"
    assert all({"time", "level", "logger", "event"} <= event.keys() for event in logged)
    assert not [event for event in logged if event["level"] in ("error", "critical")]
    assert len(logged) - lines_before < 20  # some 130 requests were answered: none has a line


def has_uncommitted(cluster: Cluster, leader: str) -> bool:
    last, committed = (cluster.metric(leader, f"raft_{i}_index") for i in ("last", "commit"))
    return last > committed


def test_a_follower_that_is_asked_to_stop_is_not_missed(cluster: Cluster) -> None:
    leader, (follower, other) = cluster.leader(), cluster.followers()
    term = cluster.settled()["term"]
    cluster.send(follower, signal.SIGTERM)
    assert cluster.exit_code(follower) == 0
    assert cluster.put(other, "still", "served").status == 201
    assert cluster.settled()["leader"] == leader
    cluster.start(follower)
    assert cluster.settled()["term"] == term
    assert cluster.read(follower, "still") == "served"


def test_whoever_waits_at_a_node_that_is_asked_to_stop_is_answered(cluster: Cluster) -> None:
    node = cluster.followers()[0]
    assert cluster.call(node, "POST", "/v1/locks/held?ttl=10m").status == 200
    assert cluster.get(node, "missed", "?vivify=10m").status == 404
    wires = [cluster.wire(node) for _ in range(4)]
    wires[0].send("POST", "/v1/locks/held?ttl=10m&wait=5m")
    wires[1].send("GET", "/v1/kv/missed?vivify=1m&wait=5m")
    wires[2].send("GET", "/v1/watch?key=missed&wait=5m")
    wires[3].send("GET", "/v1/locks/free?since=0&wait=5m")
    held = "/v1/locks/held?consistency=stale"
    until(lambda: cluster.call(node, "GET", held).json["waiting"] == 1, "nobody waits")
    cluster.send(node, signal.SIGTERM)
    assert [wire.answer().status for wire in wires] == [503, 503, 503, 200]
    assert cluster.exit_code(node) == 0


def test_a_leader_whose_disk_is_full_stops_and_says_why_and_nothing_is_lost(
    cluster: Cluster,
) -> None:
    leader, followers = cluster.leader(), cluster.followers()
    value = "x" * 500_000
    for i in range(3):
        cluster.write(leader, f"before:{i}", value)
    # A segment is longer than that from the start: writing behind it fails, as on a full disk.
    limit = 4 << 20
    resource.prlimit(cluster.pid(leader), resource.RLIMIT_FSIZE, (limit, limit))
    acknowledged = []
    for i in range(20):
        try:
            answer = cluster.put(leader, f"after:{i}", value)
        except OSError:
            break
        if answer.status == 201:
            acknowledged.append(f"after:{i}")
    assert cluster.exit_code(leader) == 70
    assert 0 < len(acknowledged) < 20
    last = [event for event in cluster.logged(leader) if event["level"] == "critical"]
    assert len(last) == 1
    assert last[0]["event"] == "the node must stop"
    assert "the log on disk failed: wal/" in last[0]["why"]
    assert "File too large" in last[0]["why"]
    assert "Traceback" not in cluster.said(leader)

    assert cluster.leader(followers) in followers
    cluster.start(leader)
    cluster.settled()
    for key in acknowledged:
        assert cluster.read(leader, key) == value
