"""All cells that were chosen, one after the other, and what they found."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.measuring.lab import Lab
from scripts.measuring.model import Cell, Row
from scripts.measuring.systems.base import Cluster


@dataclass
class Sweep:
    """It starts what a cell needs, and ends everything."""

    lab: Lab
    rows: list[Row] = field(default_factory=list)
    """Found so far."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cells that raised, and what."""

    def measure(self, cells: Sequence[Cell]) -> None:
        """All cells, in this order; a system runs from its first cell to its last."""
        lab = self.lab
        try:
            for at, cell in enumerate(cells):
                lab.say(f"{cell.name} ({at + 1} of {len(cells)})")
                self.rows += self._rows_of(cell)
                later = {name for other in cells[at + 1 :] for name in other.systems}
                lab.stop(set(lab.running) - later)
        finally:
            lab.stop(set(lab.running))

    def _rows_of(self, cell: Cell) -> list[Row]:
        """A cell that fails is named, and costs the others nothing."""
        lab = self.lab
        if cell.tool is not None and shutil.which(cell.tool.program) is None:
            lab.left_out[cell.tool.program] = f"not installed (Debian: {cell.tool.package})"
            return []
        try:
            lab.start(cell.systems)
            for system in lab.contending(cell.systems):
                if isinstance(system, Cluster):  # it may have changed under the last cell's load
                    system.leader = system.find_leader()
            return [{"cell": cell.name, **row} for row in cell.measure(lab, cell)]
        except Exception as e:
            last = (str(e).splitlines() or [""])[-1]
            self.failed[cell.name] = f"{type(e).__name__}: {last}"
            lab.say(f"{cell.name} failed: {self.failed[cell.name]}")
            lab.stop(set(lab.running))  # whatever is wrong with them, the next begins anew
            return []
