"""All sections, in the order in which they are measured and told."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from scripts.measuring.cells import (
    curve,
    elections,
    failover,
    grpc,
    half_load,
    http,
    memory,
    ours,
    resp,
    scaling,
    snapshots,
    stalls,
)
from scripts.measuring.model import Cell, Section

SECTIONS: tuple[Section, ...] = (
    http.SECTION,
    grpc.SECTION,
    resp.SECTION,
    ours.WAIT,
    ours.ZOOKEEPER,
    half_load.SECTION,
    curve.SECTION,
    failover.SECTION,
    elections.SECTION,
    memory.SECTION,
    stalls.SECTION,
    snapshots.SECTION,
    scaling.SECTION,
)


def chosen(patterns: Sequence[str], is_quick: bool) -> list[Cell]:
    """The cells that any pattern matches (all, without one), of the quick form if asked for."""
    return [
        cell
        for section in SECTIONS
        for cell in section.cells
        if (cell.is_quick or not is_quick)
        and (not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns))
    ]
