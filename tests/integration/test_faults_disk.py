"""Disks that are slow or broken, under whole nodes: what must go on, and what must stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from raftcache.cluster.backup import Backup, Backups
from raftcache.command.replies import Reply
from raftcache.command.words import Delete, Put
from raftcache.errors import Fatal, NotLeader, OutOfDisk, RaftcacheError, Refused, Unknown
from raftcache.raft import compaction, room
from raftcache.raft.room import SPARED_SEGMENTS
from tests.support.members import PATIENCE_S, STORAGE, TIMING, Member, led, level, soon, started

HEARTBEATS = round(3 * TIMING.election_max_s / TIMING.heartbeat_s)
"""In the time of so many there would be three elections, if they did not come."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(scenario, 2 * PATIENCE_S))


async def fill(member: Member, prefix: str, count: int = 10) -> dict[bytes, bytes]:
    pairs = {f"{prefix}:{i}".encode(): f"value {i}".encode() for i in range(count)}
    replies = await asyncio.gather(*(member.write(Put(k, v)) for k, v in pairs.items()))
    assert all(isinstance(reply, Reply) for reply in replies), replies
    return pairs


async def assert_held(member: Member, pairs: dict[bytes, bytes]) -> None:
    assert {key: await member.value(key) for key in pairs} == pairs


def test_disks_that_stand_still_hold_up_writes_and_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            await fill(leader, "key", 1)
            await level(members)
            before = leader.replica.status()
            for member in members:
                member.faults.block_sync()
            writes = [asyncio.create_task(m.write(Put(b"key:0", b"new"))) for m in members]

            def all_blocked() -> bool:
                return all(m.faults.syncs_blocked for m in members)

            await soon(all_blocked, "nobody syncs")
            for _ in range(HEARTBEATS):
                values = await asyncio.gather(*(m.value(b"key:0") for m in members))
                assert values == [b"value 0"] * 3
                await asyncio.sleep(TIMING.heartbeat_s)
            now = leader.replica.status()
            assert (now.role, now.term) == ("leader", before.term)
            assert now.commit_index == before.commit_index
            assert not any(write.done() for write in writes)

            for member in members:
                member.faults.heal()
            for write in writes:
                assert isinstance(await write, Reply)
            for member in members:
                assert await member.value(b"key:0") == b"new"
                assert member.fatal == []

    run(scenario())


def test_one_disk_that_stands_still_holds_up_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            term = leader.replica.status().term
            leader.faults.block_sync()  # the two followers are a durable majority
            pairs = await fill(leader, "leader-blocked")
            await soon(lambda: leader.faults.syncs_blocked, "the leader does not sync")
            leader.faults.heal()
            follower = next(m for m in members if m is not leader)
            follower.faults.block_sync()
            pairs |= await fill(follower, "follower-blocked")
            await assert_held(follower, pairs)
            follower.faults.heal()
            await level(members)
            assert leader.replica.status().term == term

    run(scenario())


def test_a_cold_restart_after_one_lost_its_unsynced_tail_loses_nothing(tmp_path: Path) -> None:
    """All stop at once; on one disk everything since its last sync is gone."""

    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            behind = next(m for m in members if m is not leader)
            pairs = await fill(leader, "synced")
            await level(members)
            synced = tmp_path / "as of its last sync"
            shutil.copytree(tmp_path / behind.name, synced)
            behind.faults.block_sync()
            pairs |= await fill(leader, "not synced there")
            await soon(lambda: behind.faults.syncs_blocked, "it has nothing to sync")
            for member in members:
                await member.stop()
            shutil.rmtree(tmp_path / behind.name)
            shutil.move(synced, tmp_path / behind.name)

            for member in members:
                await member.start()
            await led(members)
            await level(members)
            for member in members:
                await assert_held(member, pairs)

    run(scenario())


