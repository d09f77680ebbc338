"""Who listens to +switch-master is told of each next leader, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from raftcache.server.resp.switching import SwitchNews
from tests.unit.test_resp_cluster import N2, Seen, until


def test_each_next_leader_is_told_once_however_long_there_was_none() -> None:
    async def test() -> None:
        seen, said = Seen(N2, None), list[tuple[bytes, bytes]]()
        looks = 0

        def group() -> Any:
            nonlocal looks
            looks += 1
            return seen.group

        async def is_seen(leader: str | None) -> None:
            seen.said = replace(seen.said, leader=leader)
            before = looks
            await until(lambda: looks > before + 1)

        view: Any = type("View", (), {"group": staticmethod(group)})
        say: Callable[[bytes, bytes], None] = lambda *message: said.append(message)  # noqa: E731
        news = SwitchNews(view, say, asyncio.get_running_loop())
        news.start()
        for leader in (None, "n1", None, "n1"):
            await is_seen(leader)
        assert said == []
        for leader in (None, "n3", "n3", "n2"):
            await is_seen(leader)
        assert said == [
            (b"+switch-master", b"raftcache h1 6401 ::1 6403"),
            (b"+switch-master", b"raftcache ::1 6403 h2 6402"),
        ]
        news.stop()

    asyncio.run(test())
