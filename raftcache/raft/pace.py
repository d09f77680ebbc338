"""How often links are looked after, and how long a node waits before it dials again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from raftcache.ports import Dice


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. Silence is counted in beats of this node's own timer, not read off a clock: so a
    pause of this process is not mistaken for the silence of its peers.

    beat_s: how often keep-alives and silences are looked after; all others round up to it.
    lonely_after_s: after so long without a link the node dials whose turn it is not: the other
        one may not know it, or not where it is.
    """

    beat_s: float = 0.25
    alive_after_s: float = 0.5
    silence_timeout_s: float = 3.0
    handshake_timeout_s: float = 3.0
    redial_min_s: float = 0.05
    redial_max_s: float = 1.0
    lonely_after_s: float = 2.0

    def beats(self, span_s: float) -> int:
        return math.ceil(span_s / self.beat_s)


USUAL: Final = Pace()


class Backoff:
    """How long to wait before dialling again: twice as long each time, and never in step with
    other nodes, who lost the same peer at the same moment."""

    def __init__(self, pace: Pace, dice: Dice) -> None:
        self._min_s, self._max_s, self._dice = pace.redial_min_s, pace.redial_max_s, dice
        self.reset()

    def reset(self) -> None:
        self._span_s = self._min_s

    def next_s(self) -> float:
        """Between half of the current span and all of it."""
        span_s = self._span_s
        self._span_s = min(2 * span_s, self._max_s)
        return span_s * (0.5 + self._dice.random() / 2)
