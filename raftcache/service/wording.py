"""What became of Redis commands, in Redis' words; and the mark of those that are applied once."""

from __future__ import annotations

from typing import Final

from raftcache.command import codec
from raftcache.command.calls import Call, Calls
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import Failure, Value
from raftcache.command.words import Once
from raftcache.errors import (
    BadRequest,
    NotLeader,
    OutOfDisk,
    OutOfMemory,
    RaftcacheError,
    Refused,
    Unknown,
)
from raftcache.service.kv import Outcome
from raftcache.state.redis import parsing
from raftcache.state.redis.rehearsal import MISUSED

OUT_OF_MEMORY: Final = Failure("OOM command not allowed when used memory > 'maxmemory'.")
WRONG_TYPE: Final = Failure(parsing.WRONG_TYPE)
MISTAKE: Final = Failure("ERR internal error: this node made a mistake; its log tells more")
NOT_BEGUN: Final = Failure(
    "TRYAGAIN a numbered write before this one has no answer yet: go on from the number of that one"
)
_OUTSIDE: Final = Failure("ERR an argument is outside its limits")
_PASSING: Final = ("UNKNOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "MISCONF ", OUT_OF_MEMORY.text)


def is_open(value: Value) -> bool:
    """Whether a call has no answer for good: nobody knows it, or the cluster did not take the call.

    What comes after such a call under a number of its own must not be done before it.
    """
    return isinstance(value, Failure) and value.text.startswith(_PASSING)


def once_of(token: bytes, calls: tuple[Call, ...], *, atomic: bool = False) -> Once:
    """The token, standing for these calls."""
    return Once(token, codec.fingerprint(b"RESP", codec.encode(Calls(calls, 0, atomic))))


def values_of(outcome: Outcome, count: int) -> list[Value]:
    """What became of count calls."""
    if isinstance(outcome, CallsReply):
        if outcome.status is Status.REPLY_TOO_LARGE:
            return list(outcome.values[:1]) * count  # that may be all there is
        return list(outcome.values)
    if isinstance(outcome, RaftcacheError):
        return [failure_of(outcome)] * count
    why = {
        Status.MISUSED: MISUSED,
        Status.FULL: Failure("TRYAGAIN too many young idempotency numbers are remembered"),
    }
    return [why.get(outcome.status, _OUTSIDE)] * count


def failure_of(error: RaftcacheError) -> Failure:
    """An error of ours in Redis' words; all but UNKNOWN say that it certainly did not happen."""
    match error:
        case Unknown():
            return Failure(f"UNKNOWN the outcome: {error.detail}")
        case NotLeader():
            return Failure(f"CLUSTERDOWN {error.detail}")
        case OutOfMemory():
            return OUT_OF_MEMORY
        case OutOfDisk():
            return Failure(f"MISCONF {error.detail}")
        case BadRequest():
            return Failure(f"ERR {error.detail}")
        case Refused():
            return Failure(f"TRYAGAIN {error.detail}")
        case _:
            return Failure(f"UNKNOWN the outcome: {error.detail}")
