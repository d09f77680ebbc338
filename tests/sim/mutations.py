"""Our engine with one rule taken out. A simulator that does not notice proves nothing.

Each mutation names the profile it is looked for in, and within how many seeds it must be caught;
those that show rarely have a story, or begin near a seed that shows them. They are switches of the
simulator alone: each replaces code of a running process, and production has no setting that does
the same. Those with a word are the negative controls that docs/CHAOS.md names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from raftcache.command.replies import Reply
from raftcache.command.words import Evict
from raftcache.ports import Disk
from raftcache.raft import assembly, outbox, rounds, snapshots
from raftcache.raft.datadir import SNAPSHOTS_FOLDER
from raftcache.raft.engine import base, elections, installing, membership, reading, replication
from raftcache.raft.log import Log
from raftcache.raft.replica import Replica
from raftcache.raft.rounds import Rounds
from raftcache.raft.stock import engine as private_copy
from raftcache.raft.wal import Wal
from raftcache.state.changes import Changes
from raftcache.state.keeping import KeepingCommands
from raftcache.state.locks import Locks
from raftcache.state.machine import Machine
from raftcache.state.sessions import Sessions as Remembered
from tests.sim import editions, stories
from tests.sim import mutations_of_backlog as old_entries
from tests.sim import mutations_of_clients as clients
from tests.sim import mutations_of_copies as copies
from tests.sim import mutations_of_epochs as lost
from tests.sim import mutations_of_members as members
from tests.sim import mutations_of_redis as redis
from tests.sim import mutations_of_room as room
from tests.sim import mutations_of_terms as terms
from tests.sim.mutation import Mutation
from tests.sim.stock import StockMember, as_installed
from tests.sim.stories import a_voter_restarts

_parent_receives: Final = private_copy.SyncObj._SyncObj__onMessageReceived


def _truncates_always(self: Any, node: Any, message: Any) -> None:
    """As stock: everything behind prevLogIdx goes, even what matches."""
    self._SyncObj__hear_leader(node, message)
    self._SyncObj__adopt_term(message["term"])
    last = message["prevLogIdx"] + len(message["entries"])
    self._SyncObj__answer = (message["seq"], last)
    self._SyncObj__verified = max(self._SyncObj__verified, last)
    _parent_receives(self, node, message)


def _commits_unverified(self: Any, node: Any, message: Any) -> None:
    """A heartbeat says how far the leader has committed, not how far this log is the leader's."""
    self._SyncObj__hear_leader(node, message)
    self._SyncObj__adopt_term(message["term"])
    self._SyncObj__follow(node)
    self._SyncObj__note_committed(message["commit_index"])
    pong = {"type": "pong", "term": self._SyncObj__raftCurrentTerm, "seq": message["seq"]}
    self._SyncObj__transport.send(node, pong)


def _chunk_commits(self: Any, node: Any, message: Any) -> None:
    """As stock: the first chunk of a snapshot advances the commit index."""
    self._SyncObj__adopt_term(message["term"])
    self._SyncObj__follow(node)
    self._SyncObj__note_committed(message["commit_index"])
    _chunk_rightly(self, node, message)


_chunk_rightly: Final = installing.SyncObj._SyncObj__on_snapshot_chunk


def _answers_without_round(self: Any, peers: Any, now_s: float) -> None:
    while self._waiting:
        _, index, ready = self._waiting.popleft()
        ready(index)
    _settle_rightly(self, peers, now_s)


_settle_rightly: Final = Rounds.settle


def _keeps_verified(self: Any, term: int, voted_for: str | None) -> None:
    verified = self._SyncObj__verified
    _set_term_rightly(self, term, voted_for)
    self._SyncObj__verified = max(verified, self._SyncObj__verified)


_set_term_rightly: Final = base.SyncObj._SyncObj__setCurrentTerm


def _forgets_votes(log: Log, term: int, voted_for: str | None) -> None:
    """They are in no block of their own, so nothing waits for them."""
    log._term, log._voted_for = term, voted_for


def _believes(self: Any, node: Any, message: Any) -> bool:
    return True


def _leads_at_once(self: Any) -> None:
    if self._SyncObj__elects(self._SyncObj__votes):
        self._SyncObj__onBecomeLeader()


