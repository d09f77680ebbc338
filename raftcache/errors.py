"""Every error raftcache raises, in one tree.

    RaftcacheError
    ├── Refused                 the request certainly did not happen            definite
    │   ├── BadRequest          the caller's mistake: say it again, differently
    │   │   ├── TooLarge        a key, value, batch or frame over its limit
    │   │   ├── Misused         an idempotency key that already stands for another request
    │   │   ├── NotFound        the thing asked for does not exist
    │   │   │   └── LeaseLost       the lease has ended, or never was
    │   │   ├── Compacted           what is asked about is so old that it was forgotten
    │   │   ├── Conflict        the present state does not allow it, for the reason given
    │   │   │   ├── LockHeld        somebody else holds the lock
    │   │   │   └── LockLost        the token does not hold the lock any more
    │   │   └── PreconditionFailed  what the caller made it depend on has changed
    │   ├── NotLeader           no leader is known here just now: try again
    │   ├── Overloaded          a queue or table is full: try again later
    │   │   └── TooManyKeys         as many idempotency keys are remembered as there may be
    │   │       └── TooManyPending      a number far above the lowest its client waits for
    │   ├── OutOfMemory         the memory limit is reached, and nothing may be forgotten
    │   │   └── QuotaExceeded       the quota of a prefix is used up
    │   └── OutOfDisk           too few nodes have room on their disks
    ├── Unknown                 the request may have happened, or may yet        not definite
    │   └── Forgotten               not now, but whether before is not remembered any more
    │       └── AnsweredBefore          its client has said that it waits for it no more
    └── Fatal                   this node must stop: going on could break a promise
        ├── Corrupt             bytes on disk or on the wire that cannot be what was written
        └── BadConfig           the node was told something it cannot do

`definite` says whether the request certainly did not happen; `status` is what HTTP answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class RaftcacheError(Exception):
    """Root of the tree; `detail` is a sentence for the reader, never a traceback."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "internal error"
    definite: ClassVar[bool] = False
    retry_after_s: float | None = None
    fields: Mapping[str, object] = MappingProxyType({})
    """What a program may want to know beside the detail, by name."""

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class Refused(RaftcacheError):
    """The request certainly did not happen."""

    status = 503
    title = "refused"
    definite = True


class BadRequest(Refused):
    """The request cannot mean anything: it is the caller's to mend."""

    status = 400
    title = "bad request"


class TooLarge(BadRequest):
    """A key, value, batch or frame over its named limit."""

    status = 413
    title = "too large"


class Misused(BadRequest):
    """An idempotency key that already stands for a different request."""

    status = 422
    title = "idempotency key reused for a different request"


class NotFound(BadRequest):
    """The thing asked for does not exist."""

    status = 404
    title = "not found"


class Compacted(BadRequest):
    """What changed after a revision is not known here any more; the oldest known is named."""

    status = 410
    title = "compacted"

    def __init__(self, detail: str = "", *, oldest_revision: int = 0) -> None:
        super().__init__(detail)
        self.oldest_revision = oldest_revision
        self.fields = {"oldest_revision": oldest_revision}


class Conflict(BadRequest):
    """The present state does not allow it; the detail says why."""

    status = 409
    title = "conflict"


class LeaseLost(NotFound):
    """The lease has ended, with all its keys, or never was."""

    title = "no such lease"


class LockHeld(Conflict):
    """Somebody else holds the lock; the wait for it, if there was one, has ended."""

    title = "lock held"


class LockLost(Conflict):
    """The token does not hold the lock: its time was over, or it was released."""

    title = "lock not held"


class PreconditionFailed(BadRequest):
    """What the caller made the request depend on has changed meanwhile."""

    status = 412
    title = "precondition failed"


class NotLeader(Refused):
    """No leader is known here; `leader` hints at one when there is a hint."""

    title = "no leader"
    retry_after_s = 1.0


class Overloaded(Refused):
    """A bounded queue or table is full; nothing was lost."""

    status = 429
    title = "too many requests"
    retry_after_s = 1.0


class TooManyKeys(Overloaded):
    """As many idempotency keys are remembered as there may be: without one it would be done."""

    title = "too many idempotency keys"


class TooManyPending(TooManyKeys):
    """A number too far above the lowest that its client waits for."""

    title = "too many requests pending"


class OutOfMemory(Refused):
    """The memory limit leaves no room for it, and nothing is about to make some."""

    status = 507
    title = "out of memory"


class QuotaExceeded(OutOfMemory):
    """What a quota leaves for the keys of a prefix is too little for it."""

    title = "quota exceeded"


class OutOfDisk(Refused):
    """Fewer than a majority of the voters have room on their disks for what grows the state."""

    status = 507
    title = "out of disk"


class Unknown(RaftcacheError):
    """The outcome cannot be told: the write may have happened, or may yet happen."""

    status = 503
    title = "outcome unknown"
    retry_after_s = 1.0


class Forgotten(Unknown):
    """The client that numbered it is not known any more: nothing was done now, or will be.

    Whether an earlier attempt was done, nobody remembers.
    """

    status = 410
    title = "client forgotten"


class AnsweredBefore(Forgotten):
    """Its client has said that it does not wait for it any more: the same holds."""

    title = "answered before"


class Fatal(RaftcacheError):
    """The node must stop: going on could break what was promised."""

    title = "the node must stop"


class Corrupt(Fatal):
    """Bytes that cannot be what was written; names the file and the offset."""

    title = "corrupt data"

    def __init__(self, path: str, offset_bytes: int, why: str) -> None:
        super().__init__(f"{path}, offset {offset_bytes}: {why}")
        self.path, self.offset_bytes, self.why = path, offset_bytes, why


class BadConfig(Fatal):
    """A setting, or a relation between two, that cannot work; the message names both values."""

    title = "bad configuration"
