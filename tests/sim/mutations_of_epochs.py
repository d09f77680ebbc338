"""Recovery and backups with one rule taken out; see mutations.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any, Final
from unittest import mock

from msgspec.structs import replace

from raftcache.cluster import recovery
from raftcache.cluster.backup import Backups
from raftcache.command.calls import Calls
from raftcache.command.limits import REVISION_BUMP
from raftcache.command.replies import CallsReply
from raftcache.raft import assembly, inspection
from raftcache.raft.datadir import read_identity
from raftcache.raft.entries import Entry, Recovered
from raftcache.raft.greetings import Identity
from raftcache.raft.log import Log
from raftcache.raft.roll import Roll
from raftcache.raft.wal import Replay
from raftcache.state import image
from raftcache.state.machine import Machine
from raftcache.state.redis.execute import CallCommands
from tests.sim.mutation import Mutation
from tests.sim.stories import (
    a_restore_goes_back,
    what_was_acknowledged_is_lost,
    who_was_away_is_left,
)

_refusal_rightly: Final = Identity.refusal
_recover_rightly: Final = recovery.recover
_plan_rightly: Final = recovery.plan
_configuration_rightly: Final = recovery._configuration
_entries_rightly: Final = inspection._entries_after
_recovered_rightly: Final = Replay.recovered
_raise_rightly: Final = Machine.raise_revision
_execute_rightly: Final = CallCommands.execute


def _of_this_cluster(self: Identity, hello: Any, *args: Any) -> Any:
    return _refusal_rightly(self, hello | {"cluster_id": self.cluster_id}, *args)


def any_cluster_is_heard() -> AbstractContextManager[Any]:
    """Whoever has the name of a member is taken for it, whatever cluster it is of."""
    return mock.patch.object(Identity, "refusal", _of_this_cluster)


@contextmanager
def the_lost_are_heard() -> Iterator[None]:
    """The same, and a recovered node does not know whose data is of no member any more."""

    def forgetful(*args: Any) -> Any:
        return replace(_configuration_rightly(*args), removed=())

    with (
        any_cluster_is_heard(),
        mock.patch.object(recovery, "_configuration", forgetful),
        mock.patch.object(Roll, "is_other", return_value=False),
    ):
        yield


def the_tail_is_dropped() -> AbstractContextManager[Any]:
    """Recovery leaves out the last entry, as if what is not known to be committed were nothing."""

    def entries(log: Recovered, *args: Any) -> list[Entry]:
        return _entries_rightly(log, *args)[:-1]

    return mock.patch.object(inspection, "_entries_after", entries)


def members_before_the_name() -> AbstractContextManager[Any]:
    """Recovery makes the node the only voter, and then gives the cluster another id."""

    def recover(disk: Any, *args: Any) -> Any:
        with mock.patch.object(recovery, "write_identity"):
            identity = _recover_rightly(disk, *args)
        recovery.write_identity(disk, identity)
        return identity

    return mock.patch.object(recovery, "recover", recover)


def all_is_certain() -> AbstractContextManager[Any]:
    """Recovery takes all of the log for committed."""

    def recovered(replay: Replay, torn_bytes: int) -> Recovered:
        log = _recovered_rightly(replay, torn_bytes)
        return replace(log, committed_index=replay._last().index)

    return mock.patch.object(Replay, "recovered", recovered)


def forgetful() -> AbstractContextManager[Any]:
    """A node that starts believes nothing of what its log says of what is committed."""

    class Forgetful(Log):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.committed_index = 0

    return mock.patch.object(assembly, "Log", Forgetful)


def revisions_go_on() -> AbstractContextManager[Any]:
    """The new cluster's revision is the one that is left: what was lost had higher ones."""
    return mock.patch.object(Machine, "raise_revision")


def raised_by_the_name() -> AbstractContextManager[Any]:
    """A second try of a recovery takes it that the first one has raised the revision already."""

    def plan(disk: Any, bump: int) -> Any:
        identity = read_identity(disk)
        is_second = identity is not None and identity.origin.startswith("recovered")
        return _plan_rightly(disk, 0 if is_second else bump)

    return mock.patch.object(recovery, "plan", plan)


def older_is_unchanged() -> AbstractContextManager[Any]:
    """A watched key may have a lower revision than it was watched at, as if they only rose."""

    def execute(commands: CallCommands, command: Calls) -> CallsReply:
        now = ((key, at, commands._changes.find(key)) for key, at in command.watched)
        watched = tuple(
            (key, at if found is None else min(at, found.mod_revision)) for key, at, found in now
        )
        return _execute_rightly(commands, replace(command, watched=watched))

    return mock.patch.object(CallCommands, "execute", execute)


def each_by_its_own() -> AbstractContextManager[Any]:
    """Each member of a restored cluster raises the revision by what it thinks is enough."""
    numbers = count(REVISION_BUMP)

    def raise_revision(self: Machine, by: int) -> None:
        _raise_rightly(self, next(numbers))

    return mock.patch.object(Machine, "raise_revision", raise_revision)


def backup_of_what_is_here() -> AbstractContextManager[Any]:
    """A backup is of what this node has, or had when it took its last snapshot."""

    async def read_index(self: Backups) -> int:
        return 0

    return mock.patch.object(Backups, "_read_index", read_index)


def torn_image() -> AbstractContextManager[Any]:
    """The state is captured when the first part of the image is read, not when it was asked for."""

    def dump(self: Machine) -> Iterator[bytes]:
        return image._slices(self._state)

    return mock.patch.object(Machine, "dump", dump)


MUTATIONS: Final = (
    Mutation("any cluster is heard", any_cluster_is_heard, "restore", 10, word="any-cluster"),
    Mutation("who was lost is heard", the_lost_are_heard, "recover", 10, word="lost-members"),
    Mutation("recovery drops the last entry", the_tail_is_dropped, "recover", 3, word="tail"),
    Mutation(
        "alone before it has a new id",
        members_before_the_name,
        "recover",
        5,
        story=what_was_acknowledged_is_lost,
    ),
    Mutation(
        "all of a log is certain",
        all_is_certain,
        "recover",
        2,
        word="certain",
        story=what_was_acknowledged_is_lost,
    ),
    Mutation(
        "what was committed is forgotten",
        forgetful,
        "recover",
        3,
        story=who_was_away_is_left,
    ),
    Mutation(
        "lost revisions come again",
        revisions_go_on,
        "restore",
        2,
        word="no-bump",
        story=a_restore_goes_back,
    ),
    Mutation(
        "lost revisions come again, recovered",
        revisions_go_on,
        "recover",
        2,
        story=what_was_acknowledged_is_lost,
    ),
    Mutation(
        "a recovery done again does not raise",
        raised_by_the_name,
        "recover",
        3,
        story=what_was_acknowledged_is_lost,
    ),
    Mutation(
        "what is older is unchanged",
        older_is_unchanged,
        "restore",
        5,
        first=7,
        word="old-watch",
        story=a_restore_goes_back,
    ),
    Mutation(
        "each member raises by its own",
        each_by_its_own,
        "restore",
        2,
        story=a_restore_goes_back,
    ),
    Mutation("a backup has no round", backup_of_what_is_here, "restore", 5, word="old-backup"),
    Mutation("a backup is of two moments", torn_image, "restore", 5, word="torn-backup"),
)
