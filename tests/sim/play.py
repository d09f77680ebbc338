"""One seed of either engine, as a worker process plays it."""

from __future__ import annotations

import gc
import logging

from tests.sim.stock import StockMember, as_installed
from tests.sim.world import Result, run


def play(seed: int, profile: str, engine: str) -> Result:
    """engine: ours or stock."""
    logging.disable(logging.CRITICAL)
    gc.set_threshold(100_000, 50, 100)  # a run makes little rubbish, and few cycles
    if engine == "stock":
        with as_installed():
            return run(seed, profile, StockMember)
    return run(seed, profile)
