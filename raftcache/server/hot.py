"""The hot path: requests for keys, answered as soon as the parser has them.

The parent runs a task, a Request and a Response for every request; measured, that is two thirds of
the cost of a GET. Here a complete request for /v1/kv/{key} goes straight to the door, and its
answer to a slot of its connection; slots keep the order. Everything else (other paths, long bodies,
HTTP/1.0, `Connection: close`, `Expect`, upgrades, what the parser refuses) goes to the aiohttp
application through the parent's queue.

Most requests do not even need the parser: what follows their target was parsed before, byte for
byte (refrains.py). They are hot, as others are that are parsed; only quicker.

Order on one connection, hot and cold requests mixed, rests on three rules:

1. A request is hot only while the application owes nothing; otherwise it joins its queue.
2. The application gets a request only when no slot is left; until then the request is held.
3. Reads are done at once with reads only, and so are writes, which go into the log in their order:
   who reads behind a write sees it, and who reads before it does not (RFC 9112, 9.3.2).

How the answers leave, and what bounds a client that does not read them, is in outgoing.py.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo

from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.command.words import Put
from raftcache.server.outgoing import PIPELINED_MAX, UNSENT_SIZE_BYTES_MAX, Outgoing
from raftcache.server.plain import is_plain
from raftcache.server.refrains import (
    HEAD_END,
    KEY_AT,
    KEY_PREFIX,
    LEARNT_MAX,
    REFRAIN_SIZE_BYTES_MAX,
    is_plain_key,
)
from raftcache.server.replies import answer_error
from raftcache.server.slots import READS, HotPort, Slot
from raftcache.server.steps import Steps

ALONE_SIZE_BYTES_MAX: Final = 4 + KEY_AT + KEY_SIZE_BYTES_MAX + 1 + REFRAIN_SIZE_BYTES_MAX
"""A GET that is known is not longer."""


class HotConnection(Outgoing):
    """A Connection with the hot path beside its parent's queue."""

    __slots__ = ("_late", "_learnt", "_rest", "_steps")

    def __init__(self, port: HotPort, manager: web.Server) -> None:
        super().__init__(port, manager)
        self._late: RawRequestMessage | None = None
        """A hot request whose short body (`_body`) is still arriving."""
        self._steps = Steps()
        self._rest = b""
        """What begins with a known request: its body is still arriving, or it must wait."""
        self._learnt = 0
        """Refrains that this connection has taught."""

    # In.

    def data_received(self, data: bytes) -> None:
        """As the parent's, but what can be answered at once is."""
        if self._force_close or self._close or self._deaf:
            return
        if data.startswith(b"GET ") and len(data) <= ALONE_SIZE_BYTES_MAX and self._get_alone(data):
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, size = 0, len(data)
        if not size:
            self._parse(data)  # what the parser kept back when it was full, or paused
        while at < size and not self._deaf:
            if self._steps.between and self._body is None and not (self._busy or self._held):
                at = self._serve_known(data, at)
                if at == size and len(self._slots) < PIPELINED_MAX:
                    return  # nearly always, and then nothing else waits
                if at == size:
                    break
            if self._pipelined() >= PIPELINED_MAX:
                self._rest = data[at:]
                break
            end = self._steps.cut(data, at)
            self._parse(data[at:end])
            at = end
        if not self._buffer_paused and self._pipelined() >= PIPELINED_MAX:
            self._pause_reading_for_buffer()
        if self._requests.count(len(self._rest)):
            self._take_no_more()

    def _take_no_more(self) -> None:
        """The door holds too much, and more than a little of it is of this connection."""
        error = self._port.requests.refusal()
        if self._late is not None and self._body is not None:
            self._queue(self._late, self._body)
            self._late = None
        if self._body is None and (self._partial or self._rest):
            self._queue(_ErrInfo(error.status, error, error.detail), EMPTY_PAYLOAD)
        elif self._body is not None and self._requests.are_many:
            self._body.set_exception(error)
            self._body.feed_eof()
        else:
            return  # whoever reads the body refuses it
        self._deaf, self._partial, self._rest = True, False, b""

    def _get_alone(self, data: bytes) -> bool:
        """Serve these bytes, if they are one GET whose refrain is known, and nothing else waits.

        As _serve_known would, at half the cost; without pipelines most requests are of this kind.
        """
        if self._slots or self._rest or self._busy or self._held or self._body is not None:
            return False
        words = data.split(b" ", 2)
        if len(words) < 3 or not self._steps.between:
            return False
        target, refrain = words[1], self._port.refrains.known.get(words[2])
        if refrain is None or refrain.method != b"GET" or not target.startswith(KEY_PREFIX):
            return False
        key = target[KEY_AT:]
        if not (key.isalnum() and len(key) <= KEY_SIZE_BYTES_MAX) and not is_plain_key(key):
            return False
        self._request_count += 1
        self._partial = False
        self._get(key)
        return True

    def _serve_known(self, data: bytes, at: int) -> int:
        """Serve the requests from here on whose refrain is known; where the first other begins.

        The parser stands between two requests, and the application owes nothing (rule 1).
        """
        known, slots, size = self._port.refrains.known, self._slots, len(data)
        while at < size:
            end = data.find(HEAD_END, at) + len(HEAD_END)
            head = data[at:end].split(b" ", 2)  # nothing, if there is no end
            if len(head) < 3:
                return at
            method, target, refrain = head[0], head[1], known.get(head[2])
            if refrain is None or refrain.method != method or not target.startswith(KEY_PREFIX):
                return at
            key = target[KEY_AT:]
            if not (key.isalnum() and len(key) <= KEY_SIZE_BYTES_MAX) and not is_plain_key(key):
                return at
            stop = end + refrain.body_size_bytes
            if stop > size or (slots and len(slots) >= PIPELINED_MAX):
                self._partial, self._rest = True, data[at:]
                return size
            if slots and self._must_wait(not refrain.body_size_bytes):
                return at
            self._request_count += 1
            if refrain.body_size_bytes:
                self._put(Put(key, data[end:stop], refrain.content_type))
            else:
                self._get(key)
            at = stop
        self._partial = False
        return at

    def _get(self, key: bytes) -> None:
        slot = Slot(self._port, self, "GET", None, False)
        self._slots.append(slot)
        self._port.gets.add((key, slot))

    def _put(self, put: Put) -> None:
        slot = Slot(self._port, self, "PUT", put, parsed=False)
        self._slots.append(slot)
        try:
            self._port.door.put(put, slot.written)
        except Exception as error:
            slot.fill(answer_error(error, write=True))

    def _parse(self, piece: bytes) -> None:
        """Let the parser read, and serve what it found.

        It is told when a request is consumed: a hot one when its answer is written, a cold one by
        the parent when its turn comes.
        """
        if self._upgraded:  # held back by the parent until the application has declined
            super().data_received(piece)
            return
        assert self._parser is not None
        self._requests.came(len(piece))
        try:
            messages, self._upgraded, tail = self._parser.feed_data(piece)
        except HttpProcessingError as error:
            self._break_off(error)
            return
        is_head = self._steps.took(piece, messages)
        if self._body is not None:
            self._continue_body(self._body)
        elif piece:
            self._partial = not messages
        for message, payload in messages:
            self._request_count += 1
            if not is_plain(message, payload):
                self._queue(message, payload)
                continue
            if is_head and self._learnt < LEARNT_MAX:
                self._learnt += self._port.refrains.learn(piece, message)
            if payload.is_eof():
                self._serve_or_queue(message, payload)
            else:
                self._late, self._body = message, payload
        if tail:
            self._message_tail = tail

    def _serve_or_queue(self, message: RawRequestMessage, payload: StreamReader) -> None:
        """A plain request is hot if rule 1 and the size of what waits allow it."""
        if self._busy or self._held or self._must_wait(message.method in READS):
            self._queue(message, payload)
            return
        slot = Slot(self._port, self, message.method, None, parsed=True)
        self._slots.append(slot)
        body = b"" if payload is EMPTY_PAYLOAD else payload.read_nowait()
        self._requests.served()
        send = slot.read if message.method == "GET" else slot.fill
        handle = self._port.door.handle
        handle(self, message.method, message.path, message.headers, body, send)

    def _must_wait(self, is_read: bool) -> bool:
        """For what slots wait for: rule 3, or the client does not read."""
        slots = self._slots
        if slots and slots[-1].is_read is not is_read:
            return True
        return self._unsent_size_bytes >= UNSENT_SIZE_BYTES_MAX

    def _queue(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader) -> None:
        """For the application: rule 2."""
        if not payload.is_eof():
            self._body = payload
        self._requests.queued()
        if self._slots:
            self._held.append((message, payload))
        else:
            self.hand_over(message, payload)

    def _continue_body(self, body: StreamReader) -> None:
        """More of the body has come, and perhaps its end."""
        if self._late is None:
            self._requests.continued()
        if not body.is_eof():
            return
        late, self._body, self._late = self._late, None, None
        if late is not None:
            self._serve_or_queue(late, body)
        else:
            self.body_ended()

    def _break_off(self, error: HttpProcessingError) -> None:
        """The parser refused the bytes: answer what came before them, then 400, then close."""
        if self._body is not None:
            self._continue_body(self._body)
        if self._body is None:
            self._queue(_ErrInfo(400, error, error.message), EMPTY_PAYLOAD)
        else:  # in the middle of a body: whoever reads it gets the error
            assert self._late is None, "only chunks can be malformed, and their length is unknown"
            self._body.set_exception(RequestPayloadError(error.message))
            self._body.feed_eof()
        self._deaf, self._partial = True, False  # it owes us nothing any more

    def eof_received(self) -> bool:  # type: ignore[override]
        if self._rest and not self._deaf:
            rest, self._rest = self._rest, b""
            self._steps.lose()
            self._parse(rest)  # the parser had it by now, were it not known
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._late = None
