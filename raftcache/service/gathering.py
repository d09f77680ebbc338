"""What many connections ask for in one turn of the loop, together: writes, and GETs.

A command of its own for each write costs more to check, encode and apply than most calls do; a wait
of its own for each GET costs more than looking up its key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from raftcache.command.calls import CALLS_MAX, Call
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX
from raftcache.command.values import Value
from raftcache.errors import RaftcacheError
from raftcache.ports import Loop
from raftcache.service.kv import LINEARIZABLE, Kv
from raftcache.service.wording import failure_of
from raftcache.state.machine import Machine

ValuesDone = Callable[[list[Value]], None]

logger = logging.getLogger("raftcache.redis")


class Writing:
    """Gives calls to propose, together, at the end of a turn; each caller gets its own values."""

    __slots__ = ("_calls", "_loop", "_propose", "_shares", "_size_bytes")

    def __init__(self, loop: Loop, propose: Callable[[list[Call], ValuesDone], None]) -> None:
        """propose: answers with a value for each call, in order."""
        self._loop, self._propose = loop, propose
        self._calls: list[Call] = []
        self._shares: list[tuple[int, ValuesDone]] = []
        self._size_bytes = 0

    def add(self, calls: Sequence[Call], size_bytes: int, done: ValuesDone) -> None:
        """These belong to one caller, and stay in their order; CALLS_MAX at most."""
        if self._calls and (
            len(self._calls) + len(calls) > CALLS_MAX
            or self._size_bytes + size_bytes > BATCH_SIZE_BYTES_MAX
        ):
            self._send()
        if not self._calls:
            self._loop.call_soon(self._send)
        self._calls += calls
        self._size_bytes += size_bytes
        self._shares.append((len(calls), done))

    def _send(self) -> None:
        calls, shares = self._calls, self._shares
        if not calls:
            return  # sent before the turn was over
        self._calls, self._shares, self._size_bytes = [], [], 0
        self._propose(calls, partial(_share, shares))


def _share(shares: list[tuple[int, ValuesDone]], values: list[Value]) -> None:
    at = 0
    for count, done in shares:
        try:
            done(values[at : at + count])
        except Exception:  # one caller's fault must not silence the others
            logger.exception("unexpected error")
        at += count


class Reading:
    """Looks up keys for many callers: all that ask in one turn share one read round."""

    __slots__ = ("_asked", "_kv", "_look_closer", "_loop", "_machine", "_note_read")

    def __init__(
        self,
        loop: Loop,
        kv: Kv,
        machine: Machine,
        look_closer: Callable[[Sequence[bytes], ValuesDone], None],
        note_read: Callable[[bytes], None] | None,
    ) -> None:
        """look_closer: does it for keys that have more to them than a value. note_read: told of
        the other keys that are read."""
        self._loop, self._kv, self._machine = loop, kv, machine
        self._look_closer, self._note_read = look_closer, note_read
        self._asked: list[tuple[Sequence[bytes], ValuesDone]] = []

    def add(self, keys: Sequence[bytes], done: ValuesDone) -> None:
        """done: called later with what a linearizable GET of each key answers."""
        if not self._asked:
            self._loop.call_soon(self._begin)
        self._asked.append((keys, done))

    def _begin(self) -> None:
        """Who asks from here on has to wait for the next round: this one may be too old."""
        asked, self._asked = self._asked, []
        self._kv.when_fresh(LINEARIZABLE, partial(self._fresh, asked), len(asked))

    def _fresh(
        self, asked: list[tuple[Sequence[bytes], ValuesDone]], refused: RaftcacheError | None
    ) -> None:
        failure = None if refused is None else failure_of(refused)
        strings, now_ms = self._machine.strings, self._kv.now_ms()
        for keys, done in asked:
            try:
                if failure is not None:
                    done([failure] * len(keys))
                elif (values := strings(keys, now_ms)) is None:
                    self._look_closer(keys, done)
                else:
                    if self._note_read is not None:
                        list(map(self._note_read, keys))
                    done(values)
            except Exception:  # one caller's fault must not silence the others
                logger.exception("unexpected error")
