"""What must hold after every step of every node, whatever the faults (Raft, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from raftcache.command.replies import Reply
from raftcache.command.words import Command
from raftcache.raft.engine.base import LEADER, REGULAR
from raftcache.raft.entries import FORGOTTEN, Position
from raftcache.raft.members import NOBODY, Configuration
from raftcache.raft.members import Member as MemberRecord
from tests.sim import editions
from tests.sim.timekeeper import Timekeeper

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World


_Change: TypeAlias = tuple[int, int, Configuration]
"""index, term, members"""

_NO_CHANGE: Final = (0, 0, NOBODY)
"""Some went, and none came."""


@dataclass(frozen=True, slots=True)
class Heritage:
    """What a cluster begins with of one before it, as far as its nodes show it.

    entries: index -> term, command, term before. applied: index -> cluster time, batch, digest.
    done: what sessions asked for under a token, and the reply.
    """

    index: int
    entries: dict[int, tuple[int, bytes, int]]
    applied: dict[int, tuple[Any, ...]]
    stamp_ms: int
    done: list[tuple[Command, Reply]]


def _standing(engine: Any) -> tuple[object, ...]:
    """All that a step can change of an engine, ours or stock, beside its log; cheap to compare.

    It is looked at after every step, and hardly any step changes it.
    """
    indexes = engine._SyncObj__raftCommitIndex, engine._SyncObj__raftLastApplied
    if engine._SyncObj__raftState != LEADER:
        return indexes
    return *indexes, engine._SyncObj__raftCurrentTerm, *engine._SyncObj__raftMatchIndex.values()


class _Seen:
    """How far one life of one member had come when it was looked at last."""

    def __init__(self, member: Member) -> None:
        self.life = member.life
        self.commit_index = self.applied_index = member.applied_index
        self.state: tuple[object, ...] = ()  # what a step can have changed
        self.last_entry: object = None
        self.led_term = -1
        self.is_expelled = False
        self.match_indexes: dict[str, int] = {}
        self.entries: dict[int, object] = {}  # index -> the very object, to find what is new
        self.first_index = member.entries[0][1] if len(member.entries) else 1
        self.changes: list[tuple[int, Configuration]] = []  # of the members, as its log has them
        self.first: Configuration = member.first  # what it was started with
        self.configuration = self.first  # the latest in its log


class Checker:
    """The cluster's history, as one that sees everything knows it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, _Seen] = {}
        self._leaders: dict[int, str] = {}  # each in one of its lives
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._committed: dict[int, tuple[int, bytes, int]] = {}  # index -> term, command, in term
        self._applied: dict[int, tuple[Any, ...]] = {}
        self._last_applied = 0  # anywhere
        self._may_rest_on: dict[tuple[int, int], int] = {}  # index, term -> that, when it came
        self._stamp_ms = 0
        self._timekeeper = Timekeeper(world)
        self.committed_at: dict[int, int] = {}
        """uid of a proposal -> the index it was committed at"""
        self.refused: dict[int, str] = {}
        self.last_committed = self._begins_at = 1
        self._first_of_term: dict[int, int] = {}  # term -> the first index committed of it
        self._undecided: dict[int, list[Configuration]] = {}  # index -> above the last committed
        self.configurations: list[tuple[int, Configuration]] = []
        """All that were committed, with their indexes."""

    def fail(self, what: str, detail: str) -> None:
        self._world.fail(what, detail)

    def goes_on(self, left: Heritage, kind: type[Member], same_members: bool) -> None:
        """These entries are committed, by decree.

        same_members: what they say of members counts, until the new cluster says otherwise.
        """
        self.last_committed = self._begins_at = left.index
        self._stamp_ms, self._applied = left.stamp_ms, left.applied
        for index, (term, command, prev_term) in left.entries.items():
            self._entries[index, term] = command, prev_term
            self._committed[index] = term, command, term
            self.committed_at |= dict.fromkeys(kind.uids_of(command), index)
            configuration = kind.configuration_of(command)
            if same_members and configuration is not None:
                self.configurations.append((index, configuration))

    def path_to(self, index: int, term: int) -> dict[int, tuple[int, bytes, int]]:
        """All entries up to this one; index -> term, command, term before."""
        path = {}
        while index > 1:
            command, prev_term = self._entries[index, term]
            path[index] = term, command, prev_term
            index, term = index - 1, prev_term
        return dict(reversed(path.items()))

    def has_committed(self, index: int, term: int) -> bool:
        """Whether this entry is the one that is committed there."""
        return index in self._committed and self._committed[index][0] == term

    @property
    def committed(self) -> dict[int, tuple[int, bytes, int]]:
        """All entries that are; as path_to."""
        last = self._committed.get(self.last_committed)
        return {} if last is None else self.path_to(self.last_committed, last[0])

    def started(self, member: Member) -> None:
        known = self._applied.get(member.applied_index)
        if known is not None and known[-1] != member.digest:
            self.fail("states differ", f"{member.name} starts at {member.applied_index}")
        if member.term < member.entries[-1][2]:
            detail = f"{member.name} starts in term {member.term}, with an entry of a later one"
            self.fail("a term was forgotten", detail)
        self._seen[member.name] = seen = _Seen(member)
        seen.configuration = self._base_of(seen) or seen.first

    @property
    def configuration(self) -> Configuration:
        """The latest that is committed."""
        return self.configurations[-1][1] if self.configurations else self._world.bootstrap

    @property
    def undecided(self) -> list[Configuration]:
        """Those that some log has, or had, and that may yet be committed."""
        return [c for some in self._undecided.values() for c in some]

    def check(self, member: Member) -> None:
        """After each step of a member: everything that this step can have changed."""
        if self._world.verdict is not None:
            return
        seen = self._seen[member.name]
        log = member.entries
        state = (len(log), member.expelled, *_standing(member.engine))
        if state != seen.state or log[-1] is not seen.last_entry:
            seen.state, seen.last_entry = state, log[-1]
            changes = self._check_log(member, seen)
            self._check_progress(member, seen)
            if changes:
                self._check_changes(member, seen, changes)
            if member.is_leader:
                self._check_leader(member, seen)
            self._check_expelled(member, seen)
        if self._world.clients.acknowledged:
            self._world.clients.settle()
        if self._world.operators.granted:
            self._world.operators.settle()

    # -- log matching ------------------------------------------------------------------------------

    def _check_log(self, member: Member, seen: _Seen) -> list[_Change]:
        """Entries of one index and term are the same everywhere, and so is what precedes them.

        Returns the configurations among those that are new in this log, the latest first.
        """
        log = member.entries
        at = len(log) - 1
        changes: list[_Change] = []
        while at > 0:
            command, index, term = entry = log[at]
            if entry is seen.entries.get(index) or command is FORGOTTEN:  # and those before it
                break
            _, prev_index, prev_term = log[at - 1]
            if index != prev_index + 1:
                self.fail("log has a gap", f"{member.name}: {index} follows {prev_index}")
            if prev_term > term:
                self.fail("terms fall", f"{member.name}: {term} follows {prev_term} at {index}")
            if (index, term) not in self._entries and (stamp_ms := member.stamp_ms_of(command)):
                self._timekeeper.stamped(member, term, stamp_ms)
            known = self._entries.setdefault((index, term), (command, prev_term))
            self._may_rest_on.setdefault((index, term), self._last_applied)
            if known != (command, prev_term):
                self.fail("log matching", f"{member.name}: entry {index} of term {term} differs")
            seen.entries[index] = entry
            configuration = member.configuration_of(command)
            if configuration is not None:
                changes.append((index, term, configuration))
            at -= 1
        if seen.changes and seen.changes[-1][0] > log[at][1]:
            seen.changes = [c for c in seen.changes if c[0] <= log[at][1]]
            changes = changes or [_NO_CHANGE]
        if seen.first_index != log[0][1]:
            seen.first_index = log[0][1]
            seen.changes = [c for c in seen.changes if c[0] > seen.first_index]
            changes = changes or [_NO_CHANGE]
        return changes

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
            self._check_committed(member, seen, log[index - first])
        seen.commit_index = commit
        if applied != seen.applied_index:
            seen.applied_index = applied
            known = self._applied.get(applied)
            if known is not None and known[-1] != member.digest:
                self.fail("states differ", f"{member.name} at {applied}")

    def _check_committed(self, member: Member, seen: _Seen, entry: Sequence[Any]) -> None:
        command, index, term = entry
        known = self._committed.get(index)
        if known is None:
            self._commit(member, seen, command, index, term)
        elif known[:2] != (term, command):
            detail = f"{index} of term {known[0]} is of term {term} on {member.name}"
            self.fail("committed entry changed", detail)

    def _commit(self, member: Member, seen: _Seen, command: bytes, index: int, term: int) -> None:
        self._committed[index] = (term, command, member.term)
        self.last_committed = max(self.last_committed, index)
        self._first_of_term.setdefault(term, index)
        self._undecided.pop(index, None)
        # As of the step before: a leader commits before it changes anything.
        voters = [m for m in seen.configuration.members if m.voter]
        holders = [m.name for m in voters if self._holds(m, index, term)]
        if 2 * len(holders) <= len(voters):
            names = [m.name for m in voters]
            detail = f"{index} of term {term} is on {holders} of {names}, says {member.name}"
            self.fail("committed without a durable majority", detail)
        configuration = member.configuration_of(command)
        if configuration is not None:
            self.configurations.append((index, configuration))
            self._world.operators.committed(configuration)
        if self._world.profile.upgrade_rate:
            self._check_known(member.version_needed_by(command), voters, index)
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

    def _check_known(self, needed: int, voters: list[MemberRecord], index: int) -> None:
        """A kind of command is used only when every voter knows it."""
        known = {m.name: self._world.members[m.name].commands_version for m in voters}
        if min(known.values()) < needed:
            self.fail("not every voter knows it", f"{index} needs version {needed}: {known}")

    def _holds(self, voter: MemberRecord, index: int, term: int) -> bool:
        """Whether the data that this voter stands for holds this entry, or did until its loss."""
        return bool(self._world.members[voter.name].holds_durably(index, term, voter.id))

    def applied(self, member: Member, index: int, what: tuple[Any, ...]) -> None:
        """A member has applied this at this index; the digest after it comes last."""
        self._last_applied = max(self._last_applied, index)
        if self._applied.setdefault(index, what) != what:
            self.fail("applied entries differ", f"{member.name} at {index}")

    def check_certain(self, certain_index: int, last: Position) -> None:
        """What a log that ends with this entry says was committed for certain.

        That was, and nothing above it that others of its entries may rest on: who asked for these
        may have been answered for those.
        """
        path = self.path_to(*last)
        if certain_index in path and not self.has_committed(certain_index, path[certain_index][0]):
            self.fail("never committed, and certain", f"{certain_index} of {last}")
        for index, (term, command, _) in path.items():
            rests_on = self._may_rest_on[index, term] if command[:1] == REGULAR else 0
            if rests_on > certain_index and self.has_committed(index, term):
                self.fail("answered for, and not certain", f"{rests_on} before {index} of {last}")

    # -- members -----------------------------------------------------------------------------------

    def _check_changes(self, member: Member, seen: _Seen, changes: list[_Change]) -> None:
        """One voter at a time, one change at a time, and none before a commit in the term."""
        before = seen.changes[-1][1] if seen.changes else self._base_of(seen)
        for index, term, configuration in reversed(changes):
            if (index, term) == _NO_CHANGE[:2]:
                continue
            if index > self.last_committed and configuration not in (
                known := self._undecided.setdefault(index, [])
            ):
                known.append(configuration)
            begins = index <= self._begins_at + 1  # with whom a cluster begins is decreed
            if before and len(before.voters ^ configuration.voters) > 1 and not begins:
                detail = f"{sorted(before.voters)} to {sorted(configuration.voters)} at {index}"
                self.fail("more than one voter changed", detail)
            early = term not in self._first_of_term or self._first_of_term[term] > index
            if member.is_leader and term == member.term and early and not begins:
                self.fail("changed before a commit in its term", f"{member.name} at {index}")
            seen.changes.append((index, configuration))
            before = configuration
        seen.configuration = before or seen.first
        counts, latest = member.configuration, seen.configuration
        if editions.without_addresses(counts) != editions.without_addresses(latest):
            detail = f"{member.name}: {member.configuration}, its log: {seen.configuration}"
            self.fail("not the latest in the log counts", detail)
        undecided = [i for i, _ in seen.changes if i > self.last_committed]
        if member.is_leader and len(undecided) > 1:
            self.fail("two changes at a time", f"{member.name} at {undecided}")

    def _base_of(self, seen: _Seen) -> Configuration | None:
        """What the entries that its log begins with follow; None where that is not known."""
        for index, configuration in reversed(self.configurations):
            if index <= seen.first_index:
                return configuration
        return seen.first if seen.first is self._world.bootstrap else None

    def _check_expelled(self, member: Member, seen: _Seen) -> None:
        if member.expelled and not seen.is_expelled and not self._world.is_over:
            seen.is_expelled = True
            self._world.note("{0} is out: {1}", member.name, member.expelled)
            self._world.count["expelled"] += 1
            record = self.configuration.get(member.name)
            is_itself = record is not None and record.id == member.data_id
            if is_itself and not member.is_put_back:
                self.fail("a member was expelled", f"{member.name}: {member.expelled}")

    # -- leaders -----------------------------------------------------------------------------------

    def _check_leader(self, member: Member, seen: _Seen) -> None:
        term, who = member.term, f"{member.name} in its life {member.life}"
        first = self._leaders.setdefault(term, who)
        if first != who:
            self.fail("two leaders", f"{first}, and {who} in term {term}")
        if seen.led_term != term:
            seen.led_term = term
            self._world.count["elections"] += 1
            self._timekeeper.elected(member)
            self._check_completeness(member)
        me = seen.configuration.get(member.name)
        if me is None or not me.voter or me.id not in ("", member.data_id):
            self.fail("leads, and is no voter", f"{member.name} in term {term}: {me}")
        matches = member.match_indexes
        if matches == seen.match_indexes:
            return
        seen.match_indexes = matches
        log = member.entries
        for name, match in matches.items():
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
