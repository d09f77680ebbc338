"""A member's data directory in a second place: copied to another machine, or put back as it was.

Such data does not know what the member acknowledged and voted for since, so it must not be used;
and it is found out by those who saw the other process.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raftcache.raft.greetings import Refusal
from tests.support.cluster import until
from tests.support.growing import Growing, growing

pytestmark = pytest.mark.cluster

COPY = "n4"
"""The place of the copy: it calls itself as the original does."""


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Growing]:
    """n1 to n3 are a cluster; n4 is a free place."""
    with growing(tmp_path, 3, 4, "--log-format", "json") as cluster:
        yield cluster


def data_of(cluster: Growing, name: str) -> Path:
    return cluster.nodes[name].folder


def copied(cluster: Growing, name: str, to: Path) -> None:
    """The data alone; as rsync or a snapshot of the disk would have it."""
    to.mkdir(parents=True, exist_ok=True)
    for part in ("wal", "snapshots", "meta"):
        source = data_of(cluster, name) / part
        if source.is_dir():
            shutil.copytree(source, to / part)
        elif source.exists():
            shutil.copy(source, to / part)


def start_copy(cluster: Growing, name: str) -> None:
    """With its own addresses, as on another machine."""
    if not data_of(cluster, COPY).exists():
        copied(cluster, name, data_of(cluster, COPY))
    cluster.founders.remove(name)  # its --cluster would have the address of the original
    cluster.join_at = next(other for other in ("n1", "n2", "n3") if other != name)
    cluster.nodes[COPY] = replace(cluster.nodes[COPY], name=name)
    cluster.start(COPY)


def fenced(cluster: Growing, place: str, why: str) -> None:
    """Waits until the process there is out, and knows why for good."""

    def is_out() -> bool:
        status = cluster.status(place)
        return status is not None and why in (status["fenced"] or "")

    until(is_out, f"{place} does not know that its data must not be used")
    answer = cluster.call(place, "GET", "/readyz?verbose")
    assert (answer.status, why in answer.body.decode()) == (503, True)
    assert cluster.put(place, "k", "x").status == 503
    until(lambda: (data_of(cluster, place) / "fenced").exists(), "nothing was written down")
    cluster.kill(place)
    cluster.start(place)
    assert cluster.exit_code(place) == 70
    assert "raftcache rebuild" in cluster.logged(place)[-1]["why"]


def test_a_copy_beside_the_original_is_kept_out(trio: Growing) -> None:
    original = trio.followers()[0]
    trio.write("n1", "k", "v")
    start_copy(trio, original)
    fenced(trio, COPY, Refusal.COPY)
    members = trio.members("n1")
    assert members[original]["raft"] == trio.raft(original), "it never greeted for the member"
    assert trio.readiness(original)[0] == 200
    assert len(trio.logged(original, "link up")) == 2, "its links never ended"
    trio.kill(original)
    trio.start(original)
    trio.ready(original)
    assert trio.read(original, "k") == "v"


def test_data_that_was_put_back_is_found_out(trio: Growing, tmp_path: Path) -> None:
    """A copy from before a restart: others remember that the member was started since."""
    name = trio.followers()[0]
    copied(trio, name, tmp_path / "backup")
    for key in ("before", "after"):
        trio.write("n1", key, "v")
        trio.kill(name)
        trio.start(name)
        trio.ready(name)
    trio.kill(name)
    put_back(trio, name, tmp_path / "backup")
    trio.start(name)
    fenced(trio, name, Refusal.STALE)


def put_back(cluster: Growing, name: str, backup: Path) -> None:
    for part in ("wal", "snapshots"):
        shutil.rmtree(data_of(cluster, name) / part)
    shutil.copytree(backup, data_of(cluster, name), dirs_exist_ok=True)


def test_data_that_lacks_what_was_acknowledged_is_found_out(trio: Growing, tmp_path: Path) -> None:
    """The member was not started since the copy was made; but its leader knows what it has said."""
    name = trio.followers()[0]
    copied(trio, name, tmp_path / "backup")
    for i in range(20):
        trio.write("n1", f"k{i}", "v")
    trio.settled()
    trio.kill(name)
    put_back(trio, name, tmp_path / "backup")
    trio.start(name)
    fenced(trio, name, Refusal.LOST)


def test_a_copy_in_the_place_of_the_original_is_kept_out(trio: Growing) -> None:
    """It comes while the original is down, and has less than that acknowledged.

    But the other follower, which does not know that, may have let it in before; then that cannot
    know what the copy has voted for, and so the original has to begin anew.
    """
    original = trio.followers()[0]
    copied(trio, original, data_of(trio, COPY))
    for i in range(20):
        trio.write("n1", f"k{i}", "v")
    trio.settled()
    trio.kill(original)
    start_copy(trio, original)
    fenced(trio, COPY, Refusal.LOST)
    trio.start(original)

    def is_settled() -> bool:
        status = trio.status(original)
        if status is None:
            return False
        return Refusal.COPY in (status["fenced"] or "") or trio.readiness(original)[0] == 200

    until(is_settled, "the original is neither ready nor out")
    others = [name for name in ("n1", "n2", "n3") if name != original]
    assert [trio.read(name, "k19") for name in others] == ["v", "v"]


def test_data_that_moves_to_another_machine_goes_on(trio: Growing) -> None:
    """Copied while it is stopped, and never started in its old place again."""
    name = trio.followers()[0]
    trio.write("n1", "k", "v")
    trio.kill(name)
    start_copy(trio, name)
    trio.ready(COPY)
    assert trio.read(COPY, "k") == "v"
    trio.start(name)  # by mistake
    fenced(trio, name, Refusal.COPY)
    assert trio.readiness(COPY)[0] == 200
