"""No script ends the process that runs it, whatever it calls, and with what."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAY = (sys.executable, "-m", "tests.model.odd_scripts")


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PLAY, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_odd_scripts_end_no_process(seed: int) -> None:
    odd = ended("--seed", str(seed), "--scripts", "1500")
    assert odd.returncode == 0, f"seed {seed}: {odd.returncode} {odd.stderr[-2000:]}"


def test_a_process_that_ends_is_noticed() -> None:
    """Where a pattern has no limit, they find that the matcher of Lua calls itself."""
    odd = ended("--seed", "4", "--scripts", "2000", "--control")
    assert odd.returncode < 0, "it was ended by a signal"
