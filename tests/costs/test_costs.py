"""No hot operation costs more than its budget, nor much less; and whatever is added is noticed.

The counting runs in a process of its own: it is exact only where nothing else runs, and a node
changes how the collector of its process works.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.costs.budgets import PYTHON, UNSPENT_MAX, Spent, complaints

ROOT: Final = Path(__file__).parents[2]
GIVEN_UP_AFTER_S: Final = 300

on_the_python_of_the_budgets = pytest.mark.skipif(
    sys.version_info[:2] != PYTHON,
    reason="every minor version of Python has other instructions; budgets are for 3.11",
)


def count(*arguments: str, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.costs", *arguments]
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=GIVEN_UP_AFTER_S
    )
    assert not done.stderr, done.stderr
    return done


def dearer(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The operations that cost more than their budgets."""
    complaints = (line.split(": ") for line in done.stdout.splitlines() if ": " in line)
    return {name for word, name, *_ in complaints if word == "dearer"}


@on_the_python_of_the_budgets
def test_every_operation_keeps_its_budget_and_spends_most_of_it() -> None:
    done = count()
    assert done.returncode == 0, done.stdout


@on_the_python_of_the_budgets
def test_work_added_to_writes_is_noticed_on_all_nodes() -> None:
    done = count("--only", "64 clients", "--control", "dear-writes")
    writes = {"HTTP PUT, 64 clients", "SET, 64 clients", "SET, 64 clients, pipeline of 32"}
    assert (done.returncode, dearer(done)) == (1, writes)
    for name in writes:
        for place in ("leader", "follower"):
            assert f"dearer: {name}: {place} " in done.stdout


@on_the_python_of_the_budgets
def test_what_reads_leave_behind_is_noticed() -> None:
    done = count("--only", "GET, 1 client", "--control", "leaking-reads")
    assert (done.returncode, dearer(done)) == (1, {"HTTP GET, 1 client", "GET, 1 client"})
    assert "dearer: HTTP GET, 1 client: objects " in done.stdout


def test_counts_are_the_same_at_every_run() -> None:
    one, other = (count("--only", "SET, 1", hash_seed=seed).stdout for seed in (1, 2))
    (counts,) = re.findall(r"^SET, 1 client +([0-9. ]+)$", one, re.MULTILINE)
    (again,) = re.findall(r"^SET, 1 client +([0-9. ]+)$", other, re.MULTILINE)
    leader, follower, blocks, objects = map(float, counts.split())
    # Of its blocks the interpreter has one more or less of its own, in one run of twenty.
    near = pytest.approx(blocks, abs=2 / 64)
    assert [*map(float, again.split())] == [leader, follower, near, objects]


def test_a_budget_is_kept_passed_or_far_away() -> None:
    allowed = {"a PUT": Spent(1000, 100, 1, 0)}

    def complaint(**counted: float) -> str:
        kept = Spent(960, 96, 1, 0)._replace(**counted)
        return "; ".join(complaints({"a PUT": kept}, allowed))

    least = 100 * (1 - UNSPENT_MAX)
    assert complaint() == ""
    assert complaint(leader=1000, follower=least, objects=0.4) == ""
    assert complaint(leader=1001) == "dearer: a PUT: leader 1,001.00, budget 1,000"
    assert complaint(follower=least - 1) == f"cheaper: a PUT: follower {least - 1:.2f}, budget 100"
    assert complaint(objects=1) == "dearer: a PUT: objects 1.00, budget 0"
    assert complaint(blocks=0.1) == "cheaper: a PUT: blocks 0.10, budget 1"
