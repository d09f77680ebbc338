"""What an operation costs as the cluster grows, and as its keys do.

Closed loops from 64 connections, values of 64 bytes, everything to the leader. Nodes: clusters of
one, three and five, side by side, over HTTP. Keys: one cluster that is filled step by step, and a
Redis beside it, in pipelines of 32 of the Redis protocol; requests are spread over all keys, and
the largest step is left out where three nodes would not fit into the memory that is free.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from scripts.measuring import plots
from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks, Operation
from scripts.measuring.loads.openloop import Spec, load_all, run
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.rounds import Contender, Reading, in_turns
from scripts.measuring.systems.base import HOST, System
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.systems.redis import Redis
from scripts.measuring.tables import markdown

SIZES: Final = (1, 3, 5)
STEPS: Final = (9_600, 96_000, 960_000, 9_600_000)
"""Keys; whole pipelines."""
OPERATIONS: Final[tuple[Operation, ...]] = ("PUT", "GET")
KEYS: Final = 9_600
PIPELINE: Final = 32
CONNECTIONS: Final = 64
KEY_BYTES_MAX: Final = 600
"""What a key may take for a moment, while its node also takes a snapshot."""


def load(spec: Spec, seconds: float, turn: int) -> Reading:
    """One turn of a closed loop; a pipeline has several operations, and one latency."""
    found = run(replace(spec, seconds=seconds))
    pipeline = spec.asks.pipeline
    return {
        "rate": found.rate * pipeline,
        "p50_ms": found.latency.p50_ms,
        "p99_ms": found.latency.p99_ms,
        "operations": found.count * pipeline,
        "errors": found.failed + found.unanswered,
    }


def measure_nodes(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each size of the cluster, and operation."""
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        systems = [
            stack.enter_context(lab.own(Raftcache(lab.folder / f"nodes-{size}", size)))
            for size in SIZES
        ]
        for operation in OPERATIONS:
            asks = Asks("http", operation, KEYS)
            contenders = []
            for system in systems:
                at = HOST, system.leader.ports["http"]
                load_all(asks, at)
                turn = partial(load, Spec(asks, [at], CONNECTIONS, 0))
                contenders.append(Contender(f"raftcache, {len(system.nodes)}", system, turn))
            found = in_turns(lab, contenders, {"operation": operation})
            rows += [{**row, "nodes": size} for row, size in zip(found, SIZES, strict=True)]
    return rows


def measure_keys(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each system, operation and number of keys."""
    kinds: list[type[System]] = [kind for kind in (Raftcache, Redis) if lab.has(kind)]
    with contextlib.ExitStack() as stack:
        systems = [
            stack.enter_context(lab.own(kind(lab.folder / f"keys-{kind.name}"))) for kind in kinds
        ]
        return [row for keys in steps(lab) for row in _at(lab, systems, keys)]


def _at(lab: Lab, systems: Sequence[System], keys: int) -> list[Row]:
    """Loads so many, and measures."""
    fill = Asks("resp", "PUT", keys, pipeline=PIPELINE)
    for system in systems:
        lab.say(f"loading {keys:,} keys: {system.name}")
        load_all(fill, address(system))
    rows = []
    for operation in OPERATIONS:
        asks = replace(fill, operation=operation)
        contenders = [
            Contender(s.name, s, partial(load, Spec(asks, [address(s)], CONNECTIONS, 0)))
            for s in systems
        ]
        said = {"operation": asks.operation, "pipeline": PIPELINE, "keys": keys}
        rows += in_turns(lab, contenders, said)
    return rows


def address(system: System) -> tuple[str, int]:
    return HOST, system.leader.ports["resp"]


def steps(lab: Lab) -> list[int]:
    """Those that the scale allows, and the memory of this machine."""
    free_bytes = available_bytes() - (1 << 30)
    wanted = [keys for keys in STEPS if keys <= STEPS[-1] * lab.scale] or [STEPS[0]]
    fitting = [keys for keys in wanted if 3 * keys * KEY_BYTES_MAX < free_bytes]
    for keys in wanted[len(fitting) :]:
        lab.left_out[f"{keys:,} keys"] = f"{free_bytes >> 30} GiB are free: not enough for three"
    return fitting


def available_bytes() -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) << 10 if found else 0


def tables(rows: Sequence[Row]) -> str:
    """One for nodes, one for keys; each cost beside what it is of the first of its kind."""
    by_nodes = [row for row in rows if "nodes" in row]
    by_keys = [row for row in rows if "keys" in row]
    parts = [_table("nodes", by_nodes)] if by_nodes else []
    return "\n\n".join([*parts, _table("keys", by_keys)] if by_keys else parts)


def _table(what: str, rows: Sequence[Row]) -> str:
    head = [what, "operation", "system", "per second", "p50 ms", "p99 ms", "CPU µs each"]
    head += [f"of the fewest {what}'s", "MiB", "errors"]
    lines = []
    for row in rows:
        first = next(r for r in rows if _kind(r, what) == _kind(row, what))
        lines.append(
            [f"{row[what]:,}", row["operation"], row["system"], f"{row['rate']:,.0f}"]
            + [f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['cpu_us']:.1f}"]
            + [f"{row['cpu_us'] / first['cpu_us']:.2f}", f"{row['rss_bytes'] >> 20:,}"]
            + [str(row["errors"])]
        )
    return markdown(head, lines)


def _kind(row: Row, what: str) -> tuple[object, ...]:
    """What does not change while the nodes or the keys become more."""
    return (row["operation"],) if what == "nodes" else (row["operation"], row["system"])


def plots_of(rows: Sequence[Row]) -> dict[str, plots.Figure]:
    """Processor time of an operation, against nodes and against keys."""
    found = {}
    for what in ("nodes", "keys"):
        if here := [row for row in rows if what in row]:
            found[what] = _plot(what, here)
    return found


def _plot(what: str, rows: Sequence[Row]) -> plots.Figure:
    figure, axes = plots.panels(f"Processor time of an operation against {what}", OPERATIONS)
    for axis, operation in zip(axes, OPERATIONS, strict=True):
        here = [row for row in rows if row["operation"] == operation]
        for name in dict.fromkeys(row["system"].split(",")[0] for row in here):
            own = [row for row in here if row["system"].startswith(name)]
            counts, costs = [row[what] for row in own], [row["cpu_us"] for row in own]
            axis.plot(counts, costs, marker="o", color=plots.colour(name), label=name)
            if what == "keys":
                axis.set_xscale("log")
            axis.set_xticks(counts, [f"{count:,}" for count in counts])
            axis.set_xticks([], minor=True)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("keys (log)" if what == "keys" else what)
        axis.set_ylabel("CPU µs, all nodes")
        axis.legend(frameon=False, fontsize=9)
    return figure


SECTION = Section(
    name="scaling",
    title="Cost against nodes and keys",
    intro=__doc__,
    cells=(
        Cell("nodes", (), measure_nodes, starts=("raftcache",)),
        Cell("keys", (), measure_keys, starts=("raftcache", "redis")),
    ),
    tables=tables,
    plots=plots_of,
)
