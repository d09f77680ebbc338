"""Compaction on real processes: a log that is cut, peers that need a snapshot, short restarts."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, running, until

pytestmark = pytest.mark.cluster

SNAPSHOT_ENTRIES, TRAILING_ENTRIES = 40, 10
TINY = ("--snapshot-entries", f"{SNAPSHOT_ENTRIES}", "--trailing-entries", f"{TRAILING_ENTRIES}")
BIG = "x" * 60_000
"""A few of them make a snapshot of several chunks."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path, *TINY, "--log-format", "json") as cluster:
        yield cluster


def fill(cluster: Cluster, name: str, prefix: str, count: int) -> dict[str, str]:
    pairs = {f"{prefix}:{i}": f"{i} {BIG if i % 10 == 0 else ''}" for i in range(count)}
    for key, value in pairs.items():
        cluster.write(name, key, value)
    return pairs


def holds_one_file(folder: Path) -> bool:
    return len(list(folder.iterdir())) == 1


def test_a_follower_behind_the_log_gets_a_snapshot_and_everyone_restarts_from_one(
    cluster: Cluster,
) -> None:
    leader, (late, other) = cluster.leader(), cluster.followers()
    pairs = fill(cluster, leader, "before", 20)
    cluster.kill(late)
    behind = cluster.settled()["applied_index"]
    pairs |= fill(cluster, leader, "after", 3 * (SNAPSHOT_ENTRIES + TRAILING_ENTRIES))
    until(lambda: len(cluster.logged(leader, "took a snapshot")) >= 2, "no second snapshot")

    cluster.start(late)
    cluster.settled()
    sent = cluster.logged(leader, "sending a snapshot")
    assert sent
    assert {event["to"] for event in sent} == {late}
    installed = cluster.logged(late, "installed a snapshot")[-1]["index"]
    assert installed > behind
    assert not cluster.logged(other, "installed a snapshot")
    assert {key: cluster.read(late, key) for key in pairs} == pairs

    before = cluster.settled()
    for name in cluster.nodes:
        cluster.send(name, signal.SIGKILL)
    for name in cluster.nodes:
        cluster.exit_code(name)
    kept = ("took a snapshot", "installed a snapshot")
    newest = {
        name: max(event["index"] for event in cluster.logged(name) if event["event"] in kept)
        for name in cluster.nodes
    }
    cluster.start_all()
    assert cluster.settled()["digest"] == before["digest"]
    assert {key: cluster.read(late, key) for key in pairs} == pairs
    for name in cluster.nodes:
        restored = cluster.logged(name, "restored")[-1]
        assert restored["snapshot_index"] >= newest[name]
        replayed = restored["last_index"] - restored["snapshot_index"]
        assert replayed <= 2 * (SNAPSHOT_ENTRIES + TRAILING_ENTRIES)
        folder = cluster.nodes[name].folder / "snapshots"
        assert not list(folder.glob("*.tmp"))
        until(partial(holds_one_file, folder), "older snapshots stay")


@pytest.mark.slow
def test_a_node_that_is_killed_at_any_moment_of_a_snapshot_loses_nothing(cluster: Cluster) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    pairs: dict[str, str] = {}
    for turn in range(8):
        victim = dice.choice(list(cluster.nodes))
        begun = len(cluster.logged(victim, "taking a snapshot"))
        while len(cluster.logged(victim, "taking a snapshot")) == begun:
            pairs |= fill(cluster, cluster.leader(), f"turn {turn}:{len(pairs)}", 10)
        time.sleep(dice.random() * 0.05)  # the moment of the kill is the experiment
        cluster.kill(victim)
        cluster.start(victim)
        cluster.settled()
    assert {key: cluster.read(victim, key) for key in pairs} == pairs
    for name in cluster.nodes:
        until(partial(holds_one_file, cluster.nodes[name].folder / "snapshots"), "it left pieces")
