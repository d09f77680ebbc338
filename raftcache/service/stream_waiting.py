"""XREAD: it reads what is behind given ids, and may wait until there is something.

Promise. What it tells was there at a moment between the call and the answer; that nothing came in
its time is said of a fresh state. $ is the last id of a state that is fresh when the call comes. It
takes nothing: all who wait are told the same.

How. The history tells which keys changed; who waits for one of them looks again at the state of
this node, which only goes on from what was fresh when the call came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from raftcache.command.calls import Call
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.errors import NotLeader, Overloaded, RaftcacheError
from raftcache.ports import Timer
from raftcache.service.blocking import PLACES_MAX
from raftcache.service.calls import look, settle, when_current
from raftcache.service.changed import Changed
from raftcache.service.kv import LINEARIZABLE, Kv
from raftcache.state.machine import Machine
from raftcache.state.redis import stream_reads
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.store import Store


class _Waiter:
    """One call. ids: behind which it looks, once they are known."""

    __slots__ = ("asked", "future", "ids", "timer")

    def __init__(self, asked: stream_reads.Reading, future: asyncio.Future[Value]) -> None:
        self.asked, self.future = asked, future
        self.ids: list[int] = []
        self.timer: Timer | None = None


class StreamWaiting:
    """All who wait for streams at this node. All methods on the event loop."""

    def __init__(
        self,
        kv: Kv,
        machine: Machine,
        loop: asyncio.AbstractEventLoop,
        note_read: Callable[[bytes], None] | None = None,
    ) -> None:
        """note_read: told of keys that are read."""
        self._kv, self._machine, self._loop = kv, machine, loop
        self._note_read = note_read
        self._changed = Changed(machine.history, loop, lambda: bool(self._lines), self._look_again)
        self._lines: dict[bytes, dict[_Waiter, None]] = {}
        """Who waits for a key."""
        self._places = 0
        self._stopped = ""
        self.calls: Final = {b"XREAD": self.call}

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
        """Whoever waits must ask another node."""
        for waiter in self._all():
            self._end(waiter, NotLeader(why))

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        return {"places_at_streams": self._places}

    def _all(self) -> Iterable[_Waiter]:
        return {waiter: None for line in self._lines.values() for waiter in line}

    # One call.

    def call(self, call: Call, token: bytes = b"") -> asyncio.Future[Value]:
        """What it has read, NIL_ARRAY if there was nothing; raises RaftcacheError.

        It writes nothing, so it needs no token.
        """
        future: asyncio.Future[Value] = self._loop.create_future()
        try:
            waiter = _Waiter(stream_reads.read_xread(call[1:]), future)
        except Refuse as refusal:
            future.set_result(Failure(refusal.text))
            return future
        future.add_done_callback(lambda _: self._leave(waiter))
        when_current(self._kv, self._machine, LINEARIZABLE, partial(self._begin, waiter))
        return future

    def _begin(self, waiter: _Waiter, refused: RaftcacheError | None) -> None:
        if waiter.future.done():
            return
        if refused is not None or self._stopped:
            self._end(waiter, refused or NotLeader(self._stopped))
            return
        begins = self._look(partial(stream_reads.begins, asked=waiter.asked))
        if isinstance(begins, Failure):
            self._end(waiter, begins)
            return
        waiter.ids = begins
        if self._note_read is not None:
            for key in waiter.asked.keys:
                self._note_read(key)
        if self._is_served(waiter):
            return
        if waiter.asked.timeout_ms is None:
            self._end(waiter, NIL_ARRAY)
        else:
            self._join(waiter, waiter.asked.timeout_ms)

    def _is_served(self, waiter: _Waiter) -> bool:
        """Whether there is something, or an error, which is told."""
        value = self._look(partial(stream_reads.behind, asked=waiter.asked, ids=waiter.ids))
        if value is NIL_ARRAY:
            return False
        self._end(waiter, value)
        return True

    def _look(self, reader: Callable[[Store], Value]) -> Value:
        return look(self._kv, self._machine, reader)

    def _end(self, waiter: _Waiter, value: Value | RaftcacheError) -> None:
        self._leave(waiter)
        settle(waiter.future, value)

    # Lines.

    def _join(self, waiter: _Waiter, timeout_ms: int) -> None:
        keys = waiter.asked.keys
        if self._places + len(keys) > PLACES_MAX:
            self._end(waiter, Overloaded(f"{self._places} places at streams are taken already"))
            return
        if not self._lines:
            self._changed.begin()
        for key in keys:
            line = self._lines.setdefault(key, {})
            self._places += waiter not in line
            line[waiter] = None
        if timeout_ms:
            waiter.timer = self._loop.call_later(timeout_ms / 1000, self._expire, waiter)

    def _leave(self, waiter: _Waiter) -> None:
        """Out of all lines. Safe to repeat."""
        if waiter.timer is not None:
            waiter.timer.cancel()
        for key in waiter.asked.keys:
            line = self._lines.get(key, {})
            if waiter in line:
                del line[waiter]
                self._places -= 1
                if not line:
                    del self._lines[key]

    def _expire(self, waiter: _Waiter) -> None:
        when_current(self._kv, self._machine, LINEARIZABLE, partial(self._expired, waiter))

    def _expired(self, waiter: _Waiter, refused: RaftcacheError | None) -> None:
        if not waiter.future.done() and (refused is not None or not self._is_served(waiter)):
            self._end(waiter, refused or NIL_ARRAY)

    def _look_again(self, keys: Iterable[bytes] | None) -> None:
        """These keys have changed; None: any may have."""
        if keys is None:
            due = dict.fromkeys(self._all())
        else:
            lines = (self._lines[key] for key in keys if key in self._lines)
            due = {waiter: None for line in lines for waiter in line}
        for waiter in due:
            if not waiter.future.done():
                self._is_served(waiter)
