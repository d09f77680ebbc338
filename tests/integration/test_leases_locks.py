"""Leases and locks on real processes: leaders die, clients vanish, and time goes on as it did."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import Answer, Cluster, running, until

pytestmark = pytest.mark.cluster

SLACK_MS = 1000
"""What a node's view of cluster time may be late by, and more; far less than what was waited."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("leases")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """All nodes run."""
    shared.start_all()
    return shared


def ask(
    cluster: Cluster, name: str, method: str, path: str, body: bytes = b"", once: str = ""
) -> Answer:
    """The first answer that is no 503; a POST needs a key, for it may be sent twice."""
    headers = {"Idempotency-Key": once} if once else {}

    def answered() -> Answer | None:
        answer = cluster.call(name, method, path, body, headers)
        return None if answer.status == 503 else answer

    return until(answered, f"{name} did not answer {method} {path}")


def killed(cluster: Cluster, name: str) -> None:
    cluster.send(name, signal.SIGKILL)
    cluster.exit_code(name)


def grant(cluster: Cluster, name: str, ttl: str) -> int:
    answer = ask(
        cluster, name, "POST", f"/v1/leases?ttl={ttl}", once=f"grant {ttl}".replace(" ", "-")
    )
    assert answer.status == 201, answer
    lease: int = answer.json["lease"]
    return lease


def acquire(cluster: Cluster, name: str, lock: str, query: str = "", once: str = "") -> int:
    once = once or f"acquire-{lock}"
    answer = ask(cluster, name, "POST", f"/v1/locks/{lock}?ttl=60s{query}", once=once)
    assert answer.status == 200, answer
    token: int = answer.json["token"]
    return token


def holder(cluster: Cluster, name: str, lock: str) -> int:
    token: int = ask(cluster, name, "GET", f"/v1/locks/{lock}").json["token"]
    return token


def in_queue(cluster: Cluster, name: str, lock: str, count: int) -> None:
    def seen() -> bool:
        waiting: int = ask(cluster, name, "GET", f"/v1/locks/{lock}").json["waiting"]
        return waiting == count

    until(seen, f"{count} did not wait for {lock}")


def test_a_lease_survives_its_leader_with_the_time_it_had_left(cluster: Cluster) -> None:
    """etcd #9395: neither restarted in full nor cut short."""
    leader = cluster.leader()
    begun_s = time.monotonic()
    lease = grant(cluster, leader, "30s")
    granted_s = time.monotonic()
    assert ask(cluster, leader, "PUT", f"/v1/kv/of-lease?lease={lease}", b"v").status == 201

    def has_run() -> bool:
        left_ms: int = ask(cluster, leader, "GET", f"/v1/leases/{lease}").json["ttl_ms"]
        return left_ms < 30_000 - 3 * SLACK_MS

    until(has_run, "the lease does not run")
    killed(cluster, leader)
    survivor = cluster.leader()
    asked_s = time.monotonic()
    shown = ask(cluster, survivor, "GET", f"/v1/leases/{lease}").json
    answered_s = time.monotonic()
    key = ask(cluster, survivor, "GET", "/v1/kv/of-lease")
    assert shown["ttl_ms"] <= 30_000 - (asked_s - granted_s) * 1000 + SLACK_MS
    assert shown["ttl_ms"] >= 30_000 - (answered_s - begun_s) * 1000 - SLACK_MS
    assert int(key.headers["X-Raftcache-TTL-Ms"]) <= shown["ttl_ms"]
    assert key.headers["X-Raftcache-Lease"] == str(lease)
    kept = ask(cluster, survivor, "POST", f"/v1/leases/{lease}?op=keepalive")
    assert kept.json["ttl_ms"] > 30_000 - SLACK_MS


def test_a_lease_ends_on_time_under_the_next_leader_with_all_its_keys(cluster: Cluster) -> None:
    leader = cluster.leader()
    lease = grant(cluster, leader, "3s")
    keys = [f"ends-{i}" for i in range(20)]
    for key in keys:
        assert ask(cluster, leader, "PUT", f"/v1/kv/{key}?lease={lease}", b"v").status == 201
    killed(cluster, leader)
    survivors = cluster.running
    cluster.leader(survivors)
    until(
        lambda: ask(cluster, survivors[0], "GET", f"/v1/leases/{lease}").status == 404,
        "the lease did not end",
    )
    for key in keys:
        assert ask(cluster, survivors[1], "GET", f"/v1/kv/{key}").status == 404
    cluster.start(leader)
    cluster.settled()


