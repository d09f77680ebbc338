"""Whether this node's state is fresh enough for those who are told of changes as they happen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from raftcache.ports import Loop, Timer

LATE_S_MAX: Final = 5.0
"""How old the state of a node may be that tells of changes."""

LOOK_S: Final = 1.0
"""Between two looks."""


class Replicated(Protocol):
    """What is asked of a replica."""

    expelled: str

    @property
    def state_age_s(self) -> float: ...


def why_late(replica: Replicated) -> str:
    """Why who listens should go to another node; "" if there is no reason."""
    if replica.expelled:
        return f"this node is out of the cluster: {replica.expelled}"
    if (age_s := replica.state_age_s) == math.inf:
        return "this node does not know yet whether its state is up to date"
    return f"the state here may be {age_s:.0f} s old" if age_s > LATE_S_MAX else ""


class Vigil:
    """Looks now and then, and tells those who have listeners when the state is too old."""

    def __init__(
        self, replica: Replicated, loop: Loop, cut_off: Sequence[Callable[[str], None]]
    ) -> None:
        """cut_off: given the reason, on every look."""
        self._replica, self._loop, self._cut_off = replica, loop, cut_off
        self._timer: Timer | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        if why := why_late(self._replica):
            for cut_off in self._cut_off:
                cut_off(why)
