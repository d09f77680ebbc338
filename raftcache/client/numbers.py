"""Numbers for a client's writes: each is done once, and nothing need be remembered of it for long.

A client registers with its second write, in the background: whoever makes one only, like a command
line, has no use for an id. Until then, and wherever a number will not do, a write goes with a key.
An id is one process's: after a fork the child begins without one, for with the parent's its writes
would have numbers that stand for the parent's. A client that outlives its cluster may have an id
that a new cluster at the same addresses gives to another one; so each begins with a number by
chance, and what one of them was answered never stands for the other's: both are refused, and ask
for new ids.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

import aiohttp
from msgspec import Struct

from raftcache.client.attempts import ATTEMPT_TIMEOUT_S, Request, attempt_at
from raftcache.client.replies import Answer, decoded
from raftcache.errors import Unknown
from raftcache.ports import Dice

CLIENTS: Final = "/v1/clients"

AGAIN_S: Final = 1.0
"""A cluster that gave no id is asked again after so long ..."""

UNABLE_S: Final = 60.0
"""... or so long, if a node of an older version is why."""

FIRST_NUMBER_BYTES: Final = 6
"""Two that begin by chance come within reach of each other once in some billions."""


class _Registered(Struct, frozen=True):
    client: int
    requests_max: int


class Numbers:
    """Those of one client, if it has an id."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._id = self._requests_max = self._last = 0
        self._pending: dict[int, None] = {}  # numbers whose answers are waited for, in order
        self._process = os.getpid()
        self._writes = 0
        self._not_before_s = 0.0
        self._registering: asyncio.Task[None] | None = None

    def begin(self) -> Pending | None:
        """The number of a write; None if it is to go with a key."""
        if self._process != os.getpid():
            self._process, self._registering = os.getpid(), None
            self.forget()
        self._writes += 1
        lowest = next(iter(self._pending), self._last + 1)
        if not self._id or self._last + 1 - lowest >= self._requests_max:
            return None
        self._last += 1
        return Pending(self._id, self._last, self._pending)

    def forget(self) -> None:
        """The cluster does not know the id any more."""
        self._id = 0

    def see_to_an_id(self, http: aiohttp.ClientSession, endpoint: str) -> None:
        """Begin to register, if it is time to."""
        is_idle = self._registering is None or self._registering.done()
        now_s = asyncio.get_running_loop().time()
        if not self._id and self._writes > 1 and is_idle and now_s >= self._not_before_s:
            self._registering = asyncio.create_task(self._register(http, endpoint))

    async def stop(self) -> None:
        """Register no more."""
        if self._registering is not None:
            self._registering.cancel()
            await asyncio.gather(self._registering, return_exceptions=True)

    async def _register(self, http: aiohttp.ClientSession, endpoint: str) -> None:
        got = await attempt_at(http, endpoint, Request("POST", CLIENTS), ATTEMPT_TIMEOUT_S)
        registered = _read(got) if isinstance(got, Answer) else None
        if registered is None:
            is_unable = got.status in (404, 409)
            wait_s = UNABLE_S if is_unable else AGAIN_S
            self._not_before_s = asyncio.get_running_loop().time() + wait_s
            return
        self._id, self._requests_max = registered.client, registered.requests_max
        self._last, self._pending = int.from_bytes(self._dice.token(FIRST_NUMBER_BYTES)), {}


class Pending:
    """A write with a number; until its end the cluster remembers what it was answered."""

    def __init__(self, client_id: int, number: int, pending: dict[int, None]) -> None:
        pending[number] = None
        self._number, self._pending = number, pending
        lowest = next(iter(pending))
        self.mark: Final = f"client={client_id} number={number} pending-from={lowest}"
        """For every attempt of it."""

    def end(self) -> None:
        """It has its answer, or nobody waits for it any more: it is not to be sent again."""
        del self._pending[self._number]


def _read(answer: Answer) -> _Registered | None:
    try:
        return decoded(answer, _Registered)
    except Unknown:
        return None
