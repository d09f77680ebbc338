"""Our engine with one rule taken out of what it does where disks have no room; see mutations.py."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from raftcache.raft.engine import replication
from raftcache.raft.room import Room
from tests.sim import stories
from tests.sim.mutation import Mutation


def _stays_full() -> AbstractContextManager[Any]:
    """Where there is hardly any room, nobody tries to make some."""
    return mock.patch.object(Room, "wants_snapshot", property(lambda room: False))


def _never_full() -> AbstractContextManager[Any]:
    """Whoever has room or not: clients write until the log finds none, on all disks at once."""
    return mock.patch.object(replication.SyncObj, "is_full", property(lambda engine: False))


MUTATIONS: Final = (
    Mutation("nobody makes room", _stays_full, "room", 2, 2, story=stories.logs_fill_all_disks),
    Mutation("clients fill all disks", _never_full, "room", 2, story=stories.others_fill_all_disks),
)
