"""Our log with one rule taken out of how old entries are found on the disk; see mutations.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest import mock

from raftcache.raft.backlog import Backlog
from raftcache.raft.log import Log
from raftcache.raft.places import Place, Places

_forget_rightly: Final = Log.forget_commands


@contextmanager
def truncated_comes_back() -> Iterator[None]:
    """Where truncated entries lay is found again, and nobody compares what was read."""

    def wrote(places: Places, first_index: int, place: Place) -> None:
        places._first_indexes.append(first_index)
        places._segments.append(place.segment)
        places._offsets.append(place.offset_bytes)

    with (
        mock.patch.object(Places, "cut_after", return_value=None),
        mock.patch.object(Places, "wrote", wrote),
        mock.patch.object(Backlog, "_verify", return_value=None),
    ):
        yield


def forgotten_too_early() -> AbstractContextManager[Any]:
    """What is durable is forgotten before it is applied."""

    def forget_commands(log: Log, applied_index: int) -> bool:
        return _forget_rightly(log, log.last_index)

    return mock.patch.object(Log, "forget_commands", forget_commands)
