"""Whatever can be read from the log is applied, and comes to the same on every node.

A short part of what `python -m tests.model.totality` plays for as long as one likes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import pytest

from raftcache.command.replies import Status
from tests.model import odd_clients
from tests.model.totality import play, tiny_limits

ROOT: Final = Path(__file__).parents[2]

SELDOM_MET_MAX: Final = 9
"""Kinds of answers that so few entries may miss."""


@pytest.mark.parametrize("tiny", [False, True])
def test_every_node_takes_every_entry(tiny: bool) -> None:
    with tiny_limits() if tiny else nullcontext():
        played = play(seed=1, entries=1200)
    assert len(set(Status) - played.statuses) <= SELDOM_MET_MAX
    assert played.invalid < played.commands / 5
    assert played.refused < played.calls / 2


def test_what_a_door_lets_pass_is_applied(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(odd_clients.play(seed=1, pipelines=300)) > 1000
    assert not caplog.records


def test_it_does_not_matter_how_a_process_hashes() -> None:
    command = [sys.executable, "-m", "tests.model.totality", "--tiny", "--entries", "400"]
    nodes = [
        subprocess.Popen(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT, stdout=subprocess.PIPE
        )
        for seed in ("1", "2")
    ]
    first, second = (node.communicate()[0] for node in nodes)
    assert first == second != b""
