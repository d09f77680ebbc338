"""The leader's alarm clock: a tick enters the log when a deadline is due, and only then."""

from __future__ import annotations

from raftcache.command import codec
from raftcache.ports import Loop, Timer
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.replica import Replica
from raftcache.state.machine import Machine


class Expiry:
    """Looks once in a while; proposes at most one tick at a time."""

    def __init__(
        self, replica: Replica, machine: Machine, time: ClusterTime, loop: Loop, period_s: float
    ) -> None:
        """period_s: how late a tick may be; a read of an overdue key does not wait for it."""
        self._replica, self._machine, self._time = replica, machine, time
        self._loop, self._period_s = loop, period_s
        self._timer: Timer | None = None
        self._ticking = False

    def start(self) -> None:
        self._timer = self._loop.call_later(self._period_s, self.start)
        if self._replica.is_leader and not self._ticking:
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        due_ms = self._machine.next_deadline_ms()
        if due_ms is not None and due_ms <= self._time.now_ms():
            self._ticking = True
            self._replica.propose(codec.TICK, self._ticked)

    def _ticked(self, outcome: object) -> None:
        """Committed or not: the next beat sees for itself whether anything is still overdue."""
        self._ticking = False
