"""SET and GET over the Redis protocol, loaded by redis-benchmark, beside Redis alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from scripts.measuring import tables
from scripts.measuring.lab import Lab
from scripts.measuring.loads import exchange, redis_benchmark
from scripts.measuring.loads.exchange import Order
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.rounds import Contender, Reading, in_turns
from scripts.measuring.systems import System
from scripts.measuring.systems.base import Node

CONNECTIONS = 64
FIRST = {1: 5_000, 32: 100_000}
"""Requests of the first run, by pipeline: it says how many fill the time."""

INTRO = """redis-benchmark, one thread, 64 connections, 10,000 keys by chance, values of 64 bytes;
`-P` is how many requests are in a pipeline, and a latency is that of a whole pipeline. Three nodes
of raftcache with fsync, asked at the leader and at a follower, and one Redis with `appendfsync
always`: what that acknowledges is on one disk. All reads are linearizable, those at a follower too.
The CPU is what all nodes took together."""


@dataclass
class Loader:
    """redis-benchmark for a time, though it takes a count: what the last run did tells the next."""

    node: Node
    operation: str
    pipeline: int
    rate: float = 0.0

    def load(self, seconds: int, turn: int) -> Reading:
        count = int(self.rate * seconds) or FIRST[self.pipeline]
        found = redis_benchmark.load(
            self.node, self.operation, CONNECTIONS, self.pipeline, max(count, FIRST[self.pipeline])
        )
        self.rate = found["rate"]
        return found


def fill(system: System) -> None:
    """Every key once, so that each GET has something to bring."""
    order = Order("resp", "FILL", (system.leader.ports["resp"],), 16, 1, 0, 0)
    system.fill_once("resp", partial(exchange.load, order))


def _measure(lab: Lab, cell: Cell) -> list[Row]:
    contenders = []
    for system in lab.contending(cell.systems):
        fill(system)
        places = {system.name: system.leader}
        if system.followers:
            places[f"{system.name}, follower"] = system.followers[0]
        for name, node in places.items():
            loader = Loader(node, cell.options["operation"], cell.options["pipeline"])
            loader.load(lab.seconds, 0)
            contenders.append(Contender(name, system, loader.load))
    return in_turns(lab, contenders, {**cell.options, "connections": CONNECTIONS})


def _cell(operation: str, pipeline: int) -> Cell:
    return Cell(
        f"resp-{operation.lower()}-p{pipeline}",
        ("raftcache", "redis"),
        _measure,
        redis_benchmark.TOOL,
        is_quick=True,
        options={"operation": operation, "pipeline": pipeline},
    )


def _tables(rows: Sequence[Row]) -> str:
    return tables.comparison(rows, {"operation": "", "pipeline": "-P"}, "redis")


SECTION = Section(
    "resp",
    "The Redis protocol, beside Redis alone",
    INTRO,
    tuple(_cell(operation, pipeline) for operation in ("SET", "GET") for pipeline in (1, 32)),
    _tables,
)
