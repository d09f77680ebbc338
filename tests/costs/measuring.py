"""Counts what each operation costs."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.costs.cluster import HISTORY_EVENTS_MAX, RESP_PORT, Cluster, serving
from tests.costs.counting import Function, Instructions, Kept, no_collector
from tests.costs.operations import KEYS, OPERATIONS, Applying, Asking, resp_set

WARM_MIN: Final = KEYS
"""Operations before counting begins: caches fill, and lists that are kept free for the next use."""
COUNTED: Final = 640
ROUNDS_MIN, ROUNDS_MAX = 1, 64
FILLING_PIPELINE: Final = 400


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation, on average."""

    leader: dict[Function, float]
    """Instructions, by function."""
    follower: dict[Function, float]
    """On one of them."""
    blocks: float
    """Of memory that stay allocated, on all nodes: in the log, in the history, or leaked."""
    objects: float
    """Those that the collector must look at, among what stays."""


def measure(names: Iterable[str]) -> dict[str, Cost]:
    """Of these operations, on one cluster, in the order given."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as cluster, no_collector():
        _fill(cluster)
        return {name: _cost(cluster, OPERATIONS[name]) for name in names}


def _fill(cluster: Cluster) -> None:
    """Every key is there, and the history is full."""
    filling = Asking(RESP_PORT, resp_set, b"+OK\r\n", pipeline=FILLING_PIPELINE).begin(cluster)
    for number in range((KEYS + HISTORY_EVENTS_MAX) // FILLING_PIPELINE + 1):
        filling(number, None)


def _cost(cluster: Cluster, operation: Asking | Applying) -> Cost:
    round_of, numbers = operation.begin(cluster), iter(range(1 << 30))
    rounds = min(max(COUNTED // operation.width, ROUNDS_MIN), ROUNDS_MAX)
    count = rounds * operation.width
    for _ in range(max(ROUNDS_MIN, WARM_MIN // operation.width)):
        round_of(next(numbers), None)
    kept = Kept()
    for _ in range(rounds):
        round_of(next(numbers), None)
    kept.end()
    instructions = Instructions()
    for _ in range(rounds):
        round_of(next(numbers), instructions.at)
    counts = instructions.counts()
    leader, followers = counts.of(cluster.leader), counts.of(*cluster.followers)
    return Cost(
        _each(leader, count),
        _each(followers, count * len(cluster.followers)),
        kept.blocks / count,
        kept.objects / count,
    )


def _each(counts: Counter[Function], count: int) -> dict[Function, float]:
    return {function: total / count for function, total in counts.most_common()}
