"""All rooms of the Redis door: who answers what is not a call of data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from raftcache.cluster.group import GroupView
from raftcache.config import Config
from raftcache.server.resp.discovery import DiscoveryCalls
from raftcache.server.resp.greetings import Greetings
from raftcache.server.resp.server import Room
from raftcache.server.resp.transactions import Transactions
from raftcache.server.resp.waiting import Waits
from raftcache.service.redis import Redis


def rooms_of(
    config: Config, redis: Redis, view: GroupView, loop: asyncio.AbstractEventLoop
) -> Sequence[Room]:
    waits, patience_s = Waits(view, loop), 2 * config.timing.election_max_s
    return (
        Greetings(config.resp_password, lambda: view.group().leads).add_to,
        Transactions(redis).add_to,
        DiscoveryCalls(view, waits, redis, loop, patience_s).add_to,
    )
