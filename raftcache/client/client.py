"""The async client: its parts together, and what it says of single keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, TypeVar

from raftcache.client.attempts import (
    Request,
    once_at,
)
from raftcache.client.backup import BackupCalls
from raftcache.client.leases import LeaseCalls
from raftcache.client.members import MemberCalls
from raftcache.client.near import NearCalls
from raftcache.client.paths import path_of
from raftcache.client.quotas import QuotaCalls
from raftcache.client.ranges import Consistency
from raftcache.client.refills import RefillCalls
from raftcache.client.replies import (
    Digest,
    Found,
    NodeStatus,
    Written,
    decoded,
    found,
    written,
)
from raftcache.client.txn import TxnCalls
from raftcache.errors import (
    RaftcacheError,
)

T = TypeVar("T")

NO_DEADLINE: Final = -1
"""ttl(): the key exists and stays."""


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

    async def _status(self, endpoint: str, timeout_s: float) -> NodeStatus | RaftcacheError:
        request = Request("GET", "/v1/cluster")
        return await once_at(self._http, endpoint, request, NodeStatus, timeout_s)
