"""Where cells are measured: it starts the systems that a cell needs, and ends everything."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from scripts.measuring.model import Cell, Row
from scripts.measuring.systems import KINDS, System
from scripts.measuring.systems.base import Cluster

S = TypeVar("S", bound=System)


@dataclass
class Lab:
    """One run. `rounds` and `seconds` are for cells that measure in turns."""

    folder: Path
    rounds: int
    seconds: int
    is_quick: bool = False
    scale: float = 1.0
    """Of what is long whatever the rounds: kills, keys, the minutes without an election."""
    running: dict[str, System] = field(default_factory=dict)
    """By name; a cell finds those of its systems here that this machine has."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Systems (or programs) that something was to be measured with, and why it was not."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cells that raised, and what."""
    rows: list[Row] = field(default_factory=list)
    """Found so far."""
    _started: int = 0

    def measure(self, cells: Sequence[Cell]) -> None:
        """All cells, in this order; a system runs from its first cell to its last."""
        try:
            for at, cell in enumerate(cells):
                self.say(f"{cell.name} ({at + 1} of {len(cells)})")
                self.rows += self._rows_of(cell)
                later = {name for other in cells[at + 1 :] for name in other.systems}
                self._stop(set(self.running) - later)
        finally:
            self._stop(set(self.running))

    def _rows_of(self, cell: Cell) -> list[Row]:
        """A cell that fails is named, and costs the others nothing."""
        if cell.tool is not None and shutil.which(cell.tool.program) is None:
            self.left_out[cell.tool.program] = f"not installed (Debian: {cell.tool.package})"
            return []
        try:
            self._start(cell.systems)
            for system in self.contending(cell):
                if isinstance(system, Cluster):  # it may have changed under the last cell's load
                    system.leader = system.find_leader()
            return [{"cell": cell.name, **row} for row in cell.measure(self, cell)]
        except Exception as e:
            last = (str(e).splitlines() or [""])[-1]
            self.failed[cell.name] = f"{type(e).__name__}: {last}"
            self.say(f"{cell.name} failed: {self.failed[cell.name]}")
            self._stop(set(self.running))  # whatever is wrong with them, the next begins anew
            return []

    def contending(self, cell: Cell) -> list[System]:
        """Those of its systems that run."""
        return [self.running[name] for name in cell.systems if name in self.running]

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def own(self, system: S) -> Iterator[S]:
        """A system that one cell starts for itself; nothing of it stays."""
        try:
            system.start()
            yield system
        finally:
            system.stop()
            shutil.rmtree(system.folder, ignore_errors=True)

    def has(self, kind: type[System]) -> bool:
        """Whether this machine has it; else it is noted as left out."""
        if gone := kind.missing():
            self.left_out[kind.name] = gone
        return gone is None

    def _start(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self.running or name in self.left_out:
                continue
            if gone := KINDS[name].missing():
                self.left_out[name] = gone
                self.say(f"{name} is left out: {gone}")
                continue
            self.say(f"starting {name}")
            self._started += 1
            system = KINDS[name](self.folder / f"{name}-{self._started}")
            self.running[name] = system
            system.start()

    def _stop(self, names: set[str]) -> None:
        """Their folders go too: three nodes of a long run have written gigabytes."""
        for name in names:
            system = self.running.pop(name)
            system.stop()
            shutil.rmtree(system.folder, ignore_errors=True)
