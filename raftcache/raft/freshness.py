"""How old a node's own state may be: what `max_staleness` bounds. Pure.

A follower that hears its leader is not fresh for that alone: it may lack what the leader committed
long ago, after a restart or on a slow link. Its state is as fresh as its leader was when it *sent*
a message, once it has applied what that message called committed, and an entry of the leader's own
term: only then is everything there that earlier leaders acknowledged (Raft, 5.4.2). A leader is as
fresh as the last message it sent that a majority answered: after that others may have replaced it.
Only a follower without whom they are no majority knows more: it did not vote for another one.
"""

from __future__ import annotations

import math
from typing import Final

CLOCK_DRIFT: Final = 0.001
"""Two clocks run apart by at most this fraction; NTP slews by half of it."""


class Freshness:
    """Of one node's state. Moments are seconds on this node's monotonic clock.

    When a message was sent is told from the leader's clock in it: the quickest message of a term
    is taken to have travelled in no time, so ages are right but for the shortest delay.
    """

    def __init__(self) -> None:
        self._fresh_s = -math.inf
        self._term = 0
        self._ahead_s = -math.inf  # the leader's clock, of this node's
        self._heard_s = 0.0
        self._mark: tuple[int, float] | None = None  # to be applied; when it was committed

    def heard(
        self,
        term: int,
        commit_index: int,
        leader_ms: int,
        now_s: float,
        fresh_ms: int | None = None,
    ) -> None:
        """The leader of this term said so; leader_ms is its cluster time when it did.

        fresh_ms: when nobody else led, for sure; if None, when it said so.
        """
        if term != self._term:
            self._term, self._ahead_s, self._mark = term, -math.inf, None
        leader_s = leader_ms / 1000
        drifted_s = self._ahead_s - (now_s - self._heard_s) * CLOCK_DRIFT
        self._ahead_s, self._heard_s = max(leader_s - now_s, drifted_s), now_s
        if self._mark is None:
            fresh_s = leader_s if fresh_ms is None else fresh_ms / 1000
            self._mark = (commit_index, fresh_s - self._ahead_s)

    def applied(self, index: int, term: int) -> None:
        """The state has all entries up to this one, which is of this term."""
        if self._mark is not None and term == self._term and index >= self._mark[0]:
            self._fresh_s = max(self._fresh_s, self._mark[1])
            self._mark = None

    def confirmed(self, sent_s: float) -> None:
        """This node leads; a message that it sent then was answered by a majority."""
        self._fresh_s = max(self._fresh_s, sent_s)

    def age_s(self, now_s: float) -> float:
        """At most so old; infinite while nothing is known."""
        return now_s - self._fresh_s
