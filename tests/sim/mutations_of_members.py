"""Our engine with one rule of membership taken out; see mutations.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from raftcache.raft.engine import base, elections, membership, replication
from raftcache.raft.roll import Roll
from tests.sim import stories
from tests.sim.mutation import Mutation


def _private(owner: Any, name: str) -> Any:
    return getattr(owner.SyncObj, f"_SyncObj__{name}")


_advance_rightly: Final = _private(replication, "advance_commit")
_changed_rightly: Final = _private(membership, "changed")
_claim_rightly: Final = _private(membership, "claim_members")
_apply_rightly: Final = _private(membership, "apply_configuration")
_cut_rightly: Final = _private(base, "deleteEntriesFrom")


@contextmanager
def _with(engine: Any, name: str, value: Any) -> Iterator[None]:
    """A field of an engine is another one for a while."""
    name = f"_SyncObj__{name}"
    rightly = getattr(engine, name)
    setattr(engine, name, value)
    try:
        yield
    finally:
        setattr(engine, name, rightly)


def _advance_by_anyone(self: Any) -> None:
    with _with(self, "voters", frozenset(self._SyncObj__otherNodes)):
        _advance_rightly(self)


@contextmanager
def learners_count() -> Iterator[None]:
    """Acknowledgements of learners count for the commit."""
    with mock.patch.object(replication.SyncObj, "_SyncObj__advance_commit", _advance_by_anyone):
        yield


def _changes_at_once(self: Any, change: Any) -> Any:
    last = self._SyncObj__configurations[-1][0]
    with _with(self, "raftCommitIndex", max(last, self._SyncObj__raftCommitIndex)):
        return _changed_rightly(self, change)


@contextmanager
def several_changes() -> Iterator[None]:
    """A change begins while another one is not committed."""
    with mock.patch.object(membership.SyncObj, "_SyncObj__changed", _changes_at_once):
        yield


def _early(rightly: Callable[..., Any]) -> Callable[..., Any]:
    def early(self: Any, *args: Any) -> Any:
        with _with(self, "noopIDx", 0):
            return rightly(self, *args)

    return early


@contextmanager
def changes_before_commit() -> Iterator[None]:
    """A leader changes the members before it has committed in its term (Ongaro, 2015)."""
    with mock.patch.multiple(
        membership.SyncObj,
        _SyncObj__changed=_early(_changed_rightly),
        _SyncObj__claim_members=_early(_claim_rightly),
    ):
        yield


def _committed_only(self: Any) -> Any:
    known = self._SyncObj__configurations
    commit = getattr(self, "_SyncObj__raftCommitIndex", 0)
    return next((c for i, c in reversed(known) if i <= commit), known[0][1])


def _uses_what_it_applies(self: Any, index: int) -> None:
    _apply_rightly(self, index)
    self._SyncObj__use_configuration()


@contextmanager
def effective_at_commit() -> Iterator[None]:
    """A configuration counts when it is committed, not when it is in the log."""
    with mock.patch.multiple(
        membership.SyncObj,
        configuration=property(_committed_only),
        _SyncObj__apply_configuration=_uses_what_it_applies,
    ):
        yield


@contextmanager
def not_rolled_back() -> Iterator[None]:
    """A configuration goes on to count when its entry was truncated."""
    with mock.patch.object(membership.SyncObj, "_SyncObj__deleteEntriesFrom", _cut_rightly):
        yield


def _votes_for_anyone(self: Any, message: Any) -> bool:
    return True


@contextmanager
def lost_data_votes() -> Iterator[None]:
    """A node that lost its disk goes on under its name as if nothing had happened."""
    with (
        mock.patch.object(elections.SyncObj, "_SyncObj__may_vote", _votes_for_anyone),
        mock.patch.object(Roll, "is_other", return_value=False),
    ):
        yield


def _outranks_all(self: Any, member: Any) -> None:
    self._SyncObj__seen.pop(member.name, None)


@contextmanager
def dropped_is_lost() -> Iterator[None]:
    """An address that a leader of an older version drops is not claimed anew."""
    with mock.patch.object(membership.SyncObj, "_SyncObj__outrank", _outranks_all):
        yield


MUTATIONS: Final = (
    Mutation("acknowledgements of learners count", learners_count, "membership", 20, 6),
    Mutation("two changes at a time", several_changes, "membership", 20),
    Mutation("members change at the commit", effective_at_commit, "membership", 20),
    Mutation(
        "truncated members go on to count",
        not_rolled_back,
        "membership",
        2,
        story=stories.a_change_is_truncated,
    ),
    Mutation(
        "a node without its data votes",
        lost_data_votes,
        "membership",
        4,
        story=stories.a_lost_disk_may_vote,
    ),
    Mutation(
        "what older leaders drop is lost",
        dropped_is_lost,
        "upgrades",
        2,
        story=stories.every_version_comes,
    ),
    Mutation("changed before a commit in the term", changes_before_commit, "membership", 60),
)
