"""The exit codes of `raftcache`, in one table.

\b
0  done
1  no such key, member or lease, the condition did not hold, or somebody else holds the lock; for
   `demo --once`, a check that failed
2  usage: an option, argument or setting that cannot work, or that the server finds wrong
3  refused, in conflict with what is under way, or unavailable: nothing happened
4  outcome unknown: it may have happened, or may yet
5  the lock was lost while it was held; else `lock` and `elect` exit as their command did
70 of `serve`: it could not start, or had to stop; its last lines say why
74 a file, or the output, could not be read or written
"""

from __future__ import annotations

from typing import Final

from raftcache.errors import (
    BadConfig,
    BadRequest,
    Conflict,
    LockHeld,
    LockLost,
    NotFound,
    PreconditionFailed,
    RaftcacheError,
    Unknown,
)

NOT_SO: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNKNOWN: Final = 4
LOST: Final = 5
FILES: Final = 74
"""As sysexits.h has it."""


def exit_code(error: RaftcacheError) -> int:
    """By blame: the caller's, nobody's just now, or nobody knows."""
    match error:
        case NotFound() | PreconditionFailed():
            return NOT_SO
        case LockHeld():
            return NOT_SO
        case LockLost():
            return LOST
        case Conflict():
            return REFUSED
        case BadRequest() | BadConfig():
            return USAGE
        case Unknown():
            return UNKNOWN
    return REFUSED
