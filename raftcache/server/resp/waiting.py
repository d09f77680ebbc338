"""WAIT and WAITAOF: how many nodes have what this connection wrote, told as far as it is known.

Every write was on stable storage of a majority, and applied here, before it was answered; so what
this node has applied when it is asked is at least as far as the connection's last write. A leader
learns what further members have stored, and waits for that. A follower learns nothing more: it
tells at once what the commit alone makes certain, a quorum less itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from raftcache.cluster.group import Copies
from raftcache.command.integers import integer_or_none
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.looking import look_until
from raftcache.server.resp.words import NOT_INTEGER

LOOK_S: Final = 0.005
"""Between two looks at what the members have stored; an fsync takes about as long."""

TIMEOUT_MS_MAX: Final = 1 << 53

_NOT_FROM_0_TO_1: Final = Failure("ERR value is out of range, value must between 0 and 1")
_NEGATIVE: Final = Failure("ERR value is out of range, must be positive")
_NO_AOF: Final = Failure(
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
)


class Copied(Protocol):
    """What a node knows of copies (cluster/group.py)."""

    @property
    def is_durable(self) -> bool: ...
    @property
    def applied_index(self) -> int: ...
    def copies(self, index: int) -> Copies: ...


class Wish(NamedTuple):
    """How many copies are waited for, and how long; 0 for as long as it takes."""

    here: bool
    others: int
    timeout_s: float


class Waits:
    """Answers the two commands at one node."""

    def __init__(self, copied: Copied, loop: asyncio.AbstractEventLoop) -> None:
        self._copied, self._loop = copied, loop

    def now(self, client: Client, call: Sequence[bytes]) -> Value:
        """How things stand, without waiting: as within MULTI."""
        wish = self._wish(call)
        if isinstance(wish, Failure):
            return wish
        return self._told(call, self._copied.copies(self._copied.applied_index))

    def wait(self, client: Client, call: Sequence[bytes], done: Callable[[Value], None]) -> None:
        """done(answer), once, now or later; not when the client has gone."""
        wish = self._wish(call)
        if isinstance(wish, Failure):
            done(wish)
            return
        here, others, timeout_s = wish
        index = self._copied.applied_index

        def look(is_over: bool) -> bool:
            copies = self._copied.copies(index)
            is_known = copies.others >= others or copies.is_final
            is_told = is_over or (is_known and copies.here >= here)
            if is_told:
                done(self._told(call, copies))
            return is_told

        look_until(self._loop, client, look, LOOK_S, timeout_s)

    def _told(self, call: Sequence[bytes], copies: Copies) -> Value:
        if call[0].upper() == b"WAIT":
            return copies.others
        return [int(copies.here), copies.others] if self._copied.is_durable else [0, 0]

    def _wish(self, call: Sequence[bytes]) -> Wish | Failure:
        """What Redis checks, in its order and words."""
        numbers = [integer_or_none(argument) for argument in call[1:-1]]
        if None in numbers:
            return NOT_INTEGER
        *local, others = (number for number in numbers if number is not None)
        if local and local[0] not in (0, 1):
            return _NOT_FROM_0_TO_1
        if local and others < 0:
            return _NEGATIVE
        timeout_ms = integer_or_none(call[-1])
        if timeout_ms is None:
            return Failure("ERR timeout is not an integer or out of range")
        if timeout_ms < 0:
            return Failure("ERR timeout is negative")
        if timeout_ms > TIMEOUT_MS_MAX:
            return Failure("ERR timeout is out of range")
        if local and local[0] and not self._copied.is_durable:
            return _NO_AOF
        return Wish(bool(local and local[0]), others, timeout_ms / 1000)
