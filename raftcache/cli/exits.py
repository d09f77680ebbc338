"""The exit codes of `raftcache`, in one table.

\b
0  done
1  no such key or member, or the condition did not hold; for `demo --once`, a check that failed
2  usage: an option, argument or setting that cannot work, or that the server finds wrong
3  refused, in conflict with what is under way, or unavailable: nothing happened
4  outcome unknown: it may have happened, or may yet
"""

from __future__ import annotations

from typing import Final

from raftcache.errors import (
    BadConfig,
    BadRequest,
    Conflict,
    NotFound,
    PreconditionFailed,
    RaftcacheError,
    Unknown,
)

NOT_SO: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNKNOWN: Final = 4


def exit_code(error: RaftcacheError) -> int:
    """By blame: the caller's, nobody's just now, or nobody knows."""
    match error:
        case NotFound() | PreconditionFailed():
            return NOT_SO
        case Conflict():
            return REFUSED
        case BadRequest() | BadConfig():
            return USAGE
        case Unknown():
            return UNKNOWN
    return REFUSED
