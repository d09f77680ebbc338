"""Where a client's requests begin and end, without reading them: the parser gets one piece a time.

The parser takes bytes and gives messages, but does not tell whether it stands between two requests.
Here what arrives is cut at the first empty line, which ends a head, and behind as many bytes as the
parser said that the body has. Each piece must have given what was expected; where it did not, or
where the length of a body is not known before, nothing is known from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from aiohttp import hdrs
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from raftcache.server.refrains import HEAD_END

Messages: TypeAlias = Sequence[tuple[RawRequestMessage, StreamReader]]

_SEAM_SIZE_BYTES: Final = len(HEAD_END) - 1


class Steps:
    """Of one connection.

    between: the parser has been given whole requests and nothing more. is_lost: that will not be
    known again.
    """

    __slots__ = ("_left_size_bytes", "_seam", "between", "is_lost")

    def __init__(self) -> None:
        self.between = True
        self.is_lost = False
        self._left_size_bytes = 0
        """Of a body, that have not come yet."""
        self._seam = b""
        """The last bytes of a head that has begun: its end may be split."""

    def cut(self, data: bytes, at: int) -> int:
        """Where the piece that begins at `at` ends: one of a head or one of a body."""
        if self.is_lost:
            return len(data)
        if self._left_size_bytes:
            return min(len(data), at + self._left_size_bytes)
        seam = self._seam
        end = (seam + data[at:]).find(HEAD_END) if seam else data.find(HEAD_END, at) - at
        return len(data) if end < 0 else at + end + len(HEAD_END) - len(seam)

    def took(self, piece: bytes, messages: Messages) -> bool:
        """The parser was given this piece, as `cut` told, and gave these messages for it.

        Whether the piece is the whole head of one request, and the parser took it for that.
        """
        is_head = False
        if self.is_lost:
            return False
        if self._left_size_bytes:
            self._left_size_bytes -= len(piece)
            self.is_lost = bool(messages)
        elif (seen := self._seam + piece).endswith(HEAD_END):
            self._head_ended(messages)
            is_head = not (self._seam or self.is_lost)
            self._seam = b""
        else:
            self._seam = seen[-_SEAM_SIZE_BYTES:]
            self.is_lost = bool(messages)
        self.between = not (self.is_lost or self._left_size_bytes or self._seam)
        return is_head

    def lose(self) -> None:
        """What follows is not known to be requests."""
        self.is_lost, self.between = True, False

    def _head_ended(self, messages: Messages) -> None:
        if len(messages) != 1:  # empty lines before it, or it ended for the parser before
            self.is_lost = True
            return
        ((message, payload),) = messages
        length = message.headers.get(hdrs.CONTENT_LENGTH)
        if message.upgrade or message.chunked or message.method == hdrs.METH_CONNECT:
            self.is_lost = True
        elif payload is not EMPTY_PAYLOAD:
            if length is None or payload.is_eof() or payload.total_bytes:
                self.is_lost = True
            else:
                self._left_size_bytes = int(length)