def test_a_leader_counts_itself_only_once_its_own_disk_has_synced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            follower, other = (m for m in members if m is not leader)
            await level(members)
            leader.faults.block_sync()
            other.faults.block_sync()
            committed = leader.replica.status().commit_index
            write = asyncio.create_task(leader.write(Put(b"key", b"x")))

            def follower_has_it() -> bool:
                status = leader.replica.status()
                return status.match_indexes[follower.name] == status.last_index > committed

            await soon(follower_has_it, "the follower did not answer")
            for _ in range(10):  # rounds of messages, in which a wrong majority would be told
                assert await follower.read(b"key") is None
            assert leader.replica.status().commit_index == committed
            assert not write.done()
            leader.faults.heal()
            assert isinstance(await write, Reply)

    run(scenario())


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_broken_disk_stops_its_node_and_loses_nothing(
    tmp_path: Path, who: str, number: int, call: str
) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            broken = leader if who == "leader" else next(m for m in members if m is not leader)
            others = [m for m in members if m is not broken]
            pairs = await fill(broken, "before")
            broken.faults.raise_in(call, OSError(number, os.strerror(number)))
            last = [broken.write(Put(b"last:%d" % i, b"x")) for i in range(5)]
            outcomes = await asyncio.gather(*last)
            await soon(lambda: broken.fatal, "the node did not stop")
            if who == "leader":  # its followers' disks may have made a majority before
                assert all(isinstance(o, Reply | Unknown) for o in outcomes), outcomes
            await assert_stopped(broken, os.strerror(number))

            await led(others)
            for other in others:
                await assert_held(other, pairs)
                pairs |= await fill(other, f"by-{other.name}")
            await broken.stop()
            assert len(broken.fatal) == 1
            await broken.start()
            await level(members)
            for i, outcome in enumerate(outcomes):
                if isinstance(outcome, Reply):
                    pairs[b"last:%d" % i] = b"x"
            await assert_held(broken, pairs)

    run(scenario())


async def assert_stopped(broken: Member, reason: str) -> None:
    """It has said why, once, and answers everyone that it is not available."""
    (error,) = broken.fatal
    assert isinstance(error, Fatal)
    assert "the log on disk failed: wal/0000000000000001.seg" in str(error)
    assert reason in str(error)
    for outcome in (await broken.write(Put(b"late", b"x")), await broken.read(b"late")):
        assert isinstance(outcome, NotLeader)
    assert not broken.replica.transfer(None, 1.0)


def test_no_write_is_acknowledged_by_a_majority_of_broken_disks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            pairs = await fill(leader, "before")
            await level(members)
            for member in members:
                member.faults.raise_in("sync", OSError(errno.EIO, os.strerror(errno.EIO)))
            outcome = await leader.write(Put(b"before:0", b"never"))
            assert isinstance(outcome, RaftcacheError)
            assert not outcome.definite
            await soon(lambda: all(m.fatal for m in members), "not all have stopped")
            for member in members:
                await member.stop()
                await member.start()
            await level([await led(members), *members])
            del pairs[b"before:0"]  # nobody knows, and so it may be there or not, but everywhere
            values = {await member.value(b"before:0") for member in members}
            assert len(values) == 1
            for member in members:
                await assert_held(member, pairs)

    run(scenario())


async def backed_up(member: Member) -> Backup:
    """Once it has found out that there is room again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(Refused):
                return await Backups(member.replica, PATIENCE_S).open()
            await asyncio.sleep(TIMING.heartbeat_s)


def test_what_grows_is_refused_while_too_few_disks_have_room_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disks fill up alike: a log that found no room on any of them would stop all nodes."""
    monkeypatch.setattr(room, "LOOK_S", 0.01)
    put = Put(b"key:0", b"new")

    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            pairs = await fill(leader, "key")
            short = leader, *[m for m in members if m is not leader][:1]

            def shown() -> bool:
                return all(m.replica.is_full for m in members)

            for member in short:
                assert isinstance(await leader.write(put), Reply), "one of three may be short"
                member.faults.free_size_bytes = SPARED_SEGMENTS * STORAGE.segment_size_bytes - 1
                await soon(lambda m=member: m.replica.disk_is_short, "it does not notice")
            await soon(shown, "not every node is told")
            for member in members:
                assert isinstance(await member.write(put), OutOfDisk)
                assert await member.value(b"key:0") == b"new"
                name = f"key:{members.index(member) + 1}".encode()
                assert isinstance(await member.write(Delete(name)), Reply)
                del pairs[name]
            leader.faults.heal()
            leader.faults.free_size_bytes = (SPARED_SEGMENTS + 1) * STORAGE.segment_size_bytes
            await soon(lambda: not any(m.replica.is_full for m in members), "room is not told")
            for member in members:
                assert isinstance(await member.write(put), Reply)
            assert not any(member.fatal for member in members)
            await assert_held(members[0], pairs | {b"key:0": b"new"})

    run(scenario())


def test_a_backup_that_no_disk_has_room_for_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for one asks one node after the other."""
    monkeypatch.setattr(compaction, "ROOM_AGAIN_S", 0.05)

    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            pairs = await fill(leader, "before")
            for member in members:
                member.faults.free_size_bytes = SPARED_SEGMENTS * STORAGE.segment_size_bytes
                with pytest.raises(Refused, match="no room for a snapshot"):
                    await Backups(member.replica, PATIENCE_S).open()
                assert member.replica.snapshots[0] == 0
            assert not any(member.fatal for member in members)
            pairs |= await fill(leader, "after")
            await assert_held(members[0], pairs)
            for member in members:
                member.faults.heal()
                backup = await backed_up(member)
                assert backup.meta.revision == len(pairs)
                backup.close()

    run(scenario())
