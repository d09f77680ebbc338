"""Makes room: every node learns what is used, and the leader has the log forget what is not.

What was written, all nodes learn from their history; what was read, each notes for itself and
reports to the leader about once a second. A leader begins with what it knows itself. Reports may
get lost: they decide only which keys go, never whether replicas are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Final

from raftcache.command import codec
from raftcache.command.limits import EVICTED_PER_ENTRY_MAX, EVICTED_PER_ENTRY_SIZE_BYTES_MAX
from raftcache.command.replies import Reply
from raftcache.command.words import INTRODUCED, Evict
from raftcache.config import Eviction
from raftcache.ports import Loop, Timer
from raftcache.raft.messages import Message
from raftcache.raft.replica import Replica
from raftcache.service.eviction.accesses import Accesses
from raftcache.service.eviction.policies import Policy
from raftcache.service.memory import Memory
from raftcache.state.machine import Machine

PERIOD_S: Final = 0.02
"""Between two looks: at 50 MB a second of new values, a megabyte."""

REPORT_BEATS: Final = 50
"""Looks between two reports to the leader: a second."""

EVENTS_PER_BEAT_MAX: Final = 4000
"""Changes learned at a time: about 2 ms."""

KEYS_PER_BEAT_MAX: Final = 2000
"""Keys looked at in a beat while the keyspace is learned anew: a million in ten seconds."""

Report = Callable[[str, Message], object]
"""To whom, and the message (raft/messages.py)."""

Victims = tuple[tuple[bytes, int], ...]


class Evictor:
    """One node's part in it: always learning, evicting while this node leads.

    At most one eviction is under way. policy and accesses: None where the setting needs none.
    """

    def __init__(
        self,
        memory: Memory,
        machine: Machine,
        replica: Replica,
        policy: Policy | None,
        accesses: Accesses | None,
        report: Report,
        loop: Loop,
    ) -> None:
        self._memory, self._machine, self._replica = memory, machine, replica
        self._policy, self._accesses, self._report = policy, accesses, report
        self._loop = loop
        self._timer: Timer | None = None
        self._beats = 0
        self._position = machine.history.end  # changes before it are learned
        self._walked: bytes | None = b""  # keys up to it are learned; None: all are
        self._making_room = self._evicting = False
        self.evicted = 0
        """Keys evicted by this node while it led."""

    def start(self) -> None:
        self._timer = self._loop.call_later(PERIOD_S, self.start)
        self._learn()
        self._beats += 1
        if self._accesses is not None and self._beats % REPORT_BEATS == 0:
            self._tell(self._accesses.report())
        if not self._evicting:
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def merge(self, peer: str, message: Message) -> None:
        """What another node reported."""
        if self._policy is not None:
            for key, count in message["keys"]:
                self._policy.access(key, count)

    def gauges(self) -> dict[str, float]:
        """For /metrics."""
        return {
            "memory_writes_refused": float(self._memory.refused),
            "evicted_keys": float(self.evicted),
            "eviction_keys_known": float(0 if self._policy is None else len(self._policy)),
        }

    def _tell(self, keys: list[tuple[bytes, int]]) -> None:
        leader = self._replica.leader
        if keys and leader is not None and not self._replica.is_leader:
            self._report(leader, {"type": "accesses", "keys": keys})

    # -- learning ----------------------------------------------------------------------------------

    def _learn(self) -> None:
        policy = self._policy
        if policy is None:
            return
        events = self._machine.history.read(self._position, EVENTS_PER_BEAT_MAX)
        if events is None:  # forgotten before they were learned, or an image was loaded
            self._position, self._walked = self._machine.history.end, b""
            events = []
        for event in events:
            if event.packed is None:
                policy.remove(event.key)
            else:
                policy.add(event.key)
        self._position += len(events)
        if self._walked is not None:
            self._walk(policy, self._walked)
        if self._accesses is not None:
            for key in self._accesses.take():
                policy.access(key)

    def _walk(self, policy: Policy, walked: bytes) -> None:
        """Learn of keys that were there before."""
        keys = self._machine.keys_after(walked, KEYS_PER_BEAT_MAX)
        for key in keys:
            if key not in policy:
                policy.add(key)
        self._walked = keys[-1] if keys else None

    # -- making room -------------------------------------------------------------------------------

    def _look(self) -> None:
        """Begin to make room above the high mark, and go on down to the low one."""
        memory = self._memory
        until = memory.low_size_bytes if self._making_room else memory.high_size_bytes
        self._making_room = self._can_evict and memory.used_size_bytes > until
        if not self._making_room:
            return
        victims = self._choose(memory.used_size_bytes - memory.low_size_bytes)
        if victims:
            self._evicting = True
            self._replica.propose(codec.encode(Evict(victims)), partial(self._ended, victims))

    @property
    def _can_evict(self) -> bool:
        return self._replica.is_leader and self._replica.commands_version >= INTRODUCED[Evict]

    def _choose(self, size_bytes: int) -> Victims:
        """Keys that free so much, or as many as one entry takes."""
        chosen: list[tuple[bytes, int]] = []
        names_size_bytes = 0
        for key in self._candidates():
            held = self._machine.weigh(key)
            if held is None:
                continue
            revision, item_size_bytes = held
            chosen.append((key, revision))
            names_size_bytes += len(key)
            size_bytes -= self._memory.cost_bytes(key, item_size_bytes)
            if size_bytes <= 0 or names_size_bytes > _NAMES_SIZE_BYTES:
                break
        return tuple(chosen)

    def _candidates(self) -> Iterator[bytes]:
        if self._policy is not None:
            return islice(iter(self._policy.take, None), EVICTED_PER_ENTRY_MAX)
        if self._memory.eviction is Eviction.VOLATILE_TTL:
            return iter(self._machine.soonest(EVICTED_PER_ENTRY_MAX))
        return iter(())

    def _ended(self, victims: Victims, outcome: object) -> None:
        self._evicting = False
        if isinstance(outcome, Reply):
            self.evicted += outcome.count
            self._learn()
            self._look()
        elif self._policy is not None:
            for key, _ in victims:  # they may be there still
                self._policy.add(key)


_NAMES_SIZE_BYTES: Final = EVICTED_PER_ENTRY_SIZE_BYTES_MAX - (1 << 10)
"""The last key taken may be a large one."""
