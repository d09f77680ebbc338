"""Calls to a cluster: any endpoint will do, and a call ends as committed, refused or unknown.

A write carries a number (numbers.py) or an Idempotency-Key made here, so that an attempt whose
outcome is unknown is simply made again, elsewhere: it is applied once. Only a deadline that passes
leaves an Unknown behind; or a single attempt, while the cluster can remember no more keys; or that
the cluster forgot the client meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Final, Self

import aiohttp

from raftcache.client.attempts import (
    ATTEMPT_TIMEOUT_S,
    IDEMPOTENCY_KEY,
    OPERATION_TIMEOUT_S,
    Request,
    attempt_at,
    new_session,
)
from raftcache.client.endpoints import endpoint_from, endpoints_from
from raftcache.client.numbers import Numbers
from raftcache.client.replies import Answer, refused
from raftcache.command.limits import REQUESTS_REMEMBERED_MS
from raftcache.errors import (
    BadRequest,
    Forgotten,
    LeaseLost,
    LockHeld,
    LockLost,
    Overloaded,
    QuotaExceeded,
    RaftcacheError,
    Refused,
    TooManyKeys,
    Unknown,
)
from raftcache.ports import Dice
from raftcache.system import SystemDice

TIMEOUT_S_MAX: Final = REQUESTS_REMEMBERED_MS / 1000 / 2
"""A retry must come while the cluster still remembers the first attempt."""

PAUSE_S_MIN: Final = 0.01
PAUSE_S_MAX: Final = 0.25
"""Between two rounds through all endpoints: short beside an election, long beside a request."""

ANSWER_S_MIN: Final = 0.01
"""With less time nobody is asked again: what was heard last says more than silence."""


class _Place:
    """The endpoint that answered last: a client and those made of it by within share it."""

    index = 0
    full_until_s = 0.0
    """Until then the cluster is not asked whether it remembers idempotency keys again."""

    def __init__(self, dice: Dice) -> None:
        self.numbers = Numbers(dice)


FULL_S: Final = 1.0
"""A cluster that remembers as many idempotency keys as it may is given so long."""

_CONCLUSIVE: Final = (Forgotten, LeaseLost, LockHeld, LockLost)
"""The state itself says so, and whatever attempts there were, it stays so."""

_NOT_REPEATED: Final = (BadRequest, QuotaExceeded)
"""Asked again it would be answered the same, for some time at least."""


class Calling:
    """What all parts of RaftcacheClient call with, and where its arguments are explained."""

    def __init__(
        self,
        endpoints: Sequence[str] | None = None,
        *,
        timeout_s: float = 10.0,
        prefers_leader: bool = False,
        dice: Dice | None = None,
    ) -> None:
        self.endpoints = [endpoint_from(each) for each in endpoints or ()]
        self.endpoints = self.endpoints or endpoints_from(None, os.environ)
        self._timeout_s = _checked(timeout_s)
        self._prefers_leader = prefers_leader
        self._dice = dice or SystemDice()
        self._place = _Place(self._dice)
        self._session: aiohttp.ClientSession | None = None

    def twin(self) -> Self:
        """Another client of the same endpoints, not opened yet: for a loop of its own."""
        return type(self)(
            self.endpoints,
            timeout_s=self._timeout_s,
            prefers_leader=self._prefers_leader,
            dice=self._dice,
        )

    def within(self, timeout_s: float) -> Self:
        """This open client, with calls that may take so long: `client.within(0.2).get(key)`."""
        other = copy(self)
        other._timeout_s = _checked(timeout_s)
        return other

    async def __aenter__(self) -> Self:
        self._session = new_session()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None, "closed before it was opened"
        await self._place.numbers.stop()
        await self._session.close()

    @property
    def is_closed(self) -> bool:
        return self._session is None or self._session.closed

    @property
    def _preferred(self) -> int:
        """The endpoint that answered last."""
        return self._place.index

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use it within `with`, or `async with`")
        return self._session

    # --- what parts call with -------------------------------------------------------------------

    async def _send(
        self,
        method: str,
        path_qs: str,
        idempotency_key: str | None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> Answer:
        """The answer of any endpoint to a write that is applied once.

        If the caller has not chosen a key, it has a number; if the cluster does not take that, or
        it may wait, a key; if it cannot remember that, it is sent without, and then in one attempt.
        """
        is_ours, numbers = idempotency_key is None, self._place.numbers
        token = self._dice.token(16).hex() if idempotency_key is None else idempotency_key
        all_headers = {**(headers or {}), IDEMPOTENCY_KEY: token}
        for name, value in all_headers.items():
            if not (value.isascii() and value.isprintable()):
                raise BadRequest(f"{name} {value!a} is no printable ASCII")
        request = Request(method, path_qs, body, all_headers, wait_s=wait_s, may_go_bare=is_ours)
        if not is_ours or wait_s:  # what waits on purpose would hold up all numbers after it
            return await self._call(request)
        pending = numbers.begin()
        numbers.see_to_an_id(self._http, self.endpoints[self._preferred])
        if pending is None:
            is_full = asyncio.get_running_loop().time() < self._place.full_until_s
            return await self._call(request.bare(self._timeout_s) if is_full else request)
        try:
            return await self._call(request.numbered(pending.mark))
        finally:
            pending.end()

    async def _ask(self, path_qs: str, wait_s: float = 0.0) -> Answer:
        """The answer of any endpoint to a GET."""
        return await self._call(Request("GET", path_qs, wait_s=wait_s))

    async def _renew(self, path_qs: str, attempt_timeout_s: float) -> Answer:
        """Without an Idempotency-Key: done twice it does no harm, and nothing is to be recalled."""
        return await self._call(Request("POST", path_qs, attempt_timeout_s=attempt_timeout_s))

    async def _operate(self, method: str, path_qs: str, body: bytes | None = None) -> Answer:
        """The answer of any endpoint to what carries no key either; more patient with changes."""
        timeout_s = ATTEMPT_TIMEOUT_S if method == "GET" else OPERATION_TIMEOUT_S
        return await self._call(Request(method, path_qs, body, attempt_timeout_s=timeout_s))

    # --- attempts -------------------------------------------------------------------------------

    async def _call(self, request: Request) -> Answer:
        """The first conclusive answer of any endpoint, or the error the class promises."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout_s + request.wait_s
        first, maybe = self._preferred, False
        attempt = 0
        while True:
            index = (first + attempt) % len(self.endpoints)
            got = await attempt_at(self._http, self.endpoints[index], request, deadline - now())
            if not maybe and (lesser := self._lesser(request, got)) is not None:
                request = lesser
                continue
            attempt += 1
            if isinstance(got, Answer):
                self._place.index = self._next_place(index, got)
                if maybe and got.status >= 400 and not request.is_remembered:
                    raise _verdict(refused(got), maybe, attempt)
                return got
            if isinstance(got, _CONCLUSIVE) or (
                isinstance(got, QuotaExceeded) and request.is_remembered
            ):
                raise got
            maybe = maybe or (request.is_write and not got.definite)
            pause_s = self._pause_s(attempt, got)
            is_last = isinstance(got, _NOT_REPEATED) or (maybe and request.goes_once)
            if is_last or now() + pause_s >= deadline:
                raise _verdict(got, maybe, attempt)
            await asyncio.sleep(pause_s)
            if deadline - now() < ANSWER_S_MIN:  # the pause took longer than it should
                raise _verdict(got, maybe, attempt)

    def _lesser(self, request: Request, got: Answer | RaftcacheError) -> Request | None:
        """What to send instead, as nothing has happened: a key if it was a number, or none."""
        if request.spare_key:
            if isinstance(got, Forgotten):
                self._place.numbers.forget()
            elif not isinstance(got, TooManyKeys) and type(got) is not BadRequest:
                return None  # BadRequest: a node of an older version takes a number for no key
            return request.keyed()
        if isinstance(got, TooManyKeys) and request.may_go_bare:
            self._place.full_until_s = asyncio.get_running_loop().time() + FULL_S
            return request.bare(self._timeout_s)
        return None

    def _next_place(self, index: int, answer: Answer) -> int:
        """Where the next call begins: where this one ended, or at the leader it was told of."""
        leader = answer.headers.get("X-Raftcache-Leader")
        if self._prefers_leader and leader in self.endpoints:
            return self.endpoints.index(leader)
        return index

    def _pause_s(self, attempt: int, error: RaftcacheError) -> float:
        """Before the next attempt, when so many have failed, the last one like this.

        Another endpoint is tried at once; after a whole round, and under overload, later.
        """
        if isinstance(error, Overloaded) and error.retry_after_s is not None:
            return error.retry_after_s * (0.5 + self._dice.random())
        rounds, rest = divmod(attempt, len(self.endpoints))
        if rest:
            return 0.0
        return min(PAUSE_S_MIN * 2.0 ** min(rounds, 10), PAUSE_S_MAX) * (0.5 + self._dice.random())


def _checked(timeout_s: float) -> float:
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise BadRequest(f"a timeout must be above 0 and at most {TIMEOUT_S_MAX:g} s")
    return timeout_s


def _verdict(error: RaftcacheError, maybe: bool, attempts: int) -> RaftcacheError:
    """What the caller is told in the end; an unknown attempt is never reported as a refusal."""
    if maybe:
        return Unknown(f"it may have happened, or may yet: after {attempts} attempts, {error}")
    if isinstance(error, Unknown):  # a read: nothing can have happened
        return Refused(f"after {attempts} attempts, {error}")
    return error
