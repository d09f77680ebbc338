"""The proof in short, on real processes; and that it catches what is broken on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos.controls import CONTROLS
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


CAUGHT_BY = {
    "stale-reads": "no order explains this",
    "memory": "acknowledged, and is lost",
    "fresh-tokens": "increments were done before it began",
    "late-holders": "were held at the same time",
    "blind-transfers": "is there in all, and not 500",
    "resp-stale-reads": "no order explains this",
    "resp-popped-jobs": "was acknowledged, and is lost",
    "resp-no-watch": "is there in all, and not 500",
    "resp-read-before": "is there in all, and not 500",
    "resp-added-again": "is there 2 times",
    "resp-popped-entries": "was given to nobody, and is lost",
    "resp-fresh-numbers": "increments were done before it began",
    "wall-clock": "it was gone after",
}
"""What the judge of its workload says of each control."""


@pytest.mark.parametrize(
    "controls",
    [
        "memory",
        "stale-reads,resp-stale-reads",
        "blind-transfers,resp-no-watch,resp-read-before",
        "fresh-tokens,resp-fresh-numbers,resp-added-again",
        "resp-popped-jobs,resp-popped-entries,late-holders",
        pytest.param("wall-clock", marks=needs_clocks),
    ],
)
def test_broken_promises_are_caught(tmp_path: Path, controls: str) -> None:
    """Those under the same faults share a run; each is caught in a load of its own."""
    left = controls.split(",")
    for run in range(RUNS_MAX):
        folder = tmp_path / str(run)
        said = chaos(folder, "--control", ",".join(left), "--time", "8", "--seed", str(run))
        left = [control for control in left if not is_caught(control, *said)]
        if not left:
            return
    raise AssertionError(f"{left} were not caught in {RUNS_MAX} runs")


def is_caught(control: str, code: int, verdict: dict[str, Any]) -> bool:
    [workload] = CONTROLS[control].changes["workloads"]
    return code == 1 and any(
        anomaly["key"].startswith(f"{workload}:") and CAUGHT_BY[control] in anomaly["sentence"]
        for anomaly in verdict["anomalies"]
    )


def test_every_control_is_tried() -> None:
    assert CAUGHT_BY.keys() == CONTROLS.keys()
