"""What HTTP answers to every outcome: one table, and problems as RFC 9457 has them.

Errors bring their status and title from `errors.py`; the table below adds what a Reply may say and
what only HTTP refuses. A caller never sees a traceback: it goes to the log, under a reference.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from itertools import count
from typing import Final

import orjson
from msgspec import Struct

from raftcache.command.limits import (
    CLIENT_REQUESTS_MAX,
    LEASE_KEYS_MAX,
    LEASES_MAX,
    LOCK_PLACES_MAX,
    LOCK_QUEUE_MAX,
    QUOTAS_MAX,
    RANGE_KEYS_MAX,
    TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX,
    TXN_RESULTS_SIZE_BYTES_MAX,
)
from raftcache.command.replies import Reply, Status
from raftcache.errors import (
    AnsweredBefore,
    BadRequest,
    Conflict,
    Forgotten,
    LeaseLost,
    LockHeld,
    LockLost,
    Misused,
    Overloaded,
    PreconditionFailed,
    QuotaExceeded,
    RaftcacheError,
    TooLarge,
    TooManyKeys,
    TooManyPending,
)

logger = logging.getLogger("raftcache.http")


class KeyTooLong(TooLarge):
    """A key over KEY_SIZE_BYTES_MAX: to HTTP, the target is too long."""

    status = 414
    title = "key too long"


class UnsupportedEncoding(BadRequest):
    """A Content-Encoding: it would be lost, since only the Content-Type is kept with a value."""

    status = 415
    title = "content encoding not supported"


WRITES: Final = frozenset({"PUT", "POST", "DELETE", "PATCH"})
"""Methods whose problems say `definite`."""

REFUSED: Final[dict[Status, tuple[int, str]]] = {
    Status.MISSING: (404, "no such key"),
    Status.PRECONDITION: (412, "precondition failed"),
    Status.NOT_INTEGER: (409, "the value is no integer"),
    Status.OVERFLOW: (409, "the integer would overflow"),
    Status.TOO_LARGE: (TooLarge.status, TooLarge.title),
    Status.MISUSED: (Misused.status, Misused.title),
    Status.FULL: (TooManyKeys.status, TooManyKeys.title),
    Status.INVALID: (BadRequest.status, BadRequest.title),
    Status.TOO_MANY_KEYS: (TooLarge.status, "too many keys"),
    Status.REPLY_TOO_LARGE: (TooLarge.status, "reply too large"),
    Status.NO_LEASE: (LeaseLost.status, LeaseLost.title),
    Status.LIMIT: (Overloaded.status, Overloaded.title),
    Status.LOCKED: (LockHeld.status, LockHeld.title),
    Status.NOT_HELD: (LockLost.status, LockLost.title),
    Status.OVER_KEYS_QUOTA: (QuotaExceeded.status, QuotaExceeded.title),
    Status.OVER_SIZE_QUOTA: (QuotaExceeded.status, QuotaExceeded.title),
    Status.NO_ROOM: (Conflict.status, "too many quotas"),
    Status.RIGHT_OVER: (PreconditionFailed.status, "refill too late"),
    Status.WRONG_TYPE: (Conflict.status, "wrong type"),
    Status.FORGOTTEN: (Forgotten.status, Forgotten.title),
    Status.ANSWERED: (AnsweredBefore.status, AnsweredBefore.title),
    Status.TOO_MANY_PENDING: (TooManyPending.status, TooManyPending.title),
}
"""Replies that changed nothing and say so by their status; every other one is a 200 or 201."""

REASONS: Final = {
    Status.MISSING: "there is no such key",
    Status.NOT_INTEGER: "the value is no signed 64-bit decimal integer",
    Status.OVERFLOW: "the sum would leave the signed 64-bit range",
    Status.TOO_LARGE: "the value would grow over its limit",
    Status.MISUSED: "this Idempotency-Key stands for another request",
    Status.FULL: "too many young idempotency keys, or clients, are remembered; none was forgotten",
    Status.INVALID: "a field is outside its limits",
    Status.TOO_MANY_KEYS: f"it would touch more than {RANGE_KEYS_MAX} keys of ranges",
    Status.REPLY_TOO_LARGE: (
        f"what it reads is over {TXN_RESULTS_SIZE_BYTES_MAX} bytes,"
        f" or {TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX} with an Idempotency-Key"
    ),
    Status.NO_LEASE: "the lease has ended, or never was",
    Status.LIMIT: (
        f"there are {LEASES_MAX} leases, {LEASE_KEYS_MAX} keys of this lease, {LOCK_QUEUE_MAX} who"
        f" wait for this lock, or {LOCK_PLACES_MAX} who hold locks or wait for one"
    ),
    Status.LOCKED: "somebody else holds the lock, or its last owner's delay is not over",
    Status.NOT_HELD: "this token does not hold the lock: its time was over, or it was released",
    Status.OVER_KEYS_QUOTA: "the quota on keys of a prefix is used up",
    Status.OVER_SIZE_QUOTA: "the quota on bytes of a prefix is used up",
    Status.NO_ROOM: f"there are {QUOTAS_MAX} quotas already",
    Status.RIGHT_OVER: (
        "the right to refill this key is over: its time was up, or the key was written or deleted"
    ),
    Status.WRONG_TYPE: "the key holds a value that is no string",
    Status.FORGOTTEN: (
        "the client is not known any more: this was not done, and whether it was before is not"
        " remembered"
    ),
    Status.ANSWERED: (
        "its client has said that it does not wait for it any more: this was not done, and whether"
        " it was before is not remembered"
    ),
    Status.TOO_MANY_PENDING: (
        f"the client may number {CLIENT_REQUESTS_MAX} requests from the lowest on that it waits for"
    ),
}
"""The detail of a refusal, where the reply has no more to say."""

_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_CLOSE: Final = b"Connection: close\r\n"
_references: Final = count(1)


class Answer(Struct, frozen=True, gc=False):
    """One HTTP answer, not yet bytes.

    headers: whole lines, each ended by CRLF; all but Content-Length, Connection and Date.
    body: as GET has it; whoever writes the answer leaves it out for HEAD.
    """

    status: int
    headers: bytes
    body: bytes = b""


def render(answer: Answer, date: bytes, *, bare: bool = False, close: bool = False) -> bytes:
    """The bytes of an HTTP/1.1 answer.

    date: the whole Date line. bare: leave the body out, for HEAD. close: say that no other
    answer follows.
    """
    line, body = _STATUS_LINES[answer.status], answer.body
    if close:
        date += _CLOSE
    if answer.status == 304:
        return b"%b%b%b\r\n" % (line, date, answer.headers)
    shown = b"" if bare else body
    return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (line, date, answer.headers, len(body), shown)


def head_of(status: int, date: bytes) -> bytes:
    """What a rendered answer begins with; what follows is the same whenever it is given."""
    return _STATUS_LINES[status] + date


def closing(reply: bytes) -> bytes:
    """A rendered answer that now is to be the last."""
    return reply.replace(b"\r\n", b"\r\n" + _CLOSE, 1)


def problem(
    status: int,
    title: str,
    detail: str,
    definite: bool | None = None,
    headers: bytes = b"",
    **more: object,
) -> Answer:
    """An `application/problem+json` answer (RFC 9457).

    definite: for writes, whether it certainly did not happen; None where nothing could happen.
    """
    kind = "urn:raftcache:" + title.lower().replace(" ", "-")
    body = {"type": kind, "title": title, "status": status, "detail": detail, **more}
    if definite is not None:
        body["definite"] = definite
    lines = b"Content-Type: application/problem+json\r\n" + headers
    return Answer(status, lines, orjson.dumps(body))


def reply_problem(
    reply: Reply, detail: str | None = None, headers: bytes = b"", **more: object
) -> Answer:
    """The problem for a reply in REFUSED; detail: None for what the status says by itself."""
    status, title = REFUSED[reply.status]
    lines = b"Idempotency-Replayed: true\r\n" if reply.replayed else b""
    if status == Overloaded.status:
        lines += retry_after(1)
    why = REASONS[reply.status] if detail is None else detail
    definite = reply.status not in _NOBODY_KNOWS
    return problem(status, title, why, definite, lines + headers, **more)


_NOBODY_KNOWS: Final = frozenset((Status.FORGOTTEN, Status.ANSWERED))
"""Refusals that say nothing of earlier attempts."""

QUOTAS: Final = frozenset((Status.OVER_KEYS_QUOTA, Status.OVER_SIZE_QUOTA))
"""A reply that says so has the size of the quota's prefix in its number."""


