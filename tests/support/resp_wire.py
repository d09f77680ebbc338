"""The Redis protocol from a client's side, read strictly and without losing what a reply was.

A reply is (sign, content), the sign being the byte it begins with: ("+", b"OK"), (":", 3),
("$", b"text"), ("*", [replies]), ("%", [(key, value), ...]), (",", b"1.5"), and so on; a null is
("$", None), ("*", None) or ("_", None), as it came. It is written apart from the server's code,
so that both are judged by it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

PATIENCE_S: Final = 30.0
READ_BYTES: Final = 1 << 16

Reply: TypeAlias = tuple[str, Any]
Call: TypeAlias = Sequence[bytes]

NESTING_MAX: Final = 32


class Garbled(Exception):
    """The bytes are not of the protocol."""


def packed(call: Call) -> bytes:
    """A call as clients send it."""
    parts = [b"*%d\r\n" % len(call)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in call]
    return b"".join(parts)


class Replies:
    """Replies out of bytes that come in pieces."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        """more: the next piece; it raises EOFError when there is none."""
        self._more = more
        self._bytes = bytearray()

    def read(self) -> Reply:
        """The next one."""
        return self._reply(0)

    def _line(self) -> bytes:
        while (end := self._bytes.find(b"\r\n")) < 0:
            self._bytes += self._more()
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 2]
        return line

    def _take(self, size: int) -> bytes:
        while len(self._bytes) < size + 2:
            self._bytes += self._more()
        taken, tail = bytes(self._bytes[:size]), self._bytes[size : size + 2]
        if tail != b"\r\n":
            raise Garbled(f"{tail!r} after a bulk of {size} bytes")
        del self._bytes[: size + 2]
        return taken

    def _reply(self, depth: int) -> Reply:
        if depth > NESTING_MAX:
            raise Garbled("nested too deeply")
        line = self._line()
        sign, text = chr(line[0]) if line else "", line[1:]
        match sign:
            case "+" | "-" | ",":
                return sign, text
            case ":":
                return sign, int(text)
            case "#":
                return sign, {b"t": True, b"f": False}[text]
            case "_":
                return sign, None
            case "$" | "=":
                return sign, None if text == b"-1" else self._take(int(text))
            case "*" | "~" | ">":
                if text == b"-1":
                    return sign, None
                return sign, [self._reply(depth + 1) for _ in range(int(text))]
            case "%":
                pairs = range(int(text))
                return sign, [(self._reply(depth + 1), self._reply(depth + 1)) for _ in pairs]
        raise Garbled(repr(line))


def unpacked(data: bytes) -> list[Reply]:
    """All the replies of these bytes."""
    pieces, replies = iter([data]), list[Reply]()

    def more() -> bytes:
        for piece in pieces:
            return piece
        raise EOFError

    reader = Replies(more)
    with contextlib.suppress(EOFError):
        while True:
            replies.append(reader.read())
    return replies


class RespWire:
    """One connection, to a unix socket or a port of this machine; calls block."""

    def __init__(self, address: Path | int) -> None:
        if isinstance(address, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(PATIENCE_S)
            try:
                self._socket.connect(str(address))
            except OSError:
                self._socket.close()
                raise
        else:
            self._socket = socket.create_connection(("127.0.0.1", address), PATIENCE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = Replies(self._more)

    def close(self) -> None:
        self._socket.close()

    def call(self, *call: bytes) -> Reply:
        """Send one call, read one reply."""
        return self.pipeline([call])[0]

    def pipeline(self, calls: Sequence[Call]) -> list[Reply]:
        """Send all, then read a reply for each."""
        self.send(b"".join(map(packed, calls)))
        return [self.read() for _ in calls]

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """Nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self) -> Reply:
        """The next reply; raises EOFError if the other side closes before its end."""
        return self._replies.read()

    def rest(self) -> Iterator[Reply]:
        """All replies until the other side closes; one that is cut off is left out."""
        while True:
            try:
                yield self.read()
            except (EOFError, ConnectionResetError):
                return

    def _more(self) -> bytes:
        got = self._socket.recv(READ_BYTES)
        if not got:
            raise EOFError
        return got


def plain(reply: Reply) -> Any:
    """What a reply holds, without how it was sent."""
    sign, content = reply
    if content is None:
        return None
    if sign == "%":
        return {plain(key): plain(value) for key, value in content}
    if sign in ("*", "~", ">"):
        return [plain(each) for each in content]
    return content