def _only_pings(self: Any, node: Any) -> None:
    """What was acknowledged is not sent again: a restarted follower cannot tell that it is so."""
    match = self._SyncObj__raftMatchIndex.get(node, 0)
    _connected_rightly(self, node)
    if self.is_leader and match:
        self._SyncObj__raftNextIndex[node] = match + 1


_connected_rightly: Final = replication.SyncObj._SyncObj__onNodeConnected


def _drops_the_log(log: Log, meta: Any) -> None:
    """As stock: a snapshot clears the journal, and what came after it."""
    log.restart_at(meta.index, meta.term)


def _publishes_unsynced(self: Any, name: str) -> None:
    """Its name is durable, its content perhaps not."""
    self._close()
    self._disk.replace(self._temporary, f"{SNAPSHOTS_FOLDER}/{name}")
    self._disk.sync_folder(SNAPSHOTS_FOLDER)


def _knows_everything(self: Any) -> int:
    """As if no voter were of an older version."""
    return editions.NEWER


def _never_syncs(self: Wal, disk: Disk, segment_size_bytes: int, sync: bool) -> None:
    """The log is written, and acknowledged, and where it is then is up to the disk."""
    _wal_rightly(self, disk, segment_size_bytes, sync=False)


_wal_rightly: Final = Wal.__init__


def _local_index(self: Replica, ready: Callable[[int | None], None]) -> None:
    ready(self._engine.raftLastApplied)


def _commits_alone(self: Any) -> None:
    """What is on the leader's own disk is committed; no other has to have it."""
    durable = self._SyncObj__raftLog.durable_index
    self._SyncObj__raftCommitIndex = max(self._SyncObj__raftCommitIndex, durable)


def _expires_by_the_wall(self: Any, now_ms: int, batch: bytes) -> Any:
    """Each node looks at a clock of its own for what is overdue."""
    return _apply_rightly(self, self._member.clock.wall_ms(), batch)


_apply_rightly: Final = Machine.apply


def _hears_no_time(self: Any, message: Any) -> None:
    """Who votes may know it; the wall clock of who is voted for has the word all the same."""


def _evicts_what_changed(self: KeepingCommands, command: Evict) -> Reply:
    """By its name alone, whatever the key holds by now."""
    found = ((key, self._state.keyspace.find(key)) for key, _ in command.victims)
    victims = tuple((key, stored.mod_revision) for key, stored in found if stored is not None)
    return _evict_rightly(self, Evict(victims))


_evict_rightly: Final = KeepingCommands._evict


def _last_come_first(self: Locks, name: bytes) -> list[int]:
    return list(reversed(list(_queue_rightly(self, name))))


_queue_rightly: Final = Locks.waiting


def _private(owner: Any, name: str, new: Callable[..., Any]) -> AbstractContextManager[Any]:
    return mock.patch.object(owner.SyncObj, f"_SyncObj__{name}", new)


