"""The leader's alarm clock: a tick enters the log when a deadline is due, and only then."""

from __future__ import annotations

from typing import Final

from raftcache.command import codec
from raftcache.command.words import Tick
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.replica import Replica
from raftcache.state.machine import Machine

_TICK: Final = codec.encode(Tick())


class Expiry:
    """Called at every heartbeat; proposes at most one tick at a time."""

    def __init__(self, replica: Replica, machine: Machine, time: ClusterTime) -> None:
        self._replica, self._machine, self._time = replica, machine, time
        self._ticking = False

    def beat(self) -> None:
        if self._ticking or not self._replica.is_leader:
            return
        due_ms = self._machine.next_deadline_ms()
        if due_ms is not None and due_ms <= self._time.now_ms():
            self._ticking = True
            self._replica.propose(_TICK, self._ticked)

    def _ticked(self, outcome: object) -> None:
        """Committed or not: the next beat sees for itself whether anything is still overdue."""
        self._ticking = False
