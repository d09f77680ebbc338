"""One seed of one profile, as a worker process plays it; a rule may be taken out."""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import dataclass

from tests.sim.epochs import run
from tests.sim.mutations import BY_SWITCH
from tests.sim.world import Result, Tell


@dataclass(frozen=True, slots=True)
class Played:
    """One run, and what it cost."""

    profile: str
    result: Result
    cpu_s: float


def play(job: tuple[str, int], control: str = "", tell: Tell | None = None) -> Played:
    """job: profile and seed. control: the switch of a mutation, "" for none."""
    logging.disable(logging.CRITICAL)
    gc.set_threshold(100_000, 50, 100)  # a run makes little rubbish, and few cycles
    profile, seed = job
    begun_s = time.process_time()
    if control:
        result = BY_SWITCH[control].run(seed, profile, tell)
    else:
        result = run(seed, profile, tell=tell)
    return Played(profile, result, time.process_time() - begun_s)
