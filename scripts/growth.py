"""A million keys in three real nodes: what snapshots, restarts and sheer size cost.

Traffic is an open loop: each PUT has a time at which it is due, and its latency counts from then,
however late it was sent (so a stall is paid by every request that fell into it). A sample belongs
to the state the cluster was in when it was due, by the nodes' own logs: a node was taking a
snapshot, one was on its way to a follower that had missed too much, a node was down or starting, or
nothing of the kind. /livez of every node is asked in the same way: its worst time is how long a
node's loop stood still, as a client sees it.

Everything shares the machine's cores with the load generator: only ratios from one run mean much.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import uvloop
from xxhash import xxh3_64_hexdigest

from raftcache.cli.local import HOST, LocalCluster, LocalNode, anywhere

CONNECTIONS = 48
WINDOW = 12
"""Requests under way on each connection while loading."""
PROBE_PERIOD_S = 0.01
PATIENCE_S = 400.0
QUIET, TAKING, SENDING, DOWN = "quiet", "taking a snapshot", "sending a snapshot", "a node down"

T = TypeVar("T")
Sample = tuple[float, float]
"""When it was due (seconds of the wall clock), and its latency in seconds."""


def key_of(i: int) -> bytes:
    """16 bytes, in no order."""
    return xxh3_64_hexdigest(i.to_bytes(8, "little")).encode()


def value_of(i: int) -> bytes:
    """100 bytes."""
    return (b"%d " % i).ljust(100, b"x")


def put_request(i: int) -> bytes:
    return b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n%b" % (
        key_of(i),
        value_of(i),
    )


# -- one HTTP connection that pipelines ------------------------------------------------------------


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


# -- the nodes -------------------------------------------------------------------------------------


class Nodes(LocalCluster):
    def __init__(self, folder: Path, options: list[str]) -> None:
        super().__init__(folder, anywhere(folder, 3))
        self._options = options

    def _command(self, node: LocalNode) -> list[str]:
        return super()._command(node) + self._options

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def status(self, name: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.nodes[name].url}/v1/cluster", timeout=5) as reply:
                return dict(json.load(reply))
        except OSError:
            return {}

    def leader(self) -> str | None:
        seen = {self.status(name).get("leader") for name in self.nodes if self.is_running(name)}
        return seen.pop() if len(seen) == 1 else None

    def is_ready(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.nodes[name].url}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            assert self.is_running(name), f"{name} ended:\n{self.log_tails()}"
            return False

    def events(self, name: str) -> Iterator[tuple[float, dict[str, Any]]]:
        for line in self.nodes[name].log.read_text().splitlines():
            event = json.loads(line)
            yield datetime.fromisoformat(event["time"]).timestamp(), event

    def count(self, name: str, what: str) -> int:
        return sum(event["event"] == what for _, event in self.events(name))

    def spans(self) -> dict[str, list[tuple[float, float]]]:
        """From when to when a node took a snapshot, and one was on its way to another node."""
        taking, sending = [], []
        for name in self.nodes:
            taking += _pairs(self._times(name, TAKING), self._times(name, "took a snapshot"))
            others = [n for n in self.nodes if n != name]
            installed = [at for n in others for at in self._times(n, "installed a snapshot")]
            sending += _pairs(self._times(name, SENDING), installed)
        return {TAKING: taking, SENDING: sending}

    def _times(self, name: str, what: str) -> list[float]:
        return [at for at, event in self.events(name) if event["event"] == what]


def _pairs(begun: list[float], ended: list[float]) -> list[tuple[float, float]]:
    """Each beginning with the end that follows; what has not ended is left out."""
    return [(at, min(e for e in ended if e >= at)) for at in begun if at <= max(ended, default=0)]


async def until(look: Callable[[], T | None], what: str) -> T:
    deadline_s = time.monotonic() + PATIENCE_S
    while not (got := await asyncio.to_thread(look)):
        if time.monotonic() > deadline_s:
            raise SystemExit(f"{what}: not in {PATIENCE_S:g} s")
        await asyncio.sleep(0.05)
    return got


def rss_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) << 10  # type: ignore[index]


# -- loading ---------------------------------------------------------------------------------------


async def load(port: int, count: int) -> float:
    """Put all keys through one node; returns how long it took. What was refused is put again."""
    pending, left = deque(range(count)), count
    begun_s = shown_s = time.monotonic()
    finished = asyncio.Event()

    def next_for(wire: Wire) -> None:
        if not pending:
            return
        i = pending.popleft()

        def done(status: int) -> None:
            nonlocal left, shown_s
            if status in (200, 201):
                left -= 1
                if left == 0:
                    finished.set()
            else:
                pending.append(i)
            if time.monotonic() - shown_s > 1:
                shown_s = time.monotonic()
                rate = (count - left) / (shown_s - begun_s)
                print(f"\rloaded {count - left:,} ({rate:,.0f}/s) ", end="", file=sys.stderr)
            if status:
                next_for(wire)

        wire.send(put_request(i), done)

    wires = [await Wire.to(port) for _ in range(CONNECTIONS)]
    for wire in wires:
        for _ in range(WINDOW):
            next_for(wire)
    await finished.wait()
    for wire in wires:
        wire.close()
    print(file=sys.stderr)
    return time.monotonic() - begun_s


# -- open loops ------------------------------------------------------------------------------------


class OpenLoop:
    """Sends a request whenever one is due, to the ports in turn, until stopped."""

    def __init__(self, period_s: float, requests: Callable[[int], bytes]) -> None:
        self.samples: list[Sample] = []
        self.failed: list[float] = []
        self.late_s: list[float] = []
        """How late this very process was: not the nodes' fault."""
        self._period_s, self._requests = period_s, requests
        self._stopped = False

    async def run(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        wires = [await Wire.to(port) for _ in range(connections)]
        wall_s = time.time() - loop.time()
        first_s, number = loop.time(), 0
        while not self._stopped:
            due_s = first_s + number * self._period_s
            if (wait_s := due_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self.late_s.append(loop.time() - due_s)
            slot = number % connections
            if not wires[slot].is_open:
                try:
                    wires[slot] = await Wire.to(port)
                except OSError:
                    number += 1
                    continue
            wires[slot].send(self._requests(number), self._note(due_s, wall_s))
            number += 1
        await asyncio.sleep(1)  # for the last answers
        for wire in wires:
            wire.close()

    def _note(self, due_s: float, wall_s: float) -> Callable[[int], None]:
        def done(status: int) -> None:
            now_s = asyncio.get_running_loop().time()
            if status in (200, 201):
                self.samples.append((due_s + wall_s, now_s - due_s))
            elif not self._stopped:
                self.failed.append(due_s + wall_s)

        return done

    def stop(self) -> None:
        self._stopped = True


class Traffic:
    """PUTs to the leader and /livez of every node, all in open loops."""

    def __init__(self, nodes: Nodes, leader: str, rate: float, keys: int) -> None:
        self.puts = OpenLoop(1 / rate, lambda n: put_request(n * 7919 % keys))
        live = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        self.probes = {name: OpenLoop(PROBE_PERIOD_S, lambda n: live) for name in nodes.nodes}
        self._tasks = [
            asyncio.create_task(self.puts.run(nodes.nodes[leader].http_port, CONNECTIONS)),
            *(
                asyncio.create_task(probe.run(nodes.nodes[name].http_port, 1))
                for name, probe in self.probes.items()
            ),
        ]

    async def stop(self) -> None:
        for loop in (self.puts, *self.probes.values()):
            loop.stop()
        await asyncio.gather(*self._tasks)


def by_state(
    samples: list[Sample], spans: dict[str, list[tuple[float, float]]]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for due_s, latency_s in samples:
        inside = (s for s, some in spans.items() if any(a <= due_s <= b for a, b in some))
        found[next(inside, QUIET)].append(latency_s)
    return found


def _worst(samples: list[Sample]) -> list[Sample]:
    """The longest twenty, by time."""
    return sorted(sorted(samples, key=lambda s: -s[1])[:20])


def summary(latencies_s: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies_s, n=1000, method="inclusive")
    return {
        "count": len(latencies_s),
        "p50_ms": cuts[499] * 1000,
        "p99_ms": cuts[989] * 1000,
        "p999_ms": cuts[998] * 1000,
        "max_ms": max(latencies_s) * 1000,
    }


# -- the measurements ------------------------------------------------------------------------------


async def restart_s(nodes: Nodes, name: str) -> float:
    """Start a node that does not run; how long until it is ready to answer."""
    begun_s = time.monotonic()
    nodes.start(name)
    await until(lambda: nodes.is_ready(name), f"{name} ready")
    return time.monotonic() - begun_s


async def fall_behind(nodes: Nodes, leader: str, late: str) -> tuple[float, float]:
    """Keep a follower down until the leader's log no longer has what it lacks, then start it.

    Returns when it was down and starting; on return it has installed the leader's snapshot.
    """
    installed, taken = (
        nodes.count(late, "installed a snapshot"),
        nodes.count(leader, "took a snapshot"),
    )
    nodes.kill(late)
    begun_s = time.time()
    await until(lambda: nodes.count(leader, "took a snapshot") >= taken + 2, "two snapshots")
    nodes.start(late)
    await until(lambda: nodes.count(leader, "sending a snapshot") > installed, "a transfer")
    ended_s = time.time()
    await until(lambda: nodes.count(late, "installed a snapshot") > installed, "an installation")
    return begun_s, ended_s


async def measure(nodes: Nodes, args: argparse.Namespace) -> dict[str, Any]:
    for name in nodes.nodes:
        nodes.start(name)
    leader = await until(nodes.leader, "a leader")
    empty = {name: rss_bytes(nodes.pid(name)) for name in nodes.nodes}
    probe = Traffic(nodes, leader, 1, args.keys)
    load_s = await load(nodes.nodes[leader].http_port, args.keys)
    await probe.stop()
    loading = {n: max(s for _, s in p.samples) * 1000 for n, p in probe.probes.items()}
    loaded = {name: rss_bytes(nodes.pid(name)) for name in nodes.nodes}
    await until(lambda: nodes.status(leader).get("keys") == args.keys, "all keys")
    leader = await until(nodes.leader, "a leader")
    late = next(name for name in nodes.nodes if name != leader)
    print("traffic", file=sys.stderr)
    traffic, down = Traffic(nodes, leader, args.rate, args.keys), []
    await asyncio.sleep(args.seconds)
    for turn in range(args.rounds):
        print(f"a follower falls behind, {turn + 1} of {args.rounds}", file=sys.stderr)
        down.append(await fall_behind(nodes, leader, late))
        await asyncio.sleep(5)
    await traffic.stop()
    # what comes first counts: a node that starts takes a core, whatever else goes on
    found = nodes.spans()
    spans = {DOWN: down, SENDING: found[SENDING], TAKING: found[TAKING]}
    print("restarts", file=sys.stderr)
    restarts_s = []
    for _ in range(args.rounds):
        nodes.kill(late)
        restarts_s.append(await restart_s(nodes, late))
    restarted = rss_bytes(nodes.pid(late))
    same_leader = all(nodes.status(name).get("leader") == leader for name in nodes.nodes)
    return {
        "load_s": load_s,
        "loading_livez_max_ms": loading,
        "rss_bytes": {"empty": empty, "loaded": loaded, "restarted": {late: restarted}},
        "put": {s: summary(x) for s, x in by_state(traffic.puts.samples, spans).items()},
        "livez": {
            name: {s: summary(x) for s, x in by_state(p.samples, spans).items() if len(x) > 10}
            for name, p in traffic.probes.items()
        },
        "generator_late": summary(traffic.puts.late_s),
        "puts_failed": len(traffic.puts.failed),
        "leader": leader,
        "same_leader": same_leader,
        "stalls": {n: _worst(p.samples) for n, p in traffic.probes.items()},
        "events": {n: [(at, e["event"]) for at, e in nodes.events(n)] for n in nodes.nodes},
        "spans_s": {s: [round(b - a, 2) for a, b in some] for s, some in spans.items()},
        "restarts_s": restarts_s,
    }


async def redis_bytes(folder: Path, count: int) -> dict[str, int] | None:
    """The memory of redis-server, empty and with the same keys; None where it is not installed."""
    if shutil.which("redis-server") is None:
        return None
    port = anywhere(folder, 1)[0].http_port
    server = subprocess.Popen(  # noqa: ASYNC220 (nothing else runs meanwhile)
        ["redis-server", "--port", str(port), "--bind", HOST, "--dir", str(folder)]
        + ["--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        reader, writer = await until_connected(port)
        empty = rss_bytes(server.pid)
        for first in range(0, count, 10_000):
            block = range(first, min(first + 10_000, count))
            for i in block:
                writer.write(
                    b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$100\r\n%b\r\n" % (key_of(i), value_of(i))
                )
            await writer.drain()
            assert await reader.readexactly(5 * len(block)) == b"+OK\r\n" * len(block)
        loaded = rss_bytes(server.pid)
        writer.close()
        return {"empty": empty, "loaded": loaded}
    finally:
        server.terminate()
        server.wait()


async def until_connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(200):
        try:
            return await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.05)
    raise SystemExit("redis-server did not start")


# -- the report ------------------------------------------------------------------------------------


def report(found: dict[str, Any], args: argparse.Namespace) -> str:
    lines = ["| PUT while | requests | p50 ms | p99 ms | p99.9 ms | max ms | p99 / quiet |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    quiet = found["put"][QUIET]["p99_ms"]
    lines += [
        f"| {state} | {row['count']:,} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} "
        f"| {row['p999_ms']:.1f} | {row['max_ms']:.1f} | {row['p99_ms'] / quiet:.2f} |"
        for state in (QUIET, TAKING, SENDING, DOWN)
        if (row := found["put"].get(state))
    ]
    lines += ["", "| longest /livez, ms | " + " | ".join(found["livez"]) + " |"]
    lines.append("| --- |" + " --- |" * len(found["livez"]))
    cells = (f" {ms:.0f} |" for ms in found["loading_livez_max_ms"].values())
    lines.append("| while loading |" + "".join(cells))
    for state in (QUIET, TAKING, SENDING):
        worst = (rows.get(state, {}).get("max_ms", 0) for rows in found["livez"].values())
        lines.append(f"| {state} |" + "".join(f" {ms:.0f} |" for ms in worst))
    late, spans = found["generator_late"], found["spans_s"]
    lines += ["", f"The generator itself was late by {late['p99_ms']:.1f} ms (p99),"]
    lines[-1] += f" {late['max_ms']:.0f} ms at worst; {found['puts_failed']} PUTs failed."
    lines.append(f"Loading took {found['load_s']:.0f} s ({args.keys / found['load_s']:,.0f}/s).")
    lines.append(
        f"Snapshots took {_spread(spans[TAKING])} s, transfers {_spread(spans[SENDING])} s."
    )
    lines.append(f"Restarts took {_spread(found['restarts_s'])} s until ready.")
    lines += [
        "",
        "| memory | empty MiB | with all keys MiB | bytes a key |",
        "| --- | --- | --- | --- |",
    ]
    rss = found["rss_bytes"]
    rows = [(f"raftcache {n}", rss["empty"][n], b) for n, b in rss["loaded"].items()]
    rows += [(f"raftcache {n}, restarted", rss["empty"][n], b) for n, b in rss["restarted"].items()]
    if found["redis"]:
        rows.append(("redis-server", found["redis"]["empty"], found["redis"]["loaded"]))
    for name, empty, loaded in rows:
        each = (loaded - empty) / args.keys
        lines.append(f"| {name} | {empty >> 20} | {loaded >> 20} | {each:.0f} |")
    return "\n".join(lines)


def _spread(spans_s: list[float]) -> str:
    if not spans_s:
        return "no"
    return f"{statistics.median(spans_s):.1f} (median of {len(spans_s)}, worst {max(spans_s):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=500, help="PUTs a second")
    parser.add_argument("--seconds", type=float, default=120, help="of traffic, for snapshots")
    parser.add_argument("--rounds", type=int, default=3, help="transfers, and restarts")
    parser.add_argument("--snapshot-entries", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    options = ["--snapshot-entries", str(args.snapshot_entries), "--trailing-entries", "1000"]
    options += ["--log-format", "json"]
    with tempfile.TemporaryDirectory(prefix="raftcache-growth-") as name:
        nodes = Nodes(Path(name), options)
        with nodes:
            found = uvloop.run(measure(nodes, args))
        found["redis"] = uvloop.run(redis_bytes(Path(name), args.keys))
    version = platform.python_version()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {version}\n")
    print(report(found, args))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
