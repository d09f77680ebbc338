"""What the commands about leases do, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from raftcache.command.leasing import LeaseGrant, LeaseKeepAlive, LeaseRevoke
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX, LEASES_MAX
from raftcache.command.replies import Reply, Status
from raftcache.state.changes import Changes
from raftcache.state.history import Kind
from raftcache.state.leases import Lease


class LeaseCommands:
    """The commands about leases, by their types, and their end."""

    def __init__(self, changes: Changes) -> None:
        self._changes, self._state = changes, changes.state
        self.executors: Final[dict[type, Callable[[Any], Reply]]] = {
            LeaseGrant: self._grant,
            LeaseKeepAlive: self._keep_alive,
            LeaseRevoke: self._revoke,
        }

    def end_overdue(self) -> None:
        """Remove leases that are over, each with all its keys, until enough was removed."""
        table, left = self._state.leases.table, EXPIRED_PER_ENTRY_MAX
        while left > 0 and (lease := table.first_overdue(self._state.now_ms)) is not None:
            left -= 1 + self._end(lease, Kind.EXPIRE)

    def _grant(self, command: LeaseGrant) -> Reply:
        table = self._state.leases.table
        if len(table) >= LEASES_MAX:
            return Reply(Status.LIMIT, self._state.revision)
        number = self._changes.take_revision()
        lease = Lease(number, self._state.now_ms + command.ttl_ms, command.ttl_ms)
        table.put(lease)
        return self._answer(Status.CREATED, lease)

    def _keep_alive(self, command: LeaseKeepAlive) -> Reply:
        lease = self._state.leases.living(command.lease, self._state.now_ms)
        if lease is None:
            return Reply(Status.NO_LEASE, self._state.revision)
        lease = replace(lease, deadline_ms=self._state.now_ms + lease.ttl_ms)
        self._state.leases.table.put(lease)
        return self._answer(Status.CHANGED, lease)

    def _revoke(self, command: LeaseRevoke) -> Reply:
        lease = self._state.leases.living(command.lease, self._state.now_ms)
        if lease is None:
            return Reply(Status.NO_LEASE, self._state.revision)
        count = self._end(lease, Kind.DELETE)
        return Reply(Status.DELETED, self._state.revision, count=count, number=lease.number)

    def _end(self, lease: Lease, kind: Kind) -> int:
        """Remove the lease and its keys, in one revision; how many they were."""
        keyspace, leases = self._state.keyspace, self._state.leases
        keys = sorted(leases.keys(lease.number))
        self._changes.begin()
        for key in keys:
            stored = keyspace.find(key)
            assert stored is not None
            assert stored.lease == lease.number
            self._changes.remove(key, stored, kind)
        self._changes.commit()
        leases.table.remove(lease)
        return len(keys)

    def _answer(self, status: Status, lease: Lease) -> Reply:
        revision = self._state.revision
        return Reply(status, revision, number=lease.number, deadline_ms=lease.deadline_ms)
