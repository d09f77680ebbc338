"""What a restarted node keeps of its log in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raftcache.command.words import Put
from raftcache.config import Storage
from tests.support import members
from tests.support.members import led, level, soon, started

TRAILING: int = 20
ENTRIES: int = 100


def test_only_the_tail_behind_the_snapshot_is_kept_though_the_segment_holds_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(
        segment_size_bytes=8 << 20, snapshot_entries=ENTRIES, trailing_entries=TRAILING
    )
    monkeypatch.setattr(members, "STORAGE", storage)

    async def run() -> None:
        async with started(tmp_path) as nodes:
            leader = await led(nodes)
            for number in range(2 * ENTRIES):
                await leader.write(Put(b"key%d" % number, b"value"))
            await level(nodes)
            follower = next(node for node in nodes if node is not leader)
            log = follower.replica._log
            await soon(lambda: log.first_index > 1, "no snapshot was taken")
            was, last = log.first_index, log.last_index
            await follower.stop()
            await follower.start()
            log = follower.replica._log
            assert log.first_index >= was, "older entries came back from the disk"
            assert log.last_index >= last
            await level(nodes)
            assert await follower.value(b"key%d" % (2 * ENTRIES - 1)) == b"value"

    asyncio.run(run())
