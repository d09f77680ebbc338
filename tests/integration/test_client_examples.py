"""The near cache, and the programs of docs/examples, on real processes whose leader is killed."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raftcache.client import RaftcacheClient, SyncClient
from tests.support.cluster import PATIENCE_S, Cluster, running, until

pytestmark = pytest.mark.cluster

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("examples")) as cluster:
        yield cluster


@pytest.fixture
def clients(cluster: Cluster) -> Iterator[list[SyncClient]]:
    """Four, for as many threads."""
    with ExitStack() as stack:
        yield [stack.enter_context(SyncClient(cluster.urls, timeout_s=60.0)) for _ in range(4)]
    cluster.start_all()


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class KillHalfWay:
    """The leader is killed when so many steps were made, by whichever thread makes that one."""

    def __init__(self, cluster: Cluster, steps: int) -> None:
        self._cluster, self._left, self._lock = cluster, steps, threading.Lock()

    def step(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._cluster.kill(self._cluster.leader())


def test_a_rate_limiter_gives_the_limit_and_no_more(
    cluster: Cluster, clients: list[SyncClient]
) -> None:
    limiter_of = example("rate_limiter").RateLimiter
    nemesis = KillHalfWay(cluster, 20)

    def call(client: SyncClient) -> int:
        limiter, allowed = limiter_of(client, limit=25, window_ms=600_000), 0
        for _ in range(10):
            allowed += limiter.allows(b"ada")
            nemesis.step()
        return allowed

    with ThreadPoolExecutor() as threads:
        assert sum(threads.map(call, clients)) == 25
    short = limiter_of(clients[0], limit=1, window_ms=500)
    assert short.allows(b"bob")
    until(lambda: short.allows(b"bob"), "the next window did not come")


def test_a_session_store_loses_no_update(cluster: Cluster, clients: list[SyncClient]) -> None:
    store_of = example("session_store").SessionStore
    store = store_of(clients[0], idle_ms=600_000)
    session = store.create({"user": "ada", "clicks": 0})
    nemesis = KillHalfWay(cluster, 20)

    def click(client: SyncClient) -> None:
        for _ in range(10):
            store_of(client, 600_000).update(session, lambda d: d | {"clicks": d["clicks"] + 1})
            nemesis.step()

    with ThreadPoolExecutor() as threads:
        list(threads.map(click, clients))
    assert store.load(session) == {"user": "ada", "clicks": 40}

    key = b"session/" + session.encode()

    def left_ms() -> int:
        left = clients[0].ttl(key)
        assert left is not None
        return left

    before = until(lambda: left if (left := left_ms()) < 599_900 else None, "time stands still")
    store.load(session)
    assert left_ms() > before
    store.end(session)
    assert store.load(session) is None
    assert store.update(session, lambda data: data) is None
    gone = store_of(clients[0], idle_ms=300).create({})
    until(lambda: clients[0].get(b"session/" + gone.encode()) is None, "it did not end")
    assert store.load(gone) is None


@pytest.mark.parametrize(
    ("name", "said"), [("rate_limiter", "5 yes\n6 no\n"), ("session_store", "'clicks': 1")]
)
def test_they_are_programs(cluster: Cluster, name: str, said: str) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "carol"]
    environ = {"RAFTCACHE_ENDPOINTS": ",".join(cluster.urls)}
    assert said in subprocess.check_output(command, env=environ, text=True, timeout=PATIENCE_S)


def test_what_the_documentation_shows(
    cluster: Cluster, clients: list[SyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAFTCACHE_ENDPOINTS", ",".join(cluster.urls))
    text = (EXAMPLES.parent / "CLIENT.md").read_text()
    for i, url in enumerate(cluster.urls):
        text = text.replace(f"http://127.0.0.1:740{i + 1}", url)
    clients[0].put(b"stock", b"5")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) > 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names | {"client": clients[0]})
    assert clients[0].get(b"order/18") is not None


@contextmanager
def working(cluster: Cluster, name: str, lines: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", str(EXAMPLES / "leader_election.py"), name]
    environ = {"RAFTCACHE_ENDPOINTS": ",".join(cluster.urls)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        out = process.stdout
        assert out
        reading = threading.Thread(target=lambda: lines.extend(map(str.strip, out)))
        reading.start()
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE_S)
            reading.join()


def test_a_leader_is_followed_by_another(cluster: Cluster, clients: list[SyncClient]) -> None:
    told: list[str] = []

    def leads() -> list[str]:
        return [line for line in told if " leads " in line]

    with working(cluster, "ada", told) as ada:
        until(lambda: len(told) > 2, "nobody was elected")
        with working(cluster, "bob", told):
            until(lambda: clients[0].lock_state(b"counter/leader").waiting, "bob does not wait")
            counted = len(told)
            cluster.kill(cluster.leader())
            until(lambda: len(told) > counted + 2, "no leader of the cluster, no work")
            assert [line.split()[0] for line in leads()] == ["ada"]
            ada.kill()
            until(lambda: len(leads()) == 2, "nobody came after ada")
            after = len(told)
            until(lambda: len(told) > after + 2, "bob does not work")
    ada_leads, bob_leads = (line.split() for line in leads())
    assert (ada_leads[0], bob_leads[0]) == ("ada", "bob")
    assert int(ada_leads[-1]) < int(bob_leads[-1])
    counts = [int(line.split()[-1]) for line in told if " counts " in line]
    assert counts == sorted(set(counts)), "two worked at once"


def test_a_leader_of_the_past_changes_nothing(cluster: Cluster) -> None:
    module: Any = example("leader_election")

    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            old, new = module.Term(client, 10**12), module.Term(client, 10**12 + 1)
            await old.begin()
            await old.count()
            await new.begin()
            counted = await new.count()
            for late in (old.count, old.begin):
                with pytest.raises(module.Deposed):
                    await late()
            assert await new.count() == counted + 1

    asyncio.run(test())


def test_a_near_cache_is_monotonic_and_comes_after(
    cluster: Cluster, clients: list[SyncClient]
) -> None:
    """Its node is killed, then another is the leader: what it shows never goes back."""
    leader = cluster.leader()
    writer = clients[0]
    writer.put(b"near/n", b"0")
    first = [cluster.nodes[leader].url, *cluster.urls]
    over = threading.Event()

    def look() -> list[int]:
        seen: list[int] = []
        while not over.is_set():
            entry = near.get(b"near/n")
            assert entry
            seen.append(int(entry.value))
        return seen

    with (
        SyncClient(first, timeout_s=60.0) as client,
        client.near_cache(prefix=b"near/") as near,
        ThreadPoolExecutor() as threads,
    ):
        looking = [threads.submit(look) for _ in range(2)]
        try:
            for i in range(1, 61):
                written = writer.put(b"near/n", b"%d" % i)
                mine = near.get(b"near/n", at_least=written.revision)
                assert mine
                assert int(mine.value) == i
                if i == 20:
                    cluster.kill(leader)
            last = written.revision
            until(lambda: near.is_connected and near.revision >= last, "it did not resume")
        finally:
            over.set()
        for future in looking:
            seen = future.result()
            assert seen == sorted(seen)
            assert len(set(seen)) > 2
        assert near.statistics.hits > near.statistics.misses
