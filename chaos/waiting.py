"""Waiting for what a cluster must come to, and what its nodes say meanwhile."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Final, TypeVar

from raftcache.client import NodeStatus, RaftcacheClient

PATIENCE_S: Final = 60.0
"""For anything that a healthy cluster does by itself in a few seconds."""

POLL_S: Final = 0.02

T = TypeVar("T")


class Trouble(Exception):
    """The cluster did not do what it must, or cannot be used."""


async def until(
    look: Callable[[], Awaitable[T | None]], otherwise: str, patience_s: float = PATIENCE_S
) -> T:
    """What look finds, as soon as it is something true; Trouble if that does not come."""
    deadline = time.monotonic() + patience_s
    while not (got := await look()):
        if time.monotonic() > deadline:
            raise Trouble(f"{otherwise} (waited {patience_s:g} s)")
        await asyncio.sleep(POLL_S)
    return got


Names = Collection[str] | None
"""Of the nodes that matter; None for all endpoints of the client."""


async def statuses(client: RaftcacheClient, names: Names = None) -> dict[str, NodeStatus]:
    """What the nodes that answer say about themselves, by name."""
    answers = [s for s in (await client.statuses()).values() if isinstance(s, NodeStatus)]
    return {said.node: said for said in answers if names is None or said.node in names}


async def leader_now(client: RaftcacheClient, names: Names = None) -> str | None:
    """Who leads, as the node of the highest term that says so itself; None while nobody does."""
    leads = [said for said in (await statuses(client, names)).values() if said.role == "leader"]
    return max(leads, key=lambda said: said.term).node if leads else None


async def settled(client: RaftcacheClient, names: Names = None) -> dict[str, NodeStatus]:
    """Waits until every node is there, they agree on a leader, and all have what it committed."""
    count = len(client.endpoints if names is None else names)

    async def agreed() -> dict[str, NodeStatus] | None:
        seen = await statuses(client, names)
        leaders = {status.leader for status in seen.values()}
        leader = seen.get(leaders.pop() or "") if len(leaders) == 1 else None
        whole = len(seen) == count
        return seen if whole and leader is not None and leader.role == "leader" else None

    async def caught_up() -> dict[str, NodeStatus] | None:
        seen = await agreed()
        if seen is None or any(s.applied_index < committed for s in seen.values()):
            return None
        return seen

    seen = await until(agreed, "the nodes did not agree on a leader")
    committed = max(status.commit_index for status in seen.values())
    return await until(caught_up, f"not every node came to index {committed}")


async def side_by_side(client: RaftcacheClient, names: Names = None) -> dict[str, NodeStatus]:
    """Every node's status at one and the same applied index; for when nobody writes any more."""
    count = len(client.endpoints if names is None else names)

    async def look() -> dict[str, NodeStatus] | None:
        seen = await statuses(client, names)
        indexes = {status.applied_index for status in seen.values()}
        return seen if len(seen) == count and len(indexes) == 1 else None

    return await until(look, "the nodes did not come to one index")


def not_these(states: dict[str, NodeStatus], names: Collection[str]) -> str | None:
    """A sentence, if one of the nodes knows other members or learners than these as voters."""
    for name, status in states.items():
        voters = {member.name for member in status.members if member.voter}
        if voters != set(names) or len(status.members) != len(voters):
            return f"{name} knows the members {status.members}, not {sorted(names)}"
    return None


def differing(states: dict[str, NodeStatus]) -> str | None:
    """A sentence, if states at one index are not the same; of what side_by_side gave."""
    digests = {name: str(status.digest) for name, status in states.items()}
    index = next(iter(states.values())).applied_index
    if len(set(digests.values())) == 1:
        return None
    return f"the states differ at index {index}: {digests}"


async def until_signal(work: Coroutine[Any, Any, T]) -> T:
    """The work's result; CancelledError after Ctrl-C or SIGTERM, when it has cleaned up."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
