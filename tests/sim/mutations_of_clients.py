"""Our clients that number their requests, with one rule taken out (see mutations.py)."""

from __future__ import annotations

from typing import Final
from unittest import mock

from raftcache.command.limits import CLIENT_IDLE_MS
from raftcache.command.replies import Status
from raftcache.command.words import Number
from raftcache.state.clients import Client, Clients
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
        self.table._last = min(self.table._last, request.client - 1)
        self.table.put(Client(request.client, now_ms + CLIENT_IDLE_MS, 1))
        self._answers[request.client] = {}
        self.count += 1
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
        20,
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
