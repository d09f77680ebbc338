"""Many seeds of many profiles, counted: what failed, how much was played, and what it cost."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.sim.play import Played, play
from tests.sim.profile import draw
from tests.sim.world import Result, chance_of

CHUNK: Final = 4
SHOWN_MAX: Final = 5
_HEAD: Final = (
    "| profile | seeds | failed | virtual hours | CPU seconds | virtual s per CPU s |",
    "| --- | --- | --- | --- | --- | --- |",
)


@dataclass
class Row:
    """One profile, or all of them."""

    name: str
    seeds: int = 0
    failed: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, played: Played) -> None:
        self.seeds += 1
        self.failed += played.result.verdict is not None
        self.virtual_s += played.result.virtual_s
        self.cpu_s += played.cpu_s

    def __str__(self) -> str:
        speed = self.virtual_s / max(self.cpu_s, 1e-9)
        return (
            f"| {self.name} | {self.seeds:,} | {self.failed:,} | {self.virtual_s / 3600:.2f}"
            f" | {self.cpu_s:,.0f} | {speed:.0f} |"
        )


@dataclass
class Tally:
    """What the runs of a campaign came to."""

    count: Counter[str] = field(default_factory=Counter)
    rows: dict[str, Row] = field(default_factory=dict)
    total: Row = field(default_factory=lambda: Row("all"))
    failures: list[Played] = field(default_factory=list)

    def add(self, played: Played) -> None:
        for row in (self.rows.setdefault(played.profile, Row(played.profile)), self.total):
            row.add(played)
        self.count += played.result.count
        if played.result.verdict is not None:
            self.failures.append(played)

    @property
    def table(self) -> str:
        """In Markdown, a line for each profile."""
        rows = list(self.rows.values())
        return "\n".join((*_HEAD, *map(str, rows if len(rows) == 1 else [*rows, self.total])))

    def failures_by_kind(self) -> Iterator[str]:
        """Lines for people: the most frequent first, each with how to play it again."""
        kinds = Counter(_kind(p.result) for p in self.failures)
        for kind, many in kinds.most_common():
            yield f"{many:6} {kind}"
            same = [p for p in self.failures if _kind(p.result) == kind]
            for p in sorted(same, key=lambda p: (p.profile, p.result.seed))[:SHOWN_MAX]:
                assert p.result.verdict is not None
                yield f"       {again(p)} ({p.result.size} nodes): {p.result.verdict.detail}"


def again(played: Played) -> str:
    """The options that play it again."""
    return f"--profile {played.profile} --seeds {played.result.seed}"


def _kind(result: Result) -> str:
    assert result.verdict is not None
    return result.verdict.kind


def jobs_of(seeds: range, profiles: Sequence[str], nodes: int) -> list[tuple[str, int]]:
    """Every seed of every profile; nodes: only clusters of so many, 0 for all."""
    jobs = [(profile, seed) for profile in profiles for seed in seeds]
    return [(p, s) for p, s in jobs if nodes in (0, draw(p, chance_of(s)).size)]


def play_all(jobs: Sequence[tuple[str, int]], control: str, processes: int) -> Iterator[Played]:
    """Jobs are profile and seed; in no order, where there are several processes."""
    one = partial(play, control=control)
    if processes == 1:
        yield from map(one, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(one, jobs, CHUNK)
