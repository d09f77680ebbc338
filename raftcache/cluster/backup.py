"""Backups of a running cluster: from any node, at a point that no acknowledged write is behind.

A backup is the file of a snapshot (raft/snapshot_format.py). The node finds out what was committed
when it was asked (ReadIndex), applies that, and gives a snapshot of that index or a later one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from raftcache.errors import NotLeader, Overloaded, Refused, Unknown
from raftcache.raft.compaction import OpenSnapshot
from raftcache.raft.replica import Replica
from raftcache.raft.snapshot_format import SnapshotMeta

BACKUPS_MAX: Final = 2
"""Backups that one node serves at a time: each may keep a pruned file on its disk."""

BACKUP_RETRY_S: Final = 5.0
"""When to ask again, where so many are being served."""

SNAPSHOT_TIMEOUT_S: Final = 600.0
"""For taking a snapshot, behind one that is being taken already: gigabytes on a slow disk."""


class Backup:
    """One backup, ready to be read; to be closed."""

    def __init__(self, backups: Backups, snapshot: OpenSnapshot) -> None:
        """Use Backups.open."""
        self._backups, self._snapshot = backups, snapshot
        self.size_bytes: Final = snapshot.size_bytes

    @property
    def meta(self) -> SnapshotMeta:
        return self._snapshot.meta

    @property
    def name(self) -> str:
        return self.meta.name

    @property
    def revision(self) -> int:
        return self.meta.revision

    async def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Bytes of the file; fewer only at its end."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(data: bytes | None, error: Exception | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                assert data is not None
                answer.set_result(data)

        self._snapshot.read(offset_bytes, size_bytes, done)
        return await answer

    def close(self) -> None:
        """Let the file go, once."""
        self._snapshot.close()
        self._backups.closed()


class Backups:
    """Gives backups of this node's state, BACKUPS_MAX at a time. All methods on the loop."""

    def __init__(self, replica: Replica, request_timeout_s: float) -> None:
        self._replica = replica
        self._request_timeout_s = request_timeout_s
        self._open = 0

    async def open(self) -> Backup:
        """A backup that has everything acknowledged before this call.

        Raises Overloaded if too many are being served, NotLeader if nobody can vouch for the
        state here, Refused if the disk has no room for it, Unknown if it was not there in time.
        """
        if self._open >= BACKUPS_MAX:
            raise Overloaded(
                f"this node serves {self._open} backups already", retry_after_s=BACKUP_RETRY_S
            )
        self._open += 1
        try:
            index = await self._read_index()
            return Backup(self, await self._snapshot_from(index))
        except BaseException:
            self._open -= 1
            raise

    def closed(self) -> None:
        """One backup less is being served."""
        assert self._open > 0
        self._open -= 1

    async def _read_index(self) -> int:
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._replica.read_index(lambda index: None if answer.done() else answer.set_result(index))
        try:
            async with asyncio.timeout(self._request_timeout_s):
                index = await answer
        except TimeoutError:
            index = None
        if index is None:
            raise NotLeader("no leader could confirm the state to back up")
        return index

    async def _snapshot_from(self, index: int) -> OpenSnapshot:
        answer: asyncio.Future[OpenSnapshot | OSError | None]
        answer = asyncio.get_running_loop().create_future()

        def done(snapshot: OpenSnapshot | OSError | None) -> None:
            if not answer.done():
                answer.set_result(snapshot)
            elif isinstance(snapshot, OpenSnapshot):
                snapshot.close()  # nobody waits for it any more

        self._replica.open_snapshot(index, done)
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
                snapshot = await answer
        except TimeoutError:
            raise Unknown(f"there was no snapshot in {SNAPSHOT_TIMEOUT_S:g} s") from None
        if snapshot is None:
            raise NotLeader("this node is stopping")
        if isinstance(snapshot, OSError):
            raise Refused(f"this node's disk has no room for a snapshot: {snapshot}")
        return snapshot
