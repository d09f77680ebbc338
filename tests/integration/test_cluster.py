"""Three real processes: every node serves, and what was acknowledged survives what kills them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from raftcache.client import SyncClient
from tests.support.cluster import Cluster, running, until

pytestmark = pytest.mark.cluster

NAMES = ("n1", "n2", "n3")
CALM = ("--election-min", "800ms", "--election-max", "1600ms")
"""Twice the defaults: no election but those that a test asks for, on a busy machine too."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster"), *CALM) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """All three run and agree, whatever the test before did to them."""
    shared.start_all()
    return shared


def write_through_all(cluster: Cluster, prefix: str, count: int) -> dict[str, str]:
    """Keys and values that were acknowledged, each by one of the running nodes in turn."""
    pairs = {f"{prefix}:{i}": f"value {i}" for i in range(count)}
    for i, (key, value) in enumerate(pairs.items()):
        cluster.write(cluster.running[i % len(cluster.running)], key, value)
    return pairs


def assert_held(cluster: Cluster, name: str, pairs: dict[str, str]) -> None:
    assert {key: cluster.read(name, key) for key in pairs} == pairs


# -- all is well ---------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", NAMES)
def test_every_node_takes_writes_and_all_read_them_at_once(cluster: Cluster, writer: str) -> None:
    written = cluster.put(writer, f"by-{writer}", "hello")
    assert written.status == 201
    assert written.headers["X-Raftcache-Served-By"] == writer
    for reader in NAMES:
        found = cluster.get(reader, f"by-{writer}")
        assert (found.status, found.body) == (200, b"hello")
        assert found.headers["X-Raftcache-Served-By"] == reader
        assert found.headers["ETag"] == written.headers["ETag"]


def test_each_write_is_seen_by_a_read_elsewhere_that_follows_it(cluster: Cluster) -> None:
    for i in range(60):
        cluster.write(NAMES[i % 3], "follow", str(i))
        assert cluster.read(NAMES[(i + 1) % 3], "follow") == str(i)


def test_a_follower_that_stood_still_reads_what_was_written_meanwhile(cluster: Cluster) -> None:
    leader, (follower, _) = cluster.leader(), cluster.followers()
    for i in range(5):
        wire = cluster.wire(follower)
        with cluster.suspended(follower):
            cluster.write(leader, "meanwhile", str(i))
            wire.send("GET", "/v1/kv/meanwhile")  # it finds both when it goes on
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, str(i).encode())


def test_every_operation_works_through_a_follower(cluster: Cluster) -> None:
    name = cluster.followers()[0]
    path = "/v1/kv/ops"
    assert cluster.put(name, "ops", "41", If_None_Match="*").status == 201
    assert cluster.put(name, "ops", "0", If_None_Match="*").status == 412
    assert cluster.call(name, "POST", path + "?op=incr&by=1").json["value"] == 42
    assert cluster.call(name, "POST", path + "?op=append", b"0").json["size"] == 3
    assert cluster.call(name, "POST", path + "?op=expire&ttl=1h").json["ttl_ms"] == 3_600_000
    assert cluster.call(name, "POST", path + "?op=persist").json["ttl_ms"] is None
    assert cluster.read(name, "ops") == "420"
    assert cluster.call(name, "DELETE", path).json["deleted"] == 1
    assert cluster.get(name, "ops").status == 404


def test_states_are_equal_and_the_status_says_so(cluster: Cluster) -> None:
    write_through_all(cluster, "equal", 30)
    status = cluster.settled()
    leader = cluster.leader()
    seen = cluster.statuses()
    assert len({said["cluster_id"] for said in seen.values()}) == 1
    assert {said["role"] for name, said in seen.items() if name != leader} == {"follower"}
    assert {member["name"] for member in seen[leader]["members"]} == set(NAMES)
    assert all(member["voter"] for member in seen[leader]["members"])

    def no_lag() -> bool:  # a follower may have applied what it has not yet said that it holds
        members = cluster.statuses()[leader]["members"]
        return all(member["lag"] == 0 for member in members)

    until(no_lag, "a member lags for ever")
    assert status["commit_index"] == status["applied_index"]
    for name in NAMES:
        assert cluster.call(name, "GET", "/readyz?verbose").status == 200
        assert cluster.metric(name, "raft_is_leader") == (name == leader)


