"""Thousands of watchers on one node of three, over real sockets: what they cost, how late they are.

Three questions. What does a watcher cost in memory, beside an idle connection? With a key of its
own for each watcher, how long after the answer to a write does its event arrive, at the leader and
at a follower, and what do the watchers cost the writes? And when all of them watch one prefix, how
long until a write has reached the first, half of them, all of them?

An event may arrive before the answer to its write: its delay counts as it is, below zero. Nodes and
clients share the machine's cores: in the last question, half of the work is the receivers'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import uvloop

from raftcache.cli.local import HOST, LocalCluster, LocalNode, anywhere
from raftcache.client import RaftcacheClient

SPARE = 500
"""Connections beside the watchers'."""
OPENING = 200
"""Opened at a time."""
PATIENCE_S = 120.0


class Nodes(LocalCluster):
    def __init__(self, folder: Path, watchers: int) -> None:
        super().__init__(folder, anywhere(folder, 3))
        self._options = [
            "--connections-max",
            f"{watchers + SPARE}",
            "--watchers-max",
            f"{watchers}",
        ]

    def _command(self, node: LocalNode) -> list[str]:
        return super()._command(node) + self._options

    def memory_bytes(self, name: str) -> int:
        pages = Path(f"/proc/{self._processes[name].pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def cpu_s(self, name: str) -> float:
        fields = Path(f"/proc/{self._processes[name].pid}/stat").read_text().split(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Wire(asyncio.Protocol):
    """Answers come in the order of the requests; done(status), or done(0) if the link ended."""

    _LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

    def __init__(self) -> None:
        self._waiting: deque[Callable[[int], None]] = deque()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, port: int) -> Wire:
        _, wire = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        while self._waiting:
            self._waiting.popleft()(0)

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def send(self, request: bytes, done: Callable[[int], None]) -> None:
        if self._transport is None:
            done(0)
            return
        self._waiting.append(done)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while (head := self._buffer.find(b"\r\n\r\n", at)) >= 0:
            length = self._LENGTH.search(self._buffer, at, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if end > len(self._buffer):
                break
            status = int(self._buffer[at + 9 : at + 12])
            at = end
            self._waiting.popleft()(status)
        self._buffer = self._buffer[at:]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Watcher(asyncio.Protocol):
    """Notes when events come; the first one says that the watch has begun."""

    def __init__(self, target: str) -> None:
        self._request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.came_s: list[float] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            if not data.startswith(b"HTTP/1.1 200"):
                self.begun.set_exception(RuntimeError(data.decode()))
            else:
                self.begun.set_result(None)
        changes = data.count(b"\ndata: {") - data.count(b"event: progress")
        self.came_s += [time.perf_counter()] * changes

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None


async def opened(port: int, targets: Sequence[str]) -> list[Watcher]:
    """Connections on which each target was asked for, and its answer has begun."""
    found: list[Watcher] = []
    loop = asyncio.get_running_loop()
    for at in range(0, len(targets), OPENING):
        some = [
            loop.create_connection(lambda target=target: Watcher(target), HOST, port)  # type: ignore[misc]
            for target in targets[at : at + OPENING]
        ]
        begun = [watcher for _, watcher in await asyncio.gather(*some)]
        await asyncio.gather(*(watcher.begun for watcher in begun))
        found += begun
    return found


async def closed(watchers: Sequence[Watcher]) -> None:
    for watcher in watchers:
        if watcher.transport is not None:
            watcher.transport.abort()
    await asyncio.sleep(2.0)  # so that the node has noticed


async def put(wire: Wire, key: str) -> tuple[float, float]:
    """When it was sent, and when it was answered."""
    answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def done(status: int) -> None:
        assert status in (200, 201), status
        answered.set_result(time.perf_counter())

    sent_s = time.perf_counter()
    wire.send(
        f"PUT /v1/kv/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".encode(), done
    )
    return sent_s, await answered


async def own_keys(
    nodes: Nodes, leader: str, at: str | None, args: argparse.Namespace
) -> dict[str, Any]:
    """Writes to random keys through the leader, each watched by one at that node."""
    loop, dice = asyncio.get_running_loop(), random.Random(1)
    watchers: list[Watcher] = []
    memory = 0
    if at is not None:
        before = nodes.memory_bytes(at)
        targets = [f"/v1/watch?key=k{i}" for i in range(args.watchers)]
        watchers = await opened(nodes.nodes[at].http_port, targets)
        memory = nodes.memory_bytes(at) - before
    wire = await Wire.to(nodes.nodes[leader].http_port)
    latencies, delays = list[float](), list[float]()

    async def one(i: int) -> None:
        had = len(watchers[i].came_s) if watchers else 0
        sent_s, answered_s = await put(wire, f"k{i}")
        latencies.append(answered_s - sent_s)
        if watchers:
            while len(watchers[i].came_s) == had:  # noqa: ASYNC110 - for ten thousand of them
                await asyncio.sleep(0.001)
            delays.append(watchers[i].came_s[had] - answered_s)

    busy: set[int] = set()
    tasks = []
    began = loop.time()
    cpu = nodes.cpu_s(at or leader)
    for n in range(int(args.rate * args.seconds)):
        await asyncio.sleep(max(0.0, began + n / args.rate - loop.time()))
        while (i := dice.randrange(args.watchers)) in busy:
            pass
        busy.add(i)
        task = asyncio.create_task(one(i))
        task.add_done_callback(lambda _, i=i: busy.discard(i))  # type: ignore[misc]
        tasks.append(task)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
    cpu = nodes.cpu_s(at or leader) - cpu
    wire.close()
    await closed(watchers)
    return {
        "memory_bytes": memory / args.watchers,
        "put": spread(latencies),
        "delay": spread(delays) if delays else None,
        "cpu_percent": 100 * cpu / args.seconds,
    }


async def one_prefix(nodes: Nodes, leader: str, args: argparse.Namespace) -> dict[str, Any]:
    """Each write goes to all watchers."""
    port = nodes.nodes[leader].http_port
    watchers = await opened(port, ["/v1/watch?prefix=all/"] * args.watchers)
    wire = await Wire.to(port)
    first, half, last, p99, cpu = [], [], [], [], []
    for n in range(args.rounds):
        used = nodes.cpu_s(leader)
        _, answered_s = await put(wire, f"all/{n}")
        while any(len(w.came_s) <= n for w in watchers):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        came = sorted(watcher.came_s[n] - answered_s for watcher in watchers)
        first.append(came[0])
        half.append(came[len(came) // 2])
        p99.append(came[len(came) * 99 // 100])
        last.append(came[-1])
        cpu.append(nodes.cpu_s(leader) - used)
        await asyncio.sleep(0.5)
    wire.close()
    await closed(watchers)
    return {
        "first_s": statistics.median(first),
        "p50_s": statistics.median(half),
        "p99_s": statistics.median(p99),
        "last_s": statistics.median(last),
        "worst_s": max(last),
        "cpu_us_per_delivery": sum(cpu) / args.rounds / args.watchers * 1e6,
    }


async def idle_connections(nodes: Nodes, name: str, args: argparse.Namespace) -> float:
    """Bytes of a connection that has asked for /livez, and is kept."""
    before = nodes.memory_bytes(name)
    kept = await opened(nodes.nodes[name].http_port, ["/livez"] * args.watchers)
    grown = nodes.memory_bytes(name) - before
    await closed(kept)
    return grown / args.watchers


def spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    count = len(ordered)
    return {
        "count": count,
        "p50_ms": ordered[count // 2] * 1e3,
        "p99_ms": ordered[count * 99 // 100] * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }


async def leader_of(nodes: Nodes) -> str:
    async with RaftcacheClient(nodes.urls, timeout_s=30) as client:
        await client.put(b"warm", b"up")
        leader = (await client.cluster()).leader
        assert leader is not None
        return leader


async def measure(nodes: Nodes, args: argparse.Namespace) -> dict[str, Any]:
    for name in nodes.nodes:
        nodes.start(name)
    leader = await leader_of(nodes)
    follower, other = (name for name in nodes.nodes if name != leader)
    return {
        "idle_bytes": await idle_connections(nodes, other, args),
        "none": await own_keys(nodes, leader, None, args),
        "leader": await own_keys(nodes, leader, leader, args),
        "follower": await own_keys(nodes, leader, follower, args),
        "prefix": await one_prefix(nodes, leader, args),
    }


def report(found: dict[str, Any], args: argparse.Namespace) -> str:
    rows = ["| watchers | PUT p50 ms | PUT p99 ms | delay p50 ms | delay p99 ms | max ms | CPU % |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for where in ("none", "leader", "follower"):
        said = found[where]
        delay = said["delay"] or {}
        cells = [delay.get(name) for name in ("p50_ms", "p99_ms", "max_ms")]
        shown = " | ".join("" if cell is None else f"{cell:.1f}" for cell in cells)
        name = "none" if where == "none" else f"{args.watchers:,} at the {where}"
        put = said["put"]
        rows.append(
            f"| {name} | {put['p50_ms']:.1f} | {put['p99_ms']:.1f} | {shown}"
            f" | {said['cpu_percent']:.0f} |"
        )
    prefix = found["prefix"]
    return "\n".join(
        [
            *rows,
            "",
            f"memory of a watcher: {found['leader']['memory_bytes'] / 1024:.1f} KiB (leader),"
            f" {found['follower']['memory_bytes'] / 1024:.1f} KiB (follower);"
            f" of an idle connection: {found['idle_bytes'] / 1024:.1f} KiB",
            f"one write to all {args.watchers:,}, after its answer: first"
            f" {prefix['first_s'] * 1e3:.0f} ms, p50 {prefix['p50_s'] * 1e3:.0f} ms,"
            f" p99 {prefix['p99_s'] * 1e3:.0f} ms, last {prefix['last_s'] * 1e3:.0f} ms"
            f" (medians of {args.rounds}; worst {prefix['worst_s'] * 1e3:.0f} ms),"
            f" {prefix['cpu_us_per_delivery']:.1f} µs of the node's CPU for each delivery",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200, help="PUTs a second")
    parser.add_argument("--seconds", type=float, default=20, help="of each kind of traffic")
    parser.add_argument("--rounds", type=int, default=10, help="writes that go to everyone")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    needed = args.watchers + SPARE
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < needed:
        parser.error(f"{needed} open files are needed: ulimit -n {needed}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    with tempfile.TemporaryDirectory(prefix="raftcache-watchers-") as name:
        nodes = Nodes(Path(name), args.watchers)
        with nodes:
            found = uvloop.run(measure(nodes, args))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(report(found, args))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
