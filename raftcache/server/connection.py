"""One HTTP connection: aiohttp's protocol with our manners.

What it changes: everything that goes wrong is answered as a problem, there are no timers per
connection (one sweep a second looks at them all), and connections have a limit. What it leaves to
its parent: parsing, and running requests one after the other through the aiohttp application.

It leans on attributes that aiohttp keeps to itself, so aiohttp is pinned exactly; the integration
tests walk through every one of them.
"""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from typing import Final, Protocol, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from multidict import CIMultiDict

from raftcache.config import Limits
from raftcache.metrics import HttpCounters
from raftcache.server.replies import (
    WRITES,
    Answer,
    answer_error,
    http_refusal,
    problem,
    render,
    retry_after,
)
from raftcache.server.room import FREE_SIZE_BYTES, Requests, Room
from raftcache.server.sockets import keep_alive

TARGET_SIZE_BYTES_MAX: Final[int] = 16 << 10
"""A request line: four keys, every byte of them percent-encoded, fit in it."""
FIELD_SIZE_BYTES_MAX: Final[int] = 8 << 10
"""One header field. Other than the target's limit, so that an error tells which was passed."""
FIELDS_MAX: Final = 64
"""More than clients and proxies together are known to send; with the above, it bounds a header."""

PROGRESS_SIZE_BYTES: Final = 16 << 10
"""What a slow client must send or read in every header_timeout_s, while it owes us any."""

KEEP_ALIVE_S: Final = 15
"""Of silence, after which the kernel asks whether the client's machine is there: else who waited
there for a lock, or for a refill, would get it."""

SERVER: Final = "raftcache"

logger = logging.getLogger("raftcache.http")

assert TARGET_SIZE_BYTES_MAX != FIELD_SIZE_BYTES_MAX


class Stream(Protocol):
    """An answer without an end, which somebody writes to."""

    written_size_bytes: int

    def drained(self) -> None:
        """The client has read most of what was written."""
        ...

    def lost(self) -> None:
        """The client has gone."""
        ...


