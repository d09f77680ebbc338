"""Requests as Redis 7.0 reads them (networking.c), byte for byte and word for word of its errors.

Slower than hiredis and exact, it reads what hiredis cannot, and is what the fast way is tested
against. Two differences: an array is not longer, nor a string larger, than anything that can be
done here; and a zero byte in a length is an error at once, not when 64 KiB have followed it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from raftcache.command.integers import integer_or_none
from raftcache.command.limits import VALUE_SIZE_BYTES_MAX
from raftcache.server.resp.inline import split_arguments

Request: TypeAlias = list[bytes]

ARRAY_LENGTH_MAX: Final = 1 << 16
"""Arguments of one request, its name included; Redis takes 2**31."""

BULK_SIZE_BYTES_MAX: Final[int] = VALUE_SIZE_BYTES_MAX
"""One argument: as Redis' proto-max-bulk-len, which is 512 MiB there."""

REQUEST_SIZE_BYTES_MAX: Final[int] = 2 * BULK_SIZE_BYTES_MAX
"""All arguments of a request: more than one entry of the log holds."""

INLINE_SIZE_BYTES_MAX: Final = 64 << 10
"""A line: an inline command, or a length. As Redis' PROTO_INLINE_MAX_SIZE."""

UNTRUSTED_ARRAY_LENGTH_MAX: Final = 10
UNTRUSTED_BULK_SIZE_BYTES_MAX: Final = 16 << 10
"""Before the password was said."""

_LENGTH_DIGITS_MAX: Final = 20
_STAR: Final = ord("*")
_DOLLAR: Final = ord("$")


class ProtocolError(Exception):
    """What came is no request; text: as Redis words it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ReferenceParser:
    """Requests, one by one, from bytes that are split anywhere."""

    __slots__ = ("_arguments", "_buffer", "_bulk_size_bytes", "_missing", "_size_bytes")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._arguments: Request = []
        self._missing = 0
        """Arguments that are yet to come; 0 between requests."""
        self._bulk_size_bytes = -1
        """Of the argument that is arriving; -1 before its header."""
        self._size_bytes = 0
        """Of the request's arguments, as announced so far."""

    @property
    def is_midway(self) -> bool:
        """Whether the next byte is not the first of a request."""
        return bool(self._buffer) or self._missing > 0

    def add(self, data: bytes) -> None:
        self._buffer += data

    def take_rest(self) -> bytes:
        """What follows the last request; the parser has it no more."""
        assert not self._missing, "in the middle of a request"
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next(self, trusted: bool) -> Request | None:
        """The next one that is not empty, or None before it is complete. Raises ProtocolError."""
        while self._missing or self._buffer:
            if self._missing or self._buffer[0] == _STAR:
                request = self._array(trusted)
            else:
                request = self._inline()
            if request is None:
                return None
            if request:
                return request
        return None

    def _array(self, trusted: bool) -> Request | None:
        if not self._missing:
            length = self._length("too big mbulk count string", "invalid multibulk length")
            if length is None:
                return None
            if length > ARRAY_LENGTH_MAX:
                raise ProtocolError("invalid multibulk length")
            if length > UNTRUSTED_ARRAY_LENGTH_MAX and not trusted:
                raise ProtocolError("unauthenticated multibulk length")
            if length <= 0:
                return []
            self._missing, self._size_bytes = length, 0
        while self._missing:
            if not self._argument(trusted):
                return None
        request, self._arguments, self._size_bytes = self._arguments, [], 0
        return request

    def _argument(self, trusted: bool) -> bool:
        """Whether one more argument is complete."""
        size_bytes = self._bulk_size_bytes
        if size_bytes < 0:
            header = self._length("too big bulk count string", "invalid bulk length", _DOLLAR)
            if header is None:
                return False
            size_bytes = self._bulk_size_bytes = self._checked(header, trusted)
        buffer = self._buffer
        if len(buffer) < size_bytes + 2:
            return False
        with memoryview(buffer) as view:
            self._arguments.append(bytes(view[:size_bytes]))
        del buffer[: size_bytes + 2]
        self._bulk_size_bytes = -1
        self._missing -= 1
        return True

    def _checked(self, size_bytes: int, trusted: bool) -> int:
        if not 0 <= size_bytes <= BULK_SIZE_BYTES_MAX:
            raise ProtocolError("invalid bulk length")
        if size_bytes > UNTRUSTED_BULK_SIZE_BYTES_MAX and not trusted:
            raise ProtocolError("unauthenticated bulk length")
        self._size_bytes += size_bytes
        if self._size_bytes > REQUEST_SIZE_BYTES_MAX:
            raise ProtocolError("too big request")
        return size_bytes

    def _length(self, too_long: str, invalid: str, sign: int = _STAR) -> int | None:
        """The number of the next line, which begins with sign; None if it has not come whole."""
        buffer = self._buffer
        end = buffer.find(b"\r")
        if end < 0:
            if len(buffer) > INLINE_SIZE_BYTES_MAX:
                raise ProtocolError(too_long)
            return None
        if len(buffer) < end + 2:
            return None
        if buffer[0] != sign:
            raise ProtocolError(f"expected '{chr(sign)}', got '{_shown(buffer[0])}'")
        number = integer_or_none(bytes(buffer[1:end])) if end <= _LENGTH_DIGITS_MAX + 1 else None
        if number is None:
            raise ProtocolError(invalid)
        del buffer[: end + 2]
        return number

    def _inline(self) -> Request | None:
        """A request typed by hand: words in a line."""
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > INLINE_SIZE_BYTES_MAX:
                raise ProtocolError("too big inline request")
            return None
        line = bytes(buffer[:end]).removesuffix(b"\r")
        del buffer[: end + 1]
        request = split_arguments(line)
        if request is None:
            raise ProtocolError("unbalanced quotes in request")
        return request


def _shown(byte: int) -> str:
    """As printf's %c shows it in a line of text."""
    if byte in b"\r\n":
        return " "
    return bytes((byte,)).decode(errors="surrogateescape") if byte else ""
