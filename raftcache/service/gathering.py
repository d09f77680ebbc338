"""Writes of many connections as one proposal: what arrives in one turn of the loop goes together.

A command of its own for each costs more to check, encode and apply than most calls do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftcache.command.calls import CALLS_MAX, Call
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX
from raftcache.command.values import Value
from raftcache.ports import Loop

ValuesDone = Callable[[list[Value]], None]


class Gathering:
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

        def share(values: list[Value]) -> None:
            at = 0
            for count, done in shares:
                done(values[at : at + count])
                at += count

        self._propose(calls, share)
