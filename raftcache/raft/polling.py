"""Busy polling: the event loop does not go to sleep while an answer is just about to come.

A round for reads between processes of one machine, or of one rack, takes some tens of microseconds,
and the kernel as long again to wake a thread that has gone to sleep and the core under it. Who
looks again and again instead has the answer a fifth sooner, and for no more of the processor,
for going to sleep and waking up are work, too. It is for the shortest of waits only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raftcache.ports import Clock, Loop

BUSY_POLL_S: Final = 0.0001
"""Longer than this nothing is polled for: the processor is wanted for other things."""

RESTS_MAX: Final = 64
"""So many waits at most are slept through after some that were too long, for the next will be, too:
one after the first, and twice as many after each further one."""


class BusyPoll:
    """Keeps one loop awake, turn after turn, while something is awaited."""

    def __init__(self, loop: Loop, clock: Clock, is_awaited: Callable[[], bool]) -> None:
        self._loop, self._now_s, self._is_awaited = loop, clock.monotonic_s, is_awaited
        self._polls = False
        self._until_s = 0.0
        self._rests, self._rests_next = 0, 1

    def begin(self) -> None:
        """From now on something is awaited; nobody need say when it has come."""
        if self._rests:
            self._rests -= 1
            return
        self._until_s = self._now_s() + BUSY_POLL_S
        if not self._polls:
            self._polls = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Everything that has come was handled before this, and is after it."""
        if not self._is_awaited():
            self._polls, self._rests_next = False, 1
        elif self._now_s() < self._until_s:
            self._loop.call_soon(self._look)
        else:
            self._polls, self._rests = False, self._rests_next
            self._rests_next = min(2 * self._rests_next, RESTS_MAX)