def test_a_key_goes_on_all_nodes_without_any_traffic(cluster: Cluster) -> None:
    before = cluster.settled()["keys"]
    for i in range(5):
        assert cluster.put(NAMES[i % 3], f"short:{i}", "x", "?ttl=1s").status == 201

    def gone() -> bool:  # looks at counts only: a read of an overdue key would commit a tick
        return all(status["keys"] == before for status in cluster.statuses().values())

    until(gone, "the keys did not go by themselves")
    cluster.settled()
    for name in NAMES:
        assert cluster.get(name, "short:0", "?consistency=stale").status == 404


# -- something fails -------------------------------------------------------------------------------


def test_a_killed_follower_catches_up(cluster: Cluster) -> None:
    follower = cluster.followers()[0]
    pairs = write_through_all(cluster, "before-follower", 20)
    cluster.kill(follower)
    pairs |= write_through_all(cluster, "without-follower", 40)
    cluster.start(follower)
    cluster.settled()
    assert_held(cluster, follower, pairs)


def test_a_killed_leader_is_replaced_and_follows_when_it_is_back(cluster: Cluster) -> None:
    leader = cluster.leader()
    term = cluster.settled()["term"]
    pairs = write_through_all(cluster, "before-leader", 20)
    gone = {name: cluster.metric(name, "link_peers_gone_total") for name in cluster.running}
    cluster.kill(leader)
    pairs |= write_through_all(cluster, "without-leader", 40)
    for name in cluster.running:  # its port refuses, so nobody has to wait for silence
        until(
            lambda: cluster.metric(name, "link_peers_gone_total") == gone[name] + 1,  # noqa: B023
            f"{name} did not find out that {leader} had gone",
        )
    successor = cluster.leader()
    assert successor != leader
    cluster.start(leader)
    status = cluster.settled()
    assert (status["leader"], status["term"] > term) == (successor, True)
    assert_held(cluster, leader, pairs)


def test_a_retry_at_another_node_after_a_failover_is_applied_once(cluster: Cluster) -> None:
    leader = cluster.leader()
    path, key = "/v1/kv/once?op=incr&by=1", {"Idempotency-Key": "retry-after-failover"}
    first = cluster.call(leader, "POST", path, headers=key)
    assert (first.status, "Idempotency-Replayed" in first.headers) == (200, False)
    cluster.kill(leader)
    for name in cluster.running:
        cluster.read(name, "once")  # there is a leader again
        again = cluster.call(name, "POST", path, headers=key)
        assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert again.json == first.json
        other = cluster.call(name, "POST", "/v1/kv/once?op=incr&by=2", headers=key)
        assert other.status == 422
        assert cluster.read(name, "once") == "1"


def test_a_leader_that_stood_still_serves_nothing_stale(cluster: Cluster) -> None:
    old = cluster.leader()
    cluster.write(old, "still", "old")
    others = [name for name in NAMES if name != old]
    paths = 5 * ("/v1/kv/still", "/v1/kv/still?consistency=lease")
    wires = {cluster.wire(old): path for path in paths}
    with cluster.suspended(old):
        cluster.write(others[0], "still", "new")
        new = cluster.leader(others)
        for wire, path in wires.items():
            wire.send("GET", path)
    # It goes on in the belief that it leads; nothing that it answers may come from that.
    for answer in [wire.answer() for wire in wires]:
        assert answer.status == 503 or answer.body == b"new", answer
    assert cluster.read(old, "still") == "new"
    assert cluster.settled()["leader"] == new


