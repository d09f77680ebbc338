"""When requests are due: evenly spaced, by a plan that nothing meanwhile can change."""

from __future__ import annotations

import math
from typing import Final

NS_PER_S: Final = 1_000_000_000


class Schedule:
    """Request n is due at first_ns + n * period_ns; they are taken in that order, maybe late.

    Without a rate, one is due whenever it is asked for, until the seconds are over. A count ends
    either kind earlier.
    """

    def __init__(
        self, first_ns: int, seconds: float, rate: float | None, count: int | None = None
    ) -> None:
        assert rate is None or rate > 0, rate
        self.first_ns, self.end_ns = first_ns, first_ns + round(seconds * NS_PER_S)
        self.period_ns = round(NS_PER_S / rate) if rate else 0
        self.taken = 0
        self._count = math.inf if count is None else count
        if self.period_ns:
            self._count = min(self._count, -(-(self.end_ns - first_ns) // self.period_ns))

    def take(self, now_ns: int) -> int | None:
        """When the next one was due; None if there is none now."""
        if self.is_over(now_ns):
            return None
        due_ns = self.first_ns + self.taken * self.period_ns if self.period_ns else now_ns
        if due_ns > now_ns:
            return None
        self.taken += 1
        return due_ns

    def is_over(self, now_ns: int) -> bool:
        """Nothing is left to be taken, now or later."""
        return self.taken == self._count or (not self.period_ns and now_ns >= self.end_ns)

    def late_ns(self, now_ns: int) -> int:
        """For how long the next one has been due."""
        if not self.period_ns or self.is_over(now_ns):
            return 0
        return max(0, now_ns - self.first_ns - self.taken * self.period_ns)

    def stop(self) -> None:
        """From now on nothing is due."""
        self._count = self.taken
