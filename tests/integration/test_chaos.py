"""The proof in short, on real processes; and that it catches what is broken on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos.faults import clocks
from chaos.workloads import WORKLOADS

needs_clocks = pytest.mark.skipif(clocks.missing() is not None, reason=str(clocks.missing()))
pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RUNS_MAX = 5
"""A control must be caught in one of so many runs; nearly always it is in the first."""


def chaos(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the verdict of one run."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--report", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "seed " in done.stderr
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return done.returncode, verdict


def test_every_promise_holds_under_combined_faults(tmp_path: Path) -> None:
    code, verdict = chaos(
        tmp_path,
        *(
            "--workload",
            "register,counter,set,ttl,watch,lock,bank",
            "--faults",
            "kill,pause,partition",
        ),
        *("--time", "8", "--seed", "7"),
    )
    assert (code, verdict["anomalies"], verdict["problems"]) == (0, [], [])
    assert verdict["holds"]
    assert verdict["faults"]
    for done in (
        "write ok",
        "cas ok",
        "incr ok",
        "add ok",
        "put ok",
        "final ok",
        "watch ok",
        "acquire ok",
        "transfer ok",
    ):
        assert verdict["outcomes"][done] > 0, verdict["outcomes"]


def test_every_promise_holds_for_redis_clients(tmp_path: Path) -> None:
    code, verdict = chaos(
        tmp_path,
        *("--workload", ",".join(name for name in WORKLOADS if name.startswith("resp-"))),
        *("--faults", "kill,pause,partition", "--time", "8", "--seed", "7"),
    )
    assert (code, verdict["anomalies"], verdict["problems"]) == (0, [], [])
    assert verdict["faults"]
    for done in ("ifeq ok", "getset ok", "take ok", "done ok", "transfer ok", "incr ok", "add ok"):
        assert verdict["outcomes"][done] > 0, verdict["outcomes"]


def test_every_promise_holds_while_members_come_and_go(tmp_path: Path) -> None:
    """From three nodes to four or two and back, beside other faults, through the proxy."""
    code, verdict = chaos(
        tmp_path,
        *("--workload", "register", "--faults", "members,kill", "--network", "proxy"),
        *("--time", "12", "--seed", "3"),
    )
    assert (code, verdict["anomalies"], verdict["problems"]) == (0, [], [])
    assert any("members" in fault["detail"] for fault in verdict["faults"]), verdict["faults"]
    assert verdict["outcomes"]["cas ok"] > 0


@pytest.mark.parametrize(
    ("control", "sentence"),
    [
        ("stale-reads", "no order explains this"),
        ("memory", "acknowledged, and is lost"),
        ("fresh-tokens", "increments were done before it began"),
        ("late-holders", "were held at the same time"),
        ("blind-transfers", "is there in all, and not 500"),
        ("resp-stale-reads", "no order explains this"),
        ("resp-popped-jobs", "was acknowledged, and is lost"),
        ("resp-no-watch", "is there in all, and not 500"),
        ("resp-read-before", "is there in all, and not 500"),
        ("resp-added-again", "is there 2 times"),
        ("resp-popped-entries", "was given to nobody, and is lost"),
        ("resp-fresh-numbers", "increments were done before it began"),
        pytest.param("wall-clock", "it was gone after", marks=needs_clocks),
    ],
)
def test_a_broken_promise_is_caught(tmp_path: Path, control: str, sentence: str) -> None:
    for run in range(RUNS_MAX):
        folder = tmp_path / str(run)
        code, verdict = chaos(folder, "--control", control, "--time", "8", "--seed", str(run))
        if code == 1 and any(sentence in a["sentence"] for a in verdict["anomalies"]):
            return
    raise AssertionError(f"{control} was not caught in {RUNS_MAX} runs")
