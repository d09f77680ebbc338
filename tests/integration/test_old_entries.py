"""Nodes whose logs keep next to nothing in memory: what a member missed comes from real files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raftcache.command.words import Put
from raftcache.config import Storage
from raftcache.raft import backlog
from raftcache.raft.entries import Entry
from raftcache.raft.places import Stretch
from tests.support import members
from tests.support.members import Member, led, level, soon, started

WRITES = 150
BIG = b"x" * 20_000

read_back = backlog.read_back


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indexes from which on something was read back."""
    indexes: list[int] = []

    def noted(disk: backlog.Disk, stretch: Stretch, index: int) -> list[Entry]:
        indexes.append(index)
        return read_back(disk, stretch, index)

    monkeypatch.setattr(backlog, "read_back", noted)
    monkeypatch.setattr("raftcache.raft.log.TAIL_SIZE_BYTES_MAX", 10_000)
    return indexes


async def write(leader: Member, prefix: str, count: int) -> None:
    """Small values and a few large ones, one entry each."""
    for number in range(count):
        value = BIG if number % 10 == 0 else b"%d" % number
        await leader.write(Put(b"%s %d" % (prefix.encode(), number), value))


async def has_all(node: Member, prefix: str, count: int) -> None:
    assert await node.value(b"%s %d" % (prefix.encode(), count - 1)) == b"%d" % (count - 1)
    assert await node.value(b"%s 0" % prefix.encode()) == BIG


def test_who_was_away_is_fed_from_the_disk_also_by_a_leader_that_has_restarted(
    tmp_path: Path, reads: list[int]
) -> None:
    async def run() -> None:
        async with started(tmp_path) as nodes:
            leader = await led(nodes)
            late, other = (node for node in nodes if node is not leader)
            await write(leader, "before", WRITES)
            await level(nodes)
            await late.stop()
            await write(leader, "away", WRITES)
            log = leader.replica._log
            await soon(lambda: log.kept_index > WRITES, "nothing was forgotten")
            await leader.stop()
            await leader.start()
            leader = await led([leader, other])
            await write(leader, "after", WRITES)
            assert not [index for index in reads if index < WRITES]
            await late.start()
            await level(nodes)
            assert [index for index in reads if index < 2 * WRITES], "the log was in memory"
            for prefix in ("before", "away", "after"):
                await has_all(late, prefix, WRITES)
            assert leader.replica._log.memory_size_bytes < len(BIG) + 20_000

    asyncio.run(run())


def test_segments_go_while_they_are_read_and_everybody_catches_up(
    tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(segment_size_bytes=1 << 20, snapshot_entries=150, trailing_entries=100)
    monkeypatch.setattr(members, "STORAGE", storage)
    monkeypatch.setattr("raftcache.raft.backlog.READ_SIZE_BYTES", 4096)

    async def run() -> None:
        async with started(tmp_path) as nodes:
            leader = await led(nodes)
            late = next(node for node in nodes if node is not leader)
            for turn in range(4):
                await late.stop()
                await write(leader, f"away {turn}", 80)
                await late.start()
                await write(leader, f"back {turn}", 80)
            await level(nodes)
            assert reads
            for turn in range(4):
                await has_all(late, f"away {turn}", 80)
                await has_all(late, f"back {turn}", 80)

    asyncio.run(run())