def test_a_lock_goes_from_hand_to_hand_in_order_across_nodes(cluster: Cluster) -> None:
    leader, (first, second) = cluster.leader(), cluster.followers()
    token = acquire(cluster, leader, "hands")
    waits = []
    for count, name in enumerate((first, second), 1):
        waits.append(cluster.wire(name))
        waits[-1].send("POST", "/v1/locks/hands?ttl=60s&wait=60s")
        in_queue(cluster, leader, "hands", count)
    for wait in waits:
        assert ask(cluster, second, "DELETE", f"/v1/locks/hands?token={token}").status == 200
        granted = wait.answer()
        assert granted.status == 200, granted
        assert granted.json["token"] > token
        token = granted.json["token"]
        assert holder(cluster, first, "hands") == token


def test_a_client_that_died_is_passed_over(cluster: Cluster) -> None:
    leader = cluster.leader()
    token = acquire(cluster, leader, "dead")
    dead, alive = cluster.wire(leader), cluster.wire(cluster.followers()[0])
    dead.send("POST", "/v1/locks/dead?ttl=60s&wait=60s")
    in_queue(cluster, leader, "dead", 1)
    alive.send("POST", "/v1/locks/dead?ttl=60s&wait=60s")
    in_queue(cluster, leader, "dead", 2)
    dead.close()
    in_queue(cluster, leader, "dead", 1)
    assert ask(cluster, leader, "DELETE", f"/v1/locks/dead?token={token}").status == 200
    assert alive.answer().status == 200


def test_who_waits_outlives_the_leader(cluster: Cluster) -> None:
    leader, (first, second) = cluster.leader(), cluster.followers()
    token = acquire(cluster, leader, "led")
    wait = cluster.wire(first)
    wait.send("POST", "/v1/locks/led?ttl=60s&wait=120s")
    in_queue(cluster, second, "led", 1)
    killed(cluster, leader)
    cluster.leader([first, second])
    kept = ask(cluster, second, "POST", f"/v1/locks/led?op=keepalive&token={token}")
    assert (kept.status, kept.json["token"]) == (200, token)
    assert ask(cluster, second, "DELETE", f"/v1/locks/led?token={token}").status == 200
    assert wait.answer().json["token"] > token


def test_a_retry_at_another_node_comes_to_the_same_place(cluster: Cluster) -> None:
    """The node where its client waited was killed: never a second hold."""
    leader, (first, second) = cluster.leader(), cluster.followers()
    token = acquire(cluster, leader, "retry")
    request = "/v1/locks/retry?ttl=60s&wait=120s"
    waiting = cluster.wire(first)
    waiting.send("POST", request, once="same")
    in_queue(cluster, second, "retry", 1)
    killed(cluster, first)
    waiting.close()
    again = cluster.wire(second)
    again.send("POST", request, once="same")
    in_queue(cluster, leader, "retry", 1)
    assert ask(cluster, leader, "DELETE", f"/v1/locks/retry?token={token}").status == 200
    granted = again.answer()
    assert granted.status == 200, granted
    assert acquire(cluster, leader, "retry", "&wait=120s", once="same") == granted.json["token"]
    assert holder(cluster, leader, "retry") == granted.json["token"]


def test_an_owner_that_let_it_run_out_is_told_and_followed_after_the_delay(
    cluster: Cluster,
) -> None:
    leader, follower = cluster.leader(), cluster.followers()[0]
    body = ask(cluster, leader, "POST", "/v1/locks/delay?ttl=300ms&lock_delay=500ms", once="owner")
    token = body.json["token"]
    wait = cluster.wire(follower)
    wait.send("POST", "/v1/locks/delay?ttl=60s&wait=60s")
    granted = wait.answer()
    assert granted.json["token"] > token
    for method, path in (("POST", "?op=keepalive&"), ("DELETE", "?")):
        told = ask(cluster, leader, method, f"/v1/locks/delay{path}token={token}")
        assert (told.status, told.json["title"]) == (409, "lock not held")
    assert holder(cluster, leader, "delay") == granted.json["token"]
    cluster.settled()