def test_without_a_majority_outcomes_are_told_apart(cluster: Cluster) -> None:
    last, *dead = NAMES
    cluster.write(last, "held", "here")
    cluster.settled()
    for name in dead:
        cluster.kill(name)
    until(lambda: cluster.statuses()[last]["leader"] is None, f"{last} follows the dead")
    written = cluster.put(last, "refused", "x")
    assert (written.status, written.json["definite"]) == (503, True)
    assert int(written.headers["Retry-After"]) >= 1
    for query in ("", "?consistency=lease"):
        read = cluster.get(last, "held", query)
        assert (read.status, "definite" in read.json) == (503, False)
        assert int(read.headers["Retry-After"]) >= 1
    assert cluster.get(last, "held", "?consistency=stale").body == b"here"
    assert cluster.get(last, "held", "?consistency=stale&max_staleness=1h").body == b"here"
    assert cluster.get(last, "held", "?consistency=stale&max_staleness=1ms").status == 503
    assert cluster.call(last, "GET", "/livez").status == 200
    assert cluster.call(last, "GET", "/readyz").status == 503
    cluster.start_all()
    assert cluster.read(last, "held") == "here"
    assert cluster.read(last, "refused") is None


def test_a_client_that_prefers_the_leader_goes_there_and_finds_the_next_one(
    cluster: Cluster,
) -> None:
    urls = [node.url for node in cluster.nodes.values()]
    with SyncClient(urls, prefers_leader=True) as client:
        client.put(b"key", b"value")
        for _ in range(2):
            leader = cluster.leader()

            def goes_to(name: str) -> bool:
                found = client.get(b"key")
                return found is not None and found.served_by == name

            until(partial(goes_to, leader), f"it does not go to {leader}")
            assert client.put(b"key", b"value").revision
            cluster.kill(leader)
            cluster.leader()
            cluster.start(leader)
            cluster.settled()


def test_the_first_election_of_a_new_cluster_takes_all_its_members(tmp_path: Path) -> None:
    """Of two that are there, one may have lost what it had, and the other was never reached."""
    with Cluster(tmp_path, 3) as cluster:
        for name in ("n1", "n2"):
            cluster.start(name)

        def waits(name: str) -> bool:
            with contextlib.suppress(OSError):  # it does not listen yet
                return b"takes all its members" in cluster.call(name, "GET", "/readyz").body
            return False

        until(lambda: waits("n1") and waits("n2"), "they do not say what they wait for")
        until(lambda: cluster.metric("n2", "link_connects_total") >= 1, "they have not met")
        assert cluster.get("n1", "key").status == 503
        cluster.start("n3")
        leader = cluster.leader()
        cluster.write(leader, "key", "value")
        cluster.kill(leader)  # from now on two are enough
        cluster.leader()
        assert cluster.read(cluster.followers()[0], "key") == "value"


@pytest.mark.slow
def test_a_write_that_loses_its_majority_is_unknown_and_its_retry_applied_once(
    cluster: Cluster,
) -> None:
    leader, followers = cluster.leader(), cluster.followers()
    path, key = "/v1/kv/limbo?op=incr&by=1", {"Idempotency-Key": "limbo"}
    with cluster.suspended(*followers):
        lost = cluster.call(leader, "POST", path, headers=key)
        assert (lost.status, lost.json["definite"]) == (503, False)

    def retried() -> bool:
        return cluster.call(followers[0], "POST", path, headers=key).status == 200

    until(retried, "the retry did not come through")
    assert cluster.read(leader, "limbo") == "1"


def test_everything_is_there_after_all_were_killed(cluster: Cluster) -> None:
    pairs = write_through_all(cluster, "cold", 30)
    assert cluster.put("n1", "deadline", "x", "?ttl=1h").status == 201
    cluster.read("n2", "deadline")
    left_ms = int(cluster.get("n2", "deadline").headers["X-Raftcache-TTL-Ms"])
    before = cluster.settled()
    for name in NAMES:
        cluster.send(name, signal.SIGKILL)
    for name in NAMES:
        assert cluster.exit_code(name) == -signal.SIGKILL
    cluster.start_all()
    after = cluster.settled()
    assert after["digest"] == before["digest"]
    assert after["term"] > before["term"]
    for name in NAMES:
        assert_held(cluster, name, pairs)
        left_after_ms = int(cluster.get(name, "deadline").headers["X-Raftcache-TTL-Ms"])
        assert 0 < left_after_ms <= left_ms
        left_ms = left_after_ms
