"""Everything that can go wrong, each with its healing. A new one is a Fault in a table."""

from __future__ import annotations

from typing import Final

from chaos.faults import clocks, disks, members, network, processes
from chaos.faults.base import Busy, Fault, Field

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for table in (processes, network, members, clocks, disks)
    for fault in table.FAULTS
}
"""By the names that --faults takes."""

__all__ = ["FAULTS", "Busy", "Fault", "Field"]
