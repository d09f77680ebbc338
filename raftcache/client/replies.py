"""What the server says, as types: answers become Found, Written and NodeStatus, problems errors."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from raftcache.command.replies import Status
from raftcache.errors import (
    AnsweredBefore,
    BadRequest,
    Compacted,
    Conflict,
    Forgotten,
    LeaseLost,
    LockHeld,
    LockLost,
    Misused,
    NotFound,
    NotLeader,
    OutOfDisk,
    OutOfMemory,
    Overloaded,
    PreconditionFailed,
    QuotaExceeded,
    RaftcacheError,
    Refused,
    TooLarge,
    TooManyKeys,
    TooManyPending,
    Unknown,
)

T = TypeVar("T")

SERVED_BY: Final = "X-Raftcache-Served-By"
"""In every answer about a key."""

KINDS: Final = "urn:raftcache:"
"""How the types of problems begin."""


class Answer(Struct, frozen=True):
    """One HTTP response, whole."""

    endpoint: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_replayed(self) -> bool:
        """It is the remembered answer to an earlier attempt."""
        return self.headers.get("Idempotency-Replayed") == "true"


class Found(Struct, frozen=True):
    """A key's value and what is kept with it; ttl_ms and lease are None without one.

    ttl_ms: what is left, of the lease if it has one.
    """

    value: bytes
    content_type: str
    revision: int
    create_revision: int
    version: int
    ttl_ms: int | None
    served_by: str
    lease: int | None = None


class Written(Struct, frozen=True):
    """The committed reply to a write.

    status: what became of it. Only put tells CREATED from CHANGED; MISSING, PRECONDITION and
        UNCHANGED changed nothing.
    revision: of the write; for PRECONDITION the key's current one, 0 if it is absent.
    number: the new value of a counter (incr) or the new size (append).
    replayed: this is the remembered reply to an earlier attempt.
    """

    status: Status
    revision: int = 0
    number: int = 0
    replayed: bool = False

    @property
    def applied(self) -> bool:
        """False when the key was missing or the condition did not hold."""
        return self.status not in (Status.MISSING, Status.PRECONDITION)


class Member(Struct, frozen=True):
    """A member of the cluster, as one node knows it."""

    name: str
    raft: str
    http: str | None = None
    voter: bool = True
    match_index: int | None = None
    lag: int | None = None
    id: str = ""
    resp: str | None = None


class MemoryStatus(Struct, frozen=True):
    """What a node's state takes, as it counts; size_bytes_max: None without a limit."""

    size_bytes: int
    size_bytes_max: int | None = None
    eviction: str = "noeviction"


class NodeStatus(Struct, frozen=True):
    """What a node says about itself and the cluster; digest and applied_index belong together.

    expelled: why it is out of the cluster and serves nothing; of this, fenced: because its data
    must not be used.
    """

    node: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    revision: int
    digest: str | int
    cluster_id: str = ""
    members: tuple[Member, ...] = ()
    fenced: str | None = None
    expelled: str | None = None
    memory: MemoryStatus | None = None


class Digest(Struct, frozen=True):
    """What a node's state was at an index: equal for equal states."""

    node: str
    index: int
    digest: str


class _Problem(Struct, frozen=True):
    """RFC 9457, and `definite`."""

    type: str = ""
    title: str = ""
    detail: str = ""
    definite: bool | None = None
    oldest_revision: int = 0


class _WriteBody(Struct, frozen=True):
    """What the bodies of writes may hold: each operation has some of it."""

    revision: int
    deleted: int | None = None
    value: int | None = None
    size: int | None = None


_BY_STATUS: Final = {413: TooLarge, 414: TooLarge, 422: Misused, 429: Overloaded, 507: OutOfMemory}

_OF_THE_STATE: Final = (404, 409, 410, 412, 422)
"""What says how things are, if a node says it: any other server says 404 of what it lacks."""

_TITLED: Final = (
    AnsweredBefore,
    Conflict,
    Forgotten,
    LeaseLost,
    LockHeld,
    LockLost,
    OutOfDisk,
    QuotaExceeded,
    TooManyKeys,
    TooManyPending,
)
_BY_TITLE: Final = {kind.title: kind for kind in _TITLED}


