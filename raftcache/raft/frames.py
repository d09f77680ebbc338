"""The bytes between two nodes: frames of MessagePack. No IO.

A frame is its body's size (4 bytes, little endian) and the body: one map with a `type`. What a
peer sent is checked here, once, against the table of shapes (messages.py). What a message means is
not checked here.

A link begins with a greeting (hello, or refused) of at most HELLO_SIZE_BYTES_MAX: a stranger can
make this node keep no more than that.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Final

import msgspec

from raftcache.command.limits import FRAME_SIZE_BYTES_MAX
from raftcache.errors import BadRequest
from raftcache.raft.messages import GREETINGS, SHAPES, Message

HELLO_SIZE_BYTES_MAX: Final = 4096
"""A greeting: two names, an id and a few numbers need far less."""

HEADER_SIZE_BYTES: Final = 4


class BadFrame(BadRequest):
    """Bytes from a peer that are no message; the link they came on cannot go on."""

    title = "bad frame"


class _Kind(msgspec.Struct):
    type: str


_kind = msgspec.msgpack.Decoder(_Kind)
_decoders = {
    kind: [msgspec.msgpack.Decoder(shape) for shape in shapes] for kind, shapes in SHAPES.items()
}
_fields = {
    kind: tuple(frozenset(shape.__annotations__) for shape in shapes)
    for kind, shapes in SHAPES.items()
}
_encoder = msgspec.msgpack.Encoder()
_header = struct.Struct("<I")


def encode(message: Message) -> bytes:
    """One frame, header and body.

    The message must have one of the declared shapes and fit into a frame: the peer would cut the
    link at anything else. Both are asserted, for they are the sender's faults, not the peer's.
    """
    kind = message["type"]
    fits = message.keys() in _fields.get(kind, ())
    assert fits, f"not as declared in messages.py: {kind}, {sorted(message)}"
    body = _encoder.encode(message)
    assert len(body) <= FRAME_SIZE_BYTES_MAX, f"{kind} of {len(body)} bytes"
    return _header.pack(len(body)) + body


def decode(body: bytes | memoryview) -> Message:
    """The message of one frame's body. Raises BadFrame, and nothing else."""
    try:
        kind = _kind.decode(body).type
        if kind not in _decoders:
            raise BadFrame(f"unknown type {kind[:40]!r}")
        *others, last = _decoders[kind]
        for decoder in others:
            with contextlib.suppress(msgspec.ValidationError):
                return decoder.decode(body)  # type: ignore[no-any-return]
        return last.decode(body)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as e:  # msgspec's and bad UTF-8; arrays in arrays
        raise BadFrame(str(e)) from e


class FrameDecoder:
    """One direction of one link: bytes in, split anywhere; messages out, in order.

    Keeps at most one unfinished frame and one piece of input. After BadFrame it is not to be fed
    again, and messages that came before the bad frame in the same piece are lost.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._greeted = False
        self._size_bytes_max = HELLO_SIZE_BYTES_MAX

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in this piece. Raises BadFrame."""
        if not self._pending:
            if self._greeted and self._is_one_frame(data):  # nearly always
                return [self._admit(decode(memoryview(data)[HEADER_SIZE_BYTES:]))]
            messages, used = self._split(data)
            if used < len(data):
                self._pending += memoryview(data)[used:]
        else:
            self._pending += data
            messages, used = self._split(self._pending)
            del self._pending[:used]
        return messages

    @staticmethod
    def _is_one_frame(data: bytes) -> bool:
        size_bytes = len(data) - HEADER_SIZE_BYTES
        is_size = 0 < size_bytes <= FRAME_SIZE_BYTES_MAX
        return is_size and data.startswith(_header.pack(size_bytes))

    def _split(self, data: bytes | bytearray) -> tuple[list[Message], int]:
        """The messages at the start of data, and the size of their frames."""
        messages, start, end_max, view = [], 0, len(data), memoryview(data)
        while (body := start + HEADER_SIZE_BYTES) <= end_max:
            (size_bytes,) = _header.unpack_from(data, start)
            if size_bytes > self._size_bytes_max:
                limit = f"the limit is {self._size_bytes_max}"
                raise BadFrame(f"a frame of {size_bytes} bytes; {limit}")
            end = body + size_bytes
            if end > end_max:
                break
            messages.append(self._admit(decode(view[body:end])))
            start = end
        view.release()  # what is pending can shrink again
        return messages, start

    def _admit(self, message: Message) -> Message:
        kind = message["type"]
        if self._greeted:
            if kind == "hello":
                raise BadFrame("a second hello")
        elif kind not in GREETINGS:
            raise BadFrame(f"{kind} before the greeting")
        else:
            self._greeted, self._size_bytes_max = True, FRAME_SIZE_BYTES_MAX
        return message


assert HELLO_SIZE_BYTES_MAX < FRAME_SIZE_BYTES_MAX
