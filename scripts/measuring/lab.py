"""Where cells are measured: the systems that run, and how long is measured."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from scripts.measuring.systems import KINDS, System

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
    _started: int = 0

    def contending(self, names: Sequence[str]) -> list[System]:
        """Those that run."""
        return [self.running[name] for name in names if name in self.running]

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

    def start(self, names: Sequence[str]) -> None:
        """Those that do not run; one that this machine does not have is noted as left out."""
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

    def stop(self, names: set[str]) -> None:
        """Their folders go too: three nodes of a long run have written gigabytes."""
        for name in names:
            system = self.running.pop(name)
            system.stop()
            shutil.rmtree(system.folder, ignore_errors=True)
