"""Members change and nodes restart while clients write all the time: nothing is lost."""

from __future__ import annotations

import random
import signal
import statistics
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from chaos.tally import longest_gap_s
from tests.support.cluster import Wire, until
from tests.support.growing import MEMBERS, Growing, Load, growing

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def assert_kept(cluster: Growing, load: Load, names: list[str]) -> None:
    """After the writers' end: all of it is on every one of these nodes, once."""
    load.stop()
    assert load.writers.acknowledged > 100
    cluster.settled(names)
    verdict = load.verdict({name: cluster.nodes[name].url for name in names})
    assert verdict.holds, verdict.sentences


def test_from_one_to_three_to_five_to_three_and_back_and_nobody_stays(tmp_path: Path) -> None:
    """As an operator does it: join, promote, remove, one after the other."""
    with growing(tmp_path, 1, 6) as cluster, Load(cluster.urls) as load:
        load.more()
        for name in ("n2", "n3", "n4", "n5"):
            cluster.join(name, at="n1")
            cluster.promote(name, via=name)
            load.more()
        assert len(cluster.voters("n5")) == 5
        for name in ("n1", "n2"):
            cluster.remove(name, via="n4")
            cluster.out(name, "removed from the cluster")
            cluster.kill(name)
            load.more()
        cluster.join("n6", at="n4")
        cluster.promote("n6", via="n4")
        cluster.remove("n3", via="n3")
        cluster.kill("n3")
        load.more()
        assert cluster.voters("n6") == {"n4", "n5", "n6"}
        for name in ("n4", "n5"):
            cluster.remove(name, via="n6")
            cluster.out(name, "removed from the cluster")
            cluster.kill(name)
            load.more()
        assert cluster.voters("n6") == {"n6"}
        assert_kept(cluster, load, ["n6"])


def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    """docs/OPERATIONS.md has the time that writes are refused; here it is only shown."""
    with growing(tmp_path, 3, 3) as cluster, Load(cluster.urls) as load:
        load.more()
        gaps_ms = []
        for name in [*cluster.followers(), cluster.leader()]:
            begun = time.monotonic()
            was_leader = cluster.leader() == name
            cluster.send(name, signal.SIGTERM)
            assert cluster.exit_code(name) == 0
            load.more()
            if was_leader:
                seen = load.writers.acknowledged_at
                gaps_ms.append(1000 * longest_gap_s(seen, begun, time.monotonic()))
            cluster.start(name)
            cluster.ready(name)
        print(f"writes stood still for {statistics.median(gaps_ms):.0f} ms in a transfer")
        assert_kept(cluster, load, list(cluster.nodes))


def test_the_leader_is_killed_in_the_middle_of_changes(tmp_path: Path) -> None:
    """A change that was acknowledged stays; any other is made everywhere or nowhere."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with growing(tmp_path, 3, 3) as cluster, Load(cluster.urls) as load:
        for i in range(6):
            leader = cluster.leader()
            wire = Wire(cluster.nodes[leader].http_port)
            if i % 2 == 0:
                body = b'{"name": "x%d", "raft": "127.0.0.1:%d"}' % (i, i + 1)
                wire.send("POST", MEMBERS, body)
            else:
                wire.send("DELETE", f"{MEMBERS}/x{i - 1}")
            time.sleep(dice.random() * 0.02)  # the moment of the kill is the experiment
            cluster.kill(leader)
            try:
                answered = wire.answer().status == 200
            except (OSError, HTTPException):
                answered = False
            survivors = cluster.running
            after = cluster.leader(survivors)
            cluster.write(after, f"after:{i}", "x")
            known = set(cluster.members(after))
            if answered:
                assert (f"x{i}" in known) if i % 2 == 0 else (f"x{i - 1}" not in known)
            cluster.start(leader)
            cluster.ready(leader)
            load.more()
            until(
                lambda: len({tuple(cluster.members(name)) for name in cluster.nodes}) == 1,
                "the nodes do not agree on the members",
            )
            versions = {cluster.call(n, "GET", MEMBERS).json["version"] for n in cluster.nodes}
            assert len(versions) == 1
        assert_kept(cluster, load, list(cluster.nodes))
