"""The Redis front door: one port on which any Redis client may ask for anything that is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from raftcache.config import Config
from raftcache.metrics import RespCounters
from raftcache.ports import Clock
from raftcache.server.listening import Listening
from raftcache.server.resp.client import Clients
from raftcache.server.resp.connection import Connection
from raftcache.server.resp.port import Port
from raftcache.server.resp.table import CallTable
from raftcache.service.redis import Redis

Room = Callable[[CallTable], None]
"""Adds the calls of one topic."""


class RespServer:
    """Listens on config.resp from start() to stop()."""

    def __init__(
        self,
        redis: Redis,
        config: Config,
        clock: Clock,
        counters: RespCounters,
        clients: Clients,
        rooms: Sequence[Room],
    ) -> None:
        """clients: where those who are connected stand; rooms may know it, too."""
        self._redis, self._config, self._clock = redis, config, clock
        self._counters, self._clients, self._rooms = counters, clients, rooms
        limits = config.limits
        times_s = [t for t in (limits.header_timeout_s, limits.resp_idle_timeout_s) if t]
        assert config.resp is not None, "no such door"
        self.listening = Listening("resp", config.resp, self._sweep, times_s)
        self._port: Port | None = None

    async def start(self) -> None:
        """Listen. Raises BadConfig when the address cannot be had."""
        assert self._port is None, "started twice"
        loop = asyncio.get_running_loop()
        table = CallTable()
        for add_to in self._rooms:
            add_to(table)
        self._port = port = Port(
            loop,
            self._config.limits,
            self._counters,
            self._redis,
            table,
            self._clients,
            has_password=bool(self._config.resp_password),
        )
        await self.listening.open(lambda: Connection(port))

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing more, finish what is being done, close; timeout_s at most."""
        if self._port is not None and self.listening.close():
            await self._port.shut(timeout_s)

    def _sweep(self) -> None:
        assert self._port is not None
        self._port.sweep(self._clock.monotonic_s())