def refusal(error: RaftcacheError, *, write: bool) -> Answer:
    """The answer to an error of ours; `definite` only for writes."""
    headers = b"" if error.retry_after_s is None else retry_after(error.retry_after_s)
    definite = error.definite if write else None
    return problem(error.status, error.title, error.detail, definite, headers, **error.fields)


def retry_after(delay_s: float) -> bytes:
    """A Retry-After line: whole seconds, at least one."""
    return b"Retry-After: %d\r\n" % max(1, math.ceil(delay_s))


def http_refusal(status: int, detail: str, *, write: bool, headers: bytes = b"") -> Answer:
    """An answer that HTTP itself asks for (404, 408, 417 ...), before any command was built."""
    title = HTTPStatus(status).phrase.lower()
    return problem(status, title, detail, True if write else None, headers)


def unexpected(error: BaseException, *, write: bool) -> Answer:
    """The last resort, for a mistake of ours: a 500 with the reference of its line in the log."""
    reference = f"e{next(_references)}"
    logger.error("unexpected error", exc_info=error, extra={"reference": reference})
    detail = f"this node made a mistake; its log tells more under {reference}"
    return problem(500, "internal error", detail, False if write else None, reference=reference)


def answer_error(error: BaseException, *, write: bool) -> Answer:
    """The answer to any exception."""
    if isinstance(error, RaftcacheError):
        return refusal(error, write=write)
    return unexpected(error, write=write)
