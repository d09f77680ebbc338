"""The words of a measurement: cells, the sections they belong to, and the rows they yield."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.measuring.lab import Lab

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
"""What one contender reached in one cell, ready for JSON: `cell` (set by the runner), `system` (as
it is called in tables), and numbers whose names end in their unit: `p99_ms`, `cpu_us`, `rss_bytes`.
"""


@dataclass(frozen=True)
class Tool:
    """A program that loads systems, and the package of Debian that has it."""

    program: str
    package: str


@dataclass(frozen=True)
class Cell:
    """One thing to measure, for every system that can take part in it."""

    name: str
    """Unique; `--only` matches it, with wildcards: `http-put-64B-c64`."""
    systems: tuple[str, ...]
    """Of `systems.KINDS`: they run before `measure` is called. One that is not installed is left
    out, and named in the report. Empty for a cell that starts nodes of its own (`Lab.own`)."""
    measure: Callable[[Lab, Cell], list[Row]]
    """Loads what runs (`lab.running`), in turns (`rounds.in_turns`), and says what it found."""
    tool: Tool | None = None
    """Without it on the path the cell is left out, and the tool named."""
    is_quick: bool = False
    """Whether it takes part in `--quick`: all of those together take two minutes."""
    starts: tuple[str, ...] = ()
    """Systems that it starts for itself, for the report."""
    options: dict[str, Any] = field(default_factory=dict)
    """What tells this cell from others of the same `measure`: connections, sizes, operations."""


@dataclass(frozen=True)
class Section:
    """Cells that share a page: docs/benchmarks/<name>.md, and <name>-<plot>.svg beside it."""

    name: str
    title: str
    intro: str
    """Markdown: what loads it, what the numbers mean, and what they cannot show."""
    cells: tuple[Cell, ...]
    tables: Callable[[Sequence[Row]], str]
    """Markdown, from the rows of this section alone; some cells may be missing (`--only`)."""
    plots: Callable[[Sequence[Row]], dict[str, Figure]] = lambda rows: {}
    """By name; see `plots` for the look that they share."""
