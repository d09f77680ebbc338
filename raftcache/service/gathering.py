"""What many connections ask for in one turn of the loop, together: writes, and GETs.

A command of its own for each write costs more to check, encode and apply than most calls do; a wait
of its own for each GET costs more than looking up its key.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from raftcache.command.calls import CALLS_MAX, Call
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX, BATCH_WIDTH_MAX
from raftcache.command.values import Value
from raftcache.errors import RaftcacheError
from raftcache.ports import Loop
from raftcache.service.kv import LINEARIZABLE, Kv
from raftcache.service.wording import failure_of
from raftcache.state.machine import Machine

ValueDone = Callable[[Value], None]
ValuesDone = Callable[[list[Value]], None]

Glance = Callable[[Sequence[bytes | None]], bool]
"""Answers by what is stored under the keys (see Kv.stored), or not: then it returns False."""
PlainValues = Callable[[Sequence[bytes | None]], list[bytes] | None]
"""The values of strings that do not end, by what is stored; None if any is another thing."""


class Reader(Protocol):
    """Who reads one key."""

    def found(self, stored: bytes | None) -> bool:
        """Answer by what is stored under the key, or not: then return False."""
        ...

    def answered(self, values: list[Value]) -> None:
        """What a linearizable GET answers."""
        ...


R = TypeVar("R")

GATHERED_MAX: Final = 1024
"""Readers of one kind that gather under a round before they count among those that wait, of whom
there may be reads_pending_max."""

_ONE: Final = -1
"""In place of a count of calls: one, whose caller takes its value and no list of it."""

logger = logging.getLogger("raftcache.redis")


class Writing:
    """Gives calls to propose, together, at the end of a turn; each caller gets its own values."""

    __slots__ = ("_calls", "_loop", "_propose", "_shares", "_size_bytes", "_width")

    def __init__(self, loop: Loop, propose: Callable[[list[Call], ValuesDone, int], None]) -> None:
        """propose: answers with a value for each call, in order; is told how wide they are."""
        self._loop, self._propose = loop, propose
        self._calls: list[Call] = []
        self._shares: list[tuple[int, Callable[[Any], None]]] = []
        self._size_bytes = self._width = 0

    def add(self, calls: Sequence[Call], size_bytes: int, done: ValuesDone, width: int = 0) -> None:
        """These belong to one caller, and stay in their order; CALLS_MAX at most. width: see
        Kv.write."""
        self._make_room(len(calls), size_bytes, width)
        self._calls += calls
        self._shares.append((len(calls), done))

    def add_one(self, call: Call, size_bytes: int, done: ValueDone) -> None:
        """The same for one call: done is called with its value."""
        self._make_room(1, size_bytes)
        self._calls.append(call)
        self._shares.append((_ONE, done))

    def _make_room(self, count: int, size_bytes: int, width: int = 0) -> None:
        there = len(self._calls)
        if there and (
            there + count > CALLS_MAX
            or self._size_bytes + size_bytes > BATCH_SIZE_BYTES_MAX
            or self._width + width > BATCH_WIDTH_MAX
        ):
            self._send()
            there = 0
        if not there:
            self._loop.call_soon(self._send)
        self._size_bytes += size_bytes
        self._width += width

    def _send(self) -> None:
        calls, shares, width = self._calls, self._shares, self._width
        if not calls:
            return  # sent before the turn was over
        self._calls, self._shares, self._size_bytes, self._width = [], [], 0, 0
        self._propose(calls, partial(_share, shares), width)


def _share(shares: list[tuple[int, Callable[[Any], None]]], values: list[Value]) -> None:
    at = 0
    for count, done in shares:
        try:
            done(values[at] if count == _ONE else values[at : at + count])
        except Exception:  # one caller's fault must not silence the others
            logger.exception("unexpected error")
        at += abs(count)


class Reading(ABC, Generic[R]):
    """Those who come to read before a round begins share it, and one call."""

    __slots__ = ("_asked", "_kv")

    def __init__(self, kv: Kv) -> None:
        self._kv = kv
        self._asked: list[R] = []

    def add(self, reader: R) -> None:
        """Answer this one later, by what a linearizable read finds."""
        asked = self._asked
        asked.append(reader)
        count = len(asked)
        if count == 1:
            self._kv.before_round(self._begin)
        elif count == GATHERED_MAX:
            self._begin()

    def _begin(self) -> None:
        """Who asks from here on has to wait for the next round: this one may be too old."""
        asked, self._asked = self._asked, []
        if asked:
            self._kv.when_fresh(LINEARIZABLE, partial(self._answer, asked), len(asked))

    @abstractmethod
    def _answer(self, readers: list[R], refused: RaftcacheError | None) -> None:
        """The state is fresh enough for these, or is not, and why. One's fault is not another's."""


class ReadingValues(Reading[tuple[Sequence[bytes], ValuesDone, Glance | None]]):
    """Looks up keys for many callers, who are told what a linearizable GET of each answers.

    Each has keys, what is called with their values, and a glance that may come before that.
    """

    __slots__ = ("_look_closer", "_machine", "_note_read")

    def __init__(
        self,
        kv: Kv,
        machine: Machine,
        look_closer: Callable[[Sequence[bytes], ValuesDone], None],
        note_read: Callable[[bytes], None] | None,
    ) -> None:
        """look_closer: does it for keys that have more to them than a value. note_read: told of
        the other keys that are read."""
        super().__init__(kv)
        self._machine = machine
        self._look_closer, self._note_read = look_closer, note_read

    def _answer(
        self,
        readers: list[tuple[Sequence[bytes], ValuesDone, Glance | None]],
        refused: RaftcacheError | None,
    ) -> None:
        failure, stored = None if refused is None else failure_of(refused), self._machine.stored
        for keys, done, glance in readers:
            try:
                if failure is not None:
                    done([failure] * len(keys))
                elif glance is None or not glance(stored(keys)):
                    self.look(keys, done)
                else:
                    self._note(keys)
            except Exception:  # one caller's fault must not silence the others
                logger.exception("unexpected error")

    def look(self, keys: Sequence[bytes], done: ValuesDone) -> None:
        """Look them up, for whom the state is fresh enough."""
        values = self._machine.strings(keys, self._kv.now_ms())
        if values is None:
            self._look_closer(keys, done)
        else:
            done(values)
            self._note(keys)

    def _note(self, keys: Sequence[bytes]) -> None:
        if self._note_read is not None:
            list(map(self._note_read, keys))


class ReadingEach(Reading[tuple[bytes, Reader]]):
    """The same for callers with one key each, at half the cost."""

    __slots__ = ("_look", "_machine", "_note_read")

    def __init__(
        self,
        kv: Kv,
        machine: Machine,
        look: Callable[[Sequence[bytes], ValuesDone], None],
        note_read: Callable[[bytes], None] | None,
    ) -> None:
        """look: does it for those who cannot answer by what is stored. note_read: told of the
        other keys."""
        super().__init__(kv)
        self._machine, self._look, self._note_read = machine, look, note_read

    def _answer(self, readers: list[tuple[bytes, Reader]], refused: RaftcacheError | None) -> None:
        failure, note = None if refused is None else failure_of(refused), self._note_read
        stored = self._machine.stored([key for key, _ in readers])
        for (key, reader), packed in zip(readers, stored, strict=True):
            try:
                if failure is not None:
                    reader.answered([failure])
                elif not reader.found(packed):
                    self._look((key,), reader.answered)
                elif note is not None:
                    note(key)
            except Exception:  # as above
                logger.exception("unexpected error")
