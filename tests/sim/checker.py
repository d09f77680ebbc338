"""What must hold after every step of every node, whatever the faults (Raft, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raftcache.raft.entries import Block
from raftcache.raft.log import Log

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World


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

    def holds(self, index: int, term: int) -> bool:
        """Whether it holds this entry; what a restart dropped is in a snapshot."""
        if index <= self._base:
            return True
        at = index - self._base - 1
        return at < len(self._terms) and self._terms[at] == term

    def recovered(self, log: Log, snapshot_index: int) -> None:
        """The node has started: it must have found this, or this and the block being written."""
        if not self._matches(log, snapshot_index):
            assert self.writing is not None, "recovery lost, or invented, durable entries or votes"
            self._apply(self.writing)
            assert self._matches(log, snapshot_index), "recovery found neither before nor after"
        self.writing = None

    def _matches(self, log: Log, snapshot_index: int) -> bool:
        if (log.getCurrentTerm(), log.getVotedForNodeId()) != self._vote:
            return False
        if snapshot_index < self._base and self._base > 1:
            return False
        last = self._base + len(self._terms)
        if max(last, snapshot_index) != max(log.last_index, snapshot_index):
            return False
        above = [e for e in log if e.index > max(self._base, snapshot_index)]
        return all(self.holds(e.index, e.term) for e in above)


class _Seen:
    """How far one life of one member had come when it was looked at last."""

    def __init__(self, member: Member) -> None:
        self.life = member.life
        self.commit_index = self.applied_index = member.applied_index
        self.led_term = -1
        self.entries: dict[int, object] = {}  # index -> the very object, to find what is new


class Checker:
    """The cluster's history, as one that sees everything knows it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, _Seen] = {}
        self._leaders: dict[int, str] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._committed: dict[int, tuple[int, bytes, int]] = {}  # index -> term, command, in term
        self._applied: dict[int, tuple[Any, ...]] = {}
        self._stamp_ms = 0
        self.committed_at: dict[int, int] = {}
        """uid of a proposal -> the index it was committed at"""
        self.refused: dict[int, str] = {}
        self.last_committed = 1

    def fail(self, what: str, detail: str) -> None:
        self._world.fail(what, detail)

    def started(self, member: Member) -> None:
        self._seen[member.name] = _Seen(member)

    def check(self, member: Member) -> None:
        """After each step of a member: everything that this step can have changed."""
        if self._world.verdict is not None:
            return
        seen = self._seen[member.name]
        self._check_log(member, seen)
        self._check_progress(member, seen)
        self._check_leader(member, seen)
        self._world.clients.settle()

    # -- log matching ------------------------------------------------------------------------------

    def _check_log(self, member: Member, seen: _Seen) -> None:
        """Entries of one index and term are the same everywhere, and so is what precedes them."""
        log = member.entries
        at = len(log) - 1
        while at > 0 and seen.entries.get(log[at][1]) is not log[at]:
            command, index, term = entry = log[at]
            _, prev_index, prev_term = log[at - 1]
            if index != prev_index + 1:
                self.fail("log has a gap", f"{member.name}: {index} follows {prev_index}")
            if prev_term > term:
                self.fail("terms fall", f"{member.name}: {term} follows {prev_term} at {index}")
            known = self._entries.setdefault((index, term), (command, prev_term))
            if known != (command, prev_term):
                self.fail("log matching", f"{member.name}: entry {index} of term {term} differs")
            seen.entries[index] = entry
            at -= 1

    # -- commit and apply --------------------------------------------------------------------------

    def _check_progress(self, member: Member, seen: _Seen) -> None:
        commit, applied = member.commit_index, member.applied_index
        if commit < seen.commit_index:
            self.fail("commit index back", f"{member.name}: {seen.commit_index} to {commit}")
        if applied < seen.applied_index:
            self.fail("applied index back", f"{member.name}: {seen.applied_index} to {applied}")
        if not applied <= commit <= member.entries[-1][1]:
            detail = f"{applied} <= {commit} <= {member.entries[-1][1]}"
            self.fail("applied <= committed <= last", f"{member.name}: {detail}")
            return
        log = member.entries
        first = log[0][1]
        for index in range(max(seen.commit_index + 1, first + 1), commit + 1):
            self._check_committed(member, log[index - first])
        seen.commit_index = commit
        if applied != seen.applied_index:
            seen.applied_index = applied
            known = self._applied.get(applied)
            if known is not None and known[-1] != member.digest:
                self.fail("states differ", f"{member.name} at {applied}")

    def _check_committed(self, member: Member, entry: Sequence[Any]) -> None:
        command, index, term = entry
        known = self._committed.get(index)
        if known is None:
            self._commit(member, command, index, term)
        elif known[:2] != (term, command):
            detail = f"{index} of term {known[0]} is of term {term} on {member.name}"
            self.fail("committed entry changed", detail)

    def _commit(self, member: Member, command: bytes, index: int, term: int) -> None:
        self._committed[index] = (term, command, member.term)
        self.last_committed = max(self.last_committed, index)
        members = self._world.members.values()
        holders = sum(m.holds_durably(index, term) for m in members)
        if 2 * holders <= len(members):
            detail = f"{index} of term {term} is on {holders} of {len(members)}, says {member.name}"
            self.fail("committed without a durable majority", detail)
        for uid in member.uids_of(command):
            if uid in self.committed_at:
                self.fail("committed twice", f"{uid} at {self.committed_at[uid]} and {index}")
            if uid in self.refused:
                self.fail("refused, yet committed", f"{uid} at {index}: {self.refused[uid]}")
            self.committed_at[uid] = index
        stamp_ms = member.stamp_ms_of(command)
        if 0 < stamp_ms < self._stamp_ms:
            self.fail("cluster time back", f"{self._stamp_ms} to {stamp_ms} at {index}")
        self._stamp_ms = max(self._stamp_ms, stamp_ms)

    def applied(self, member: Member, index: int, what: tuple[Any, ...]) -> None:
        """A member has applied this at this index; the digest after it comes last."""
        if self._applied.setdefault(index, what) != what:
            self.fail("applied entries differ", f"{member.name} at {index}")

    # -- leaders -----------------------------------------------------------------------------------

    def _check_leader(self, member: Member, seen: _Seen) -> None:
        if not member.is_leader:
            return
        term = member.term
        if self._leaders.setdefault(term, member.name) != member.name:
            self.fail("two leaders", f"{self._leaders[term]} and {member.name} in term {term}")
        if seen.led_term != term:
            seen.led_term = term
            self._world.count["elections"] += 1
            self._check_completeness(member)
        log = member.entries
        for name, match in member.match_indexes.items():
            peer = self._world.members[name]
            at = match - log[0][1]
            if at > 0 and peer.alive and peer.term == term and match > 1:
                held = at < len(log) and peer.holds_durably(match, log[at][2])
                if not held:
                    detail = f"{member.name} believes that {name} holds {match}"
                    self.fail("match index above the durable log", detail)

    def _check_completeness(self, member: Member) -> None:
        """A new leader's log has every entry committed in an earlier term."""
        log = member.entries
        first = log[0][1]
        for index, (term, _, in_term) in self._committed.items():
            at = index - first
            if in_term < member.term and at > 0 and (at >= len(log) or log[at][2] != term):
                self.fail("leader completeness", f"{member.name} lacks {index} of term {term}")
