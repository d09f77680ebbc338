"""What `demo --once` shows and checks: writes, reads everywhere, a failover, a recovery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from raftcache.cli.local import LocalCluster
from raftcache.cli.table import leader_of
from raftcache.client import NodeStatus, RaftcacheClient

KEYS: Final = 200
KEYS_WHILE_DOWN: Final = 50
STEP_TIMEOUT_S: Final = 60.0
"""For a start, a failover or a recovery on a slow machine."""

POLL_S: Final = 0.05
"""Between two looks at a condition that is waited for."""

T = TypeVar("T")
Pairs = dict[bytes, bytes]
Statuses = dict[str, NodeStatus]


class CheckFailed(Exception):
    """A step did not hold; says which, with numbers."""


class Say(Protocol):
    """Reports a step that held, in words and as numbers."""

    def __call__(self, text: str, **numbers: Any) -> None: ...  # noqa: ANN401


async def run_once(cluster: LocalCluster, say: Say) -> None:
    """Every step in turn; raises CheckFailed or a RaftcacheError at the first that fails."""
    names = list(cluster.nodes)
    if len(names) < 3:
        raise CheckFailed("only a cluster of three or more survives the loss of its leader")
    leader = await start(cluster, say)
    pairs = await _write(cluster, names[:1], "demo", KEYS, say)
    await _read(cluster, names[1:], pairs, say)
    survivors = [name for name in names if name != leader]
    await _fail_over(cluster, leader, survivors, say)
    pairs |= await _write(cluster, survivors, "while-down", KEYS_WHILE_DOWN, say)
    await _read(cluster, survivors, pairs, say)
    await _recover(cluster, leader, say)
    await _compare(cluster, say)


async def start(cluster: LocalCluster, say: Say) -> str:
    """Start every node; returns the leader's name once all of them agree on it."""

    async def agreed() -> str | None:
        if ended := cluster.ended():
            raise CheckFailed(f"nodes ended while starting; their exit codes: {ended}")
        seen = await statuses(client)
        leaders = {status.leader for status in seen.values()}
        return leaders.pop() if len(seen) == len(cluster.nodes) and len(leaders) == 1 else None

    begun = time.monotonic()
    for name in cluster.nodes:
        cluster.start(name)
    async with RaftcacheClient(cluster.urls) as client:
        leader = await _until(agreed, "the nodes did not agree on a leader")
    took_ms = _ms_since(begun)
    say(
        f"{len(cluster.nodes)} nodes started; {leader} leads after {took_ms} ms",
        leader=leader,
        took_ms=took_ms,
    )
    return leader


async def statuses(client: RaftcacheClient) -> Statuses:
    """What the nodes that answer say about themselves, by name."""
    answers = (await client.statuses()).values()
    return {said.node: said for said in answers if isinstance(said, NodeStatus)}


async def _write(
    cluster: LocalCluster, through: Sequence[str], prefix: str, count: int, say: Say
) -> Pairs:
    """Put count keys, one after the other, through the first of these nodes that takes them."""
    pairs = {f"{prefix}:{i}".encode(): f"value {i}".encode() for i in range(count)}
    begun = time.monotonic()
    async with _client(cluster, through) as client:
        for key, value in pairs.items():
            await client.put(key, value)
    took_ms = _ms_since(begun)
    say(
        f"{count} keys written through {' or '.join(through)} in {took_ms} ms",
        written=count,
        took_ms=took_ms,
    )
    return pairs


async def _read(cluster: LocalCluster, through: Sequence[str], pairs: Pairs, say: Say) -> None:
    """Read every key through each of these nodes by itself, linearizable."""
    for name in through:
        begun = time.monotonic()
        async with _client(cluster, [name]) as client:
            for key, value in pairs.items():
                found = await client.get(key)
                if found is None or found.value != value:
                    got = None if found is None else found.value
                    raise CheckFailed(f"{name} has {key!r} as {got!r}, not {value!r}")
        took_ms = _ms_since(begun)
        say(
            f"{len(pairs)} keys read back through {name} in {took_ms} ms",
            read=len(pairs),
            node=name,
            took_ms=took_ms,
        )


async def _fail_over(
    cluster: LocalCluster, leader: str, survivors: Sequence[str], say: Say
) -> None:
    """Kill the leader; how long until the next write is acknowledged."""
    async with _client(cluster, survivors) as client:
        await client.put(b"failover", b"before")
        begun = time.monotonic()
        cluster.kill(leader)
        await client.put(b"failover", b"after")
        refused_ms = _ms_since(begun)
        new_leader = (await client.cluster()).leader
    say(
        f"{leader} killed with SIGKILL; no write was acknowledged for {refused_ms} ms; "
        f"{new_leader} leads",
        killed=leader,
        leader=new_leader,
        refused_ms=refused_ms,
    )


async def _recover(cluster: LocalCluster, name: str, say: Say) -> None:
    """Start the killed node again, until it has applied what the leader had committed."""

    async def caught_up() -> Statuses | None:
        if name in cluster.ended():
            raise CheckFailed(f"{name} ended while it recovered: {cluster.ended()}")
        seen = await statuses(client)
        leader = leader_of(seen)
        if leader is None or name not in seen:
            return None
        return seen if seen[name].applied_index >= leader.commit_index else None

    begun = time.monotonic()
    cluster.start(name)
    async with RaftcacheClient(cluster.urls) as client:
        seen = await _until(caught_up, f"{name} did not catch up")
    took_ms, index = _ms_since(begun), seen[name].applied_index
    say(
        f"{name} started again; caught up to index {index} after {took_ms} ms",
        node=name,
        applied_index=index,
        took_ms=took_ms,
    )


async def _compare(cluster: LocalCluster, say: Say) -> None:
    """Digests at the same applied index must be the same."""

    async def side_by_side() -> Statuses | None:
        seen = await statuses(client)
        indexes = {status.applied_index for status in seen.values()}
        return seen if len(seen) == len(cluster.nodes) and len(indexes) == 1 else None

    async with RaftcacheClient(cluster.urls) as client:
        seen = await _until(side_by_side, "the nodes did not come to the same index")
    digests = {name: str(status.digest) for name, status in seen.items()}
    index = next(iter(seen.values())).applied_index
    if len(set(digests.values())) != 1:
        raise CheckFailed(f"the states differ at index {index}: {digests}")
    digest = next(iter(digests.values()))
    say(
        f"{len(seen)} states are equal at index {index}: digest {digest}",
        applied_index=index,
        digest=digest,
    )


def _client(cluster: LocalCluster, names: Sequence[str]) -> RaftcacheClient:
    return RaftcacheClient([cluster.nodes[name].url for name in names], timeout_s=STEP_TIMEOUT_S)


async def _until(look: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    """What look finds, as soon as it finds something; CheckFailed after STEP_TIMEOUT_S."""
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while (got := await look()) is None:
        if time.monotonic() > deadline:
            raise CheckFailed(f"{otherwise} within {STEP_TIMEOUT_S:g} s")
        await asyncio.sleep(POLL_S)
    return got


def _ms_since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)
