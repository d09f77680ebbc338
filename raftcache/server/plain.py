"""Which requests that the parser has read may be answered past the application."""

from __future__ import annotations

from typing import Final

from aiohttp import HttpVersion11, hdrs
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from raftcache.server.kv_routes import PREFIX

LATE_BODY_SIZE_BYTES_MAX: Final = 64 << 10
"""A longer body is cold: the application reads it with flow control."""


def is_plain(message: RawRequestMessage, payload: StreamReader) -> bool:
    """Whether the request, once it is complete, can be: for a key, and nothing special about it."""
    return (
        message.path.startswith(PREFIX)
        and not message.should_close
        and not message.upgrade
        and message.version is HttpVersion11
        and hdrs.EXPECT not in message.headers  # whoever waits for a 100 Continue, or for tea
        and (payload is EMPTY_PAYLOAD or _is_plain_body(message, payload))
    )


def _is_plain_body(message: RawRequestMessage, payload: StreamReader) -> bool:
    """Complete, or short and of known length."""
    if payload.is_eof():
        return True
    length = message.headers.get(hdrs.CONTENT_LENGTH)
    return length is not None and int(length) <= LATE_BODY_SIZE_BYTES_MAX