def error_of(answer: Answer, *, of_key: bool = False) -> RaftcacheError | None:
    """The error that a response stands for; None for an answer, which 412 and most 404 are too.

    of_key: a key was asked for, or written.
    """
    if 200 <= answer.status < 300:
        is_served = SERVED_BY in answer.headers or not of_key
        return None if is_served else _stranger(answer, f"without {SERVED_BY}")
    problem, detail = _problem(answer), _detail(answer)
    is_ours = problem.type.startswith(KINDS) or SERVED_BY in answer.headers  # HEAD has no body
    if answer.status < 400 or (answer.status in _OF_THE_STATE and not is_ours):
        return _stranger(answer, f"HTTP {answer.status}")
    if answer.status == 412:
        return None
    if named := _BY_TITLE.get(problem.title):
        return named(detail)
    if answer.status == 404:
        return None
    if known := _BY_STATUS.get(answer.status):
        return known(detail, retry_after_s=_retry_after_s(answer))
    if answer.status == Compacted.status:
        return Compacted(detail, oldest_revision=problem.oldest_revision)
    if answer.status < 500:
        return BadRequest(detail)
    if problem.title == NotLeader.title and problem.definite is not False:
        return NotLeader(detail)
    return Refused(detail) if problem.definite else Unknown(detail)


def accepted(answer: Answer) -> Answer:
    """The answer, or the error it stands for: where 404 and 412 are no answers, as for keys."""
    if answer.status >= 400:
        raise refused(answer)
    return answer


def refused(answer: Answer) -> RaftcacheError:
    """The error of a 404 or 412 where something else than a key was asked for."""
    kind = PreconditionFailed if answer.status == 412 else NotFound
    return kind(_detail(answer))


def found(answer: Answer) -> Found | None:
    """The answer to GET or HEAD of a key; None for 404."""
    if answer.status == 404:
        return None
    return Found(
        value=answer.body,
        content_type=answer.headers.get("Content-Type", ""),
        revision=_revision(answer),
        create_revision=_number(answer, "X-Raftcache-Create-Revision"),
        version=_number(answer, "X-Raftcache-Version"),
        ttl_ms=_number(answer, "X-Raftcache-TTL-Ms")
        if "X-Raftcache-TTL-Ms" in answer.headers
        else None,
        served_by=answer.headers.get(SERVED_BY, ""),
        lease=_number(answer, "X-Raftcache-Lease") or None,
    )


def written(answer: Answer) -> Written:
    """The answer to a write of a key."""
    replayed = answer.is_replayed
    if answer.status == 404:
        return Written(Status.MISSING, replayed=replayed)
    if answer.status == 412:
        return Written(Status.PRECONDITION, _revision(answer), replayed=replayed)
    body = decoded(answer, _WriteBody)
    if body.deleted is not None:
        status = Status.DELETED if body.deleted else Status.MISSING
    elif answer.status == 201:
        status = Status.CREATED
    else:  # what changed has a tag
        status = Status.CHANGED if "ETag" in answer.headers else Status.UNCHANGED
    return Written(status, body.revision, body.value or body.size or 0, replayed)


def decoded(answer: Answer, shape: type[T]) -> T:
    """The JSON body; a body of another shape is no raftcache's, so that nothing is known."""
    try:
        return decoder_of(shape).decode(answer.body)
    except msgspec.MsgspecError as e:
        raise _stranger(answer, str(e)) from None


_decoders: Final[dict[type, Decoder[Any]]] = {}
_making: Final = threading.Lock()


def decoder_of(shape: type[T]) -> Decoder[T]:
    """Of a body; made once, by one thread at a time.

    Whoever decodes a type first makes msgspec look at it, and where two threads do that at the same
    time, each with a client of its own, the process ends (0.22.0: a segmentation fault).
    """
    decoder = _decoders.get(shape)
    if decoder is None:
        with _making:
            decoder = _decoders.get(shape) or _decoders.setdefault(shape, Decoder(shape))
    return decoder


def _stranger(answer: Answer, why: str) -> Unknown:
    """Somebody else listens there, and nothing is known."""
    return Unknown(f"{answer.endpoint} answers like no raftcache node: {why}")


def _detail(answer: Answer) -> str:
    problem = _problem(answer)
    return f"{answer.endpoint}: {problem.detail or problem.title or f'HTTP {answer.status}'}"


def _problem(answer: Answer) -> _Problem:
    try:
        return decoded(answer, _Problem)
    except Unknown:
        return _Problem()


def _revision(answer: Answer) -> int:
    return int(tag) if (tag := answer.headers.get("ETag", "").strip('"')).isdecimal() else 0


def _number(answer: Answer, header: str) -> int:
    return int(text) if (text := answer.headers.get(header, "")).isdecimal() else 0


def _retry_after_s(answer: Answer) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
