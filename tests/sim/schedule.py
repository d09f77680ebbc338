"""Virtual time: the queue of events, clocks that drift, and dice that are loaded."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, TypeAlias

Act: TypeAlias = Callable[..., object]


class Schedule:
    """Everything that will happen, in order of time; ties in the order they were asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self.over = False
        """Nothing happens any more."""
        self._queue: list[tuple[float, int, Act, tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, time_s: float, act: Act, *args: Any) -> None:
        """Call it at this time, or now if that has passed; never from within this call."""
        self._asked += 1
        heapq.heappush(self._queue, (max(time_s, self.now_s), self._asked, act, args))

    def after(self, delay_s: float, act: Act, *args: Any) -> None:
        self._asked += 1
        heapq.heappush(self._queue, (self.now_s + max(delay_s, 0.0), self._asked, act, args))

    def clear(self) -> None:
        """Forget what was to happen."""
        self._queue.clear()

    def run(self, until_s: float, steps_max: int) -> bool:
        """Let everything happen that is due by then, unless it is over; False: there was more."""
        queue = self._queue
        last = self.steps + steps_max
        while queue and queue[0][0] <= until_s and not self.over:
            if self.steps == last:
                return False
            self.now_s, _, act, args = heapq.heappop(queue)
            self.steps += 1
            act(*args)
        return True


class DriftingClock:
    """One node's clocks: they run at their own rate, and its wall clock is simply wrong."""

    def __init__(self, schedule: Schedule, rate: float, offset_s: float, wall_ms: int) -> None:
        self._schedule, self.rate = schedule, rate
        self._offset_s, self._wall_ms = offset_s, wall_ms
        self.stalls: Callable[[], float] | None = None
        """Thrown at each reading: below `stall_chance`, on_stall is called before it."""
        self.stall_chance = 0.0
        self.on_stall: Callable[[], object] = lambda: None
        self.ahead_s = 0.0
        """How far the node is in a step that takes time, beyond what has happened elsewhere."""

    def monotonic_s(self) -> float:
        if self.stalls is not None and self.stalls() < self.stall_chance:
            self.on_stall()
        return self._offset_s + (self._schedule.now_s + self.ahead_s) * self.rate

    def wall_ms(self) -> int:
        return self._wall_ms + int(self._schedule.now_s * self.rate * 1000)

    def jump_wall(self, by_ms: int) -> None:
        """What an operator, or a bad time server, does."""
        self._wall_ms = max(0, self._wall_ms + by_ms)


class SeededDice:
    """Chance for the parts under test, from the one generator of the run."""

    def __init__(self, chance: random.Random) -> None:
        self.random = chance.random
        self.token = chance.randbytes
