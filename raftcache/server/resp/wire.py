"""Requests of the Redis protocol, without IO: feed(bytes) -> the requests that are complete.

hiredis reads replies, and requests are arrays of bulk strings, which replies may be too; so it can
read requests, several times as fast as Python. But it accepts more: arrays of other things, and
sets for arrays. And it knows nothing of inline commands, or of limits. Therefore:

1. What hiredis has read counts only if no reply that is no request could have been read so.
2. Upon any doubt the same bytes are read by `reference.py` instead, which goes by Redis' own rules.
3. A request that has not arrived whole is left to `reference.py` as well, header by header: so a
   length over a limit is refused before what it announces is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, cast

import hiredis

from raftcache.server.resp.reference import (
    ARRAY_LENGTH_MAX,
    BULK_SIZE_BYTES_MAX,
    ProtocolError,
    ReferenceParser,
    Request,
)

FAST_SIZE_BYTES_MAX: Final = 6 * ARRAY_LENGTH_MAX
"""A shorter piece holds no array or string that passes a limit: an element has 6 bytes at least."""

assert FAST_SIZE_BYTES_MAX <= BULK_SIZE_BYTES_MAX

_LONG_ARRAY: Final = re.compile(rb"\*\d{6}")
"""hiredis makes room for an array when it has read how long it will be."""
_COLLECTION: Final = re.compile(rb"[~%>|]-?\d")

_ARRAY, _SET, _MAP, _PUSH, _ATTRIBUTE, _SIMPLE, _VERBATIM, _BIG_NUMBER = b"*~%>|+=("
"""A byte is found faster than a string of one byte."""

_NOT_ENOUGH: Final = object()
_NOTHING: Final = b"*0\r\n"
_LISTS: Final = {list}
_BYTES: Final = {bytes}

_pack: Final = cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)


class RequestParser:
    """The requests of one connection, in order.

    trusted: until the client has said its password, requests are short, and read one at a time,
        for the limits of the next one depend on the one before.
    error: why what follows the requests returned so far is no request; nothing more is read.
    """

    __slots__ = ("_reader", "_reference", "error", "is_midway", "trusted")

    def __init__(self, trusted: bool = True) -> None:
        self.trusted = trusted
        self.error: str | None = None
        self.is_midway = False
        """Something has come that is in no request yet. Unless trusted, it may be whole."""
        self._reader = _new_reader()
        self._reference = ReferenceParser()

    def feed(self, data: bytes) -> list[Request]:
        """The requests that data completes; none is empty. Raises nothing: see error."""
        requests: list[Request] = []
        if self.error is not None:
            return requests
        try:
            if self.is_midway or not self.trusted:
                data = self._finish(data, requests)
            if data:
                rest = self._read(data, requests)
                if rest:
                    self._read_carefully(rest, requests)
        except ProtocolError as error:
            self.error = error.text
        return requests

    def _finish(self, data: bytes, requests: list[Request]) -> bytes:
        """The request under way, or the only one. Returns what follows, if it may be read yet."""
        reference = self._reference
        reference.add(data)
        request = reference.next(self.trusted)
        if request is not None:
            requests.append(request)
        rest = reference.take_rest() if request is not None and self.trusted else b""
        self.is_midway = reference.is_midway
        return rest

    def _read_carefully(self, data: bytes, requests: list[Request]) -> None:
        reference = self._reference
        reference.add(data)
        while (request := reference.next(trusted=True)) is not None:
            requests.append(request)
        self.is_midway = reference.is_midway

    def _read(self, data: bytes, requests: list[Request]) -> bytes:
        """Let hiredis read. Returns what is left to read with care: all of it upon a doubt.

        data begins where a request does.
        """
        if (
            data[0] != _ARRAY
            or len(data) >= FAST_SIZE_BYTES_MAX
            or _LONG_ARRAY.search(data) is not None
            or _may_be_collections(data)
        ):
            return data
        reader = self._reader
        try:
            reader.feed(data)
            found: list[Request] = list(iter(reader.gets, _NOT_ENOUGH))
            reader.feed(_NOTHING)
            is_whole = reader.gets() == []
        except hiredis.ProtocolError:
            self._reader = _new_reader()
            return data
        if not is_whole:
            self._reader = _new_reader()
        if not _is_all_bulks(found) or (
            _may_be_other_strings(data) and not data.startswith(_packed(found))
        ):
            return data
        requests += found if all(found) else [request for request in found if request]
        return b"" if is_whole else data[len(_packed(found)) :]


def _may_be_collections(data: bytes) -> bool:
    """Whether hiredis could see a set, map, push or attribute: it may take them for arrays."""
    some = _SET in data or _MAP in data or _PUSH in data or _ATTRIBUTE in data
    return some and _COLLECTION.search(data) is not None


def _may_be_other_strings(data: bytes) -> bool:
    """Whether hiredis could have seen a line, verbatim string or big number: bytes to it."""
    return _SIMPLE in data or _VERBATIM in data or _BIG_NUMBER in data


def _is_all_bulks(requests: list[Request]) -> bool:
    """Whether all are arrays of what hiredis has bytes for."""
    if len(requests) == 1:
        return type(requests[0]) is list and {*map(type, requests[0])} <= _BYTES
    if not {*map(type, requests)} <= _LISTS:
        return False
    return {*map(type, chain.from_iterable(requests))} <= _BYTES


def _packed(requests: list[Request]) -> bytes:
    """The one way to write them that hiredis takes, but for the two bytes after each string."""
    return b"".join([_pack(tuple(request)) for request in requests])


def _new_reader() -> hiredis.Reader:
    return hiredis.Reader(notEnoughData=cast("Any", _NOT_ENOUGH))
