"""Percentiles of latencies that a load wrote down one by one."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the ordered numbers that is not below `percent` of them (nearest rank)."""
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def reading(latencies_us: Sequence[float], each: int, seconds: float) -> dict[str, float]:
    """As `rounds.Reading`; `each` operations share one latency, as those of a pipeline do."""
    ordered = sorted(latencies_us)
    return {
        "rate": len(ordered) * each / seconds,
        "p50_ms": percentile(ordered, 50) / 1000,
        "p99_ms": percentile(ordered, 99) / 1000,
        "operations": len(ordered) * each,
        "errors": 0,
    }