MUTATIONS: Final = (
    Mutation(
        "the log is not synced",
        lambda: mock.patch.object(Wal, "__init__", _never_syncs),
        "crashes",
        10,
        word="no-fsync",
    ),
    Mutation(
        "reads are answered by what is applied here",
        lambda: mock.patch.object(Replica, "read_index", _local_index),
        "partitions",
        10,
        word="local-reads",
    ),
    Mutation(
        "a leader commits without a majority",
        lambda: _private(replication, "advance_commit", _commits_alone),
        "mixed",
        10,
        word="no-majority",
    ),
    Mutation(
        "keys expire by each node's wall clock",
        lambda: mock.patch.object(Machine, "apply", _expires_by_the_wall),
        "mixed",
        10,
        word="wall-clock",
    ),
    Mutation(
        "who leads asks no voter the time",
        lambda: _private(elections, "hear_time", _hears_no_time),
        "crashes",
        2,
    ),
    Mutation(
        "the engine as shipped",
        as_installed,
        "bursts",
        5,
        4,
        word="stock",
        make=StockMember,
    ),
    Mutation(
        "a follower truncates what matches",
        lambda: _private(replication, "on_append_entries", _truncates_always),
        "bursts",
        10,
    ),
    Mutation(
        "a heartbeat commits what is not verified",
        lambda: _private(replication, "on_ping", _commits_unverified),
        "partitions",
        2,
        4,
        story=stories.two_seem_to_have_ended,
    ),
    Mutation(
        "the first chunk of a snapshot commits",
        lambda: _private(installing, "on_snapshot_chunk", _chunk_commits),
        "snapshots",
        40,
    ),
    Mutation(
        "a leader counts itself before its disk does",
        lambda: mock.patch.object(Log, "durable_index", property(lambda log: log.last_index)),
        "mixed",
        10,
    ),
    Mutation(
        "promises leave before the sync",
        lambda: mock.patch.object(outbox, "PROMISES", frozenset()),
        "mixed",
        10,
    ),
    Mutation(
        "reads are answered without a round",
        lambda: mock.patch.object(Rounds, "settle", _answers_without_round),
        "partitions",
        2,
        story=stories.leaders_seem_to_have_ended,
    ),
    Mutation(
        "who asks for an index is a majority",
        lambda: mock.patch.object(reading.SyncObj, "_SyncObj__is_confirmed_by", _believes),
        "partitions",
        2,
        4,
        story=stories.two_seem_to_have_ended,
    ),
    Mutation(
        "a snapshot clears the log behind it",
        lambda: mock.patch.object(assembly, "_tie", _drops_the_log),
        "snapshots",
        10,
    ),
    Mutation(
        "a snapshot is not synced",
        lambda: mock.patch.object(snapshots._GrowingFile, "publish", _publishes_unsynced),
        "snapshots",
        20,
    ),
    Mutation(
        "what one leader verified counts for the next",
        lambda: _private(base, "setCurrentTerm", _keeps_verified),
        "partitions",
        2,
        4,
        story=stories.two_seem_to_have_ended,
    ),
    Mutation(
        "votes are not on the disk",
        lambda: mock.patch.object(Log, "setCurrentTerm", _forgets_votes),
        "calm",
        10,
        story=a_voter_restarts,
    ),
    Mutation(
        "who is alone leads before its vote is on the disk",
        lambda: mock.patch.object(elections.SyncObj, "_SyncObj__count_votes", _leads_at_once),
        "single",
        3,
        story=stories.who_is_alone_crashes_as_it_leads,
    ),
    Mutation(
        "a lease outlasts the election timeout",
        lambda: mock.patch.object(rounds, "LEASE_DRIFT", -1.0),
        "refusals",
        2,
        story=stories.leaders_seem_to_have_ended,
    ),
    Mutation(
        "a refused connection ends what was promised",
        lambda: mock.patch.object(Rounds, "seeks_lease", property(lambda rounds: False)),
        "refusals",
        2,
        word="no-promise",
        story=stories.leaders_seem_to_have_ended,
    ),
    Mutation(
        "a restarted follower is only pinged",
        lambda: _private(replication, "onNodeConnected", _only_pings),
        "mixed",
        40,
    ),
    Mutation(
        "what was tried again is applied again",
        lambda: mock.patch.object(Remembered, "find", return_value=None),
        "sessions",
        20,
        7,
        word="no-idempotency",
    ),
    Mutation(
        "newer commands are used before every voter knows them",
        lambda: mock.patch.object(membership.SyncObj, "commands_version", _knows_everything),
        "upgrades",
        2,
        story=stories.every_version_comes,
    ),
    Mutation(
        "a transaction that is stopped is not undone",
        lambda: mock.patch.object(Changes, "undo", Changes.commit),
        "store",
        3,
        word="no-undo",
    ),
    Mutation(
        "what changed since it was named is evicted",
        lambda: mock.patch.object(KeepingCommands, "_evict", _evicts_what_changed),
        "store",
        5,
    ),
    Mutation(
        "who came last is next at a lock",
        lambda: mock.patch.object(Locks, "waiting", _last_come_first),
        "store",
        5,
        3,
    ),
    Mutation(
        "truncated entries come back",
        old_entries.truncated_comes_back,
        "partitions",
        4,
        story=stories.truncated_entries_are_read,
    ),
    Mutation("forgotten before it is applied", old_entries.forgotten_too_early, "mixed", 10),
    *clients.MUTATIONS,
    *redis.MUTATIONS,
    *lost.MUTATIONS,
    *members.MUTATIONS,
    *room.MUTATIONS,
    *copies.MUTATIONS,
    *terms.MUTATIONS,
)

BY_SWITCH: Final = {mutation.switch: mutation for mutation in MUTATIONS}
