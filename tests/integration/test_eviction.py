"""Real nodes filled far beyond their memory limit, with reads and writes at all of them."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from raftcache.cli.local import HOST
from tests.support.cluster import PATIENCE_S, Cluster, running, until

pytestmark = pytest.mark.cluster

LIMIT = 4 << 20
OPTIONS = ["--max-memory", "4MiB", "--value-size-max", "200KiB"]
VALUE = b"x" * 10_000
HOT = [f"hot{i}" for i in range(20)]
COLD_PER_NODE = 600
"""Three times that is four times what fits."""


class Client(threading.Thread):
    """Writes new keys at one node, each once, reads hot ones, and fills them in when missing."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__()
        self.name, self.cluster, self.dice = name, cluster, random.Random(name)
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.memory_max = 0

    def run(self) -> None:
        port = self.cluster.nodes[self.name].http_port
        self.connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
        for number in range(COLD_PER_NODE):
            self.put(f"{self.name}-{number}")
            for _ in range(2):
                key = self.dice.choice(HOT)
                if self.ask("GET", key) == 404:
                    self.put(key)
            if number % 50 == 0:
                status = self.cluster.status(self.name)
                assert status is not None
                self.memory_max = max(self.memory_max, status["memory"]["size_bytes"])
        self.connection.close()

    def put(self, key: str) -> None:
        until(lambda: self.ask("PUT", key) != 429, f"{self.name} has no room for {key}")

    def ask(self, method: str, key: str) -> int:
        self.connection.request(method, f"/v1/kv/{key}", VALUE if method == "PUT" else None)
        answer = self.connection.getresponse()
        answer.read()
        self.statuses[method, answer.status] += 1
        return answer.status


@pytest.mark.parametrize("eviction", ["allkeys-sieve"])
def test_a_cluster_filled_far_beyond_its_limit_stays_up_and_keeps_what_is_used(
    tmp_path: Path, eviction: str
) -> None:
    options = [*OPTIONS, "--eviction", eviction]
    with running(tmp_path, *options) as cluster:
        clients = [Client(cluster, name) for name in cluster.nodes]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        statuses = sum((client.statuses for client in clients), Counter[tuple[str, int]]())
        assert set(statuses) <= {
            ("PUT", 201),
            ("PUT", 200),
            ("PUT", 429),
            ("GET", 200),
            ("GET", 404),
        }, statuses
        # One write of each member may be under way beyond the limit.
        overshoot = 3 * (len(VALUE) + 1000)
        assert max(client.memory_max for client in clients) <= LIMIT + overshoot
        settled = cluster.settled()
        assert settled["memory"]["size_bytes"] <= LIMIT
        # Nothing that was acknowledged is missing but what the log forgot, and counted.
        evicted = sum(int(cluster.metric(name, "evicted_keys_total")) for name in cluster.nodes)
        assert evicted > COLD_PER_NODE
        assert statuses["PUT", 201] == settled["keys"] + evicted
        kept = sum(cluster.read(cluster.leader(), key) is not None for key in HOT)
        assert kept >= len(HOT) * 3 // 4, f"{kept} hot keys are left, {statuses}"
        misses = statuses["GET", 404] / (statuses["GET", 404] + statuses["GET", 200])
        assert misses < 0.2, f"hot keys were missing too often: {statuses}"


def test_a_full_store_without_eviction_refuses_and_forgets_nothing(tmp_path: Path) -> None:
    with running(tmp_path, *OPTIONS, size=1) as cluster:
        (name,) = cluster.nodes
        big, written = "v" * 150_000, 0
        while (answer := cluster.put(name, f"key{written}", big)).status == 201:
            written += 1
            assert written < 40
        assert (answer.status, answer.json["definite"]) == (507, True)
        assert answer.json["title"] == "out of memory"
        assert answer.headers["Retry-After"] is None
        assert cluster.put(name, "key0", big).status == 200, "what does not grow goes on"
        larger = [cluster.put(name, f"key{i}", big + "v" * 50_000).status for i in range(4)]
        assert larger[-1] == 507, "what grows does not"
        assert cluster.get(name, "key1").body == big.encode()
        assert cluster.call(name, "DELETE", "/v1/kv/key1").status == 200
        assert cluster.put(name, "another", big).status == 201
        assert cluster.metric(name, "memory_writes_refused_total") == 1 + larger.count(507)
        status = cluster.status(name)
        assert status is not None
        assert status["memory"]["eviction"] == "noeviction"
        assert status["memory"]["size_bytes_max"] == LIMIT
        assert status["memory"]["size_bytes"] <= LIMIT
        assert status["keys"] == written
