"""Short runs of chaos/kill_leader.py, on a cluster of its own and on a demo, and of outages.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_demo import eventually, printed, running_demo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def kill_leader(*options: str) -> dict[str, object]:
    """The report of two kills."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos.kill_leader", "--kills", "2", "--seed", "7", "--json"]
        + list(options),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7" in done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def check(report: dict[str, object]) -> None:
    assert (report["kills"], report["nodes"], report["seed"]) == (2, 3, 7)
    assert (report["lost"], report["duplicates"], report["problems"]) == (0, 0, [])
    acknowledged = report["acknowledged"]
    assert isinstance(acknowledged, int)
    assert acknowledged > 20


def test_nothing_is_lost_on_a_cluster_of_its_own() -> None:
    check(kill_leader())


def test_nothing_is_lost_on_a_running_demo(tmp_path: Path) -> None:
    with running_demo(tmp_path):
        eventually(lambda: "DIGEST" in printed(tmp_path))
        check(kill_leader("--demo", str(tmp_path)))


def test_outages_of_every_kind_are_measured_and_lose_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos.outages", "--times", "1", "--seed", "7", "--json"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["seed"], report["nodes"], report["problems"]) == (7, 3, [])
    measured = report["without_writes_ms"]
    assert list(measured) == ["leader killed", "leader paused", "leader isolated"]
    assert all(len(gaps) == 1 and gaps[0] > 0 for gaps in measured.values())
    assert report["acknowledged"] > 20
