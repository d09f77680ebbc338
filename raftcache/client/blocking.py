"""The client for code without an event loop: the same calls, each blocking until its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeAlias, TypeVar

from raftcache.client.client import RaftcacheClient
from raftcache.client.holding_blocking import BlockingHeld
from raftcache.client.leases import HeldLease, HeldLock
from raftcache.client.near import NearCache
from raftcache.client.near_blocking import BlockingNearCache
from raftcache.client.refills import RIGHT_MS
from raftcache.client.watch import Changes, Watch
from raftcache.ports import Dice

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=AbstractAsyncContextManager[Any])
Load: TypeAlias = Callable[[], bytes]
"""As for the other client, without `await`."""


def _blocking(
    method: Callable[Concatenate[RaftcacheClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncClient, P], T]:
    @wraps(method)
    def call(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._runner.run(method(self._async, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[RaftcacheClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[SyncClient, P], Iterator[T]]:
    @wraps(method)
    def call(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = method(self._async, *args, **kwargs)
        try:
            while (following := self._runner.run(_next(items))) is not None:
                yield following[0]
        finally:
            if not self._async.is_closed:  # else the runner has ended it
                self._runner.run(items.aclose())

    return call


class _Runner:
    """Of one process, and of code without an event loop; RuntimeError in any other.

    A forked process would write to the same connections, and read the answers to the other's calls.
    """

    def __init__(self) -> None:
        self._runner, self._process = asyncio.Runner(), os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that made it."""
        return os.getpid() == self._process

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """To its end."""
        try:
            if not self.is_ours:
                raise RuntimeError("this client is another process's: make one after the fork")
            return self._runner.run(work)
        except RuntimeError:
            work.close()  # it may not have begun
            raise

    def close(self) -> None:
        """In a forked process nothing: what it would close is shared."""
        if self.is_ours:
            self._runner.close()


class _Opened(Generic[A]):
    """Opens with `with` what opens with `async with`."""

    def __init__(self, of: A, runner: _Runner) -> None:
        self._async, self._runner = of, runner

    def __enter__(self) -> Self:
        self._runner.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner.is_ours:
            self._runner.run(self._async.__aexit__(kind, error, trace))


class BlockingWatch(_Opened[Watch]):
    """As Watch; open it with `with`, then iterate."""

    @property
    def revision(self) -> int | None:
        """All that the watch shows up to this revision was given; None before it is open."""
        return self._async.revision

    @property
    def endpoint(self) -> str:
        """Where it is just now."""
        return self._async.endpoint

    @property
    def is_connected(self) -> bool:
        """A node sends what comes next; False while one is looked for."""
        return self._async.is_connected

    def __iter__(self) -> BlockingWatch:
        return self

    def __next__(self) -> Changes:
        return self._runner.run(self._async.__anext__())

    def advance(self) -> Changes:
        """As iterating, but it returns with progress too, which has a revision and no changes."""
        return self._runner.run(self._async.advance())


