"""Answers to hot requests: in their order, and no faster than the client reads.

Each hot request has a slot; all answers that are ready at the end of a turn of the loop leave in
one write per connection. A request for the application waits until no slot is left.

A client that pipelines without reading is bounded on three sides: PIPELINED_MAX requests are parsed
ahead, then the socket is not read; nor is it while the transport says that its buffer is full; and
when UNSENT_SIZE_BYTES_MAX of answers wait in slots, the next requests are cold, and the application
waits for the client to read each answer before it begins the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, _ErrInfo

from raftcache.server.connection import Connection
from raftcache.server.replies import closing
from raftcache.server.room import FREE_SIZE_BYTES
from raftcache.server.slots import HotPort, Slot

PIPELINED_MAX: Final = MAX_MSG_QUEUE_SIZE - 2
"""Requests of one connection between the parser and their answer. Below the parser's own limit, so
that whenever it stops the socket is paused too, and someone will come back to resume both. By two,
because it may count one too many: a request that the parent takes before its end has come."""

UNSENT_SIZE_BYTES_MAX: Final = 1 << 20
"""Answers of one connection that are ready and not written yet, before requests turn cold."""


class Outgoing(Connection):
    """A Connection with slots, whatever fills them, beside its parent's queue."""

    __slots__ = (
        "_answers_counted",
        "_dirty",
        "_drained",
        "_held",
        "_slots",
        "_unsent_size_bytes",
    )

    _port: HotPort

    def __init__(self, port: HotPort, manager: web.Server) -> None:
        super().__init__(port, manager)
        self._slots: deque[Slot] = deque()
        self._held: deque[tuple[RawRequestMessage | _ErrInfo, StreamReader]] = deque()
        """Cold requests behind slots, and all that came after them."""
        self._dirty = False
        self._unsent_size_bytes = 0
        """Of answers that wait in slots."""
        self._answers_counted = 0
        """In the port's room for answers."""
        self._drained: asyncio.Future[None] | None = None
        # The parent compares its own queue with these.
        self._max_msg_queue_size = PIPELINED_MAX
        self._msg_queue_resume_size = PIPELINED_MAX // 2

    # Out.

    def filled(self, slot: Slot) -> None:
        """The slot has its reply; it leaves when its turn has come.

        At once, if nothing else waits: nearly always, without pipelines.
        """
        transport = self.transport
        if transport is None:
            return
        if len(self._slots) == 1 and not (
            slot.parsed or self._held or self._deaf or self._ends or self._buffer_paused
        ):
            self._slots.clear()
            transport.write(slot.reply)
            if self._drained is not None:
                self._all_sent()
            return
        self._unsent_size_bytes += len(slot.reply)
        if self._unsent_size_bytes > FREE_SIZE_BYTES:
            self._count_answers()
        if not self._dirty and self._slots[0] is slot:
            self._dirty = True
            self._port.flush_soon(self)

    def flush(self) -> None:
        """Write the answers that are ready and in order."""
        self._dirty = False
        transport, parser, slots = self.transport, self._parser, self._slots
        if transport is None or parser is None:
            return
        ready: list[bytes] = []
        while slots and (reply := slots[0].reply):
            ready.append(reply)
            if slots.popleft().parsed:
                parser.message_consumed()
        assert ready, "a flush without an answer"
        if self._deaf and not slots and not self._held:
            ready[-1] = closing(ready[-1])
        replies = b"".join(ready)  # of one piece: that piece
        self._unsent_size_bytes -= len(replies)
        transport.write(replies)
        if self._answers_counted or self._paused:
            self._count_answers()
        if not slots:
            self._all_sent()
        if self._buffer_paused:
            self._resume_reading_if_drained()

    def give_up(self) -> None:
        """See Flushed."""
        self.force_close()

    def _all_sent(self) -> None:
        held = self._held
        if not held and (self._deaf or self._ends):
            self.force_close()
        while held:
            self.hand_over(*held.popleft())
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # Back-pressure.

    def _pipelined(self) -> int:
        return len(self._messages) + len(self._held) + len(self._slots)

    def pause_writing(self) -> None:
        """The client does not read: hear nothing more from it until it does."""
        super().pause_writing()
        self._pause_reading_for_buffer()
        self._count_answers()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._count_answers()
        if self._buffer_paused:
            self._resume_reading_if_drained()

    def _count_answers(self) -> None:
        """In the room for them; a stream has bounds of its own."""
        transport, held = self._port.connections.get(self), 0
        if transport is not None and self.stream is None:
            held = self._unsent_size_bytes + transport.get_write_buffer_size()
        self._answers_counted = self._port.answers.hold(self._answers_counted, held)

    def resume_reading(self, resume_parser: bool = True) -> None:
        # The parent's parses again in any case, and at every body's end: in the middle of
        # data_received that would let later requests pass earlier ones.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _resume_reading_if_drained(self) -> None:
        """As the parent's, but slots and unsent answers hold the socket too."""
        if self._paused or self._pipelined() > self._msg_queue_resume_size:
            return
        if self._message_tail and len(self._message_tail) >= self._read_bufsize:
            return
        if not self._upgraded:
            self.data_received(b"")  # what the parser kept back when it was full
            if self._paused or self._pipelined() >= PIPELINED_MAX:
                return
        self._resume_reading_for_buffer()

    # The end.

    @property
    def is_idle(self) -> bool:
        return not self._busy and not self._slots

    def close(self) -> None:
        """Hear nothing more; what is being answered will be, and then the connection closes."""
        if self._slots:
            self._deaf = True
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 (aiohttp's)
        """Give what is being answered so many seconds, then close."""
        if self._slots:
            self._drained = self._loop.create_future()
            await asyncio.wait((self._drained,), timeout=timeout)
        await super().shutdown(timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._count_answers()
        self._held.clear()
        self._slots.clear()  # what is committed stays so; there is only nobody left to tell
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
