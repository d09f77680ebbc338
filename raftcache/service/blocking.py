"""Redis calls that wait until there is something to take: BLPOP and its kin, and XREADGROUP.

Promise. Whoever waits here for a key is served before those who came to this node later; between
nodes the log decides. What a call takes, it takes through the log, once. That nothing came in its
time is said of a fresh state. If it is not known whether an attempt took something, the answer is
UNKNOWN; if the connection ends while an attempt is under way, what that takes is gone with it, as
with a reply that does not arrive.

How. A call that finds nothing stands in a line for each of its keys. Nobody asks now and then: the
history tells which keys changed, and those at the head of a line, as many as there are elements,
try again by one proposal, so that nobody comes between them. They ask for that key alone, as it is
a change of this key that they waited for. Who finds nothing keeps its place.

Those of a group of a stream have lines of their own. What the group has been given, the next one is
not; so as many try as it takes to be given all that is new. If the group goes, or its stream, they
are told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

from raftcache.command.calls import Call, as_calls
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import Once
from raftcache.errors import NotLeader, Overloaded, RaftcacheError
from raftcache.service.calls import look, settle
from raftcache.service.changed import Changed
from raftcache.service.kv import LINEARIZABLE, Kv, Outcome
from raftcache.service.lines import Line, Waiter, together
from raftcache.service.wording import WRONG_TYPE, once_of, values_of
from raftcache.state.items import LIST, STREAM, ZSET
from raftcache.state.machine import Machine
from raftcache.state.redis import group_reads, waits
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.store import Store
from raftcache.state.redis.stream_reads import Reading
from raftcache.state.redis.waits import LineName

T = TypeVar("T")

PLACES_MAX: Final = 1 << 18
"""In all lines of this node, about 300 bytes each; a call has one for each of its keys."""

RETRY_S: Final = 0.1
"""After an attempt that was refused, because there was no leader or too much to do."""

_COUNTS: Final = {LIST: b"LLEN", ZSET: b"ZCARD"}


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
        self._lines: dict[LineName, Line] = {}
        self._names: dict[bytes, dict[LineName, None]] = {}
        """Of the lines at a key."""
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
        waiter = Waiter(call, wait, once, self._loop)
        waiter.future.add_done_callback(lambda _: self._leave(waiter))
        if once is None:
            self._begin(waiter, is_fresh=False)
        else:
            self._try(waiter)
        return waiter.future

    def _begin(self, waiter: Waiter, *, is_fresh: bool) -> None:
        """Take what is there, or wait if a fresh state says that nothing is."""
        if waiter.wait.reading is not None:
            self._begin_reading(waiter, waiter.wait.reading, is_fresh=is_fresh)
            return
        for name in waiter.lines:
            count = self._count(name)
            if count is None:
                if is_fresh:
                    self._end(waiter, WRONG_TYPE)
                    return
                break
            if count:
                if name in self._lines:
                    self._join(waiter, is_due=True)
                else:
                    self._try(waiter)
                return
        if is_fresh:
            self._join(waiter, is_due=False)
        else:
            self._kv.when_fresh(LINEARIZABLE, partial(self._became_fresh, waiter))

    def _begin_reading(self, waiter: Waiter, asked: Reading, *, is_fresh: bool) -> None:
        """As _begin, for a consumer of a group, who may be told again what it has been given."""
        found = self._look(partial(group_reads.prospect, asked=asked))
        if not is_fresh and (isinstance(found, Failure) or not found.new):
            self._kv.when_fresh(LINEARIZABLE, partial(self._became_fresh, waiter))
        elif isinstance(found, Failure):
            self._end(waiter, found)
        elif found.new:
            waits_in_line = asked.timeout_ms is not None and found.is_new
            if waits_in_line and any(name in self._lines for name in waiter.lines):
                self._join(waiter, is_due=True)
            else:
                self._try(waiter)
        elif asked.timeout_ms is None:
            self._end(waiter, NIL_ARRAY)
        else:
            self._join(waiter, is_due=False)

    def _look(self, reader: Callable[[Store], T]) -> T | Failure:
        return look(self._kv, self._machine, reader)

    def _became_fresh(self, waiter: Waiter, refused: RaftcacheError | None) -> None:
        if refused is not None or self._stopped:
            self._end(waiter, refused or NotLeader(self._stopped))
        elif not waiter.future.done():
            self._begin(waiter, is_fresh=True)

    def _try(self, waiter: Waiter) -> None:
        waiter.is_trying = True
        self._write([waiter.call], waiter.once, partial(self._tried, waiter))

    def _tried(self, waiter: Waiter, outcome: Outcome) -> None:
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

    def _count(self, name: LineName) -> int | None:
        """Elements of a key here; None if it is of another type."""
        kind, key, group = name
        if kind == STREAM:
            found = self._look(partial(group_reads.prospect_at, key=key, name=group))
            return None if isinstance(found, Failure) else found.new
        [value] = self._machine.call([(_COUNTS[kind], key)], self._kv.now_ms())
        return value if isinstance(value, int) else None

    def _write(self, calls: Sequence[Call], once: Once | None, done: partial[None]) -> None:
        self._kv.write(as_calls(calls, self._value_size_bytes_max, once=once), done)

    def _end(self, waiter: Waiter, value: Value | RaftcacheError) -> None:
        self._leave(waiter)
        settle(waiter.future, value)

    # Lines.

    def _join(self, waiter: Waiter, *, is_due: bool) -> None:
        """Into all its lines. is_due: there is something at one of them."""
        if self._places + len(waiter.wait.keys) > PLACES_MAX:
            self._end(waiter, Overloaded(f"{self._places} places in lines are taken already"))
            return
        if not self._lines:
            self._changed.begin()
        for name in waiter.lines:
            if name in self._lines:
                self._has_group(name)
            line = self._lines.setdefault(name, Line())
            if not line.waiters:
                line.group = self._group_at(name)
            self._names.setdefault(name[1], {})[name] = None
            self._places += waiter not in line.waiters
            line.waiters[waiter] = None
        if waiter.wait.timeout_ms:
            timeout_s = waiter.wait.timeout_ms / 1000
            waiter.timer = self._loop.call_later(timeout_s, self._expire, waiter)
        for name in waiter.lines if is_due else ():
            self._serve(name)

    def _leave(self, waiter: Waiter) -> None:
        """Out of all lines. Safe to repeat."""
        if waiter.timer is not None:
            waiter.timer.cancel()
        for name in waiter.lines:
            line = self._lines.get(name)
            if line is not None and waiter in line.waiters:
                del line.waiters[waiter]
                self._places -= 1
                self._drop(name, line)

    def _drop(self, name: LineName, line: Line) -> None:
        if not (line.waiters or line.is_trying):
            del self._lines[name]
            del self._names[name[1]][name]
            if not self._names[name[1]]:
                del self._names[name[1]]

    def _serve(self, name: LineName) -> None:
        """Let those at the head try, if there is something for them."""
        line = self._lines.get(name)
        if line is None or not self._has_group(name) or line.is_trying:
            return
        if self._machine.revision_of(name[1]) <= line.empty_at:
            return  # this node has not applied yet what was found out
        waiters = together(line, self._count(name) or 0)
        if not waiters:
            return
        line.is_trying = True
        for waiter in waiters:
            waiter.is_trying = True
        calls = [waiter.wait.again(name[1]) for waiter in waiters]
        self._write(calls, waiters[0].once, partial(self._served, name, line, waiters))

    def _group_at(self, name: LineName) -> int | Failure:
        """The id of the group of a line, or why it is not there; 0 of a line that has none."""
        kind, key, group = name
        if kind != STREAM:
            return 0
        found = self._look(partial(group_reads.prospect_at, key=key, name=group))
        return found if isinstance(found, Failure) else found.group

    def _has_group(self, name: LineName) -> bool:
        """Whether the group of a line is there; if not, those who waited for it are told so."""
        line, found = self._lines[name], self._group_at(name)
        if found == line.group:
            return True
        why = found if isinstance(found, Failure) else group_reads.GROUP_GONE
        for waiter in [each for each in line.waiters if not each.is_trying]:
            self._end(waiter, why)
        return False

    def _served(self, name: LineName, line: Line, waiters: list[Waiter], outcome: Outcome) -> None:
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

    def _answer(self, waiter: Waiter, value: Value, line: Line, revision: int) -> None:
        """What an attempt in a line found: a key of another type is no reason to go.

        Nor is a group that is gone: who waits for one is told of it when this node has seen it.
        """
        is_type = value == WRONG_TYPE and not waiter.wait.hands_on
        is_gone = waiter.wait.reading is not None and type(value) is Failure
        if not (waits.is_nothing(value) or is_type or is_gone):
            self._end(waiter, value)
            return
        line.empty_at = revision
        if waiter.is_late:
            self._end(waiter, NotLeader(self._stopped) if self._stopped else NIL_ARRAY)

    # The end of a wait.

    def _expire(self, waiter: Waiter) -> None:
        if waiter.is_trying:
            waiter.is_late = True
        else:
            self._kv.when_fresh(LINEARIZABLE, partial(self._expired, waiter))

    def _expired(self, waiter: Waiter, refused: RaftcacheError | None) -> None:
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
            due = [name for key in keys for name in self._names.get(key, ())]
        for name in due:
            self._serve(name)
