"""A control: keys with deadlines as careless clients keep them, by the wall clocks of the nodes.

The deadline is in the value, and whoever reads it asks the node for its time. Nobody removes a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from chaos.workloads.base import Client
from raftcache.client import Written
from raftcache.errors import Refused

SLACK_MS: Final = 2500
"""Nodes tell whole seconds, which may be a second old: without a jump no key goes early."""

TIMEOUT_S: Final = 1.0


async def put(client: Client, key: bytes, ttl_ms: int) -> Written:
    deadline_ms = await _now_ms(client.api.endpoints) + ttl_ms
    return await client.api.put(key, b"%d %d" % (deadline_ms, ttl_ms))


async def left_ms(client: Client, key: bytes) -> int | None:
    """As the ttl of a key is: None if it is not there any more."""
    found = await client.api.get(key)
    if found is None:
        return None
    deadline_ms, ttl_ms = (int(word) for word in found.value.split())
    left = deadline_ms - await _now_ms(client.api.endpoints)
    return None if left < -SLACK_MS else min(max(left, 0), ttl_ms)


async def _now_ms(urls: Sequence[str]) -> int:
    """By the clock of the first node that answers."""
    timeout = aiohttp.ClientTimeout(TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for url in urls:
            try:
                async with session.get(f"{url}/livez") as answer:
                    return round(parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000)
            except (aiohttp.ClientError, TimeoutError):
                continue
    raise Refused("no node tells the time")
