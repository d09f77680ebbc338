"""Latency against throughput, in open loops, beside etcd's gateway.

64 connections, values of 64 bytes, everything at the leader: from a tenth to nine tenths of what
each system reached in a closed loop of the same generator. A request counts from when it was due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scripts.measuring import plots
from scripts.measuring.cells.half_load import Lane, in_closed_loops, measured, with_rate
from scripts.measuring.lab import Lab
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.tables import markdown

SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
OPERATIONS: Final = ("PUT", "GET")


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each system and share."""
    fastest = in_closed_loops(lab, cell)
    lanes = [
        Lane(system, with_rate(spec, rate * share), f"{share:.0%} of its own")
        for share in SHARES
        for system, spec, rate in fastest
    ]
    return measured(lab, cell, lanes)


def tables(rows: Sequence[Row]) -> str:
    head = ["operation", "system", "load", "due/s", "answered/s", "p50 ms", "p99 ms", "p99.9 ms"]
    head += ["generator late p50, p99 ms", "errors"]
    lines = [
        [
            *(r["operation"], r["system"], r["load"]),
            *(f"{r[name]:,.0f}" for name in ("rate_due", "rate")),
            *(f"{r[name]:.2f}" for name in ("p50_ms", "p99_ms", "p999_ms")),
            f"{r['late_p50_ms']:.2f}, {r['late_p99_ms']:.2f}",
            str(r["errors"]),
        ]
        for r in rows
    ]
    return markdown(head, lines)


def plots_of(rows: Sequence[Row]) -> dict[str, plots.Figure]:
    """p50 and p99 against the rate that was asked for."""
    figure, axes = plots.panels("Latency against throughput, open loops", OPERATIONS)
    for axis, operation in zip(axes, OPERATIONS, strict=True):
        here = [row for row in rows if row["operation"] == operation]
        for name in dict.fromkeys(row["system"] for row in here):
            own = sorted((r for r in here if r["system"] == name), key=lambda r: r["rate_due"])
            rates = [row["rate_due"] for row in own]
            for field, style, label in (("p50_ms", "-", "p50"), ("p99_ms", ":", "p99")):
                latencies = [row[field] for row in own]
                colour = plots.colour(name)
                axis.plot(
                    rates, latencies, style, marker="o", color=colour, label=f"{name} {label}"
                )
        axis.set_yscale("log")
        axis.set_xlim(left=0)
        axis.set_xlabel("requests due per second")
        axis.set_ylabel("latency, ms (log)")
        axis.legend(frameon=False, fontsize=9)
    return {"latency": figure}


SECTION = Section(
    name="curve",
    title="Latency against throughput",
    intro=__doc__,
    cells=tuple(
        Cell(
            name=f"curve-{operation.lower()}",
            systems=("raftcache", "etcd"),
            measure=measure,
            options={
                "protocol": "http",
                "operation": operation,
                "value_bytes": 64,
                "connections": 64,
                "pipeline": 1,
            },
        )
        for operation in OPERATIONS
    ),
    tables=tables,
    plots=plots_of,
)
