"""Quotas and refills on real nodes: asked at all of them at once."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from raftcache.cli.local import HOST
from raftcache.client import RaftcacheClient
from tests.support.cluster import PATIENCE_S, Cluster, running, until

pytestmark = pytest.mark.cluster

ROLE, TOKEN = "X-Raftcache-Vivify", "X-Raftcache-Vivify-Token"
READERS_PER_NODE = 8
CALLERS = 20


class Reader(threading.Thread):
    """Reads a missing key, and waits; if it wins, it refills the key."""

    def __init__(self, cluster: Cluster, name: str, start: threading.Barrier) -> None:
        super().__init__()
        self.cluster, self.name, self.begin = cluster, name, start
        self.role: str | None = None
        self.body = b""

    def run(self) -> None:
        port = self.cluster.nodes[self.name].http_port
        connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        self.begin.wait()
        connection.request("GET", "/v1/kv/page?vivify=30s&wait=30s")
        answer = connection.getresponse()
        self.body, self.role = answer.read(), answer.headers[ROLE]
        if self.role == "won":
            assert answer.status == 404
            connection.request("PUT", f"/v1/kv/page?vivify={answer.headers[TOKEN]}", b"made once")
            refilled = connection.getresponse()
            refilled.read()
            assert refilled.status == 201
            self.body = b"made once"
        connection.close()


def test_of_readers_at_all_nodes_one_refills_and_all_get_its_value(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        start = threading.Barrier(READERS_PER_NODE * len(cluster.nodes))
        readers = [
            Reader(cluster, name, start) for name in cluster.nodes for _ in range(READERS_PER_NODE)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert {reader.body for reader in readers} == {b"made once"}
        assert Counter(reader.role for reader in readers)["won"] == 1
        late = cluster.put(cluster.leader(), "page", "late", "?vivify=1")
        assert late.status == 412
        cluster.settled()


def test_a_right_outlives_the_leader_and_quotas_hold_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, "--snapshot-entries", "50") as cluster:
        leader = cluster.leader()
        won = cluster.get(leader, "page", "?vivify=10m")
        assert won.headers[ROLE] == "won"
        quota = b'{"keys_max": 3}'
        assert cluster.call(leader, "PUT", "/v1/quotas/user%3A", quota).status == 201
        for number in range(100):
            cluster.write(leader, f"user:{number % 3}", f"{number}")
        for name in cluster.nodes:
            cluster.kill(name)
        cluster.start_all()
        name = cluster.leader()
        lost = until(
            lambda: a if (a := cluster.get(name, "page", "?vivify=10m")).status != 503 else None,
            "nobody answered",
        )
        assert (lost.status, lost.headers[ROLE]) == (404, "lost")
        for each in cluster.nodes:
            refused = cluster.put(each, "user:3", "one too many")
            assert (refused.status, refused.json["quota"]) == (507, "user:")
        refilled = cluster.put(name, "page", "made", f"?vivify={won.headers[TOKEN]}")
        assert refilled.status == 201
        settled = cluster.settled()
        assert settled["keys"] == 4


def test_of_twenty_callers_of_cached_one_loads(tmp_path: Path) -> None:
    """Of those who miss the key all get what one loads; of those who find it soon stale one loads
    while the others, who do not wait, have the old value."""

    async def test(cluster: Cluster) -> None:
        loads: list[str] = []
        others_have_it = asyncio.Event()

        async def load(value: str) -> bytes:
            loads.append(value)
            if value == "new":
                async with asyncio.timeout(PATIENCE_S):
                    await others_have_it.wait()
            return value.encode()

        async def call(client: RaftcacheClient, value: str) -> bytes | None:
            # Who comes late to the first load must not find what it brought soon stale.
            early_ms = 0 if value == "old" else 500_000
            got = await client.cached(
                b"report", lambda: load(value), ttl_ms=500_000, early_ms=early_ms, wait_ms=60_000
            )
            answers.append(got)
            if value == "new" and answers.count(b"old") == CALLERS - 1:
                others_have_it.set()
            return got

        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(RaftcacheClient([url], timeout_s=60.0))
                for url in cluster.urls
            ]
            for value in ("old", "new"):
                answers: list[bytes | None] = []
                await asyncio.gather(
                    *(call(clients[i % len(clients)], value) for i in range(CALLERS))
                )
                assert loads.count(value) == 1, loads
                assert Counter(answers) == (
                    {b"old": CALLERS} if value == "old" else {b"new": 1, b"old": CALLERS - 1}
                )

    with running(tmp_path) as cluster:
        asyncio.run(test(cluster))
        cluster.settled()
