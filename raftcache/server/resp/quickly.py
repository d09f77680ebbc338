"""What a session does on the quick way: nothing but GETs, or nothing but SETs.

Only while everything is usual; the answers are those of the other way. quick.py cuts them out of
the bytes, and glances.py has replies that need no closer look.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from raftcache.command.calls import Call
from raftcache.command.values import Value
from raftcache.server.resp.client import Outlet
from raftcache.server.resp.encode import OK
from raftcache.server.resp.port import Port
from raftcache.server.resp.session import REPLIES_AT_ONCE, Session

GLANCE_SIZE_BYTES_MAX: Final = 64 << 10
"""Of replies that are written without looking whether the client still reads: as much as a pipe to
it holds at least."""


class QuickSession(Session):
    """A Session that is handed arguments instead of calls, too."""

    __slots__ = ("_get_one", "_glances", "_kept", "_write_one")

    def __init__(self, outlet: Outlet, id: int, addresses: tuple[str, str], port: Port) -> None:
        super().__init__(outlet, id, addresses, port)
        self._get_one, self._write_one = port.redis.get_one, port.redis.write_one
        self._glances, self._kept = port.glances, port.glances.kept.get

    def take_get(self, key: bytes) -> None:
        """Do one GET. This, and the others, only when not busy and while everything is usual."""
        self.last_call = b"GET"
        self._counters.calls += 1
        self.is_busy = self._is_waiting = True
        self._get_one((key, self))

    def take_gets(self, keys: list[bytes]) -> None:
        """Do a GET of each key."""
        self._begin_quickly(b"GET", len(keys))
        self._redis.get(keys, partial(self._got, keys), self._glance)

    def take_set(self, call: Call, size_bytes: int) -> None:
        """Do one SET."""
        self.last_call = b"SET"
        self._counters.calls += 1
        self.is_busy = self._is_waiting = True
        self._write_one(call, size_bytes, self.was_set)

    def take_sets(self, calls: list[Call], size_bytes: int) -> None:
        """Do calls that write and fit into one proposal; size_bytes: theirs, or more."""
        self._begin_quickly(calls[-1][0], len(calls))
        self._is_going = True
        self._redis.write(calls, size_bytes, self.answered)
        self._is_going = False
        if not self._is_waiting:  # it was answered at once: refused
            self._go_on()

    def _begin_quickly(self, name: bytes, count: int) -> None:
        assert self.is_usual
        assert not self.is_busy, "one pipeline at a time"
        self.last_call = name
        self._counters.calls += count
        self.is_busy = self._is_waiting = True

    def _got(self, keys: list[bytes], values: list[Value]) -> None:
        """What GETs of the first keys answer, at least one; the others become a usual pipeline."""
        if len(values) < len(keys) and not self._is_gone:
            self._calls, self._at = [[b"GET", key] for key in keys[len(values) :]], 0
            self._checked, self._rests = 0, True
            self._ended(values)
        else:
            self.answered(values)

    def found(self, stored: bytes | None) -> bool:
        """Answer the GET that was taken alone by what is stored; False if that takes more.

        If the client has gone meanwhile this goes nowhere, too.
        """
        outlet = self.outlet
        reply = self._kept(stored) or self._glances.replies((stored,))
        if reply is None or outlet.is_paused:
            return False
        self.is_busy = self._is_waiting = False
        outlet.answer(reply)
        return True

    def _glance(self, stored: Sequence[bytes | None]) -> bool:
        """Answer the GETs that were taken quickly by what is stored; False if that takes more."""
        outlet = self.outlet
        if self._is_going or self._is_gone or outlet.is_paused:
            return False
        data = self._glances.replies(stored)
        if data is None or len(data) > GLANCE_SIZE_BYTES_MAX:
            return False
        self.is_busy = self._is_waiting = False
        outlet.answer(data)
        return True

    def was_set(self, value: Value) -> None:
        """The answer to the SET that was taken alone."""
        outlet = self.outlet
        if value == "OK" and not outlet.is_paused:
            self.is_busy = self._is_waiting = False
            outlet.answer(OK)
        else:
            self.answered([value])

    def answered(self, values: list[Value]) -> None:
        """The answers to what was taken quickly."""
        outlet = self.outlet
        if self._is_going or self._is_gone or outlet.is_paused or len(values) > REPLIES_AT_ONCE:
            self._ended(values)
            return
        try:
            data = self._encode(values, self.protocol)
        except Exception:
            self._ended(values)  # which says so
            return
        self.is_busy = self._is_waiting = False
        outlet.answer(data)
