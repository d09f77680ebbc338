"""Limits of Redis commands as the log holds them (calls.py); see checks.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from raftcache.command import values
from raftcache.command.calls import (
    CALL_ARGUMENTS_MAX,
    CALLS_MAX,
    DICE_MAX,
    SINCE_MAX,
    WATCHED_MAX,
    Calls,
    CallsAnswered,
    CallsRehearsed,
    CallsSince,
)
from raftcache.command.limits import INTEGER_MAX, KEY_SIZE_BYTES_MAX, VALUE_SIZE_BYTES_MAX


def _check_calls(
    command: Calls,
    calls_max: int = CALLS_MAX,
    watched_max: int = WATCHED_MAX,
    *,
    may_be_none: bool = False,
) -> str | None:
    """Sizes of keys and values are for who executes them: they know which arguments are what."""
    if len(command.calls) > calls_max or not (command.calls or command.watched or may_be_none):
        return f"there are 1 to {calls_max} calls, not {len(command.calls)}"
    sizes = set(map(len, command.calls))
    if sizes and not 1 <= min(sizes) <= max(sizes) <= CALL_ARGUMENTS_MAX:
        return f"a call has 1 to {CALL_ARGUMENTS_MAX} arguments, its name included"
    if not 0 <= command.size_bytes_max <= VALUE_SIZE_BYTES_MAX:
        return f"a value limit is 0 to {VALUE_SIZE_BYTES_MAX}, not {command.size_bytes_max}"
    if not 0 <= command.dice < DICE_MAX:
        return f"dice show 0 to {DICE_MAX - 1}, not {command.dice}"
    if len(command.watched) > watched_max or (command.watched and not command.atomic):
        return f"a transaction, and only one, depends on up to {watched_max} keys"
    if command.once is not None and not command.atomic and len(command.calls) > 1:
        return "an idempotency key stands for one call, or one transaction"
    for key, revision in command.watched:
        if len(key) > KEY_SIZE_BYTES_MAX or not 0 <= revision <= INTEGER_MAX:
            return "a watched key has a size and a revision that no key has"
    return None


def _check_calls_since(command: CallsSince | CallsAnswered) -> str | None:
    if command.since is not None and not 0 <= command.since <= INTEGER_MAX:
        return f"keys were absent at a revision, {command.since} is none"
    may_be_none = isinstance(command, CallsRehearsed) and bool(command.answers)
    return _check_calls(command, SINCE_MAX, SINCE_MAX, may_be_none=may_be_none)


def _check_calls_answered(command: CallsAnswered) -> str | None:
    if command.once is None or not command.atomic:
        return "what is answered is remembered of a transaction under an idempotency key"
    if why := values.fault(command.answers):
        return f"answers that cannot be read: {why}"
    return _check_calls_since(command)


def _check_calls_rehearsed(command: CallsRehearsed) -> str | None:
    if not 0 <= command.digest < 1 << 64:
        return f"a digest has 64 bits, {command.digest} is none"
    if command.once is not None:
        return _check_calls_answered(command)
    if command.answers or not command.atomic:
        return "what is rehearsed is a transaction; only under an idempotency key it has answers"
    return _check_calls_since(command)


CHECKS_OF_CALLS: Final[dict[type, Callable[[Any], str | None]]] = {
    Calls: _check_calls,
    CallsSince: _check_calls_since,
    CallsAnswered: _check_calls_answered,
    CallsRehearsed: _check_calls_rehearsed,
}
"""What is wrong with one, or None."""
