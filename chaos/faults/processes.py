"""Nodes that die, stand still, or are started again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from chaos.faults.base import Fault, Field
from chaos.waiting import settled
from raftcache.client import RaftcacheClient, Written
from raftcache.errors import RaftcacheError

Strike = Callable[[Field], AbstractAsyncContextManager[str]]

TARGETS: Final = ("leader", "leader", "random", "majority", "all")
"""The leader is the one whose loss matters most."""

BURST_VALUES: Final = 48
BURST_VALUE_SIZE_BYTES: Final = 256 << 10
SNAPSHOT_WAIT_S: Final = 5.0
TINY_SNAPSHOTS: Final = ("--snapshot-entries", "300", "--trailing-entries", "50")


async def revive(field: Field, names: list[str]) -> None:
    """Start what does not run, in any order."""
    for name in field.dice.sample(names, len(names)):
        if not field.cluster.is_running(name):
            field.cluster.start(name)


@asynccontextmanager
async def kill(field: Field) -> AsyncIterator[str]:
    target = field.dice.choice(TARGETS)
    victims = await field.victims(target)
    with field.claim(victims):
        for name in victims:
            field.cluster.kill(name)
        try:
            yield f"kill {target}: {' '.join(victims)}"
        finally:
            await revive(field, victims)


@asynccontextmanager
async def pause(field: Field) -> AsyncIterator[str]:
    target = field.dice.choice(TARGETS)
    victims = await field.victims(target)
    with field.claim(victims):
        for name in victims:
            field.cluster.send(name, signal.SIGSTOP)
        try:
            yield f"pause {target}: {' '.join(victims)}"
        finally:
            for name in victims:
                field.cluster.send(name, signal.SIGCONT)


@asynccontextmanager
async def transfer(field: Field) -> AsyncIterator[str]:
    """SIGTERM to the leader: it hands over, finishes and ends; then it is started again."""
    name = await field.leader()
    with field.claim([name]):
        await asyncio.to_thread(field.cluster.stop, name)
        field.cluster.start(name)
        yield f"stop and start the leader: {name}"


@asynccontextmanager
async def rolling(field: Field) -> AsyncIterator[str]:
    """Every node is stopped and started, the next one when all are well again."""
    with field.claim(field.names) as names:
        for name in names:
            await asyncio.to_thread(field.cluster.stop, name)
            field.cluster.start(name)
            await settled(field.client, field.names)
        yield "rolling restart"


@asynccontextmanager
async def cold(field: Field) -> AsyncIterator[str]:
    """The whole cluster is stopped, then started."""
    with field.claim(field.names) as names:
        await asyncio.gather(*(asyncio.to_thread(field.cluster.stop, name) for name in names))
        try:
            yield "cold restart"
        finally:
            await revive(field, names)


@asynccontextmanager
async def burst(field: Field) -> AsyncIterator[str]:
    """Large values all at once, and the leader dies with them on its hands."""
    name = await field.leader()
    with field.claim([name]):
        puts = asyncio.create_task(put_large_values(field.cluster.urls[name]))
        await asyncio.sleep(field.dice.uniform(0.02, 0.4))
        field.cluster.kill(name)
        await puts
        try:
            yield f"burst of large values, kill leader: {name}"
        finally:
            await revive(field, [name])


async def put_large_values(url: str) -> None:
    """All at once through one node, and again to the same few keys; whatever becomes of them."""
    async with RaftcacheClient([url], timeout_s=1.0) as client:
        values = (n.to_bytes(1, "little") * BURST_VALUE_SIZE_BYTES for n in range(BURST_VALUES))
        puts = [client.put(b"chaos:burst:%d" % (n % 8), v) for n, v in enumerate(values)]
        for became in await asyncio.gather(*puts, return_exceptions=True):
            assert isinstance(became, Written | RaftcacheError), became


@asynccontextmanager
async def snapshot_kill(field: Field) -> AsyncIterator[str]:
    """A node dies while it writes a snapshot, its own or one it is sent."""
    name = field.dice.choice(field.names)
    with field.claim([name]):
        caught = await _writing_snapshot(field.cluster.folder(name) / "data" / "snapshots")
        field.cluster.kill(name)
        try:
            yield f"kill {'during' if caught else 'without'} a snapshot: {name}"
        finally:
            await revive(field, [name])


async def _writing_snapshot(folder: Path) -> bool:
    """Waits for one to begin; False if none did for a while."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SNAPSHOT_WAIT_S
    while loop.time() < deadline:
        if any(folder.glob("*.tmp")):  # noqa: ASYNC240 - three files at most
            return True
        await asyncio.sleep(0.002)
    return False


FAULTS: Final = (
    Fault("kill", "SIGKILL to the leader, any node, a majority, or all at once", kill, weight=2),
    Fault("pause", "SIGSTOP to the same; they go on later, and do not know it", pause, weight=2),
    Fault("transfer", "SIGTERM to the leader, then start it again", transfer, holds=False),
    Fault("rolling", "stop and start each node in turn", rolling, holds=False, weight=0.5),
    Fault("cold", "stop all nodes, then start them", cold, weight=0.5),
    Fault("burst", "many large values at once, then SIGKILL to the leader", burst),
    Fault(
        "snapshot",
        "SIGKILL while a snapshot is written; nodes take one every 300 entries",
        snapshot_kill,
        options=TINY_SNAPSHOTS,
    ),
)
