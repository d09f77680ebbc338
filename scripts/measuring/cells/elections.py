"""Elections that nothing called for: terms begun while all cores are busy, and nothing fails.

Writes and linearizable reads as fast as they are answered, from 64 connections each, and for each
core a process that takes what it can get. A leader that is not heard in time loses its term: any
number but 0 means that the default timeouts are too short for such a machine.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks
from scripts.measuring.loads.openloop import Found, Spec, load_all, run
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.systems.base import HOST, Cluster, Node
from scripts.measuring.systems.http import get_json
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.tables import markdown

SECONDS: Final = 600.0
SLICE_S: Final = 30.0
CONNECTIONS: Final = 64
KEYS: Final = 10_000


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that take whatever the processors have to give."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def address(node: Node) -> tuple[str, int]:
    return HOST, node.ports["http"]


def term(system: Cluster) -> int:
    """The highest that a node knows."""
    return max(int(get_json(f"{node.url}/v1/cluster").get("term", 0)) for node in system.nodes)


def under_load(system: Cluster, seconds: float) -> tuple[list[Found], list[Found]]:
    """Writes through the leader, and reads through all nodes, in slices: each keeps its samples."""
    leader, everyone = address(system.leader), [address(node) for node in system.nodes]
    puts, gets = Asks("http", "PUT", KEYS), Asks("http", "GET", KEYS)
    load_all(puts, leader)
    slices = max(1, round(seconds / SLICE_S))

    def one_after_the_other(spec: Spec) -> list[Found]:
        return [run(spec) for _ in range(slices)]

    with ThreadPoolExecutor() as threads:
        puts_found, gets_found = threads.map(
            one_after_the_other,
            (
                Spec(puts, [leader], CONNECTIONS, seconds / slices),
                Spec(gets, everyone, CONNECTIONS, seconds / slices),
            ),
        )
    return puts_found, gets_found


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """One row, of raftcache."""
    seconds = SECONDS * lab.scale
    with lab.own(Raftcache(lab.folder / "elections")) as system:
        before = term(system)
        with busy(os.cpu_count() or 1):
            puts, gets = under_load(system, seconds)
        after = term(system)
    return [
        {
            "system": system.name,
            "seconds": seconds,
            "terms_begun": after - before,
            "put_rate": statistics.fmean(found.rate for found in puts),
            "put_max_ms": max(found.latency.max_ms for found in puts),
            "get_rate": statistics.fmean(found.rate for found in gets),
            "failed": sum(found.failed + found.unanswered for found in (*puts, *gets)),
        }
    ]


def tables(rows: Sequence[Row]) -> str:
    return markdown(
        ("system", "seconds", "terms begun", "PUT/s", "longest PUT ms", "GET/s", "failed"),
        [
            (r["system"], f"{r['seconds']:.0f}", str(r["terms_begun"]), f"{r['put_rate']:,.0f}")
            + (f"{r['put_max_ms']:.0f}", f"{r['get_rate']:,.0f}", str(r["failed"]))
            for r in rows
        ],
    )


SECTION = Section(
    name="elections",
    title="Elections under full load",
    intro=__doc__,
    cells=(Cell("elections", (), measure, starts=("raftcache",)),),
    tables=tables,
)
