"""The async client: any endpoint will do, and a call ends as committed, refused or unknown.

A write carries an Idempotency-Key made here, so that an attempt whose outcome is unknown is simply
made again, elsewhere: it is applied once. Only a deadline that passes leaves an Unknown behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Final, TypeVar

import aiohttp

from raftcache.client.attempts import (
    ATTEMPT_TIMEOUT_S,
    OPERATION_TIMEOUT_S,
    Request,
    attempt_at,
    new_session,
    once_at,
)
from raftcache.client.backup import BackupCalls
from raftcache.client.endpoints import endpoints_from
from raftcache.client.leases import LeaseCalls
from raftcache.client.members import MemberCalls
from raftcache.client.near import NearCalls
from raftcache.client.paths import path_of
from raftcache.client.quotas import QuotaCalls
from raftcache.client.ranges import Consistency
from raftcache.client.refills import RefillCalls
from raftcache.client.replies import (
    Answer,
    Digest,
    Found,
    NodeStatus,
    Written,
    decoded,
    found,
    refused,
    written,
)
from raftcache.client.txn import TxnCalls
from raftcache.command.limits import REQUESTS_REMEMBERED_MS
from raftcache.errors import (
    BadRequest,
    LeaseLost,
    LockHeld,
    LockLost,
    Overloaded,
    RaftcacheError,
    Refused,
    Unknown,
)
from raftcache.ports import Dice
from raftcache.system import SystemDice

T = TypeVar("T")

NO_DEADLINE: Final = -1
"""ttl(): the key exists and stays."""

TIMEOUT_S_MAX: Final = REQUESTS_REMEMBERED_MS / 1000 / 2
"""A retry must come while the cluster still remembers the first attempt."""

PAUSE_S_MIN: Final = 0.01
PAUSE_S_MAX: Final = 0.25
"""Between two rounds through all endpoints: short beside an election, long beside a request."""


class _Place:
    """The endpoint that answered last: a client and those made of it by within share it."""

    index = 0


_CONCLUSIVE: Final = (LeaseLost, LockHeld, LockLost)
"""The state itself says so, and whatever attempts there were, it stays so."""


class RaftcacheClient(
    MemberCalls, TxnCalls, NearCalls, BackupCalls, LeaseCalls, QuotaCalls, RefillCalls
):
    """Calls to a cluster; open it with `async with`, share it between tasks of one event loop.

    endpoints: URLs of nodes, any of them; from RAFTCACHE_ENDPOINTS if None.
    timeout_s: what one call may take, all of its attempts together; at most TIMEOUT_S_MAX.
    prefers_leader: go to the leader, as answers tell where it is: a write, or a linearizable read,
        saves a hop, and the other nodes are spared. Else stay where the last answer came from.

    Every call raises BadRequest or a subclass for what no retry mends, Refused or a subclass when
    the deadline passes and certainly nothing happened, Unknown when a write may have happened.
    """

    def __init__(
        self,
        endpoints: Sequence[str] | None = None,
        *,
        timeout_s: float = 10.0,
        prefers_leader: bool = False,
        dice: Dice | None = None,
    ) -> None:
        self.endpoints = list(endpoints or endpoints_from(None, os.environ))
        self._timeout_s = _checked(timeout_s)
        self._prefers_leader = prefers_leader
        self._dice = dice or SystemDice()
        self._place = _Place()
        self._session: aiohttp.ClientSession | None = None

    def twin(self) -> RaftcacheClient:
        """Another client of the same endpoints, not opened yet: for a loop of its own."""
        return RaftcacheClient(
            self.endpoints,
            timeout_s=self._timeout_s,
            prefers_leader=self._prefers_leader,
            dice=self._dice,
        )

    def within(self, timeout_s: float) -> RaftcacheClient:
        """This open client, with calls that may take so long: `client.within(0.2).get(key)`."""
        other = copy(self)
        other._timeout_s = _checked(timeout_s)
        return other

    async def __aenter__(self) -> RaftcacheClient:
        self._session = new_session()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None, "closed before it was opened"
        await self._session.close()

    @property
    def is_closed(self) -> bool:
        return self._session is None or self._session.closed

    @property
    def _preferred(self) -> int:
        return self._place.index

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None, "open the client with `async with`"
        return self._session

    # --- reads ----------------------------------------------------------------------------------

    async def get(
        self,
        key: bytes,
        *,
        consistency: Consistency = "linearizable",
        max_staleness_ms: int | None = None,
    ) -> Found | None:
        """The key's value; None if there is no such key."""
        query: dict[str, str | int] = {"consistency": consistency}
        if max_staleness_ms is not None:
            query["max_staleness"] = f"{max_staleness_ms}ms"
        return found(await self._call(Request("GET", path_of(key, query))))

    async def head(self, key: bytes) -> Found | None:
        """As get, without the value."""
        return found(await self._call(Request("HEAD", path_of(key))))

    async def ttl(self, key: bytes) -> int | None:
        """Milliseconds until the key goes; NO_DEADLINE if it stays, None if it is not there."""
        entry = await self.head(key)
        if entry is None:
            return None
        return NO_DEADLINE if entry.ttl_ms is None else entry.ttl_ms

    async def cluster(self) -> NodeStatus:
        """The status of whichever node answers first."""
        return decoded(await self._call(Request("GET", "/v1/cluster")), NodeStatus)

    async def statuses(self, timeout_s: float = 1.0) -> dict[str, NodeStatus | RaftcacheError]:
        """Every endpoint's own status, or why there is none; each is asked once, all at a time."""
        got = await asyncio.gather(*(self._status(e, timeout_s) for e in self.endpoints))
        return dict(zip(self.endpoints, got, strict=True))

    async def digests(self, index: int) -> dict[str, Digest | RaftcacheError]:
        """Every endpoint's digest of its state at an index, or why there is none; asked once."""
        request = Request("GET", f"/v1/cluster/digest?index={index}")
        got = await asyncio.gather(
            *(once_at(self._http, e, request, Digest, self._timeout_s) for e in self.endpoints)
        )
        return dict(zip(self.endpoints, got, strict=True))

    # --- writes ---------------------------------------------------------------------------------

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        lease: int | None = None,
        content_type: str | None = None,
        only_if_absent: bool = False,
        only_if_revision: int | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """Set the key: CREATED or CHANGED; PRECONDITION if it was not absent or had moved on.

        lease: that it goes with, instead of a time of its own; raises LeaseLost if it has ended.
        """
        headers = {"Content-Type": content_type} if content_type else {}
        if only_if_absent:
            headers["If-None-Match"] = "*"
        query: dict[str, str | int] = {} if ttl_ms is None else {"ttl": f"{ttl_ms}ms"}
        if lease is not None:
            query["lease"] = lease
        path = path_of(key, query)
        return await self._write("PUT", path, idempotency_key, value, headers, only_if_revision)

    async def delete(
        self,
        key: bytes,
        *,
        only_if_revision: int | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """Remove the key: DELETED, MISSING or PRECONDITION."""
        path = path_of(key)
        return await self._write("DELETE", path, idempotency_key, revision=only_if_revision)

    async def incr(self, key: bytes, by: int = 1, *, idempotency_key: str | None = None) -> Written:
        """Add to a counter; an absent one counts as 0. `number` is its new value."""
        return await self._write("POST", path_of(key, {"op": "incr", "by": by}), idempotency_key)

    async def append(
        self, key: bytes, value: bytes, *, idempotency_key: str | None = None
    ) -> Written:
        """Add bytes at the end; an absent value counts as empty. `number` is the new size."""
        return await self._write("POST", path_of(key, {"op": "append"}), idempotency_key, value)

    async def expire(
        self, key: bytes, ttl_ms: int, *, idempotency_key: str | None = None
    ) -> Written:
        """Give the key a new deadline, so far from now; MISSING if there is no such key."""
        path = path_of(key, {"op": "expire", "ttl": f"{ttl_ms}ms"})
        return await self._write("POST", path, idempotency_key)

    async def persist(self, key: bytes, *, idempotency_key: str | None = None) -> Written:
        """Take the key's deadline away; MISSING if there is no such key."""
        return await self._write("POST", path_of(key, {"op": "persist"}), idempotency_key)

    async def touch(self, key: bytes, *, idempotency_key: str | None = None) -> Written:
        """Note a use of the key, for what is evicted first; MISSING if there is no such key."""
        return await self._write("POST", path_of(key, {"op": "touch"}), idempotency_key)

    async def _write(
        self,
        method: str,
        path_qs: str,
        idempotency_key: str | None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        revision: int | None = None,
    ) -> Written:
        match = {} if revision is None else {"If-Match": f'"{revision}"'}
        all_headers = {**(headers or {}), **match}
        return written(await self._send(method, path_qs, idempotency_key, body, all_headers))

    async def _send(
        self,
        method: str,
        path_qs: str,
        idempotency_key: str | None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> Answer:
        token = idempotency_key or self._dice.token(16).hex()
        all_headers = {**(headers or {}), "Idempotency-Key": token}
        return await self._call(Request(method, path_qs, body, all_headers, wait_s=wait_s))

    async def _ask(self, path_qs: str, wait_s: float = 0.0) -> Answer:
        return await self._call(Request("GET", path_qs, wait_s=wait_s))

    async def _renew(self, path_qs: str, attempt_timeout_s: float) -> Answer:
        return await self._call(Request("POST", path_qs, attempt_timeout_s=attempt_timeout_s))

    async def _operate(self, method: str, path_qs: str, body: bytes | None = None) -> Answer:
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
            attempt += 1
            if isinstance(got, Answer):
                self._place.index = self._next_place(index, got)
                if maybe and got.status >= 400 and not request.is_remembered:
                    raise _verdict(refused(got), maybe, attempt)
                return got
            if isinstance(got, _CONCLUSIVE):
                raise got
            maybe = maybe or (request.is_write and not got.definite)
            pause_s = self._pause_s(attempt, got)
            if isinstance(got, BadRequest) or now() + pause_s >= deadline:
                raise _verdict(got, maybe, attempt)
            await asyncio.sleep(pause_s)

    def _next_place(self, index: int, answer: Answer) -> int:
        """Where the next call begins: where this one ended, or at the leader it was told of."""
        leader = answer.headers.get("X-Raftcache-Leader")
        if self._prefers_leader and leader in self.endpoints:
            return self.endpoints.index(leader)
        return index

    def _pause_s(self, attempt: int, error: RaftcacheError) -> float:
        """Another endpoint is tried at once; after a whole round, and under overload, later."""
        if isinstance(error, Overloaded) and error.retry_after_s is not None:
            return error.retry_after_s * (0.5 + self._dice.random())
        rounds, rest = divmod(attempt, len(self.endpoints))
        if rest:
            return 0.0
        return min(PAUSE_S_MIN * 2.0 ** min(rounds, 10), PAUSE_S_MAX) * (0.5 + self._dice.random())

    async def _status(self, endpoint: str, timeout_s: float) -> NodeStatus | RaftcacheError:
        request = Request("GET", "/v1/cluster")
        return await once_at(self._http, endpoint, request, NodeStatus, timeout_s)


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
