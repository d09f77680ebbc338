"""Reads and writes of keys, with their promises; front doors call this and nothing below it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, cast

from msgspec import Struct

from raftcache.command import checks, codec, versions
from raftcache.command.calls import CALLS, Calls
from raftcache.command.limits import COMMAND_SIZE_BYTES_MAX
from raftcache.command.replies import Item, Reply
from raftcache.command.words import INTRODUCED, Command, LeasedPut, Put, Refill
from raftcache.errors import (
    BadRequest,
    Conflict,
    NotLeader,
    OutOfDisk,
    Overloaded,
    RaftcacheError,
    TooLarge,
)
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.replica import Replica
from raftcache.service.memory import Memory, grows
from raftcache.state.items import read_plain
from raftcache.state.machine import Machine

Outcome: TypeAlias = Reply | RaftcacheError
"""Committed (a Reply), refused (an error with definite=True), or unknown (errors.Unknown)."""

FreshDone: TypeAlias = Callable[[RaftcacheError | None], None]

ReadDone: TypeAlias = Callable[[Item | RaftcacheError | None], None]


class Level(StrEnum):
    """How fresh a read is."""

    LINEARIZABLE = "linearizable"
    """Sees every write acknowledged anywhere before it began (ReadIndex, on any node)."""
    LEASE = "lease"
    """The same, from the leader without a round trip, if clocks drift by less than 10 %."""
    STALE = "stale"
    """This node's own state, at most max_staleness behind its last contact with the leader."""


class Want(Struct, frozen=True):
    """The freshness a reader asks for; max_staleness_ms only with STALE, None for no bound."""

    level: Level = Level.LINEARIZABLE
    max_staleness_ms: int | None = None


LINEARIZABLE: Final = Want()

_SETS: Final = (Put, LeasedPut, Refill)

logger = logging.getLogger("raftcache.kv")


