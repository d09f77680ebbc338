"""When an answer is whole, and whether it is a good one; for one request under way at a time."""

from __future__ import annotations

import re
from typing import Final

import hiredis

from scripts.measuring.loads.asks import Asks, good_answer


class HttpAnswer:
    """Tells when the answer to one request is complete, and whether it is a good one."""

    _LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

    def __init__(self) -> None:
        self._got = b""

    def feed(self, data: bytes) -> bool | None:
        """None as long as something is missing."""
        if self._got:
            data = self._got + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or not self._is_whole(data, head):
            self._got = data
            return None
        self._got = b""
        return data[9:10] == b"2"

    def _is_whole(self, data: bytes, head: int) -> bool:
        if length := self._LENGTH.search(data, 0, head + 2):
            return len(data) >= head + 4 + int(length[1])
        return data.endswith(b"\r\n0\r\n\r\n")  # in chunks; nobody's JSON ends like this


class RespAnswer:
    """The same for a pipeline; only what has not the length of good answers is parsed."""

    def __init__(self, asks: Asks) -> None:
        self._reader = hiredis.Reader()
        self._replies = self._missing = asks.pipeline
        self._is_good, self._is_partial = True, False
        self._begins, size_bytes = good_answer(asks)
        self._whole_bytes = asks.pipeline * size_bytes

    def feed(self, data: bytes) -> bool | None:
        """None as long as something is missing."""
        if not self._is_partial and self._is_all_good(data):
            return True
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if reply is None or isinstance(reply, hiredis.ReplyError):
                self._is_good = False
            self._missing -= 1
        self._is_partial = self._missing > 0
        if self._is_partial:
            return None
        is_good, self._is_good, self._missing = self._is_good, True, self._replies
        return is_good

    def _is_all_good(self, data: bytes) -> bool:
        return len(data) == self._whole_bytes and data.count(self._begins) == self._replies
