"""One pipeline of Redis commands, done in stages, in the order of its calls.

Calls that only read share one round, and then read this node's state. If one of them writes, all of
the stage go through the log as one proposal, those that read too: so each sees what came before it,
and nothing that came later. Calls that are neither (they look at many keys, or wait) are stages of
their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final, Protocol

from raftcache.command.call_table import SPECS, STORING, stores
from raftcache.command.calls import CALLS_MAX, LONG, NEWER_CALLS, WIDE, Call
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX
from raftcache.command.replies import Collection, Item
from raftcache.command.values import Value
from raftcache.errors import RaftcacheError
from raftcache.service.calls import when_current
from raftcache.service.gathering import ValuesDone
from raftcache.service.kv import Kv, Want
from raftcache.service.uncounted import UNCOUNTED, apart, is_uncounted
from raftcache.service.width import as_many_as_share
from raftcache.service.wording import MISTAKE, NOT_BEGUN, WRONG_TYPE, failure_of, is_open
from raftcache.state.machine import Machine

Wrote = Callable[[int, int], None]
"""Told of the first and the last revision of what calls have changed, before they are answered."""
Alone = Callable[[Call, bytes], Awaitable[Value]]
"""A call that is a stage of its own; it may be cancelled. With a token if it is applied once."""

ANSWERS_SIZE_BYTES_MAX: Final = 4 << 20
"""When calls of a pipeline have read about so much they are answered, and the others wait until the
client has taken that: it is all held for it, and there are many clients."""

COMMON_WIDTH_MAX: Final = 100
"""Calls that look at no more elements go together with those of others (see gathering.Writing)."""

_WRITES: Final = frozenset(
    name for name, spec in SPECS.items() if spec.is_data and spec.is_write
).difference(STORING)
"""But those that only read, unless they store."""

logger = logging.getLogger("raftcache.redis")


class Proposing(Protocol):
    """Shape of what makes a proposal of calls."""

    def write(
        self,
        calls: Sequence[Call],
        size_bytes: int,
        done: ValuesDone,
        wrote: Wrote | None = None,
        width: int = 0,
    ) -> None:
        """One proposal; done with a value for each call: the same Failure if it was not made.

        CALLS_MAX of them at most, and BATCH_SIZE_BYTES_MAX together unless there is only one; none
        is a stage of its own. size_bytes: their size, or more. width: see Kv.write.
        """
        ...


class Stages(Proposing, Protocol):
    """Shape of what does the stages: RedisService.

    alone: calls that are stages of their own, by name.
    """

    kv: Kv
    machine: Machine
    loop: asyncio.AbstractEventLoop
    alone: Mapping[bytes, Alone]

    def write_apart(
        self, calls: Sequence[Call], width: int, done: ValuesDone, wrote: Wrote | None = None
    ) -> None:
        """The same, with no calls of others in it: the cluster may have to refuse it, or it takes
        long. width: see Kv.write."""
        ...

    def rehearse(self, call: Call, token: bytes, done: ValuesDone, wrote: Wrote | None) -> None:
        """One call that may answer more than entries count. With a token if it is applied once."""
        ...

    def write_once(self, call: Call, token: bytes, done: ValuesDone, wrote: Wrote | None) -> None:
        """The same for one call that is applied once."""
        ...

    def throw(self, calls: Sequence[Call]) -> int:
        """Dice for the calls; 0 if none of them needs any."""
        ...

    def note_reads(self, calls: Sequence[Call]) -> None:
        """Tell who counts accesses of these."""
        ...


class Pipeline:
    """One of them, while it is done."""

    __slots__ = (
        "_calls",
        "_done",
        "_is_due",
        "_is_going",
        "_is_held",
        "_is_over",
        "_service",
        "_size_bytes",
        "_task",
        "_tokens",
        "_values",
        "_want",
        "_wrote",
    )

    def __init__(
        self,
        service: Stages,
        calls: Sequence[Call],
        done: ValuesDone,
        want: Want,
        tokens: Sequence[bytes] | None,
        wrote: Wrote | None,
    ) -> None:
        self._service, self._calls, self._done = service, calls, done
        self._want, self._tokens, self._wrote = want, tokens, wrote
        self._values: list[Value] = []
        self._task: asyncio.Future[Value] | None = None
        self._is_over = self._is_due = self._is_going = False
        self._is_held = False  # a numbered call has no answer for good: none after it is begun
        self._size_bytes = 0  # about what is held of answers

    def cancel(self) -> bool:
        """See Redis.run."""
        if self._task is not None and not self._task.cancel():
            return False
        self._is_over = True
        return True

    def go_on(self) -> None:
        """Begin the next stage; behind one that ends at once, not within it: they may be many."""
        self._is_due = True
        if self._is_going:
            return
        self._is_going = True
        try:
            while self._is_due:
                self._is_due = False
                self._begin()
        finally:
            self._is_going = False

    def _begin(self) -> None:
        at, calls = len(self._values), self._calls
        if self._is_over:
            return
        if at == len(calls) or self._size_bytes > ANSWERS_SIZE_BYTES_MAX:
            self._done(self._values)
        elif self._is_held and self._tokens is not None and self._tokens[at]:
            self._add([NOT_BEGUN])
        elif calls[at][0] in self._service.alone:
            self._go_alone(calls[at], b"" if self._tokens is None else self._tokens[at])
        elif self._tokens is not None:
            self._go_once(calls[at], self._tokens[at])
        else:
            self._go_together(at)

    def _add(self, values: list[Value]) -> None:
        if self._tokens is not None and self._tokens[len(self._values)] and is_open(values[0]):
            self._is_held = True
        if not self._values:
            self._values = values
        else:
            self._values.extend(values)
        self.go_on()

    def _go_together(self, at: int) -> None:
        """A stage of all that follows, up to what stands alone, or to a limit."""
        calls, service = self._calls, self._service
        stage = calls if not at and len(calls) <= CALLS_MAX else calls[at : at + CALLS_MAX]
        names = {call[0] for call in stage}
        if not names.isdisjoint(service.alone.keys()):
            end = next(place for place, call in enumerate(stage) if call[0] in service.alone)
            stage = stage[:end]
            names = {call[0] for call in stage}
        if not names.isdisjoint(LONG):
            stage = _alike(stage)
            names = {call[0] for call in stage}
        if not names.isdisjoint(UNCOUNTED) and _do_write(stage, names):
            stage = apart(stage)
            names = {call[0] for call in stage}
        if _do_write(stage, names):
            self._write(stage, names)
        elif len(stage) == 1 and stage[0][0] == b"GET":
            service.kv.read(stage[0][1], self._want, self._found)
        else:
            self._read(stage)

    def _write(self, stage: Sequence[Call], names: set[bytes]) -> None:
        """As many of them as go through the log together; or read those before the first write."""
        service, width, asked = self._service, 0, len(stage)
        if not names.isdisjoint(UNCOUNTED) and is_uncounted(stage[0]):
            service.rehearse(stage[0], b"", self._add, self._wrote)
            return
        stage, size_bytes = _as_many_as_travel(stage)
        if not names.isdisjoint(WIDE):
            stage, width = as_many_as_share(service.machine, stage)
            if len(stage) < asked:
                names = {call[0] for call in stage}
        if not _do_write(stage, names):
            self._read(stage)
        elif width > COMMON_WIDTH_MAX or not names.isdisjoint(NEWER_CALLS):
            self._size_bytes += width << 10
            service.write_apart(stage, width, self._add, self._wrote)
        else:
            service.write(stage, size_bytes, self._add, self._wrote, width)

    def _found(self, found: Item | RaftcacheError | None) -> None:
        """The commonest of all, on the shortest way."""
        if isinstance(found, RaftcacheError):
            self._add([failure_of(found)])
        elif isinstance(found, Collection):
            self._add([WRONG_TYPE])
        else:
            self._add([None if found is None else found.value])

    def _read(self, stage: Sequence[Call]) -> None:
        def fresh(refused: RaftcacheError | None) -> None:
            if refused is not None:
                self._add([failure_of(refused)] * len(stage))
            elif not self._is_over:
                self._read_on(stage, [])

        service = self._service
        service.note_reads(stage)
        when_current(service.kv, service.machine, self._want, fresh)

    def _read_on(self, stage: Sequence[Call], values: list[Value]) -> None:
        """Read as much as one turn of the loop may; the state only becomes fresher meanwhile."""
        service, left = self._service, stage[len(values) :] if values else stage
        found, size_bytes = service.machine.call_some(
            left, service.kv.now_ms(), service.throw(left)
        )
        values += found
        self._size_bytes += size_bytes
        if len(values) == len(stage) or self._size_bytes > ANSWERS_SIZE_BYTES_MAX:
            self._add(values)
        elif not self._is_over:
            service.loop.call_soon(self._read_on, stage, values)

    def _go_once(self, call: Call, token: bytes) -> None:
        if token:
            write = self._service.rehearse if is_uncounted(call) else self._service.write_once
            write(call, token, self._add, self._wrote)
        else:
            self._write((call,), {call[0]})

    def _go_alone(self, call: Call, token: bytes) -> None:
        self._task = task = asyncio.ensure_future(self._service.alone[call[0]](call, token))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Value]) -> None:
        self._task = None
        if task.cancelled():
            self._is_over = True
            return
        error = task.exception()
        if error is None:
            value = task.result()
            if type(value) is list:  # KEYS may answer with megabytes, and so may what is nested
                most = ANSWERS_SIZE_BYTES_MAX + 1
                self._size_bytes += sum(len(v) if type(v) is bytes else most for v in value)
            self._add([value])
        elif isinstance(error, RaftcacheError):
            self._add([failure_of(error)])
        else:
            logger.error("unexpected error", exc_info=error)
            self._add([MISTAKE])


def _do_write(calls: Sequence[Call], names: set[bytes]) -> bool:
    """Whether one of these calls does, whose names these are."""
    if not names.isdisjoint(_WRITES):
        return True
    return not names.isdisjoint(STORING) and any(map(stores, calls))


def _alike(calls: Sequence[Call]) -> Sequence[Call]:
    """The first of them, which take long, or do not: what does is not for the log."""
    is_long = calls[0][0] in LONG
    return list(takewhile(lambda call: (call[0] in LONG) is is_long, calls))


def _as_many_as_travel(calls: Sequence[Call]) -> tuple[Sequence[Call], int]:
    """The first of them, so that they fit into a batch, one at least; and their size in bytes."""
    total_bytes = 0
    for place, call in enumerate(calls):
        size_bytes = sum(map(len, call))
        if place and total_bytes + size_bytes > BATCH_SIZE_BYTES_MAX:
            return calls[:place], total_bytes
        total_bytes += size_bytes
    return calls, total_bytes