class Kv(Protocol):
    """Shape of the service, for front doors and their tests."""

    def write(self, command: Command, done: Callable[[Outcome], None], width: int = 0) -> None:
        """Replicate one command; done is called exactly once, later or at once, on the loop.

        width: so many elements it looks at, about, if they are many: those of one entry have
        BATCH_WIDTH_MAX together.
        """
        ...

    def read(self, key: bytes, want: Want, done: ReadDone) -> None:
        """The key at the asked freshness; done is called exactly once, later or at once."""
        ...

    def stored(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What is under these keys as of the last entry applied, for those who know it is fresh.

        Where two are the same bytes they are the same item; see plain. None: there is nothing.
        """
        ...

    def plain(self, stored: bytes) -> Item | None:
        """The item of which nothing else need be known; None if time or a lease may end it, or it
        is a collection: then it is for `find`."""
        ...

    def find(self, key: bytes, done: ReadDone) -> None:
        """What a read answers, for those who know that the state is fresh; as read."""
        ...

    def when_fresh(self, want: Want, done: FreshDone, readers: int = 1) -> None:
        """done(None) once the local state is as fresh as asked, or done(why it cannot be).

        Keys that are overdue by cluster time may still be in it: see tick. readers: how many wait
        for it.
        """
        ...

    def before_round(self, begin: Callable[[], None]) -> None:
        """begin() in a later call, when a round for reads may begin.

        Until then more of those may gather who will wait for it together.
        """
        ...

    @property
    def commands_version(self) -> int:
        """The kinds of commands that may be used: see raft/members.py."""
        ...

    def tick(self, done: Callable[[Outcome], None]) -> None:
        """Commit an entry that says nothing but the time: then what is overdue counts as gone."""
        ...

    def now_ms(self) -> int:
        """This node's estimate of cluster time, for showing how long a key has left."""
        ...


class KvService:
    """The real one, over this node's replica and state machine."""

    def __init__(
        self,
        replica: Replica,
        machine: Machine,
        time: ClusterTime,
        value_size_bytes_max: int,
        reads_pending_max: int,
        memory: Memory | None = None,
        note_read: Callable[[bytes], None] | None = None,
    ) -> None:
        """memory: the limit that writes must fit in. note_read: told of keys that are read."""
        self._memory, self._note_read = memory, note_read
        self._replica, self._machine, self._time = replica, machine, time
        self._value_size_bytes_max = value_size_bytes_max
        self._reads_pending_max = reads_pending_max
        self._reads_pending = 0

    def now_ms(self) -> int:
        return self._time.now_ms()

    @property
    def commands_version(self) -> int:
        return self._replica.commands_version

    def before_round(self, begin: Callable[[], None]) -> None:
        self._replica.before_round(begin)

    def write(self, command: Command, done: Callable[[Outcome], None], width: int = 0) -> None:
        if isinstance(command, _SETS) and len(command.value) > self._value_size_bytes_max:
            done(TooLarge(f"the value is over {self._value_size_bytes_max} bytes"))
            return
        word: Any = command
        wrong = checks.check(command)
        if wrong is not None:
            done(BadRequest(wrong))
        elif (
            INTRODUCED[type(command)] > versions.COMMANDS_FIRST
            or (word.once is not None and word.once.is_numbered)  # for most, the first question is
        ) and (
            (needed := codec.version_needed(command)) > (known := self._replica.commands_version)
        ):
            done(self._too_new(needed, known))
        elif self._replica.is_full and grows(command):
            done(OutOfDisk("too few nodes have room on their disks: only what removes goes on"))
        else:
            self._propose(command, done, width)

    def _propose(self, command: Command, done: Callable[[Outcome], None], width: int) -> None:
        if self._memory is not None:
            try:
                done = self._memory.admit(command, done)
            except RaftcacheError as error:
                done(error)
                return
        weight = 1
        if type(command) in CALLS:
            weight = len(cast("Calls", command).calls)
        encoded = codec.encode(command)
        if len(encoded) > COMMAND_SIZE_BYTES_MAX:
            done(TooLarge(f"it takes {len(encoded)} bytes, at most {COMMAND_SIZE_BYTES_MAX} go"))
        else:
            self._replica.propose(encoded, done, weight, width)

    def _too_new(self, needed: int, known: int) -> RaftcacheError:
        replica = self._replica
        if not (replica.configuration_is_committed and replica.configuration.is_claimed):
            # A new cluster, the end of an upgrade, or a node that was told no members yet.
            return NotLeader("not every voter has said yet which commands it knows")
        return Conflict(
            f"this needs commands of version {needed}, but the cluster's voters know only"
            f" those up to {known}: upgrade every node first"
        )

    def read(self, key: bytes, want: Want, done: ReadDone) -> None:
        if self._note_read is not None:
            self._note_read(key)
        self.when_fresh(want, partial(self._look, key, want, done))

    def _look(self, key: bytes, want: Want, done: ReadDone, refused: RaftcacheError | None) -> None:
        if refused is not None:
            done(refused)
        elif want.level is Level.STALE:
            done(self._machine.get(key))
        else:
            self.find(key, done)

    def stored(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if self._note_read is not None:
            for key in keys:
                self._note_read(key)
        return self._machine.stored(keys)

    def plain(self, stored: bytes) -> Item | None:
        return read_plain(stored)

    def when_fresh(self, want: Want, done: FreshDone, readers: int = 1) -> None:
        if self._replica.expelled:
            done(NotLeader(f"this node is out of the cluster: {self._replica.expelled}"))
        elif want.level is Level.STALE:
            done(self._too_stale(want.max_staleness_ms))
        elif want.level is Level.LEASE and self._replica.holds_lease():
            done(None)
        elif self._reads_pending >= self._reads_pending_max:
            done(Overloaded(f"{self._reads_pending} reads are waiting already"))
        else:
            self._reads_pending += readers
            self._replica.read_index(partial(self._became_fresh, done, readers))

    def _became_fresh(self, done: FreshDone, readers: int, index: int | None) -> None:
        self._reads_pending -= readers
        try:
            done(_unconfirmed() if index is None else None)
        except Exception:  # the replica tells others with the same round
            logger.exception("unexpected error")

    def tick(self, done: Callable[[Outcome], None]) -> None:
        self._replica.propose(codec.TICK, done)

    def _too_stale(self, max_staleness_ms: int | None) -> NotLeader | None:
        age_ms = self._replica.state_age_s * 1000
        if max_staleness_ms is not None and age_ms > max_staleness_ms:
            return NotLeader(f"the state here may be {age_ms:.0f} ms old")
        return None

    def find(self, key: bytes, done: ReadDone) -> None:
        """See Kv. An overdue key waits for the log to say so."""
        item = self._machine.get(key)
        if item is not None and item.deadline_ms and item.deadline_ms <= self._time.now_ms():
            self._replica.propose(codec.TICK, lambda outcome: self._after_tick(key, outcome, done))
        else:
            done(item)

    def _after_tick(self, key: bytes, outcome: Outcome, done: ReadDone) -> None:
        done(outcome if isinstance(outcome, RaftcacheError) else self._machine.get(key))


def _unconfirmed() -> NotLeader:
    return NotLeader("no leader could confirm this read")
