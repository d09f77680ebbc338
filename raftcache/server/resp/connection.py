"""One connection of the Redis protocol: its bytes, its pace and its end.

A client that does not read costs nobody else anything: while the transport says that its buffer is
full, none of its calls is done and none of its bytes is read. What cannot wait (messages of
pub/sub) may pile up to a limit; beyond it the client is cut off. There is no timer per connection:
one sweep looks at them all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from raftcache.server.resp.port import Port
from raftcache.server.resp.quick import SET_MARKS, cut_get, cut_gets, cut_set, cut_sets
from raftcache.server.resp.quickly import QuickSession
from raftcache.server.resp.sockets import KEEP_ALIVE_S, shown
from raftcache.server.resp.wire import RequestParser
from raftcache.server.sockets import keep_alive

INBOX_SIZE_BYTES_MAX: Final = 64 << 10
"""What is heard ahead of the calls under way; then the socket is not read. The last piece that the
loop reads may pass it, and both together must be short enough for the fast way of the parser."""

WRITES_AT_ONCE: Final = 256
"""Messages that are gathered for one write."""

PROGRESS_SIZE_BYTES: Final = 16 << 10
"""What a slow client must send or read in every header_timeout_s, while it owes us any."""

FULL: Final = b"-ERR max number of clients reached\r\n"

logger = logging.getLogger("raftcache.resp")


class Connection(asyncio.Protocol):
    """The bytes of one client; an Outlet for its session."""

    __slots__ = (
        "_ends",
        "_heard",
        "_heard_size_bytes",
        "_is_deaf",
        "_is_over",
        "_is_reading_paused",
        "_out",
        "_owed_size_bytes",
        "_parser",
        "_port",
        "_progress",
        "_received_size_bytes",
        "_since_s",
        "_taken",
        "_told_size_bytes",
        "_transport",
        "_written_size_bytes",
        "is_paused",
        "session",
    )

    def __init__(self, port: Port) -> None:
        self._port = port
        self._transport: asyncio.Transport
        self._parser = RequestParser()
        self.session: QuickSession
        self._heard: list[bytes] = []
        """Bytes that came while the session was busy."""
        self._heard_size_bytes = 0
        self._received_size_bytes = self._written_size_bytes = self._taken = 0
        """All that ever came, all that was ever sent, and the pipelines between them."""
        self._told_size_bytes = 0, 0
        """What of both the port has counted."""
        self._owed_size_bytes = 0
        """What waited when the client read no more: as much as one answer may have."""
        self._out: list[bytes] = []
        """Messages of this turn, and what came after them."""
        self.is_paused = False
        self._is_reading_paused = False
        self._is_deaf = False
        """Nothing more is heard from this client; it gets what it is owed."""
        self._is_over = False
        """Nothing more is sent, either."""
        self._ends = False
        """It closes when what is being done is answered."""
        self._progress: tuple[bool, int, int, int] | None = None
        self._since_s = 0.0

    # Coming and going.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        port = self._port
        self._transport = transport = cast("asyncio.Transport", transport)
        if len(port.connections) >= port.limits.connections_max:
            port.counters.connections_refused += 1
            self._is_deaf = self._is_over = True
            transport.write(FULL)
            transport.close()
            return
        keep_alive(transport, KEEP_ALIVE_S)
        addresses = shown(transport, "peername"), shown(transport, "sockname")
        session = QuickSession(self, port.clients.new_id(), addresses, port)
        session.is_trusted = self._parser.trusted = not port.has_password
        session.came_s = session.active_s = self._since_s = port.now_s
        self.session = session
        port.connections[self] = transport
        port.clients.add(session)
        port.counters.connections_accepted += 1
        port.counters.connections_open = len(port.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        port = self._port
        if port.connections.pop(self, None) is None:
            return  # it was turned away
        self._tell()
        port.counters.connections_open = len(port.connections)
        port.clients.discard(self.session)
        self._is_over = True
        self._hear_no_more()
        self._out = []
        self.session.gone()
        port.left()

    @property
    def is_ending(self) -> bool:
        return self._ends

    def eof_received(self) -> bool:
        """True keeps the connection until what the client is owed has been sent.

        A client that waits for something to happen is owed nothing: it has gone, as far as Redis
        can tell. So has one that begins to wait later (see Session.wait_no_more).
        """
        if self._is_deaf:
            return not self._transport.is_closing()
        self._ends = (self.session.is_busy or bool(self._heard)) and not self.session.is_blocked
        return self._ends

    def end(self) -> None:
        """See Outlet."""
        self._hear_no_more()
        if not self._is_over:
            self.flush()
            self._is_over = True
            self._transport.close()

    def cut_off(self, why: str) -> None:
        """See Outlet."""
        logger.warning("client cut off", extra={"client": self.session.address, "why": why})
        self._hear_no_more()
        self._is_over, self._out = True, []
        self._transport.abort()

    def give_up(self) -> None:
        """See Flushed."""
        self.cut_off("it could not be written to")

    def shut(self) -> None:
        """Hear nothing more; close when what is being done is answered."""
        self._hear_no_more()
        self._ends = self.session.is_busy and not self.session.is_blocked
        if not self._ends:
            self.end()

    def _hear_no_more(self) -> None:
        self._is_deaf = True
        self._heard, self._heard_size_bytes = [], 0

    # In.

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        session = self.session
        self._received_size_bytes += len(data)
        if not session.is_busy:
            is_quick = session.is_usual and not self._parser.is_midway
            if is_quick:
                if (key := cut_get(data)) is not None:
                    self._taken += 1
                    session.take_get(key)
                    return
                if data.startswith(SET_MARKS) and (call := cut_set(data)) is not None:
                    self._taken += 1
                    session.take_set(call, len(data))
                    return
            if not (is_quick and self._take_quickly(data)):
                self._take(data)
            if not session.is_busy:
                self.idle()
            return
        self._heard.append(data)
        self._heard_size_bytes += len(data)
        if self._heard_size_bytes > INBOX_SIZE_BYTES_MAX and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def idle(self) -> None:
        """Do what has been heard, as far as the session can at once."""
        session, parser = self.session, self._parser
        waits = self._heard or self._ends or self._is_reading_paused
        if not waits and parser.error is None and parser.trusted:
            return  # as nearly always
        while not session.is_busy and not self._is_deaf:
            if parser.error is not None:
                self._refuse(parser.error)
                return
            if self._heard:
                data = b"".join(self._heard)
                self._heard, self._heard_size_bytes = [], 0
                is_quick = session.is_usual and not parser.is_midway
                if not (is_quick and self._take_quickly(data)):
                    self._take(data)
            elif parser.trusted or not (parser.is_midway and self._take(b"")):
                break
        if session.is_busy:
            return
        if self._ends:
            self.end()
        elif self._is_reading_paused and not self.is_paused and not self._is_over:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def _take(self, data: bytes) -> bool:
        """Let the session do what data completes; False if that is nothing."""
        session, parser = self.session, self._parser
        session.active_s = self._port.now_s
        parser.trusted = session.is_trusted
        calls = parser.feed(data)
        if calls:
            self._taken += 1
            session.take(calls)
        return bool(calls) or parser.error is not None

    def _take_quickly(self, data: bytes) -> bool:
        """The same if it is all GETs, or all SETs; False if it is not.

        Only while everything is usual, and no part of a request waits for its end.
        """
        session = self.session
        if (keys := cut_gets(data)) is not None:
            session.take_gets(keys)
        elif (sets := cut_sets(data)) is not None:
            session.take_sets(sets, len(data))
        else:
            return False
        self._taken += 1
        return True

    def soon(self, callback: Callable[[], None]) -> None:
        """See Outlet."""
        self._port.loop.call_soon(callback)

    def _refuse(self, error: str) -> None:
        """The bytes are no request: say so, and close."""
        self._port.counters.protocol_errors += 1
        text = f"-ERR Protocol error: {error}\r\n".encode(errors="surrogateescape")
        self.write(text)
        self.end()

    # Out.

    def write(self, data: bytes) -> None:
        """See Outlet."""
        if self._is_over:
            return
        if self._out:
            self._out.append(data)
            return
        transport = self._transport
        self._written_size_bytes += len(data)
        transport.write(data)
        if self.is_paused:
            self._mind_unsent()

    def answer(self, data: bytes) -> None:
        """See Outlet: at once, for nearly always nothing else waits."""
        if self._out or self._heard or self._ends or self._is_over or self._is_reading_paused:
            self.write(data)
            self.idle()
            return
        self._written_size_bytes += len(data)
        self._transport.write(data)
        if self.is_paused:
            self._mind_unsent()

    def write_soon(self, data: bytes) -> None:
        """See Outlet."""
        if self._is_over:
            return
        out = self._out
        if not out:
            self._port.flush_soon(self)
        out.append(data)
        if len(out) >= WRITES_AT_ONCE:
            self.flush()

    def _mind_unsent(self) -> None:
        """Cut the client off if too much has come since it does not read."""
        unsent = self._transport.get_write_buffer_size()
        if unsent - self._owed_size_bytes > self._port.limits.resp_output_size_bytes_max:
            self._port.counters.connections_cut_off += 1
            self.cut_off(f"{unsent} bytes wait to be read by it")

    def flush(self) -> None:
        """Hand what was gathered to the transport."""
        out = self._out
        if out:
            self._out = []
            self.write(b"".join(out))

    @property
    def unsent_size_bytes(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._out))

    @property
    def unread_size_bytes(self) -> int:
        return self._heard_size_bytes

    def pause_writing(self) -> None:
        """The client does not read: hear nothing more from it until it does."""
        self.is_paused = True
        self._owed_size_bytes = self._transport.get_write_buffer_size()
        if not self._is_reading_paused and not self._is_deaf:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.is_paused = False
        if not self._is_over:
            self.session.resume()

    # Time.

    def check(self, transport: asyncio.Transport, now_s: float) -> None:
        """Close the connection if its client stalled or left it idle; called by the sweep.

        A client that owes us the rest of a request, or the reading of its answers, must move in
        every header_timeout_s by PROGRESS_SIZE_BYTES, or by finishing it.
        """
        port, session = self._port, self.session
        if self._tell():
            session.active_s = now_s
        unread = transport.get_write_buffer_size()
        owes = unread > 0 or (not session.is_busy and self._parser.is_midway)
        step = PROGRESS_SIZE_BYTES
        received, read = self._received_size_bytes, self._written_size_bytes - unread
        progress = (owes, self._taken, received // step, read // step)
        if progress != self._progress:
            self._progress, self._since_s = progress, now_s
        elif owes and now_s - self._since_s >= port.limits.header_timeout_s:
            port.counters.connections_stalled += 1
            self.cut_off("it stopped in the middle of sending or reading")
        elif self._is_kept_waiting() and now_s - self._since_s >= port.limits.header_timeout_s:
            session.wait_no_more()
        elif self._is_idle() and 0 < port.limits.resp_idle_timeout_s <= now_s - session.active_s:
            port.counters.connections_idle += 1
            self.end()

    def _tell(self) -> bool:
        """Let the port count what came and went; whether anything has come since the last time."""
        counters, (received, written) = self._port.counters, self._told_size_bytes
        self._told_size_bytes = self._received_size_bytes, self._written_size_bytes
        counters.received_size_bytes += self._received_size_bytes - received
        counters.sent_size_bytes += self._written_size_bytes - written
        return self._received_size_bytes > received

    def _is_kept_waiting(self) -> bool:
        """Whether it has gone, as far as can be told, and waits all the same."""
        return self._ends and self.session.is_blocked

    def _is_idle(self) -> bool:
        """Whether nothing is to come but the client's next call."""
        session = self.session
        return not (session.is_busy or session.listens)
