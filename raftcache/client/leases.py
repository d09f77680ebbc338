"""Leases and locks, as the client asks for them: one call after the other, or held by `async with`.

A lock protects only what checks its token: a holder that was stopped for longer than its time to
live does not know that it lost the lock (docs/CONSISTENCY.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from msgspec import Struct

from raftcache.client.attempts import ATTEMPT_TIMEOUT_S
from raftcache.client.calling import Calling
from raftcache.client.holding import Held, until
from raftcache.client.paths import escaped, query_of, unescaped
from raftcache.client.replies import Answer, decoded
from raftcache.command.limits import LOCK_NAME_SIZE_BYTES_MAX, LOCK_WAIT_MS_MAX
from raftcache.errors import BadRequest, LeaseLost, LockHeld, LockLost

LEASES: Final = "/v1/leases"
LOCKS: Final = "/v1/locks"
FOLLOW_MS: Final = 60_000
"""After which a question for a change is asked again."""


class LeaseState(Struct, frozen=True):
    """A lease. ttl_ms: what is left of granted_ttl_ms. keys: the first of them, where asked for."""

    id: int
    ttl_ms: int
    granted_ttl_ms: int
    key_count: int
    keys: tuple[bytes, ...] = ()


class Grant(Struct, frozen=True):
    """A lock that is held by its token, or a lease, which has its id there; what it has left."""

    token: int
    ttl_ms: int
    replayed: bool = False


class LockState(Struct, frozen=True):
    """Who holds a lock: nobody, if token is 0. waiting: how many are in its queue."""

    token: int
    ttl_ms: int | None
    waiting: int
    value: bytes


class _LeaseBody(Struct, frozen=True):
    lease: int
    ttl_ms: int
    granted_ttl_ms: int = 0
    key_count: int = 0
    keys: tuple[str, ...] = ()

    def state(self) -> LeaseState:
        keys = tuple(unescaped(key) for key in self.keys)
        return LeaseState(self.lease, self.ttl_ms, self.granted_ttl_ms, self.key_count, keys)


class _LeasesBody(Struct, frozen=True):
    leases: tuple[_LeaseBody, ...]
    more: bool


class _RevokedBody(Struct, frozen=True):
    deleted: int


class _GrantBody(Struct, frozen=True):
    token: int
    ttl_ms: int


class _LockBody(Struct, frozen=True):
    name: str
    token: int
    ttl_ms: int | None
    waiting: int
    value_base64: bytes | None

    def state(self) -> LockState:
        return LockState(self.token, self.ttl_ms, self.waiting, self.value_base64 or b"")


class _LocksBody(Struct, frozen=True):
    locks: tuple[_LockBody, ...]
    more: bool


class LeaseCalls(Calling):
    """A part of RaftcacheClient. Raises LeaseLost, LockHeld and LockLost beside what all raise."""

    # --- leases ---------------------------------------------------------------------------------

    async def grant_lease(self, ttl_ms: int, *, idempotency_key: str | None = None) -> Grant:
        """A new lease; its id is the token."""
        path = LEASES + query_of({"ttl": f"{ttl_ms}ms"})
        return _granted(await self._send("POST", path, idempotency_key))

    async def keep_lease(
        self, lease: int, *, attempt_timeout_s: float = ATTEMPT_TIMEOUT_S
    ) -> Grant:
        """Give it its whole time again; LeaseLost if it has ended.

        attempt_timeout_s: after which a silent node is left for the next.
        """
        path = f"{LEASES}/{lease}?op=keepalive"
        return _granted(await self._renew(path, attempt_timeout_s))

    async def revoke_lease(self, lease: int, *, idempotency_key: str | None = None) -> int:
        """End it; how many keys went with it. LeaseLost if it has ended before."""
        answer = await self._send("DELETE", f"{LEASES}/{lease}", idempotency_key)
        return decoded(answer, _RevokedBody).deleted

    async def lease_state(self, lease: int) -> LeaseState:
        """What it has left, and its first keys; LeaseLost if it has ended."""
        return decoded(await self._ask(f"{LEASES}/{lease}"), _LeaseBody).state()

    async def leases(self) -> AsyncGenerator[LeaseState, None]:
        """All leases by id, page by page; without their keys."""
        after, more = 0, True
        while more:
            path = LEASES + (f"?after={after}" if after else "")
            page = decoded(await self._ask(path), _LeasesBody)
            for body in page.leases:
                after = body.lease
                yield body.state()
            more = page.more

    def lease(self, ttl_ms: int) -> HeldLease:
        """A lease that is kept alive while an `async with` lasts, and revoked at its end."""
        return HeldLease(self, ttl_ms)

    # --- locks ----------------------------------------------------------------------------------

    async def acquire(
        self,
        name: bytes,
        ttl_ms: int,
        *,
        wait_ms: int = 0,
        delay_ms: int = 0,
        value: bytes = b"",
        idempotency_key: str | None = None,
    ) -> Grant:
        """Take a lock, wait_ms in its queue at most; LockHeld if that was not enough.

        delay_ms: how long nobody gets it if this holder lets it run out. After an Unknown this
        may hold it, or get it yet, for ttl_ms: ask again with the same idempotency_key.
        """
        query = {"ttl": f"{ttl_ms}ms"}
        if wait_ms:
            query["wait"] = f"{wait_ms}ms"
        if delay_ms:
            query["lock_delay"] = f"{delay_ms}ms"
        path = _path(name) + query_of(query)
        wait_s = wait_ms / 1000
        return _granted(await self._send("POST", path, idempotency_key, value, wait_s=wait_s))

    async def keep_lock(
        self, name: bytes, token: int, *, attempt_timeout_s: float = ATTEMPT_TIMEOUT_S
    ) -> Grant:
        """Give the holder its whole time again; LockLost if it is the holder no more.

        attempt_timeout_s: after which a silent node is left for the next.
        """
        path = f"{_path(name)}?op=keepalive&token={token}"
        return _granted(await self._renew(path, attempt_timeout_s))

    async def release(self, name: bytes, token: int, *, idempotency_key: str | None = None) -> None:
        """Give it up; LockLost if it was lost before."""
        await self._send("DELETE", f"{_path(name)}?token={token}", idempotency_key)

    async def lock_state(self, name: bytes) -> LockState:
        """Who holds it."""
        return _state(await self._ask(_path(name)))

    async def locks(self) -> AsyncGenerator[tuple[bytes, LockState], None]:
        """All locks that are not free by name, page by page."""
        after, more = "", True
        while more:
            path = LOCKS + (f"?after={after}" if after else "")
            page = decoded(await self._ask(path), _LocksBody)
            for body in page.locks:
                after = body.name
                yield unescaped(body.name), body.state()
            more = page.more

    async def observe(self, name: bytes) -> AsyncGenerator[LockState, None]:
        """Who holds it now, and at every change; short-lived holders in between may be missed."""
        state = await self.lock_state(name)
        while True:
            yield state
            seen = state.token
            while state.token == seen:
                path = f"{_path(name)}?since={seen}&wait={FOLLOW_MS}ms"
                state = _state(await self._ask(path, FOLLOW_MS / 1000))

    def lock(
        self,
        name: bytes,
        ttl_ms: int,
        *,
        wait_ms: int | None = 0,
        delay_ms: int = 0,
        value: bytes = b"",
    ) -> HeldLock:
        """A lock that is held and kept alive while an `async with` lasts.

        wait_ms: None waits for ever.
        """
        return HeldLock(self, name, ttl_ms, wait_ms, delay_ms, value)

    def elect(self, name: bytes, value: bytes, ttl_ms: int = 15_000) -> HeldLock:
        """Wait until elected, and lead while an `async with` lasts; `observe` shows the value."""
        return HeldLock(self, name, ttl_ms, None, 0, value)


class HeldLease(Held):
    """See LeaseCalls.lease."""

    def __init__(self, client: LeaseCalls, ttl_ms: int) -> None:
        super().__init__(ttl_ms)
        self._client = client
        self.id = 0

    async def _begin(self) -> None:
        asked_s = asyncio.get_running_loop().time()
        self.id = (await self._client.grant_lease(self.ttl_ms)).token
        await self._count(asked_s)

    async def _renew(self) -> None:
        await self._client.keep_lease(self.id, attempt_timeout_s=self.attempt_timeout_s)

    async def _end(self) -> None:
        await self._client.revoke_lease(self.id)

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"lease {self.id} could not be kept alive for {self.ttl_ms} ms")


class HeldLock(Held):
    """See LeaseCalls.lock. token: rises with every holder; let whatever is protected check it."""

    def __init__(
        self,
        client: LeaseCalls,
        name: bytes,
        ttl_ms: int,
        wait_ms: int | None,
        delay_ms: int,
        value: bytes,
    ) -> None:
        super().__init__(ttl_ms)
        self._client, self.name = client, name
        self._wait_ms, self._delay_ms, self._value = wait_ms, delay_ms, value
        self.token = 0

    async def _begin(self) -> None:
        left_ms = until(self._wait_ms)
        while True:
            try:
                return await self._take(min(left_ms(), LOCK_WAIT_MS_MAX))
            except (LockHeld, LockLost):  # it waited too long, or did not know that it had it
                if not left_ms():
                    raise

    async def _take(self, wait_ms: int) -> None:
        asked_s = asyncio.get_running_loop().time()
        grant = await self._client.acquire(
            self.name, self.ttl_ms, wait_ms=wait_ms, delay_ms=self._delay_ms, value=self._value
        )
        self.token = grant.token
        await self._count(asked_s)

    async def _renew(self) -> None:
        timeout_s = self.attempt_timeout_s
        await self._client.keep_lock(self.name, self.token, attempt_timeout_s=timeout_s)

    async def _end(self) -> None:
        await self._client.release(self.name, self.token)

    def _lost(self) -> LockLost:
        return LockLost(f"token {self.token} could not be kept alive for {self.ttl_ms} ms")


def _path(name: bytes) -> str:
    if not 1 <= len(name) <= LOCK_NAME_SIZE_BYTES_MAX:
        raise BadRequest(f"a lock's name has 1 to {LOCK_NAME_SIZE_BYTES_MAX} bytes")
    return f"{LOCKS}/{escaped(name)}"


def _granted(answer: Answer) -> Grant:
    if b'"lease"' in answer.body:
        lease = decoded(answer, _LeaseBody)
        return Grant(lease.lease, lease.ttl_ms, answer.is_replayed)
    body = decoded(answer, _GrantBody)
    return Grant(body.token, body.ttl_ms, answer.is_replayed)


def _state(answer: Answer) -> LockState:
    return decoded(answer, _LockBody).state()
