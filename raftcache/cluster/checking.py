"""The digest of this node's state at an index, for whoever compares replicas on request."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from raftcache.errors import NotFound, Refused
from raftcache.raft.replica import Replica


class Checking:
    """Answers for one node. All methods on the loop."""

    def __init__(self, node: str, replica: Replica, timeout_s: float, poll_s: float) -> None:
        self._node, self._replica = node, replica
        self._timeout_s, self._poll_s = timeout_s, poll_s

    async def digest(self, index: int | None) -> dict[str, Any]:
        """The digest at an index, or where this node is now; waits until it has come so far.

        Raises Refused if it does not get there, or is out of the cluster; NotFound if the digest
        at this index is remembered no longer.
        """
        if index is None:
            index = self._replica.status().applied_index
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while not self._replica.expelled and self._applied_index < index:  # noqa: ASYNC110
                    await asyncio.sleep(self._poll_s)
        if self._replica.expelled:
            raise Refused(f"{self._node} does not serve: {self._replica.expelled}")
        if self._applied_index < index:
            raise Refused(f"{self._node} has come to index {self._applied_index}, not to {index}")
        digest = self._replica.digest_at(index)
        if digest is None:
            raise NotFound(f"{self._node} does not remember its digest at index {index} any more")
        return {"node": self._node, "index": index, "digest": f"{digest:016x}"}

    @property
    def _applied_index(self) -> int:
        return self._replica.status().applied_index
