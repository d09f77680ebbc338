"""The Redis front door: one port on which any Redis client may ask for anything that is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from raftcache.config import Config
from raftcache.errors import BadConfig
from raftcache.metrics import RespCounters
from raftcache.ports import Clock
from raftcache.server.resp.client import Clients
from raftcache.server.resp.connection import Connection, Port
from raftcache.server.resp.table import CallTable
from raftcache.service.redis import Redis

BACKLOG: Final = 1024
"""Connections the kernel may hold before we accept them."""

SWEEP_S: Final = 1.0

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
        # A sweep is as fine as the shortest time it watches over.
        self._sweep_s = min(SWEEP_S, *(time_s / 4 for time_s in times_s))
        self._port: Port | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port listened on: the configured one, or the one the system chose for 0."""
        assert self._listener is not None, "not started"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen. Raises BadConfig when the address cannot be had."""
        assert self._port is None, "started twice"
        address = self._config.resp
        assert address is not None, "no such door"
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
        try:
            self._listener = await loop.create_server(
                lambda: Connection(port), address.host, address.port, backlog=BACKLOG
            )
        except OSError as error:
            raise BadConfig(f"resp {address}: cannot listen: {error.strerror}") from error
        self._sweep(port)

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing more, finish what is being done, close; timeout_s at most."""
        listener, self._listener = self._listener, None
        if listener is None or self._port is None:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
        listener.close()
        await self._port.shut(timeout_s)

    def _sweep(self, port: Port) -> None:
        port.sweep(self._clock.monotonic_s())
        self._sweeper = port.loop.call_later(self._sweep_s, self._sweep, port)
