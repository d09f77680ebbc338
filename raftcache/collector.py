"""When Python looks for garbage that keeps itself alive, so that no look takes long.

A collection visits all that young containers refer to. The ordered index of the keys (see
keyspace.py) is lists of a thousand keys each, made as the keys come: 21 ms for a million of them,
if they are looked at together. Left to itself the collector may do that at any time, for writes
make so few containers that it sleeps until all the lists are young at once. So it is called by the
clock, and then meets only what the last second or seconds made. A full collection, which meets
everything, 30 ms for a million keys, comes only when there is much that it could free. A
closed connection leaves nothing that only a collection finds.
"""

from __future__ import annotations

import gc
from typing import Final

from raftcache.ports import Loop, Timer

PERIOD_S: Final = 1.0
MIDDLE_EVERY: Final = 2
LOOK_EVERY: Final = 60
"""The youngest in each period, those that outlived a collection in each second; in each 60th it
looks how many there are that outlived two. With ten million keys to which 70,000 are added in a
second, in no order, the second kind takes 10 ms: half of what it takes in each fourth."""

YOUNG_MAX: Final = 50_000
"""Containers made and not freed within a period before it collects early: about 5 ms of work."""

OLD_GROWTH_MAX: Final = 400_000
"""Containers that may outlive two collections before a full one: 100 MB at most, and with a million
keys a pause of some 40 ms. A full history has 200,000 that it needs (three for each run of four
writes), the latest entries of the log are 35,000, and 10,000 connections have 200,000."""

_NEVER: Final = 1 << 30
_YOUNG, _MIDDLE, _OLD = range(3)


class Collector:
    """Calls Python's collector from the event loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._timer: Timer | None = None
        self._turn = 0
        self._old_max = OLD_GROWTH_MAX
        self._before = gc.get_threshold()

    def start(self) -> None:
        """What was made so far lives as long as the process: it is never looked at again."""
        gc.enable()
        gc.freeze()
        gc.set_threshold(YOUNG_MAX, _NEVER, _NEVER)
        self._timer = self._loop.call_later(PERIOD_S, self._collect)

    def stop(self) -> None:
        """Leave Python's collector to itself again, after start()."""
        assert self._timer is not None
        self._timer.cancel()
        gc.set_threshold(*self._before)
        gc.unfreeze()

    def _collect(self) -> None:
        self._timer = self._loop.call_later(PERIOD_S, self._collect)
        self._turn += 1
        if not gc.isenabled():
            return  # somebody counts, or measures
        if self._turn % LOOK_EVERY == 0 and len(gc.get_objects(_OLD)) > self._old_max:
            gc.collect()
            self._old_max = len(gc.get_objects(_OLD)) + OLD_GROWTH_MAX
        else:
            gc.collect(_MIDDLE if self._turn % MIDDLE_EVERY == 0 else _YOUNG)
