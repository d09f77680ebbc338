"""Our clients that number their requests, with one rule taken out (see mutations.py)."""

from __future__ import annotations

from typing import Final
from unittest import mock

from raftcache.command.replies import Status
from raftcache.command.words import Number
from raftcache.state.clients import Clients
from tests.sim.mutation import Mutation

_hear_rightly: Final = Clients.hear


def _hears_duplicates(self: Clients, request: Number, now_ms: int) -> Status | None:
    """What a client does not wait for any more is done, as nothing is remembered of it."""
    heard = _hear_rightly(self, request, now_ms)
    return None if heard is Status.ANSWERED else heard


def _hears_strangers(self: Clients, request: Number, now_ms: int) -> Status | None:
    """A client that is not known is taken for a new one."""
    if _hear_rightly(self, request, now_ms) is Status.FORGOTTEN:
        if (gone := self.table.get(request.client)) is not None:
            self._drop(gone)
        last, self.table._last = self.table._last, request.client - 1
        self.register(request.client, now_ms)
        self.table._last = max(last, request.client)
        for table in (self.table._records, self._answers):  # as images have them
            known = sorted(table.items())
            table.clear()
            table.update(known)
    return _hear_rightly(self, request, now_ms)


def _hears_no_others(self: Clients, request: Number, now_ms: int) -> Status | None:
    """As if a client had one request under way at a time."""
    alone = Number(request.client, request.number, request.number)
    return _hear_rightly(self, alone, now_ms)


MUTATIONS: Final = (
    Mutation(
        "a number that is not waited for any more is done",
        lambda: mock.patch.object(Clients, "hear", _hears_duplicates),
        "numbered",
        10,
    ),
    Mutation(
        "who was forgotten is taken for new",
        lambda: mock.patch.object(Clients, "hear", _hears_strangers),
        "numbered",
        10,
    ),
    Mutation(
        "a number ends all below it",
        lambda: mock.patch.object(Clients, "hear", _hears_no_others),
        "numbered",
        3,
    ),
    Mutation(
        "what was answered to a number is not remembered",
        lambda: mock.patch.object(Clients, "find", return_value=None),
        "numbered",
        5,
        word="no-numbers",
    ),
)
