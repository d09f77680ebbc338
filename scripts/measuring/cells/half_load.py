"""Latency at half load, in an open loop: a request counts from when it was due.

Each system is first loaded in a closed loop, as fast as it answers; then requests are due at half
of that rate, and, for those that are faster than the slowest, at half of the slowest one's rate
too, so that all answer the same traffic. One generator (`loads/openloop.py`) on both sides; how
late it was itself stands beside: it shares the cores, and its lateness is part of every latency.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks, Wire
from scripts.measuring.loads.openloop import Found, Spec, load_all, run
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.systems.base import HOST, System
from scripts.measuring.tables import markdown

WIRES: Final[dict[str, dict[str, Wire]]] = {
    "http": {"raftcache": "http", "etcd": "etcd"},
    "resp": {"raftcache": "resp", "redis": "resp"},
}
SIZES: Final = {"64B": 64, "1KiB": 1024, "64KiB": 65536}
KEYS: Final = {64: 9_600, 1024: 9_600, 65536: 200}
"""By size; whole pipelines."""
ROUNDS_MAX: Final = 3
WARMUP_S: Final = 0.3
OWN, SAME = "half of its own", "half of the slowest"


@dataclass(frozen=True)
class Lane:
    """One system under one rate."""

    system: System
    spec: Spec
    load: str
    """How much that is, in words."""


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each system, at half of its own and at half of the slowest one's."""
    return measured(lab, cell, at_half(lab, cell))


def measured(lab: Lab, cell: Cell, lanes: Sequence[Lane]) -> list[Row]:
    """A row for each lane; medians over the rounds, errors are summed."""
    found: list[list[tuple[Found, float]]] = [[] for _ in lanes]
    for _ in range(1 if lab.is_quick else min(lab.rounds, ROUNDS_MAX)):
        for lane, readings in zip(lanes, found, strict=True):
            before_s = lane.system.cpu_s()
            done = run(lane.spec)
            used_us = (lane.system.cpu_s() - before_s) * 1e6
            asked = max(1.0, (lane.spec.rate or 1) * lane.spec.seconds * lane.spec.asks.pipeline)
            readings.append((done, used_us / asked))
    return [row(lane, cell, readings) for lane, readings in zip(lanes, found, strict=True)]


def at_half(lab: Lab, cell: Cell) -> list[Lane]:
    """Finds out how fast each system is; it has all keys then."""
    fastest = in_closed_loops(lab, cell)
    slowest = min((rate for _, _, rate in fastest), default=0)
    own = [Lane(system, with_rate(spec, rate / 2), OWN) for system, spec, rate in fastest]
    same = [
        Lane(system, with_rate(spec, slowest / 2), SAME)
        for system, spec, rate in fastest
        if rate > slowest
    ]
    return own + same


def in_closed_loops(lab: Lab, cell: Cell) -> list[tuple[System, Spec, float]]:
    """The rate that each system reached, with what asked it."""
    found = []
    for system in lab.contending(cell.systems):
        spec = closed_loop(system, cell, lab.seconds)
        load_all(spec.asks, spec.addresses[0])
        found.append((system, spec, run(spec).rate))
    return found


def closed_loop(system: System, cell: Cell, seconds: float) -> Spec:
    """At the leader."""
    protocol, size = cell.options["protocol"], cell.options["value_bytes"]
    asks = Asks(
        wire=WIRES[protocol][system.name],
        operation=cell.options["operation"],
        keys=KEYS[size],
        value_size_bytes=size,
        pipeline=cell.options["pipeline"],
    )
    at = HOST, system.leader.ports[protocol]
    return Spec(asks, [at], cell.options["connections"], seconds)


def with_rate(spec: Spec, rate: float) -> Spec:
    return replace(spec, rate=rate, seconds=spec.seconds + WARMUP_S, warmup_s=WARMUP_S)


def row(lane: Lane, cell: Cell, readings: Sequence[tuple[Found, float]]) -> Row:
    """Rates are of operations: a pipeline has several."""
    pipeline = lane.spec.asks.pipeline
    runs = [found for found, _ in readings]
    return {
        "system": lane.system.name,
        **cell.options,
        "load": lane.load,
        "rate_due": (lane.spec.rate or 0) * pipeline,
        "rate": statistics.median(f.rate for f in runs) * pipeline,
        **{
            name: statistics.median(getattr(f.latency, name) for f in runs)
            for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")
        },
        "late_p50_ms": statistics.median(f.late.p50_ms for f in runs),
        "late_p99_ms": statistics.median(f.late.p99_ms for f in runs),
        "cpu_us": statistics.median(cpu_us for _, cpu_us in readings),
        "generator_cpu_us": statistics.median(f.cpu_us for f in runs) / pipeline,
        "errors": sum(f.failed + f.unanswered for f in runs),
    }


def tables(rows: Sequence[Row]) -> str:
    """With what our p99 is of the peer's: each at its own half, and both at one rate."""
    head = ["operation", "bytes", "-c", "-P", "system", "load", "due/s", "p50 ms", "p99 ms"]
    head += ["p99.9 ms", "p99, of the peer's at its half", "at the same rate"]
    head += ["generator late p50, p99 ms", "CPU µs", "errors"]
    return markdown(head, [line(each, rows) for each in rows])


def line(row: Row, rows: Sequence[Row]) -> list[str]:
    return [
        *(row["operation"], str(row["value_bytes"]), str(row["connections"])),
        *(str(row["pipeline"]), row["system"], row["load"], f"{row['rate_due']:,.0f}"),
        *(f"{row[name]:.2f}" for name in ("p50_ms", "p99_ms", "p999_ms")),
        *ratios(row, rows),
        f"{row['late_p50_ms']:.2f}, {row['late_p99_ms']:.2f}",
        *(f"{row['cpu_us']:.1f}", str(row["errors"])),
    ]


def ratios(row: Row, rows: Sequence[Row]) -> list[str]:
    """Of our p99 to that of the other system in the same cell: at its own half, at our rate."""
    peers = [r for r in rows if r["cell"] == row["cell"] and r["system"] != row["system"]]
    if row["system"] != "raftcache":
        peers = []
    at_half = [r for r in peers if row["load"] == r["load"] == OWN]
    at_rate = [r for r in peers if r["rate_due"] == row["rate_due"]]
    return [f"{row['p99_ms'] / r[0]['p99_ms']:.2f}" if r else "" for r in (at_half, at_rate)]


def cells() -> tuple[Cell, ...]:
    """HTTP beside etcd's gateway, and the Redis protocol beside a Redis alone."""
    http = [("64B", 1), ("64B", 64), ("64B", 256), ("1KiB", 64), ("64KiB", 64)]
    shapes = [("http", size, c, 1) for size, c in http]
    shapes += [("resp", "64B", 64, pipeline) for pipeline in (1, 32)]
    return tuple(
        Cell(
            name=f"half-{protocol}-{operation.lower()}-{size}-c{connections}-p{pipeline}",
            systems=tuple(WIRES[protocol]),
            measure=measure,
            is_quick=(protocol, size, connections) == ("http", "64B", 64),
            options={
                "protocol": protocol,
                "operation": operation,
                "value_bytes": SIZES[size],
                "connections": connections,
                "pipeline": pipeline,
            },
        )
        for (protocol, size, connections, pipeline), operation in product(shapes, ("PUT", "GET"))
    )


SECTION = Section(
    name="half-load", title="Latency at half load", intro=__doc__, cells=cells(), tables=tables
)
