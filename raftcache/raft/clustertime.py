"""Cluster time: the one clock that decides about deadlines (milliseconds).

The leader advances it by its monotonic clock and stamps every entry with it; every message of a
leader carries it, and a new leader goes on from the last value it heard plus its own monotonic
time since. Whoever has restarted since is told it by those who vote for it. The wall clock seeds a
cold start, when none of them has heard anybody either, and never moves cluster time back.
"""

from __future__ import annotations

from raftcache.ports import Clock


class ClusterTime:
    """One node's knowledge of cluster time."""

    def __init__(self, clock: Clock, logged_ms: int) -> None:
        """logged_ms: the highest stamp in the node's snapshot and log, 0 if there is none."""
        self._clock = clock
        self._stamped_ms = logged_ms
        self._base_ms = logged_ms
        self._base_s = clock.monotonic_s()
        self.is_known = False
        """This process has heard it, or has led: what its wall clock says does not matter."""

    def now_ms(self) -> int:
        """This node's estimate; exact on the leader, late by one message on the others."""
        elapsed_ms = int((self._clock.monotonic_s() - self._base_s) * 1000)
        return max(self._stamped_ms, self._base_ms + elapsed_ms)

    def hear(self, leader_ms: int) -> None:
        """A leader said what time it is.

        Taken as it is, not as a maximum: a follower whose own clock runs fast must not carry its
        error into a later leadership of its own.
        """
        self.is_known = True
        self._base_ms, self._base_s = leader_ms, self._clock.monotonic_s()

    def told(self, voter_ms: int) -> None:
        """A voter that knows the time said so: its word is better than any wall clock's."""
        if not self.is_known:
            self.hear(max(self.now_ms(), voter_ms))

    def lead(self) -> None:
        """This node was elected: from now on its own monotonic clock counts."""
        if not self.is_known:
            self.hear(max(self.now_ms(), self._clock.wall_ms()))

    def stamp_ms(self) -> int:
        """The time for a new entry: never below an earlier one."""
        self._stamped_ms = self.now_ms()
        return self._stamped_ms

    def applied(self, stamp_ms: int) -> None:
        """An entry or snapshot with this stamp is part of this node's state."""
        self._stamped_ms = max(self._stamped_ms, stamp_ms)
