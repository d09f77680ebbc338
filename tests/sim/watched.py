"""The real log and state machine, with an account of what went through them for the checker."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from raftcache.raft.entries import Block, Position
from raftcache.raft.log import Log
from raftcache.raft.places import Place
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine
from raftcache.state.state import State
from tests.sim import editions

if TYPE_CHECKING:
    from tests.sim.member import Member


class Durable:
    """What one node's log on disk must be able to give back: the account of its written blocks."""

    def __init__(self) -> None:
        self.writing: Block | None = None
        self._base = 0
        self._terms: list[int] = []  # of the entries after the base
        self._vote: tuple[int, str | None] = (0, None)

    def wrote(self, block: Block) -> None:
        assert block is self.writing
        self._apply(block)
        self.writing = None

    def _apply(self, block: Block) -> None:
        if block.restart:
            self._base, self._terms = block.prev.index, []
        del self._terms[max(0, block.prev.index - self._base) :]
        self._terms += [entry.term for entry in block.entries]
        self._vote = (block.term, block.voted_for)

    @property
    def last_index(self) -> int:
        return self._base + len(self._terms)

    def holds(self, index: int, term: int) -> bool:
        """Whether it holds this entry; what a restart dropped is in a snapshot."""
        if index <= self._base:
            return True
        at = index - self._base - 1
        return at < len(self._terms) and self._terms[at] == term

    def with_block(self, block: Block) -> Durable:
        """What it is when this is written, too."""
        after = copy.copy(self)
        after._terms, after.writing = list(self._terms), block
        after.wrote(block)
        return after

    def begins_at(self, base: Position) -> None:
        """With the state there, and no vote."""
        self._base, self._terms, self._vote = base.index, [], (base.term, None)

    def covered_up_to(self, at: Position) -> Durable:
        """What it is with a snapshot up to there, behind its end, and the same vote."""
        covered = Durable()
        covered._base, covered._vote = at.index, self._vote
        return covered

    def recovered(self, log: Log, snapshot_index: int) -> None:
        """The node has started: it must have found this, or this and the block being written."""
        if not self.fits(log, snapshot_index):
            assert self.writing is not None, "recovery lost, or invented, durable entries or votes"
            self._apply(self.writing)
            assert self.fits(log, snapshot_index), "recovery found neither before nor after"
        self.writing = None
        # Where a snapshot covers all that was being written, both fit: what was found tells.
        self._base, self._terms = log.first_index - 1, [entry.term for entry in log]

    def fits(self, log: Log, snapshot_index: int) -> bool:
        """Whether this is what was found."""
        if (log.getCurrentTerm(), log.getVotedForNodeId()) != self._vote:
            return False
        if snapshot_index < self._base and self._base > 1:
            return False
        last = self._base + len(self._terms)
        if max(last, snapshot_index) != max(log.last_index, snapshot_index):
            return False
        above = [e for e in log if e.index > max(self._base, snapshot_index)]
        return all(self.holds(e.index, e.term) for e in above)


class WatchedMachine(Machine):
    """The real state machine; every batch it applies is shown to the checker."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member

    def apply(self, now_ms: int, batch: bytes) -> list[Any]:
        member = self._member
        if member.world.profile.upgrade_rate:
            editions.meets(member, batch)
        before = self.revision
        replies = super().apply(now_ms, batch)
        member.world.given(member, before, self.revision)
        index = member.applied_index + 1
        member.world.checker.applied(member, index, (now_ms, batch, self.digest))
        if member.world.profile.store:
            member.world.store.audit.look(member)
        if member.world.profile.redis:
            member.world.redis.audit.look(member, index)
        return replies

    def _adopt(self, state: State) -> None:
        self._member.world.count["images loaded"] += 1
        super()._adopt(state)


class WatchedWal:
    """The real log on disk; every block that it made durable is noted."""

    def __init__(self, wal: Wal, durable: Durable) -> None:
        self._wal, self._durable = wal, durable
        self.drop_before, self.remove_dropped = wal.drop_before, wal.remove_dropped

    def write(self, block: Block) -> Place:
        self._durable.writing = block
        place = self._wal.write(block)
        self._durable.wrote(block)
        return place
