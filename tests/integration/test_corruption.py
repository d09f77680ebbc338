"""Replicas that differ, and bits that flip: a node is fenced, refuses, or has lost nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from raftcache.command.replies import Reply
from raftcache.command.words import Put
from raftcache.errors import Fatal, NotLeader
from raftcache.raft.datadir import refuse_fenced
from raftcache.state.machine import Machine
from raftcache.system import SystemDisk
from tests.support import members as support
from tests.support.cluster import Cluster, running, until
from tests.support.command_line import raftcache, succeeds
from tests.support.members import PATIENCE_S, Member, led, level, soon, started


def run(scenario: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(scenario, 2 * PATIENCE_S))


# -- replicas that differ ------------------------------------------------------------------------


class Careless(Machine):
    """A state machine that can be made to forget a write: what a flipped bit may do."""

    careless = False

    def apply(self, now_ms: int, batch: bytes) -> list[Reply]:
        replies = super().apply(now_ms, batch)
        if self.careless:
            self.careless = False
            self._state.revision += 1
        return replies


@pytest.fixture(autouse=True)
def _short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    often = dataclasses.replace(support.TIMING, check_period_s=0.1)
    monkeypatch.setattr(support, "TIMING", often)
    monkeypatch.setattr(support, "Machine", Careless)


def spoil(member: Member) -> None:
    machine = member.machine
    assert isinstance(machine, Careless)
    machine.careless = True


@pytest.mark.parametrize("who", ["follower", "leader"])
def test_a_replica_that_differs_is_fenced_and_says_why(tmp_path: Path, who: str) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            await soon(lambda: leader.replica.checked_index, "no check was made")
            wrong = leader if who == "leader" else next(m for m in members if m is not leader)
            others = [m for m in members if m is not wrong]
            spoil(wrong)
            # Applied on this node alone in another way than by the others.
            assert isinstance(await others[0].write(Put(b"key", b"value")), Reply)
            await soon(lambda: wrong.replica.fenced, "it was not fenced")
            assert "its state differs" in wrong.replica.fenced
            assert isinstance(await wrong.read(b"key"), NotLeader)
            refused = await wrong.write(Put(b"key", b"other"))
            assert isinstance(refused, NotLeader)
            assert "its state differs" in refused.detail
            assert list(wrong.replica.alarms) == [wrong.name]

            now_leads = await led(others)
            for other in others:
                assert not other.replica.fenced
                assert await other.value(b"key") == b"value"
            if who == "follower":
                assert list(now_leads.replica.alarms) == [wrong.name]
            await level(others)
            await wrong.stop()
            with pytest.raises(Fatal, match="rebuild"):
                refuse_fenced(SystemDisk(tmp_path / wrong.name))

    run(scenario())


def test_without_a_majority_nobody_is_fenced_and_the_alarm_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path, away="n3") as members:
            leader = await led(members)
            spoil(leader)
            assert isinstance(await leader.write(Put(b"key", b"value")), Reply)
            await soon(lambda: len(leader.replica.alarms) == 2, "no alarm")
            assert "no majority agrees" in leader.replica.alarms["n1"]
            assert not any(m.replica.fenced for m in members)
            assert await leader.value(b"key") == b"value"

    run(scenario())


def test_replicas_that_are_equal_stay_so_under_load(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            checked = set()
            for i in range(200):
                await asyncio.gather(*(m.write(Put(b"%d" % i, m.name.encode())) for m in members))
                checked.add(leader.replica.checked_index)
            await soon(lambda: len({*checked, leader.replica.checked_index}) > 2, "no checks")
            assert not leader.replica.alarms

    run(scenario())


# -- bits that flip on disk ----------------------------------------------------------------------

FLIPS = 8


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = ("--snapshot-entries", "40", "--trailing-entries", "5", "--check-period", "200ms")
    with running(tmp_path_factory.mktemp("flips"), *options) as cluster:
        yield cluster


def files_of(folder: Path) -> list[Path]:
    return [folder / "meta", *(folder / "wal").iterdir(), *(folder / "snapshots").iterdir()]


def used_size_bytes(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\0"))


@pytest.mark.cluster
@pytest.mark.slow
def test_one_bit_anywhere_loses_nothing_or_is_refused(cluster: Cluster) -> None:
    """Also what is read from the flipped node itself is what was acknowledged."""
    dice = random.Random(20)
    pairs: dict[str, str] = {}
    for number in range(150):
        pairs[f"key:{number % 60}"] = f"value {number}"
        cluster.write("n1", f"key:{number % 60}", f"value {number}")
    victim = cluster.followers()[0]
    folder = cluster.nodes[victim].folder
    until(lambda: list((folder / "snapshots").glob("*.snap")), "no snapshot")
    outcomes = {"refused": 0, "started": 0}
    for flip in range(FLIPS):
        pairs[f"key:{flip}"] = f"flip {flip}"
        cluster.write("n1", f"key:{flip}", f"flip {flip}")
        cluster.settled()
        cluster.kill(victim)
        before = {path: path.read_bytes() for path in files_of(folder)}
        path = dice.choice(sorted(before))
        at, bit = dice.randrange(max(1, used_size_bytes(path))), dice.randrange(8)
        flipped = bytearray(before[path])
        flipped[at] ^= 1 << bit
        path.write_bytes(flipped)
        verified = raftcache("wal", "verify", "--data-dir", folder).code
        cluster.start(victim)
        until(lambda: cluster.status(victim) or not cluster.is_running(victim), "neither")
        place = f"{path.relative_to(folder)}, byte {at}, bit {bit}"
        if cluster.is_running(victim):
            outcomes["started"] += 1
            assert verified == 0, place
            cluster.settled()
            assert {key: cluster.read(victim, key) for key in pairs} == pairs, place
            continue
        outcomes["refused"] += 1
        assert verified == 1, place
        assert cluster.exit_code(victim) in (2, 70), place
        said = cluster.said(victim).splitlines()[-2:]
        assert any("join the cluster again" in line or "newer" in line for line in said), place
        for file, data in before.items():
            file.write_bytes(data)
        cluster.start(victim)
        cluster.settled()
    print(outcomes)
    assert outcomes["refused"] >= FLIPS // 2


@pytest.mark.cluster
def test_check_compares_every_replica_and_finds_the_one_that_is_not_there(
    cluster: Cluster,
) -> None:
    one = ("--endpoints", cluster.nodes["n1"].url)
    cluster.start_all()
    cluster.write("n1", "checked", "x")
    said = succeeds("check", "--json", *one).json
    assert said["ok"]
    assert {row["node"] for row in said["replicas"].values()} == set(cluster.nodes)
    assert len({row["digest"] for row in said["replicas"].values()}) == 1
    assert "the states are equal" in succeeds("check", *one).out.decode()
    leader = cluster.leader()
    until(lambda: cluster.metric(leader, "replica_checked_index"), "the cluster does not check")
    assert cluster.metric(leader, "replica_alarms") == 0
    follower = next(name for name in cluster.nodes if name not in (leader, "n1"))
    cluster.kill(follower)
    said = raftcache("check", *one, "--timeout", "3s")
    assert said.code == 3
    cluster.start_all()
