"""Our engine with one rule of Raft's terms taken out; see mutations.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from raftcache.raft.engine import elections
from tests.sim.mutation import Mutation

ANY: Final = 1 << 40
"""A term that no log has."""


def _any_log(rightly: Callable[..., None]) -> Callable[..., None]:
    def on_request(self: Any, node: Any, message: Any) -> None:
        rightly(self, node, message | {"last_log_term": ANY})

    return on_request


@contextmanager
def votes_for_any_log() -> Iterator[None]:
    """A voter does not look whether the candidate has all that it has (Raft, 5.4.1)."""
    engine: Any = elections.SyncObj
    asked, ahead = engine._SyncObj__on_request_vote, engine._SyncObj__on_pre_vote
    with mock.patch.multiple(
        engine,
        _SyncObj__on_request_vote=_any_log(asked),
        _SyncObj__on_pre_vote=_any_log(ahead),
    ):
        yield


MUTATIONS: Final = (Mutation("a vote goes to any log", votes_for_any_log, "partitions", 2),)
