"""Throughput of the Redis protocol: three nodes with fsync, and one Redis with appendfsync always.

redis-benchmark loads the leader, a follower and that Redis in turns, with 64-byte values and 64
connections, on loopback and on the machine that they share: only ratios from one run mean anything.
Medians of alternating rounds are printed, and the processor time that each request took.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench import System, free_ports, get_json, wait_for

CONNECTIONS: Final = 64
KEYS: Final = 10_000
VALUE_SIZE_BYTES: Final = 64

TARGETS: Final = {("SET", 1): 0.4, ("SET", 32): 0.4, ("GET", 1): 0.9, ("GET", 32): 0.45}
"""Of that Redis, with so many requests in a pipeline."""


class Raftcache(System):
    """`url` is the port of the leader, `others` those of the followers."""

    name = "raftcache"
    others: list[str]

    def start(self) -> None:
        ports = free_ports(9)
        members = ",".join(f"n{i}=127.0.0.1:{ports[3 + i]}" for i in range(3))
        for i in range(3):
            self.spawn(
                [sys.executable, "-m", "raftcache", "serve", "--name", f"n{i}"]
                + ["--data-dir", str(self.folder / f"n{i}"), "--cluster", members]
                + ["--http", f"127.0.0.1:{ports[i]}", "--raft", f"127.0.0.1:{ports[3 + i]}"]
                + ["--resp", f"127.0.0.1:{ports[6 + i]}"],
                f"n{i}",
            )
        roles: dict[int, str] = {}

        def leader() -> str | None:
            for i, port in enumerate(ports[:3]):
                roles[i] = get_json(f"http://127.0.0.1:{port}/v1/cluster").get("role", "")
            led = [i for i, role in roles.items() if role == "leader"]
            return str(ports[6 + led[0]]) if led and "" not in roles.values() else None

        self.url = wait_for(leader, "a leader of raftcache")
        self.others = [str(port) for port in ports[6:] if str(port) != self.url]


class Redis(System):
    name = "redis"

    def start(self) -> None:
        self.url = str(free_ports(1)[0])
        self.spawn(
            ["redis-server", "--port", self.url, "--bind", "127.0.0.1", "--dir", str(self.folder)]
            + ["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            "redis",
        )

        def answers() -> str | None:
            asked = subprocess.run(
                ["redis-cli", "-p", self.url, "ping"], capture_output=True, text=True, check=False
            )
            return "yes" if asked.stdout.strip() == "PONG" else None

        wait_for(answers, "redis")


def load(port: str, operation: str, pipeline: int, count: int) -> dict[str, float]:
    """One run of redis-benchmark: requests per second, and percentiles of the latency."""
    done = subprocess.run(
        ["redis-benchmark", "-p", port, "-t", operation.lower(), "-c", str(CONNECTIONS)]
        + ["-P", str(pipeline), "-n", str(count), "-r", str(KEYS), "-d", str(VALUE_SIZE_BYTES)]
        + ["--csv"],
        check=True,
        capture_output=True,
        text=True,
    )
    numbers = [float(n) for n in re.findall(r'"([\d.]+)"', done.stdout.strip().splitlines()[-1])]
    rate, _, _, p50_ms, _, p99_ms = numbers[:6]
    return {"rate": rate, "p50_ms": p50_ms, "p99_ms": p99_ms}


def measure(systems: dict[str, tuple[System, str]], rounds: int, seconds: float) -> list[Any]:
    """A row for each cell and system; each round's size is what the first one of it did."""
    rows: list[dict[str, Any]] = []
    for operation, pipeline in TARGETS:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
        counts: dict[str, int] = {}
        for turn in range(rounds + 1):
            for name, (system, port) in systems.items():
                print(
                    f"{operation} -P {pipeline}, round {turn} of {rounds}: {name}", file=sys.stderr
                )
                count = counts.get(name, 20_000 * (pipeline if pipeline > 1 else 1))
                cpu_s = system.cpu_s()
                run = load(port, operation, pipeline, count)
                run["cpu_us"] = (system.cpu_s() - cpu_s) * 1e6 / count
                counts[name] = max(20_000, int(run["rate"] * seconds))
                if turn:  # the first one warms up, and tells how many fill the time
                    found[name].append(run)
        for name, runs in found.items():
            medians = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
            rows.append({"operation": operation, "pipeline": pipeline, "system": name} | medians)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown, with the ratio to Redis in each cell."""
    lines = [
        "| operation | -P | system | per second | of Redis | aim | p50 ms | p99 ms | CPU µs each |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cell = row["operation"], row["pipeline"]
        redis = next(
            r for r in rows if (r["operation"], r["pipeline"], r["system"]) == (*cell, "redis")
        )
        is_leader = row["system"] == "leader"
        lines.append(
            f"| {cell[0]} | {cell[1]} | {row['system']} | {row['rate']:,.0f} "
            f"| {row['rate'] / redis['rate']:.2f} | {TARGETS[cell] if is_leader else ''} "
            f"| {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['cpu_us']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--report", type=Path, help="Write the table there, too.")
    args = parser.parse_args()
    for program in ("redis-server", "redis-benchmark", "redis-cli"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed (Debian: apt-get install redis)")
    with tempfile.TemporaryDirectory(prefix="raftcache-bench-") as name:
        raftcache, redis = Raftcache(Path(name)), Redis(Path(name))
        try:
            raftcache.start()
            redis.start()
            systems: dict[str, tuple[System, str]] = {
                "leader": (raftcache, raftcache.url),
                "follower": (raftcache, raftcache.others[0]),
                "redis": (redis, redis.url),
            }
            rows = measure(systems, args.rounds, args.seconds)
        finally:
            raftcache.stop()
            redis.stop()
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" {version.stdout.split(' sha')[0]}; {args.rounds} rounds of {args.seconds:g} s"
    )
    print(text := f"{machine}\n\n{table(rows)}\n")
    if args.report:
        args.report.write_text(text)


if __name__ == "__main__":
    main()
