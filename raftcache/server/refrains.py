"""What a client says again and again: how its requests end, parsed once and known from then on.

A client's requests for keys differ in the method, the key and the body. What follows the target,
` HTTP/1.1`, the headers and the empty line, is the same bytes each time: its refrain. A parser's
work is a function of the bytes: what it made of a refrain once, it would make of it again, on any
connection. So it need not be asked, and a request costs less than half (see hot.py).

No request can be smuggled past the parser, because a request is known only if

1. the parser, if it was asked, would begin here: it stands between two requests (steps.py);
2. it is a method, a space, PREFIX, a key whose characters stand for themselves, a space, and a
   refrain that the parser accepted for this very method, equal in every byte;
3. every header of the refrain is in a list of those that mean nothing to the door, besides the
   length and the type of a body: a header that nobody thought of is not known.

A refrain ends with the first empty line after the target, and so does the head: the rest is body.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import hdrs
from aiohttp.http_parser import RawRequestMessage
from msgspec import Struct

from raftcache.command.limits import CONTENT_TYPE_SIZE_BYTES_MAX, KEY_SIZE_BYTES_MAX
from raftcache.server.connection import PROGRESS_SIZE_BYTES
from raftcache.server.kv_routes import PREFIX

REFRAINS_MAX: Final = 256
"""Known at a time, of all connections; a new one takes the place of the oldest."""

REFRAIN_SIZE_BYTES_MAX: Final = 1 << 10
"""A longer one is not worth its memory."""

LEARNT_MAX: Final = 16
"""Refrains that one connection may teach: one that never repeats itself costs no more than that."""

BODY_SIZE_BYTES_MAX: Final = PROGRESS_SIZE_BYTES - 1
"""A longer value is parsed each time, which then hardly counts. No shorter one is progress by its
size alone, so the sweep need not know how much of it has come."""

HEAD_END: Final = b"\r\n\r\n"

KEY_PREFIX: Final = PREFIX.encode("ascii")
KEY_AT: Final = len(KEY_PREFIX)

is_plain_key: Final = re.compile(
    rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/]{1,%d}" % KEY_SIZE_BYTES_MAX
).fullmatch
"""Bytes that stand for themselves in a path (RFC 3986, 3.3), whoever reads them."""

_MEANINGLESS: Final = frozenset(
    name.lower()
    for name in (
        hdrs.HOST,
        hdrs.USER_AGENT,
        hdrs.ACCEPT,
        hdrs.ACCEPT_ENCODING,
        hdrs.ACCEPT_LANGUAGE,
        hdrs.CONNECTION,  # the parser has told what it asks for
    )
)
_OF_A_BODY: Final = _MEANINGLESS | {hdrs.CONTENT_LENGTH.lower(), hdrs.CONTENT_TYPE.lower()}


class Refrain(Struct, frozen=True, gc=False):
    """What the end of a head means; a GET has no body, and a PUT one of this size."""

    method: bytes
    body_size_bytes: int = 0
    content_type: str = ""


class Refrains:
    """Those that are known, of all connections of a port."""

    def __init__(self, value_size_bytes_max: int) -> None:
        self._body_size_bytes_max = min(BODY_SIZE_BYTES_MAX, value_size_bytes_max)
        self.known: dict[bytes, Refrain] = {}

    def learn(self, head: bytes, message: RawRequestMessage) -> bool:
        """Remember how this head ends, if it is plain; whether it was.

        head: all of one, and nothing else. message: what the parser, between two requests, made of
        it: a request for a key that leaves the connection as it is.
        """
        method, target, end = head.split(b" ", 2)
        if not target.startswith(KEY_PREFIX) or len(end) > REFRAIN_SIZE_BYTES_MAX:
            return False
        refrain = self._meaning(method, message)
        if refrain is None:
            return False
        if len(self.known) >= REFRAINS_MAX:
            del self.known[next(iter(self.known))]
        self.known[end] = refrain
        return True

    def _meaning(self, method: bytes, message: RawRequestMessage) -> Refrain | None:
        names = {name.lower() for name in message.headers}
        if method == b"GET":
            return Refrain(method) if names <= _MEANINGLESS else None
        if method != b"PUT" or hdrs.CONTENT_LENGTH.lower() not in names or not names <= _OF_A_BODY:
            return None
        size_bytes = int(message.headers[hdrs.CONTENT_LENGTH])
        kind = message.headers.get(hdrs.CONTENT_TYPE, "")
        if not 1 <= size_bytes <= self._body_size_bytes_max:
            return None
        # What the door would refuse is for the door.
        if len(kind) > CONTENT_TYPE_SIZE_BYTES_MAX or not (kind.isascii() and kind.isprintable()):
            return None
        return Refrain(method, size_bytes, kind)
