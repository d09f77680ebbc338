"""Whole clusters under faults: ours holds, the engine as shipped does not.

A failing seed is played again, with its trace, by: python -m tests.sim --seeds N --trace
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.profile import NAMES
from tests.sim.stock import StockMember, as_installed
from tests.sim.world import Result, run

SEEDS = range(1, 25)
SEEDS_OF_EACH_PROFILE = range(101, 104)
SEEDS_OF_STOCK = range(4, 9)


def check(result: Result, profile: str) -> None:
    again = f"python -m tests.sim --profile {profile} --seeds {result.seed} --trace"
    assert result.verdict is None, f"{result.verdict.kind}: {result.verdict.detail}\n{again}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_keeps_its_word_under_faults(seed: int) -> None:
    check(run(seed, "mixed"), "mixed")


@pytest.mark.parametrize("profile", [name for name in NAMES if name != "mixed"])
@pytest.mark.parametrize("seed", SEEDS_OF_EACH_PROFILE)
def test_a_cluster_keeps_its_word_where_one_thing_abounds(seed: int, profile: str) -> None:
    check(run(seed, profile), profile)


def test_the_faults_of_these_seeds_are_not_harmless() -> None:
    """What the first seeds went through; if a change takes the faults away, this test says so."""
    count = sum((run(seed, "mixed").count for seed in SEEDS[:8]), start=run(SEEDS[8]).count)
    for event in ("crashes", "acknowledged", "refused", "unknown", "reads", "lease reads"):
        assert count[event] > 0, f"{event}: {count}"
    assert count["elections"] > len(SEEDS[:9])


def test_stock_breaks_its_word() -> None:
    """The engine as installed, on a perfect disk, loses or denies committed entries."""
    broken = (
        "match index above the durable log",
        "commit index back",
        "committed entry changed",
        "committed without a durable majority",
        "leader completeness",
    )
    kinds = []
    with as_installed():
        for seed in SEEDS_OF_STOCK:
            verdict = run(seed, "bursts", StockMember).verdict
            kinds.append(verdict and verdict.kind)
            if kinds[-1] in broken:
                return
    pytest.fail(f"stock survived seeds {SEEDS_OF_STOCK}: {kinds}")


def _trace_in_a_process(hash_seed: str) -> str:
    code = "from tests.sim.world import run; print([run(s).trace for s in (1, 5, 9)])"
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_seed_is_a_run_whatever_the_hash_seed() -> None:
    traces = {_trace_in_a_process(hash_seed) for hash_seed in ("0", "1", "77")}
    assert len(traces) == 1, traces
