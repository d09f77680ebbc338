"""Leases and locks as programs and shells hold them, on real processes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from raftcache.client import LockState, RaftcacheClient, SyncClient
from raftcache.errors import LeaseLost, LockHeld, LockLost
from tests.support.cluster import PATIENCE_S, Cluster, running, until
from tests.support.command_line import raftcache, succeeds

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("holding")) as cluster:
        with SyncClient(cluster.urls) as client:  # until every voter is known to know leases
            client.revoke_lease(client.grant_lease(1000).token)
        yield cluster


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, PATIENCE_S))


def passed(span_s: float) -> None:
    """Wait until so much time has passed: what is kept alive would be over by then."""
    end_s = time.monotonic() + span_s
    until(lambda: time.monotonic() > end_s, "time stands still")


async def in_queue(client: RaftcacheClient, name: bytes, count: int) -> None:
    while (await client.lock_state(name)).waiting != count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


# The asynchronous client.


def test_a_lock_is_held_while_the_block_lasts(cluster: Cluster) -> None:
    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            async with client.lock(b"block", 1000, value=b"me") as held:
                await asyncio.to_thread(passed, 2.0)
                state = await client.lock_state(b"block")
                assert (state.token, state.value) == (held.token, b"me")
                with pytest.raises(LockHeld):
                    await client.acquire(b"block", 1000)
            assert await client.lock_state(b"block") == LockState(0, None, 0, b"")
            async with client.lock(b"block", 1000) as again:
                assert again.token > held.token

    run(test())


def test_a_block_whose_lock_is_lost_is_cancelled_and_says_so(cluster: Cluster) -> None:
    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            with pytest.raises(LockLost):  # noqa: PT012
                async with client.lock(b"lost", 1000) as held:
                    await client.release(b"lost", held.token)
                    await asyncio.Event().wait()
            with pytest.raises(LockLost):
                held.check()
            with pytest.raises(LockLost):
                await client.release(b"lost", held.token)

    run(test())


def test_an_error_of_the_block_is_what_comes_out_of_it(cluster: Cluster) -> None:
    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with client.lock(b"error", 1000) as held:
                    await client.release(b"error", held.token)
                    raise ZeroDivisionError
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), client.lock(b"error", 60_000):
                    await asyncio.Event().wait()
            assert (await client.lock_state(b"error")).token == 0

    run(test())


def test_who_waits_gets_it_in_turn_and_who_gives_up_leaves(cluster: Cluster) -> None:
    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            tokens: list[int] = []

            async def hold(name: bytes) -> None:
                async with client.lock(name, 5000, wait_ms=None) as held:
                    tokens.append(held.token)

            async with client.lock(b"turns", 60_000):
                with pytest.raises(LockHeld):
                    async with client.lock(b"turns", 1000, wait_ms=100):
                        pass
                waiting = [asyncio.create_task(hold(b"turns")) for _ in range(4)]
                await in_queue(client, b"turns", 4)
                waiting[0].cancel()
                await in_queue(client, b"turns", 3)
            await asyncio.gather(*waiting, return_exceptions=True)
            assert len(tokens) == 3
            assert tokens == sorted(tokens)

    run(test())


def test_a_lease_lives_while_the_block_lasts_and_its_keys_with_it(cluster: Cluster) -> None:
    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            async with client.lease(1000) as held:
                await client.put(b"of-lease", b"v", lease=held.id)
                await asyncio.to_thread(passed, 2.0)
                found = await client.get(b"of-lease")
                assert found is not None
                assert found.lease == held.id
                assert held.id in [state.id async for state in client.leases()]
                assert (await client.lease_state(held.id)).keys == (b"of-lease",)
            assert await client.get(b"of-lease") is None
            with pytest.raises(LeaseLost):
                await client.put(b"of-lease", b"v", lease=held.id)
            with pytest.raises(LeaseLost):  # noqa: PT012
                async with client.lease(1000) as held:
                    assert await client.revoke_lease(held.id) == 0
                    await asyncio.Event().wait()

    run(test())


def test_leaders_are_observed(cluster: Cluster) -> None:
    async def test() -> None:
        async with RaftcacheClient(cluster.urls) as client:
            seen: list[bytes] = []

            async def observe() -> None:
                async for state in client.observe(b"election"):
                    seen.append(state.value)
                    if state.value == b"second":
                        return

            observer = asyncio.create_task(observe())
            async with client.elect(b"election", b"first", 5000):
                while b"first" not in seen:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            async with client.elect(b"election", b"second", 5000):
                await observer
            assert [value for value in seen if value] == [b"first", b"second"]

    run(test())


# The blocking client.


def test_a_thread_keeps_it_alive(cluster: Cluster) -> None:
    with SyncClient(cluster.urls) as client:
        with client.lock(b"thread", 1000) as lock, client.lease(1000) as lease:
            client.put(b"of-thread", b"v", lease=lease.held.id)
            passed(2.0)
            lock.check()
            lease.check()
            assert client.lock_state(b"thread").token == lock.held.token
            with pytest.raises(LockHeld), client.lock(b"thread", 1000):
                pass
        assert client.lock_state(b"thread").token == 0
        assert client.get(b"of-thread") is None


def test_a_lost_lock_is_told_by_check_and_at_the_end(cluster: Cluster) -> None:
    with SyncClient(cluster.urls) as client:
        lock = client.lock(b"told", 1000)
        with pytest.raises(LockLost), lock:  # noqa: PT012
            client.release(b"told", lock.held.token)
            until(lambda: lock.is_over, "nobody noticed")
        with pytest.raises(LockLost):
            lock.check()


# The command line.


def test_leases_from_a_shell(cluster: Cluster) -> None:
    nodes = ("--endpoints", ",".join(cluster.urls))
    lease = succeeds("lease", "grant", "30s", *nodes).out.decode().strip()
    succeeds("set", "shell a", "v", "--lease", lease, *nodes)
    shown = succeeds("lease", "show", lease, "--json", *nodes).json
    assert (shown["id"], shown["keys"]) == (int(lease), ["shell%20a"])
    kept = succeeds("lease", "keepalive", lease, "--json", *nodes).json
    assert kept["ttl_ms"] > shown["ttl_ms"] - 1
    assert lease in succeeds("lease", "list", *nodes).out.decode().split()
    assert succeeds("lease", "revoke", lease, *nodes).out == b"1\n"
    assert raftcache("get", "shell a", *nodes).code == 1
    gone = raftcache("lease", "show", lease, *nodes)
    assert (gone.code, "no such lease" in gone.err) == (1, True)
    both = raftcache("set", "k", "v", "--lease", "1", "--ttl", "1s", *nodes)
    assert (both.code, "exclude each other" in both.err) == (2, True)


def shell(cluster: Cluster, *args: str) -> subprocess.Popen[bytes]:
    nodes = ",".join(cluster.urls)
    command = [sys.executable, "-m", "raftcache", args[0], "--endpoints", nodes, *args[1:]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def test_a_command_runs_under_a_lock(cluster: Cluster) -> None:
    nodes = ("--endpoints", ",".join(cluster.urls))
    script = "echo $RAFTCACHE_LOCK_TOKEN; exit 7"
    ran = raftcache("lock", "shell", *nodes, "--", "sh", "-c", script)
    assert (ran.code, int(ran.out) > 0) == (7, True)
    assert succeeds("lock", "shell", *nodes).out == b"nobody\n"
    assert raftcache("lock", "shell", *nodes, "--", "/no/such").code == 2
    wrong = raftcache("lock", "shell", "--wait", "1s", "--no-wait", *nodes, "--", "true")
    assert wrong.code == 2
    with shell(cluster, "lock", "shell", "--", "sh", "-c", "echo here; exec sleep 60") as holder:
        assert first_line(holder) == "here"
        refused = raftcache("lock", "shell", "--no-wait", *nodes, "--", "true")
        assert (refused.code, "lock held" in refused.err) == (1, True)
        (line,) = [x for x in succeeds("locks", *nodes).out.splitlines() if x.startswith(b"shell ")]
        assert re.fullmatch(rb"shell  token [0-9]+, 0 waiting", line)
        listed = map(json.loads, succeeds("locks", "--json", *nodes).out.splitlines())
        (state,) = [lock for lock in listed if lock["name"] == "shell"]
        assert (state["token"] > 0, state["waiting"], state["value_base64"]) == (True, 0, "")
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert succeeds("lock", "shell", *nodes).out == b"nobody\n"


def test_a_command_whose_lock_is_lost_is_ended(cluster: Cluster) -> None:
    script = "echo $RAFTCACHE_LOCK_TOKEN; exec sleep 60"
    args = ("lock", "shell-lost", "--ttl", "1s", "--", "sh", "-c", script)
    with shell(cluster, *args) as holder, SyncClient(cluster.urls) as client:
        client.release(b"shell-lost", int(first_line(holder)))
        assert holder.wait(PATIENCE_S) == 5
        assert holder.stderr is not None
        assert b"lock not held" in holder.stderr.read()


def test_an_election_from_a_shell(cluster: Cluster) -> None:
    watch = shell(cluster, "elect", "shell-lead", "--observe", "--json")
    try:
        assert json.loads(first_line(watch))["token"] == 0
        with shell(cluster, "elect", "shell-lead", "--value", "me", "--", "true") as leader:
            seen = json.loads(first_line(watch))
            assert (seen["token"] > 0, seen["value_base64"]) == (True, "bWU=")
            assert leader.wait(PATIENCE_S) == 0
        assert json.loads(first_line(watch))["token"] == 0
    finally:
        watch.kill()
        watch.communicate()
    assert raftcache("elect", "shell-lead").code == 2


def test_a_node_that_stands_still_costs_nobody_his_lock(cluster: Cluster) -> None:
    """It is a follower, and the client's first choice: others are asked while there is time."""

    async def test() -> None:
        silent = cluster.followers()[0]
        first = cluster.nodes[silent].url
        urls = [first, *(url for url in cluster.urls if url != first)]
        async with RaftcacheClient(urls) as client, client.lock(b"still", 3000) as held:
            with cluster.suspended(silent):
                await asyncio.to_thread(passed, 4.0)
                held.check()

    run(test())