class Port:
    """What all connections of one listening port share."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, counters: HttpCounters
    ) -> None:
        self.loop, self.limits, self.counters = loop, limits, counters
        self.connections: dict[Connection, asyncio.Transport] = {}
        self.requests = Room("requests", limits.pending_size_bytes_max)
        self.answers = Room("answers that are not read", limits.pending_size_bytes_max)
        self.date = b""

    def set_date(self, wall_ms: int) -> None:
        """The Date line of the answers to come; once a second is exact enough (RFC 9110, 6.6.1)."""
        self.date = f"Date: {formatdate(wall_ms / 1000, usegmt=True)}\r\n".encode()

    def sweep(self, now_s: float) -> None:
        """Close the connections whose time is over."""
        for connection, transport in list(self.connections.items()):
            connection.check(transport, now_s)
        self.counters.requests_size_bytes = self.requests.size_bytes
        self.counters.answers_size_bytes = self.answers.size_bytes


class Connection(RequestHandler):
    """An HTTP/1 connection; see the module."""

    __slots__ = (
        "_body",
        "_busy",
        "_deaf",
        "_ends",
        "_lingers",
        "_partial",
        "_port",
        "_progress",
        "_requests",
        "_since_s",
        "stream",
    )

    def __init__(self, port: Port, manager: web.Server) -> None:
        super().__init__(
            manager,
            loop=port.loop,
            keepalive_timeout=0,
            logger=logger,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=TARGET_SIZE_BYTES_MAX,
            max_field_size=FIELD_SIZE_BYTES_MAX,
            max_headers=FIELDS_MAX,
            lingering_time=port.limits.header_timeout_s,
            auto_decompress=False,  # a value is kept as it came
        )
        self._port = port
        self._busy = False
        """The application has requests of ours that it has not answered whole."""
        self._body: StreamReader | None = None
        """The body that is still arriving."""
        self._lingers = False
        """That body is of a request that is answered; only its end is waited for."""
        self._partial = False
        """The last bytes ended no request: the headers of one have begun."""
        self._deaf = False
        """Nothing more is heard from this client; it gets what it is owed."""
        self._ends = False
        """The client has said that it will send no more, and waits for what it is owed."""
        self.stream: Stream | None = None
        """The answer that is being given, if it has no end."""
        self._requests = Requests(port.requests)
        self._progress: tuple[int, bool, int, int, int] | None = None
        self._since_s = 0.0

    # Coming and going.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        port = self._port
        if len(port.connections) >= port.limits.connections_max:
            self._turn_away(transport)
            return
        port.connections[self] = transport
        port.counters.connections_accepted += 1
        port.counters.connections_open = len(port.connections)
        super().connection_made(transport)
        keep_alive(transport, KEEP_ALIVE_S)

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._port.counters.connections_refused += 1
        # As after connection_lost: the parser knows its connection, and nobody would free them.
        self._manager, self._parser, self._force_close = None, None, True
        detail = f"this node serves at most {self._port.limits.connections_max} connections"
        answer = problem(503, "too many connections", detail, True, retry_after(1))
        transport.write(render(answer, self._port.date, close=True))
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._port.connections.pop(self, None)
        self._port.counters.connections_open = len(self._port.connections)
        task, waiter = self._task_handler, self._waiter
        super().connection_lost(exc)
        if task is not None and waiter is not None and waiter.done():
            task.cancel()  # it was given a request a moment ago, which is not there any more
        self._tell_of_the_end()
        self._requests.gone()
        self._body = None  # it knows its connection, as those below do: nobody would free them
        self._messages.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stream is not None:
            self.stream.drained()

    def _tell_of_the_end(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.lost()

    def eof_received(self) -> bool:  # type: ignore[override]
        """True keeps the connection until what the client is owed has been sent."""
        if self.stream is not None:  # there is no end to what it is owed
            self._tell_of_the_end()
            return False
        self._ends = self._body is None and not self.is_idle
        return self._ends

    def keep_more(self) -> None:
        """More of the body of the present request is kept; Overloaded where there is no room."""
        requests, room = self._requests, self._port.requests
        if requests.counted and room.is_full:
            requests.refused()
            requests.count()
            raise room.refusal()

    def answer_more(self) -> None:
        """Overloaded where there is no room for a large answer."""
        if self._port.answers.is_full:
            raise self._port.answers.refusal()

    def body_ended(self) -> None:
        """If its request was answered before, and the connection stays, nothing more is owed."""
        if self._lingers:
            self._lingers = False
            self._busy = bool(self._messages) or not self._keepalive

    def hand_over(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader) -> None:
        """Put a request into the queue of the application."""
        self._busy = True
        self._messages.append((message, payload))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def is_idle(self) -> bool:
        """Whether the client is owed nothing."""
        return not self._busy

    @property
    def is_left(self) -> bool:
        """Whether the client is gone, or has said that it will send no more."""
        return self._ends or self.transport is None

    # Time: no timer per connection or request. The parent's own is set at once and does nothing.

    def _process_keepalive(self) -> None:
        pass

    def check(self, transport: asyncio.Transport, now_s: float) -> None:
        """Close the connection if its client stalled or left it idle; called by the sweep.

        A client that owes us the rest of a request, or the reading of its answers, must move in
        every header_timeout_s: by finishing a request, or by PROGRESS_SIZE_BYTES. Headers that
        trickle in are no progress.
        """
        if self._ends and self.is_idle:
            self.force_close()
            return
        unread = transport.get_write_buffer_size()
        owes = unread > 0 or self._awaits_client()
        sent = 0 if self._body is None else self._body.total_bytes
        step = PROGRESS_SIZE_BYTES
        read = 0 if self.stream is None else self.stream.written_size_bytes - unread
        progress = (self._request_count, owes, sent // step, unread // step, read // step)
        limits = self._port.limits
        if progress != self._progress:
            self._progress, self._since_s = progress, now_s
        elif owes and now_s - self._since_s >= limits.header_timeout_s:
            self._cut_off(transport)
        elif self.is_idle and now_s - self._since_s >= limits.keepalive_timeout_s:
            self.force_close()

    def _awaits_client(self) -> bool:
        if self._reading_paused or self._buffer_paused:
            return False  # we do not listen, so it cannot move
        return self._partial or self._body is not None

    def _cut_off(self, transport: asyncio.Transport) -> None:
        self._port.counters.connections_stalled += 1
        if transport.get_write_buffer_size():
            transport.abort()  # close() would wait for the client to read
            return
        if self.is_idle:
            answer = http_refusal(408, "the request did not arrive in time", write=True)
            transport.write(render(answer, self._port.date, close=True))
        self.force_close()

    # Problems.

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what a handler or the parser raised."""
        write = request.method in WRITES
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            self.force_close()  # the answer cannot be finished
            _let_go(exc)
            return to_response(http_refusal(408, "the request was broken off", write=write))
        if not isinstance(exc, HttpProcessingError | RequestPayloadError):
            answer = answer_error(exc or RuntimeError(message), write=write)
            _let_go(exc)
            return to_response(answer)
        _let_go(exc)
        if isinstance(exc, HttpProcessingError):
            request._version = HttpVersion11  # the parent takes what it could not parse for 1.0
        detail = (message or str(exc)).partition("\n")[0].rstrip(":")
        return to_response(http_refusal(_status_of(exc), detail, write=write))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Every answer of the application passes here, errors of the router among them."""
        self._requests.answered()
        self._requests.count()
        if isinstance(resp, web.HTTPException):
            _let_go(resp)
            resp = _as_problem(resp, request)
        if self.transport is None:
            request._finish()
            return resp, True
        if not resp.prepared:
            answers = self._port.answers
            if request.method == "GET" and answers.is_full and _size_bytes(resp) > FREE_SIZE_BYTES:
                resp = to_response(answer_error(answers.refusal(), write=False))
            resp.headers["Server"] = SERVER
            if self._close or (self._deaf and not self._messages):
                resp.force_close()
        self._port.counters.answers[request.method, resp.status] += 1
        resp, lost = await super().finish_response(request, resp, start_time)
        # Not when start() waits again, which is two turns of the loop later: by then the next
        # request is here, and one cold request would make all that follow it cold.
        self._lingers = not request.content.is_eof()
        self._busy = bool(self._messages) or not resp.keep_alive or self._lingers
        return resp, lost


def _let_go(error: BaseException | None) -> None:
    """Of the frames that it was raised in, which know what knows it: nobody would free them.

    Only Python's collector would, if they are not old by then (collector.py).
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _size_bytes(response: web.StreamResponse) -> int:
    """Of its body, if it is there as a whole."""
    body = response.body if isinstance(response, web.Response) else None
    return len(body) if isinstance(body, bytes) else 0


def _status_of(error: BaseException) -> int:
    """414 or 431 for what was too long, else 400."""
    limit = error.args[1] if isinstance(error, LineTooLong) else None
    if limit == TARGET_SIZE_BYTES_MAX:
        return 414
    return 431 if limit == FIELD_SIZE_BYTES_MAX else 400


def _as_problem(error: web.HTTPException, request: web.BaseRequest) -> web.Response:
    headers = b""
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers = f"Allow: {', '.join(sorted(error.allowed_methods))}\r\n".encode()
    detail = (error.text or error.reason).partition("\n")[0]
    return to_response(
        http_refusal(error.status, detail, write=request.method in WRITES, headers=headers)
    )


def to_response(answer: Answer) -> web.Response:
    """An answer as aiohttp has it."""
    headers: CIMultiDict[str] = CIMultiDict()
    for line in answer.headers.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        headers.add(name, value)
    return web.Response(status=answer.status, headers=headers, body=answer.body)
