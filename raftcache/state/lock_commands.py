"""What the commands about locks do, and what they answer.

Whatever is overdue of a lock is done before a command about it: its holder's time is over, the
delay after it, the places of those who said nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from raftcache.command.leasing import (
    LockAcquire,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
)
from raftcache.command.limits import (
    EXPIRED_PER_ENTRY_MAX,
    LOCK_PLACE_MS,
    LOCK_PLACES_MAX,
    LOCK_QUEUE_MAX,
)
from raftcache.command.replies import Reply, Status
from raftcache.state.changes import Changes
from raftcache.state.locks import Place, Role


class LockCommands:
    """The commands about locks, by their types, and what happens without any."""

    def __init__(self, changes: Changes) -> None:
        self._changes, self._state, self._locks = changes, changes.state, changes.state.locks
        self.executors: Final[dict[type, Callable[[Any], Reply]]] = {
            LockAcquire: self._acquire,
            LockStay: self._stay,
            LockLeave: self._leave,
            LockKeepAlive: self._keep_alive,
            LockRelease: self._release,
        }

    def end_overdue(self) -> None:
        """Do what is overdue, a bounded part of it."""
        for _ in range(EXPIRED_PER_ENTRY_MAX):
            place = self._locks.table.first_overdue(self._state.now_ms)
            if place is None:
                return
            self._end(place)

    # The commands.

    def _acquire(self, command: LockAcquire) -> Reply:
        first = self._first(command.name)
        if first is not None and not command.wait_ms:
            return Reply(Status.LOCKED, self._state.revision, deadline_ms=first.deadline_ms)
        if (
            len(self._locks.table) >= LOCK_PLACES_MAX
            or len(self._locks.waiting(command.name)) >= LOCK_QUEUE_MAX
        ):
            return Reply(Status.LIMIT, self._state.revision)
        now_ms, number = self._state.now_ms, self._changes.take_revision()
        place = Place(
            number,
            now_ms + min(command.wait_ms, LOCK_PLACE_MS),
            command.name,
            Role.WAITING,
            token=0,
            stays=0,
            ttl_ms=command.ttl_ms,
            delay_ms=command.delay_ms,
            until_ms=now_ms + command.wait_ms,
            value=command.value,
        )
        if first is None:
            return self._granted(self._grant(place, number))
        self._locks.put(place)
        return Reply(Status.QUEUED, number, number=number, deadline_ms=place.until_ms)

    def _stay(self, command: LockStay) -> Reply:
        place = self._place(command)
        if place is None:
            return self._refuse(Status.NOT_HELD)
        place = replace(place, stays=place.stays + 1)
        if place.role is Role.HOLDING:
            self._locks.put(place)
            return self._granted(place)
        until_ms = min(self._state.now_ms + LOCK_PLACE_MS, place.until_ms)
        self._locks.put(replace(place, deadline_ms=until_ms))
        revision, until_ms = self._state.revision, place.until_ms
        return Reply(Status.QUEUED, revision, number=place.stays, deadline_ms=until_ms)

    def _leave(self, command: LockLeave) -> Reply:
        place = self._place(command)
        if place is None:
            return self._refuse(Status.DELETED)
        if place.stays != command.stays:
            return self._refuse(Status.UNCHANGED)
        self._go(place)
        return Reply(Status.DELETED, self._state.revision, count=1)

    def _keep_alive(self, command: LockKeepAlive) -> Reply:
        holder = self._holder(command)
        if holder is None:
            return self._refuse(Status.NOT_HELD)
        holder = replace(holder, deadline_ms=self._state.now_ms + holder.ttl_ms)
        self._locks.put(holder)
        return replace(self._granted(holder), status=Status.CHANGED)

    def _release(self, command: LockRelease) -> Reply:
        holder = self._holder(command)
        if holder is None:
            return self._refuse(Status.NOT_HELD)
        self._go(holder)
        return Reply(Status.DELETED, self._state.revision, count=1, number=command.token)

    # What they are made of.

    def _first(self, name: bytes) -> Place | None:
        """Who holds or delays the lock now."""
        while (first := self._locks.first(name)) is not None:
            if first.deadline_ms > self._state.now_ms:
                break
            self._end(first)
        return first

    def _holder(self, command: LockKeepAlive | LockRelease) -> Place | None:
        first = self._first(command.name)
        return first if first is not None and first.token == command.token else None

    def _place(self, command: LockStay | LockLeave) -> Place | None:
        """The place, if it holds or waits; one that is overdue goes."""
        self._first(command.name)
        place = self._locks.table.get(command.place)
        if place is None or place.name != command.name or place.role is Role.GONE:
            return None
        if place.deadline_ms > self._state.now_ms:
            return place
        self._end(place)
        return None

    def _end(self, place: Place) -> None:
        """A place is overdue."""
        if place.role is Role.HOLDING and place.delay_ms:
            deadline_ms = place.deadline_ms + place.delay_ms
            self._locks.put(replace(place, role=Role.GONE, token=0, deadline_ms=deadline_ms))
        else:
            self._go(place)

    def _go(self, place: Place) -> None:
        """Remove a place; if it was the first, the next one that waits has the lock."""
        self._locks.remove(place)
        if place.role is Role.WAITING:
            return
        for number in list(self._locks.waiting(place.name)):
            waiter = self._locks.table.get(number)
            assert waiter is not None
            if waiter.deadline_ms > self._state.now_ms:
                self._grant(waiter, self._changes.take_revision())
                return
            self._locks.remove(waiter)

    def _grant(self, place: Place, token: int) -> Place:
        deadline_ms = self._state.now_ms + place.ttl_ms
        holder = replace(place, role=Role.HOLDING, token=token, deadline_ms=deadline_ms)
        self._locks.put(holder)
        return holder

    def _granted(self, holder: Place) -> Reply:
        return Reply(
            Status.GRANTED,
            self._state.revision,
            number=holder.token,
            deadline_ms=holder.deadline_ms,
        )

    def _refuse(self, status: Status) -> Reply:
        return Reply(status, self._state.revision)