def _watching(
    method: Callable[Concatenate[RaftcacheClient, P], Watch],
) -> Callable[Concatenate[SyncClient, P], BlockingWatch]:
    @wraps(method)
    def call(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> BlockingWatch:
        return BlockingWatch(method(self._async, *args, **kwargs), self._runner)

    return call


def _near(
    method: Callable[Concatenate[RaftcacheClient, P], NearCache],
) -> Callable[Concatenate[SyncClient, P], BlockingNearCache]:
    @wraps(method)
    def call(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> BlockingNearCache:
        twin = self._async.twin()  # for the thread that follows the watch
        return BlockingNearCache(twin, method(twin, *args, **kwargs))

    return call


async def _next(items: AsyncGenerator[T, None]) -> tuple[T] | None:
    """The next item, in a tuple; None at the end."""
    async for item in items:
        return (item,)
    return None


class SyncClient(_Opened[RaftcacheClient]):
    """As RaftcacheClient, from one thread; open it with `with`."""

    def __init__(
        self,
        endpoints: Sequence[str] | None = None,
        *,
        timeout_s: float = 10.0,
        prefers_leader: bool = False,
        dice: Dice | None = None,
    ) -> None:
        client = RaftcacheClient(
            endpoints, timeout_s=timeout_s, prefers_leader=prefers_leader, dice=dice
        )
        super().__init__(client, _Runner())

    def within(self, timeout_s: float) -> SyncClient:
        """This open client, with calls that may take so long: `client.within(0.2).get(key)`."""
        other = copy(self)
        other._async = self._async.within(timeout_s)
        return other

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._runner.close()

    def lease(self, ttl_ms: int) -> BlockingHeld[HeldLease]:
        """A lease that a thread keeps alive while a `with` lasts, and revoked at its end."""
        return BlockingHeld(self._async.twin, lambda client: client.lease(ttl_ms))

    def lock(
        self,
        name: bytes,
        ttl_ms: int,
        *,
        wait_ms: int | None = 0,
        delay_ms: int = 0,
        value: bytes = b"",
    ) -> BlockingHeld[HeldLock]:
        """A lock that is held, and kept alive by a thread, while a `with` lasts."""
        return BlockingHeld(
            self._async.twin,
            lambda client: client.lock(
                name, ttl_ms, wait_ms=wait_ms, delay_ms=delay_ms, value=value
            ),
        )

    def elect(self, name: bytes, value: bytes, ttl_ms: int = 15_000) -> BlockingHeld[HeldLock]:
        """Wait until elected, and lead while a `with` lasts."""
        return BlockingHeld(self._async.twin, lambda client: client.elect(name, value, ttl_ms))

    def cached(
        self,
        key: bytes,
        load: Load,
        *,
        ttl_ms: int | None = None,
        refill_ms: int = RIGHT_MS,
        early_ms: int = 0,
        wait_ms: int | None = None,
    ) -> bytes | None:
        """As RaftcacheClient.cached; load() may use this client, as no call is under way then."""
        wait_ms = refill_ms if wait_ms is None else wait_ms
        seen = self.get_or_refill(key, refill_ms=refill_ms, early_ms=early_ms, wait_ms=wait_ms)
        if not seen.won:
            return seen.value
        value = load()
        self.refill(key, value, seen.token, ttl_ms=ttl_ms)
        return value

    get_or_refill = _blocking(RaftcacheClient.get_or_refill)
    refill = _blocking(RaftcacheClient.refill)
    grant_lease = _blocking(RaftcacheClient.grant_lease)
    keep_lease = _blocking(RaftcacheClient.keep_lease)
    revoke_lease = _blocking(RaftcacheClient.revoke_lease)
    lease_state = _blocking(RaftcacheClient.lease_state)
    leases = _iterating(RaftcacheClient.leases)
    acquire = _blocking(RaftcacheClient.acquire)
    keep_lock = _blocking(RaftcacheClient.keep_lock)
    release = _blocking(RaftcacheClient.release)
    lock_state = _blocking(RaftcacheClient.lock_state)
    locks = _iterating(RaftcacheClient.locks)
    observe = _iterating(RaftcacheClient.observe)
    get = _blocking(RaftcacheClient.get)
    head = _blocking(RaftcacheClient.head)
    ttl = _blocking(RaftcacheClient.ttl)
    put = _blocking(RaftcacheClient.put)
    delete = _blocking(RaftcacheClient.delete)
    incr = _blocking(RaftcacheClient.incr)
    append = _blocking(RaftcacheClient.append)
    expire = _blocking(RaftcacheClient.expire)
    persist = _blocking(RaftcacheClient.persist)
    touch = _blocking(RaftcacheClient.touch)
    page = _blocking(RaftcacheClient.page)
    range = _iterating(RaftcacheClient.range)
    count = _blocking(RaftcacheClient.count)
    delete_range = _blocking(RaftcacheClient.delete_range)
    watch = _watching(RaftcacheClient.watch)
    near_cache = _near(RaftcacheClient.near_cache)
    txn = _blocking(RaftcacheClient.txn)
    txn_json = _blocking(RaftcacheClient.txn_json)
    quotas = _blocking(RaftcacheClient.quotas)
    set_quota = _blocking(RaftcacheClient.set_quota)
    delete_quota = _blocking(RaftcacheClient.delete_quota)
    backup = _blocking(RaftcacheClient.backup)
    members = _blocking(RaftcacheClient.members)
    add_member = _blocking(RaftcacheClient.add_member)
    promote_member = _blocking(RaftcacheClient.promote_member)
    remove_member = _blocking(RaftcacheClient.remove_member)
    update_member = _blocking(RaftcacheClient.update_member)
    transfer_leadership = _blocking(RaftcacheClient.transfer_leadership)
    cluster = _blocking(RaftcacheClient.cluster)
    digests = _blocking(RaftcacheClient.digests)
    statuses = _blocking(RaftcacheClient.statuses)
