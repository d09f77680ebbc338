"""The commands about what is kept, and refilled: eviction, quotas, rights to refill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.command.limits import QUOTAS_MAX
from raftcache.command.replies import Reply, Status
from raftcache.command.words import DeleteQuota, Evict, Refill, SetQuota, Vivify
from raftcache.state.changes import Changes
from raftcache.state.history import Kind
from raftcache.state.refills import Right


class KeepingCommands:
    """These commands over one state, by their types."""

    def __init__(self, changes: Changes) -> None:
        self._changes, self._state = changes, changes.state
        self.executors: dict[type, Callable[[Any], Reply]] = {
            Evict: self._evict,
            SetQuota: self._set_quota,
            DeleteQuota: self._delete_quota,
            Vivify: self._vivify,
            Refill: self._refill,
        }

    def advance(self) -> None:
        """What each entry does beside its commands; bounded work."""
        state = self._state
        state.refills.forget(state.now_ms)
        if state.keyspace.quotas.is_counting:
            state.keyspace.quotas.count_on(state.keyspace.span)

    def _evict(self, command: Evict) -> Reply:
        """Remove the victims that are as they were; the overdue ones among them have expired."""
        state, count = self._state, 0
        self._changes.begin()
        for key, revision in command.victims:
            stored = state.keyspace.find(key)
            if stored is None or stored.mod_revision != revision:
                continue
            overdue = state.keyspace.is_overdue(stored, state.now_ms)
            self._changes.remove(key, stored, Kind.EXPIRE if overdue else Kind.EVICT)
            count += not overdue
        self._changes.commit()
        return Reply(Status.DELETED, state.revision, count=count)

    def _set_quota(self, command: SetQuota) -> Reply:
        keyspace, revision = self._state.keyspace, self._state.revision
        quotas = keyspace.quotas
        if quotas.get(command.prefix) is None and len(quotas) >= QUOTAS_MAX:
            return Reply(Status.NO_ROOM, revision)
        limits = command.keys_max, command.size_bytes_max
        existed = quotas.set(command.prefix, *limits, keyspace.span)
        return Reply(Status.CHANGED if existed else Status.CREATED, revision)

    def _delete_quota(self, command: DeleteQuota) -> Reply:
        existed = self._state.keyspace.quotas.remove(command.prefix)
        return Reply(Status.DELETED, self._state.revision, count=int(existed))

    def _vivify(self, command: Vivify) -> Reply:
        state, key = self._state, command.key
        found, now_ms = self._changes.find(key), state.now_ms
        if found is not None:
            deadline_ms = found.deadline_ms or state.leases.deadline_ms(found.lease)
            if not deadline_ms or deadline_ms - now_ms > command.early_ms:
                return Reply(Status.UNCHANGED, state.revision, found.version, 0, 0, deadline_ms)
        right = state.refills.living(key, now_ms)
        if right is not None:
            return Reply(Status.LOST, state.revision, deadline_ms=right.deadline_ms)
        if not state.refills.make_room(now_ms):
            return Reply(Status.NO_ROOM, state.revision)
        right = Right(key, self._changes.take_revision(), now_ms + command.right_ms)
        state.refills.put(right)
        return Reply(Status.WON, right.token, deadline_ms=right.deadline_ms)

    def _refill(self, command: Refill) -> Reply:
        state = self._state
        found = self._changes.find(command.key)
        right = state.refills.living(command.key, state.now_ms)
        if right is None or right.token != command.token:
            return Reply(Status.RIGHT_OVER, 0 if found is None else found.mod_revision)
        deadline_ms = 0 if command.ttl_ms is None else state.now_ms + command.ttl_ms
        content_type = command.content_type.encode("ascii")
        return self._changes.write(command.key, found, deadline_ms, content_type, command.value)
