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
from raftcache.server.routes import Parameter, Response, Route, RouteTable, Section
from raftcache.server.shapes import (
    DURATION,
    FLAG,
    ITEM,
    ITEM_FIELDS,
    KEY,
    NO_LEADER,
    RANGE,
    RETRY_AFTER,
    REVISION,
    TEXT,
    array,
    one_of,
    problem,
    record,
)
from raftcache.server.watch_request import LAST_EVENT_ID, WatchRequest, read_watch
from raftcache.service.audience import KINDS
from raftcache.service.tour import Delivery
from raftcache.service.watch import Watcher, WatchHub

WATCHING: Final = Section(
    "Watching",
    """
A stream of [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html),
from any node. One event has all changes of one revision that the watch shows, and its `id` is that
revision. A browser's `EventSource` therefore resumes by itself: the header `Last-Event-ID`, which
counts more than `since`, says after which one.

```
event: progress
id: 41
data: {"revision":41}

id: 42
data: {"revision":42,"changes":[{"event":"put","key":"user/1","value_base64":"QWRh",
       "content_type":"text/plain","revision":42,"create_revision":42,"version":1,"ttl_ms":null,"lease":null},
       {"event":"delete","key":"user/2"}]}
```

(`data` is one line.) Keys and values are written as in listings; a change without a value
(all but `put`) has none of the other fields; with `prev`, `previous` is an item like
those of a listing, left out where there was none. When all that the keys of one event held before
is over 8 MiB (after a large range delete), it is left out, and `"lacks_previous":true` says so.

`progress` says that everything up to its revision was sent: first of all, so that a client can
resume from there even if nothing has happened yet, and then whenever nothing was sent for about 5
seconds. A client that hears nothing for three times as long should go to another node.

`error` is the last event of a stream that the node ends; its data is a problem as anywhere else:

| status | when | then |
| --- | --- | --- |
| 410 | what comes next is forgotten (262,144 changes, 64 MiB), or was never known here, for the \
node started from a newer snapshot; `oldest_revision` is the first `since` that works here \
| read the keys anew, and watch from the revision of that listing |
| 429 | 65,536 changes happened while the client read nothing | resume |
| 503 | the node stops, is out of the cluster, or has not been up to date for 5 seconds \
| resume at another node |

The same answers come instead of a stream when a watch cannot begin; 429 also when the node has
`--watchers-max` watches (8,000), or watches of 256 different ranges that are neither a key nor a
prefix; 400 for a `since` that has not been yet. A client that does not read at all for
`--header-timeout` loses its connection.

A long poll answers at the first change, with 1,000 revisions or about 1 MiB at most: pass
`revision` as the next `since`, also when `events` is empty.
""",
)

_CHANGE: Final = record(
    *(name for name in ITEM_FIELDS if name != "key"),
    "previous",
    event=one_of(*KINDS),
    previous=ITEM,
    **ITEM_FIELDS,
)
_EVENT: Final = record(
    "lacks_previous",
    revision=REVISION,
    changes=array(_CHANGE),
    lacks_previous=FLAG,
)
WATCH: Final = Route(
    "GET",
    "/v1/watch",
    WATCHING,
    "Watch changes",
    "Changes as they happen: a stream without an end, or with `wait` a long poll.",
    (
        Response(
            200,
            "With `wait`: what changed, or nothing when the time is over.",
            record(
                revision=REVISION,
                events=array(_EVENT),
            ),
            example={"revision": 42, "events": []},
        ),
        Response(200, "Without: the stream.", TEXT, "text/event-stream"),
        problem(410, "What comes after `since` is forgotten.", oldest_revision=REVISION),
        problem(429, "The node has as many watches as it may.", RETRY_AFTER),
        NO_LEADER,
    ),
    """
curl -N 'http://127.0.0.1:7401/v1/watch?prefix=user/&prev=true'
curl -N -H 'Last-Event-ID: 0' 'http://127.0.0.1:7402/v1/watch?prefix=user/'
curl 'http://127.0.0.1:7403/v1/watch?prefix=user/&since=0&wait=30s'
""",
    (
        Parameter("key", "One key, percent-encoded; excludes the range.", KEY),
        *RANGE,
        Parameter(
            "since",
            "What comes after this revision; without it, after all that was acknowledged anywhere"
            " by now.",
            REVISION,
        ),
        Parameter(
            "events",
            f"Only these kinds, with commas between: {', '.join(f'`{kind}`' for kind in KINDS)}."
            " `expire`: its time, or that of its lease, was over; `evict`: it made room.",
            {"type": "string", "pattern": f"^({'|'.join(KINDS)})(,({'|'.join(KINDS)}))*$"},
        ),
        Parameter(
            "prev", "With what the key held before.", one_of("true", "false", default="false")
        ),
        Parameter(
            "wait",
            "Answer with JSON at the first change, or with none after so long; 10m at most.",
            DURATION,
        ),
        Parameter(LAST_EVENT_ID, "As `since`, and counts more.", REVISION, "header"),
    ),
)

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

    def add_to(self, table: RouteTable) -> None:
        table.add(WATCH, self.get)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the changes that the request asks for."""
        asked = read_watch(WATCH.raw_query(request), request.headers)
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
            "X-Accel-Buffering": "no",  # to a proxy that would collect events first
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
            sink.watcher = None  # each knows the other: nobody would free them, nor what they hold


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
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
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
