"""GET /v1/watch: changes as they happen, as server-sent events or by long polling.

A stream is written to straight from the hub's turn, past the application's task for it, which only
waits for the end: waking ten thousand tasks for a change would cost more than the change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast

from aiohttp import HttpVersion11, hdrs, web

from raftcache.errors import NotLeader, RaftcacheError
from raftcache.server.change_text import ChangeText, error_event, progress_event
from raftcache.server.connection import SERVER, Connection
from raftcache.server.routes import target_of
from raftcache.server.watch_request import WatchRequest, read_watch
from raftcache.service.tour import Delivery
from raftcache.service.watch import Watcher, WatchHub

PATH: Final = "/v1/watch"

UNSENT_SIZE_BYTES_MAX: Final = 256 << 10
"""What may wait for a client to read it, before its watcher is put aside. Above the transport's
own limit, so that the transport tells when the client has read."""

POLL_REVISIONS_MAX: Final = 1000
POLL_SIZE_BYTES_MAX: Final = 1 << 20
"""One answer to a long poll: it ends with the revision that passes either."""


class WatchRoutes:
    """Serves the route; node is the name that answers show."""

    def __init__(self, hub: WatchHub, now_ms: Callable[[], int], node: str) -> None:
        self._hub, self._node = hub, node
        self._text = ChangeText(now_ms)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self.get, allow_head=False)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the changes that the request asks for."""
        asked = read_watch(target_of(request).partition("?")[2], request.headers)
        if asked.wait_ms is None:
            return await self._stream(request, asked)
        return await self._poll(request, asked, asked.wait_ms / 1000)

    async def _stream(self, request: web.Request, asked: WatchRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._headers("text/event-stream"))
        stream = EventStream(request, self._text)
        async with self._watching(request, asked, stream) as watcher:
            await response.prepare(request)
            await response.write(progress_event(watcher.after))
            watcher.resume()
            await stream.ended
        return response

    async def _poll(
        self, request: web.Request, asked: WatchRequest, wait_s: float
    ) -> web.StreamResponse:
        poll = Poll(self._text)
        async with self._watching(request, asked, poll) as watcher:
            watcher.resume()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await poll.ended
            if poll.error is not None:
                raise poll.error
            body = b'{"revision":%d,"events":[%b]}' % (watcher.reached, b",".join(poll.bodies))
        return web.Response(body=body, headers=self._headers("application/json"))

    def _headers(self, content_type: str) -> dict[Any, str]:
        return {
            hdrs.CONTENT_TYPE: content_type,
            hdrs.CACHE_CONTROL: "no-store",
            hdrs.SERVER: SERVER,
            "X-Raftcache-Served-By": self._node,
        }

    @contextlib.asynccontextmanager
    async def _watching(
        self, request: web.Request, asked: WatchRequest, sink: EventStream | Poll
    ) -> AsyncIterator[Watcher]:
        """A watcher that leaves with its client."""
        watcher = await self._hub.open(asked.view, asked.since, sink)
        sink.watcher = watcher
        connection = cast("Connection", request.protocol)
        connection.stream = sink
        try:
            if connection.transport is None:
                raise ConnectionResetError("the client has gone")
            yield watcher
        finally:
            connection.stream = None
            watcher.close()


class _Written:
    """What both kinds of answer share: a watcher, and an end."""

    def __init__(self, text: ChangeText) -> None:
        self.watcher: Watcher | None = None
        self.written_size_bytes = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._text = text

    def drained(self) -> None:
        if self.watcher is not None:
            self.watcher.resume()

    def lost(self) -> None:
        if self.watcher is not None:
            self.watcher.close()
        self._finish()

    def _finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class EventStream(_Written):
    """A Sink that writes server-sent events to a connection whose headers are sent."""

    def __init__(self, request: web.Request, text: ChangeText) -> None:
        super().__init__(text)
        assert request.transport is not None
        self._transport = cast("asyncio.WriteTransport", request.transport)
        self._chunked = request.version >= HttpVersion11

    @property
    def is_full(self) -> bool:
        return self._transport.get_write_buffer_size() > UNSENT_SIZE_BYTES_MAX

    def deliver(self, delivery: Delivery) -> None:
        self._write(self._text.event(delivery))

    def progress(self, revision: int) -> None:
        self._write(progress_event(revision))

    def end(self, error: RaftcacheError) -> None:
        self._write(error_event(error))
        self._finish()

    def _write(self, event: bytes) -> None:
        self.written_size_bytes += len(event)
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % len(event), event, b"\r\n"))
        else:
            self._transport.write(event)


class Poll(_Written):
    """A Sink that ends with the first changes, and takes what comes in the same turn."""

    def __init__(self, text: ChangeText) -> None:
        super().__init__(text)
        self.bodies: list[bytes] = []
        self.error: RaftcacheError | None = None
        self._size_bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self.bodies) >= POLL_REVISIONS_MAX or self._size_bytes >= POLL_SIZE_BYTES_MAX

    def deliver(self, delivery: Delivery) -> None:
        body = self._text.json(delivery)
        self.bodies.append(body)
        self._size_bytes += len(body)
        self._finish()

    def progress(self, revision: int) -> None:
        pass

    def end(self, error: RaftcacheError) -> None:
        self.error = error
        self._finish()

    def lost(self) -> None:
        super().lost()
        self.error = NotLeader("the client has gone")
