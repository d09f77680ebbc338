"""What all connections of the Redis protocol share: their port, and one sweep over them all."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from raftcache.config import Limits, LostCalls
from raftcache.metrics import RespCounters
from raftcache.server.flushing import Flushed, Flushing
from raftcache.server.resp.client import Clients
from raftcache.server.resp.encode import encode_all, encode_answered
from raftcache.server.resp.glances import Glances
from raftcache.server.resp.table import CallTable
from raftcache.service.redis import Redis

logger = logging.getLogger("raftcache.resp")


class Connected(Flushed, Protocol):
    """A connection, as far as its port looks after it."""

    def shut(self) -> None: ...

    def check(self, transport: asyncio.Transport, now_s: float) -> None: ...


class Port(Flushing[Connected]):
    """What all connections of one listening port share."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counters: RespCounters,
        redis: Redis,
        table: CallTable,
        clients: Clients,
        *,
        has_password: bool = False,
    ) -> None:
        super().__init__(loop, logger)
        self.limits, self.counters = limits, counters
        closes = limits.resp_lost_calls is LostCalls.CLOSE
        self.encode = encode_answered if closes else encode_all
        self.redis, self.table, self.clients = redis, table, clients
        self.glances = Glances(redis.plain_values)
        self.has_password = has_password
        self.now_s = 0.0
        """As of the last sweep."""
        self.connections: dict[Connected, asyncio.Transport] = {}
        self._calls_before = 0
        self._emptied: asyncio.Future[None] | None = None

    def left(self) -> None:
        """A connection has closed."""
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def shut(self, timeout_s: float) -> None:
        """Finish what is being done, then close all; after timeout_s in any case."""
        for connection in list(self.connections):
            connection.shut()
        if self.connections:
            self._emptied = self.loop.create_future()
            await asyncio.wait((self._emptied,), timeout=timeout_s)
        for transport in list(self.connections.values()):
            transport.abort()  # its client reads nothing; closing would wait for it

    def sweep(self, now_s: float) -> None:
        """Close the connections whose time is over, and see how much there is to do."""
        counters, elapsed_s = self.counters, now_s - self.now_s
        if elapsed_s > 0:
            counters.calls_per_s = max(0, counters.calls - self._calls_before) / elapsed_s
        self.now_s, self._calls_before = now_s, counters.calls
        self.glances.kept.sweep()
        for connection, transport in list(self.connections.items()):
            connection.check(transport, now_s)
