"""Redis calls that wait until there is something to take: BLPOP and its kin.

Promise. Whoever waits here for a key is served before those who came to this node later; between
nodes the log decides. What a call takes, it takes through the log, once. That nothing came in its
time is said of a fresh state. If it is not known whether an attempt took something, the answer is
UNKNOWN; if the connection ends while an attempt is under way, what that takes is gone with it, as
with a reply that does not arrive.

How. A call that finds nothing stands in a line for each of its keys. Nobody asks now and then: the
history tells which keys changed, and those at the head of a line, as many as there are elements,
try again by one proposal, so that nobody comes between them. They ask for that key alone, as it is
a change of this key that they waited for. Who finds nothing keeps its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice, takewhile
from typing import Final

from raftcache.command.calls import Call, Calls
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import Once
from raftcache.errors import NotLeader, Overloaded, RaftcacheError
from raftcache.ports import Timer
from raftcache.service.calls import settle
from raftcache.service.changed import Changed
from raftcache.service.kv import LINEARIZABLE, Kv, Outcome
from raftcache.service.wording import WRONG_TYPE, once_of, values_of
from raftcache.state.items import LIST, ZSET
from raftcache.state.machine import Machine
from raftcache.state.redis import waits
from raftcache.state.redis.parsing import Refuse

PLACES_MAX: Final = 1 << 18
"""In all lines of this node, about 300 bytes each; a call has one for each of its keys."""

ATTEMPTS_MAX: Final = 64
"""Of one proposal: the next ones follow it."""

RETRY_S: Final = 0.1
"""After an attempt that was refused, because there was no leader or too much to do."""

_COUNTS: Final = {LIST: b"LLEN", ZSET: b"ZCARD"}

_Name = tuple[int, bytes]
"""Of a line: the kind of elements, and the key."""


class _Waiter:
    """One call. is_trying: an attempt is under way; is_late: then its time is over.

    once: what every attempt of it is marked with, if it is applied once.
    """

    __slots__ = ("call", "future", "is_late", "is_trying", "once", "timer", "wait")

    def __init__(
        self, call: Call, wait: waits.Wait, once: Once | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.call, self.wait, self.once, self.future = call, wait, once, _Answer(self, loop)
        self.timer: Timer | None = None
        self.is_trying = self.is_late = False

    @property
    def lines(self) -> list[_Name]:
        return [(self.wait.kind, key) for key in self.wait.keys]


class _Answer(asyncio.Future[Value]):
    """To a call that waits. During an attempt it is not cancelled: it tells what that takes."""

    def __init__(self, waiter: _Waiter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._waiter = waiter

    def cancel(self, msg: object = None) -> bool:
        if self._waiter.is_trying:
            self._waiter.is_late = True
            return False
        return super().cancel(msg)


class _Line:
    """Who waits for a key. empty_at: the last revision at which there was nothing for them."""

    __slots__ = ("empty_at", "is_trying", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[_Waiter, None] = {}
        self.is_trying = False
        self.empty_at = 0


class Blocking:
    """All who wait at this node. All methods on the event loop."""

    def __init__(
        self,
        kv: Kv,
        machine: Machine,
        loop: asyncio.AbstractEventLoop,
        value_size_bytes_max: int,
    ) -> None:
        self._kv, self._machine, self._loop = kv, machine, loop
        self._changed = Changed(machine.history, loop, lambda: bool(self._lines), self._look_again)
        self._value_size_bytes_max = value_size_bytes_max
        self._lines: dict[_Name, _Line] = {}
        self._places = 0
        self._stopped = ""
        self.calls: Final = dict.fromkeys(waits.NAMES, self.call)

    # Life.

    def start(self) -> None:
        self._changed.start()

    def stop(self, why: str) -> None:
        """End every wait, and begin no other. Safe to repeat."""
        if not self._stopped:
            self._changed.stop()
        self._stopped = why
        self.cut_off_all(why)

    def cut_off_all(self, why: str) -> None:
        """Whoever waits must ask another node; what is under way ends as it ends."""
        for waiter in {waiter: None for line in self._lines.values() for waiter in line.waiters}:
            if waiter.is_trying:
                waiter.is_late = True
            else:
                self._end(waiter, NotLeader(why))

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        return {"places_in_lines": self._places}

    # One call.

    def call(self, call: Call, token: bytes = b"") -> asyncio.Future[Value]:
        """What it took, NIL_ARRAY when its time is over, or why not; raises RaftcacheError.

        call: one of waits.NAMES. token: under which it takes something once, b"" for none; then
        the log is asked first, which may remember that it did. Cancelled, it does not wait any
        more; but if an attempt is under way just then, cancel() returns False, and its outcome is
        told.
        """
        refused: asyncio.Future[Value] = self._loop.create_future()
        if self._stopped:
            refused.set_exception(NotLeader(self._stopped))
            return refused
        try:
            wait = waits.read(call)
        except Refuse as refusal:
            refused.set_result(Failure(refusal.text))
            return refused
        once = once_of(token, (call,)) if token else None
        waiter = _Waiter(call, wait, once, self._loop)
        waiter.future.add_done_callback(lambda _: self._leave(waiter))
        if once is None:
            self._begin(waiter, is_fresh=False)
        else:
            self._try(waiter)
        return waiter.future

    def _begin(self, waiter: _Waiter, *, is_fresh: bool) -> None:
        """Take what is there, or wait if a fresh state says that nothing is."""
        for name in waiter.lines:
            count = self._count(name)
            if count is None:
                if is_fresh:
                    self._end(waiter, WRONG_TYPE)
                    return
                break
            if count:
                if name in self._lines:
                    self._join(waiter)
                else:
                    self._try(waiter)
                return
        if is_fresh:
            self._join(waiter)
        else:
            self._kv.when_fresh(LINEARIZABLE, partial(self._became_fresh, waiter))

    def _became_fresh(self, waiter: _Waiter, refused: RaftcacheError | None) -> None:
        if refused is not None or self._stopped:
            self._end(waiter, refused or NotLeader(self._stopped))
        elif not waiter.future.done():
            self._begin(waiter, is_fresh=True)

    def _try(self, waiter: _Waiter) -> None:
        waiter.is_trying = True
        self._write([waiter.call], waiter.once, partial(self._tried, waiter))

    def _tried(self, waiter: _Waiter, outcome: Outcome) -> None:
        """Its first attempt is over: somebody else may have been faster."""
        waiter.is_trying = False
        if isinstance(outcome, RaftcacheError):
            self._end(waiter, outcome)
            return
        [value] = values_of(outcome, 1)
        if waits.is_nothing(value) and not waiter.is_late:
            self._kv.when_fresh(LINEARIZABLE, partial(self._became_fresh, waiter))
        else:
            self._end(waiter, NIL_ARRAY if value is None else value)

    def _count(self, name: _Name) -> int | None:
        """Elements of a key here; None if it is of another type."""
        kind, key = name
        [value] = self._machine.call([(_COUNTS[kind], key)], self._kv.now_ms())
        return value if isinstance(value, int) else None

    def _write(self, calls: Sequence[Call], once: Once | None, done: partial[None]) -> None:
        self._kv.write(Calls(tuple(calls), self._value_size_bytes_max, once=once), done)

    def _end(self, waiter: _Waiter, value: Value | RaftcacheError) -> None:
        self._leave(waiter)
        settle(waiter.future, value)

    # Lines.

    def _join(self, waiter: _Waiter) -> None:
        if self._places + len(waiter.wait.keys) > PLACES_MAX:
            self._end(waiter, Overloaded(f"{self._places} places in lines are taken already"))
            return
        if not self._lines:
            self._changed.begin()
        for name in waiter.lines:
            line = self._lines.setdefault(name, _Line())
            self._places += waiter not in line.waiters
            line.waiters[waiter] = None
        if waiter.wait.timeout_ms:
            timeout_s = waiter.wait.timeout_ms / 1000
            waiter.timer = self._loop.call_later(timeout_s, self._expire, waiter)
        for name in waiter.lines:
            self._serve(name)

    def _leave(self, waiter: _Waiter) -> None:
        """Out of all lines. Safe to repeat."""
        if waiter.timer is not None:
            waiter.timer.cancel()
        for name in waiter.lines:
            line = self._lines.get(name)
            if line is not None and waiter in line.waiters:
                del line.waiters[waiter]
                self._places -= 1
                self._drop(name, line)

    def _drop(self, name: _Name, line: _Line) -> None:
        if not (line.waiters or line.is_trying):
            del self._lines[name]

    def _serve(self, name: _Name) -> None:
        """Let those at the head try, if there is something for them."""
        line = self._lines.get(name)
        if line is None or line.is_trying:
            return
        if self._machine.revision_of(name[1]) <= line.empty_at:
            return  # this node has not applied yet what was found out
        count = min(self._count(name) or 0, ATTEMPTS_MAX)
        waiters = _together(line, count)
        if not waiters:
            return
        line.is_trying = True
        for waiter in waiters:
            waiter.is_trying = True
        calls = [waiter.wait.again(name[1]) for waiter in waiters]
        self._write(calls, waiters[0].once, partial(self._served, name, line, waiters))

    def _served(self, name: _Name, line: _Line, waiters: list[_Waiter], outcome: Outcome) -> None:
        line.is_trying = False
        for waiter in waiters:
            waiter.is_trying = False
        if isinstance(outcome, NotLeader | Overloaded):
            self._loop.call_later(RETRY_S, self._serve, name)
            for waiter in waiters:
                if waiter.is_late or self._stopped:
                    self._end(waiter, outcome)
        elif isinstance(outcome, RaftcacheError):
            for waiter in waiters:
                self._end(waiter, outcome)
            self._serve(name)
        else:
            for waiter, value in zip(waiters, values_of(outcome, len(waiters)), strict=True):
                self._answer(waiter, value, line, outcome.revision)
            stay = [each for waiter in waiters if waiter in line.waiters for each in waiter.lines]
            for each in {name: None, **dict.fromkeys(stay)}:
                self._serve(each)
        if line is self._lines.get(name):
            self._drop(name, line)

    def _answer(self, waiter: _Waiter, value: Value, line: _Line, revision: int) -> None:
        """What an attempt in a line found: a key of another type is no reason to go."""
        if not (waits.is_nothing(value) or (value == WRONG_TYPE and not waiter.wait.hands_on)):
            self._end(waiter, value)
            return
        line.empty_at = revision
        if waiter.is_late:
            self._end(waiter, NotLeader(self._stopped) if self._stopped else NIL_ARRAY)

    # The end of a wait.

    def _expire(self, waiter: _Waiter) -> None:
        if waiter.is_trying:
            waiter.is_late = True
        else:
            self._kv.when_fresh(LINEARIZABLE, partial(self._expired, waiter))

    def _expired(self, waiter: _Waiter, refused: RaftcacheError | None) -> None:
        if refused is None:
            for name in waiter.lines:
                self._serve(name)  # the turn that looks at the last changes may still come
        if waiter.is_trying:
            waiter.is_late = True
        else:
            self._end(waiter, refused or NIL_ARRAY)

    def _look_again(self, keys: Iterable[bytes] | None) -> None:
        """These keys have changed; None: any may have."""
        if keys is None:
            due = list(self._lines)
        else:
            names = ((kind, key) for key in keys for kind in _COUNTS)
            due = [name for name in names if name in self._lines]
        for name in due:
            self._serve(name)


def _together(line: _Line, count: int) -> list[_Waiter]:
    """The first ones, so many at most, who can try by one proposal: a token stands for one call."""
    free = (each for each in line.waiters if not (each.is_trying or each.future.done()))
    waiters = list(islice(free, count))
    if waiters and waiters[0].once is not None:
        return waiters[:1]
    return list(takewhile(lambda each: each.once is None, waiters))
