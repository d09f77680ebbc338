"""Measuring in turns: each round goes once around all contenders, and medians are kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scripts.measuring.lab import Lab
from scripts.measuring.model import Row
from scripts.measuring.systems.base import System

Reading = Mapping[str, float]
"""What one turn yielded: `rate` (operations/s), `p50_ms`, `p99_ms`, `operations`, `errors`."""


@dataclass(frozen=True)
class Contender:
    """What takes its turn: as tables call it, the system that pays for it, and its load."""

    name: str
    system: System
    load: Callable[[int, int], Reading]
    """For so many seconds, in the turn of this number."""


def in_turns(lab: Lab, contenders: Sequence[Contender], said: Row) -> list[Row]:
    """A row for each contender: medians over the rounds, `cpu_us` of all its nodes for each
    operation, `rss_bytes` of them at the end, and `said` as it is. Errors are summed, not halved.
    """
    found: dict[str, list[Reading]] = {contender.name: [] for contender in contenders}
    for turn in range(lab.rounds):
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            before_s = contender.system.cpu_s()
            reading = contender.load(lab.seconds, turn + 1)
            used_us = (contender.system.cpu_s() - before_s) * 1e6
            each = used_us / max(1.0, reading["operations"])
            found[contender.name].append({**reading, "cpu_us": each})
    return [
        {
            "system": contender.name,
            **said,
            **medians(found[contender.name]),
            "rss_bytes": contender.system.rss_bytes(),
        }
        for contender in contenders
    ]


def medians(readings: Sequence[Reading]) -> Row:
    """Of each number by itself; the rates of all rounds stay beside theirs."""
    row: Row = {key: statistics.median(r[key] for r in readings) for key in readings[0]}
    row["errors"] = sum(r["errors"] for r in readings)
    row["rates"] = [r["rate"] for r in readings]
    return row
