"""The HTTP front door: one port for keys, operations and metrics.

`/v1/kv/{key}` is answered by `hot.py` as a rule, and by the application below when a request is
not plain; both ask the same KvDoor, so a caller cannot tell which it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from aiohttp import HttpVersion11, hdrs, web

from raftcache.config import Config
from raftcache.errors import BadConfig, TooLarge
from raftcache.metrics import HttpCounters
from raftcache.ports import Clock
from raftcache.server.bodies import read_body
from raftcache.server.connection import Connection, to_response
from raftcache.server.hot import HotConnection
from raftcache.server.kv_door import KvDoor
from raftcache.server.kv_routes import KEY_ROUTES
from raftcache.server.listening import Listening
from raftcache.server.openapi import DocumentRoutes
from raftcache.server.routes import RouteTable, target_of
from raftcache.server.slots import HotPort
from raftcache.service.calls import called
from raftcache.service.kv import Kv
from raftcache.service.vivify import Vivifier

logger = logging.getLogger("raftcache.http")


class HttpServer:
    """Listens on config.http from start() to stop()."""

    def __init__(
        self,
        kv: Kv,
        vivifier: Vivifier,
        config: Config,
        clock: Clock,
        counters: HttpCounters,
        rooms: Sequence[Callable[[RouteTable], None]] = (),
        leader_url: Callable[[], str] = lambda: "",
    ) -> None:
        """rooms: each adds the routes of one more part of the API, in the document's order.

        leader_url: where clients reach the leader, if that is another node and known; else "".
        """
        self._leader_url = leader_url
        self._config, self._clock, self._rooms = config, clock, rooms
        self._counters = counters
        limits = config.limits
        self._door = KvDoor(kv, vivifier, config.name, limits.value_size_bytes_max)
        times_s = limits.header_timeout_s, limits.keepalive_timeout_s
        self.listening = Listening("http", config.http, self._sweep, times_s)
        self._port: HotPort | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises BadConfig when the address cannot be had."""
        assert self._runner is None, "started twice"
        loop = asyncio.get_running_loop()
        self._port = port = HotPort(loop, self._config.limits, self._counters, self._door)
        self._runner = web.AppRunner(self._application(), handle_signals=False)
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None
        try:
            await self.listening.open(lambda: HotConnection(port, manager))
        except BadConfig:
            await self._runner.cleanup()
            raise

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing more, finish what is being answered, close; timeout_s at most."""
        if self._runner is None or self._port is None or not self.listening.close():
            return
        runner, self._runner = self._runner, None
        manager = runner.server
        assert manager is not None
        manager.pre_shutdown()
        await manager.shutdown(timeout_s)
        await runner.cleanup()
        for transport in list(self._port.connections.values()):
            transport.abort()  # its client reads nothing; closing would wait for it

    def _sweep(self) -> None:
        assert self._port is not None
        self._port.set_date(self._clock.wall_ms())
        self._door.show_leader(self._leader_url())
        self._port.sweep(self._clock.monotonic_s())

    # The application.

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=self._config.limits.value_size_bytes_max)
        table = RouteTable(application.router)
        table.add_path(KEY_ROUTES, self._handle_key, self._expect)
        for add_to in (*self._rooms, DocumentRoutes().add_to):
            add_to(table)
        return application

    async def _handle_key(self, request: web.Request) -> web.StreamResponse:
        """A request for a key that was not hot: gather its body, then ask the same door."""
        self._check_length(request)
        body = await read_body(request)
        caller, target = cast("Connection", request.protocol), target_of(request)
        handle = partial(self._door.handle, caller, request.method, target, request.headers, body)
        return to_response(await called(handle))

    async def _expect(self, request: web.Request) -> None:
        """Expect: a value that is too long is refused before it is sent (RFC 9110, 10.1.1)."""
        if request.headers[hdrs.EXPECT].lower() != "100-continue":
            raise web.HTTPExpectationFailed(text="only 100-continue can be expected")
        self._check_length(request)
        if request.version == HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun

    def _check_length(self, request: web.Request) -> None:
        size_bytes_max = self._config.limits.value_size_bytes_max
        if (request.content_length or 0) > size_bytes_max:
            raise TooLarge(f"a value has at most {size_bytes_max} bytes")
