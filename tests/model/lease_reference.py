"""The rules of leases and locks once more, plainly; a part of the reference of the state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Reply = tuple[Any, ...]

CHANGED, UNCHANGED, DELETED = 2, 3, 4
CREATED, NO_LEASE, LIMIT, GRANTED, QUEUED, LOCKED, NOT_HELD = 1, 18, 19, 20, 21, 22, 23
DELETE, EXPIRE = 2, 3
LEASING = ("LeaseGrant", "LeaseKeepAlive", "LeaseRevoke")
LOCKING = ("LockAcquire", "LockStay", "LockLeave", "LockKeepAlive", "LockRelease")


@dataclass
class LeaseLimits:
    leases_max: int
    lease_keys_max: int
    places_max: int
    queue_max: int
    place_ms: int


@dataclass
class Place:
    number: int
    deadline: int
    ttl: int
    delay: int
    until: int
    value: bytes
    token: int = 0  # -1: it held the lock until its time was over
    stays: int = 0


@dataclass
class Lock:
    first: Place | None = None
    queue: list[Place] = field(default_factory=list)

    def places(self) -> list[Place]:
        return ([self.first] if self.first else []) + self.queue


class Leasing:
    limits: LeaseLimits
    now: int
    revision: int
    entries: dict[bytes, Any]
    expired_max: int

    def remove(self, key: bytes, kind: int) -> None:
        raise NotImplementedError

    def together(self, changes: Any) -> None:
        raise NotImplementedError

    def start(self, limits: LeaseLimits) -> None:
        self.limits = limits
        self.leases: dict[int, list[int]] = {}  # deadline, ttl
        self.locks: dict[bytes, Lock] = {}

    def is_valid_lease_word(self, command: Any) -> bool:
        if command.once is not None and command.once.token == b"":
            return False
        if hasattr(command, "ttl_ms") and command.ttl_ms < 1:
            return False
        return (
            getattr(command, "name", b"x") != b""
            and getattr(command, "lease", 1) > 0
            and getattr(command, "token", 1) > 0
            and getattr(command, "place", 1) > 0
        )

    def answer_lease_word(self, command: Any) -> Reply:
        name = type(command).__name__
        return {  # type: ignore[no-any-return]
            "LeaseGrant": self.grant,
            "LeaseKeepAlive": self.keep_lease,
            "LeaseRevoke": self.revoke,
            "LockAcquire": self.acquire,
            "LockStay": self.stay,
            "LockLeave": self.leave,
            "LockKeepAlive": self.keep_lock,
            "LockRelease": self.release,
        }[name](command)

    def says(self, status: int, number: int = 0, deadline: int = 0, count: int = 0) -> Reply:
        return (status, self.revision, 0, count, number, deadline, False)

    # Leases.

    def lives(self, lease: int) -> bool:
        return lease in self.leases and self.leases[lease][0] > self.now

    def keys_of(self, lease: int) -> list[bytes]:
        return sorted(key for key, entry in self.entries.items() if entry.lease == lease)

    def end_leases(self) -> None:
        left = self.expired_max
        for deadline, lease in sorted((d, n) for n, (d, _) in self.leases.items()):
            if deadline <= self.now and left > 0:
                left -= 1 + len(self.keys_of(lease))
                self.end_lease(lease, EXPIRE)

    def end_lease(self, lease: int, kind: int) -> int:
        keys = self.keys_of(lease)
        self.together(lambda: [self.remove(key, kind) for key in keys])
        del self.leases[lease]
        return len(keys)

    def grant(self, command: Any) -> Reply:
        if len(self.leases) >= self.limits.leases_max:
            return self.says(LIMIT)
        self.revision += 1
        self.leases[self.revision] = [self.now + command.ttl_ms, command.ttl_ms]
        return self.says(CREATED, self.revision, self.now + command.ttl_ms)

    def keep_lease(self, command: Any) -> Reply:
        if not self.lives(command.lease):
            return self.says(NO_LEASE)
        lease = self.leases[command.lease]
        lease[0] = self.now + lease[1]
        return self.says(CHANGED, command.lease, lease[0])

    def revoke(self, command: Any) -> Reply:
        if not self.lives(command.lease):
            return self.says(NO_LEASE)
        count = self.end_lease(command.lease, DELETE)
        return self.says(DELETED, command.lease, count=count)

    # Locks.

    def places(self) -> list[tuple[int, int, bytes, Place]]:
        return sorted(
            ((p.deadline, p.number, name, p) for name, o in self.locks.items() for p in o.places()),
            key=lambda each: each[:2],
        )

    def end_places(self) -> None:
        for _ in range(self.expired_max):
            places = self.places()
            if places and places[0][0] <= self.now:
                self.time_over(self.locks[places[0][2]], places[0][3])

    def time_over(self, lock: Lock, place: Place) -> None:
        if place.token > 0 and place.delay:
            place.token, place.deadline = -1, place.deadline + place.delay
        else:
            self.take_away(lock, place)

    def take_away(self, lock: Lock, place: Place) -> None:
        if place is not lock.first:
            lock.queue.remove(place)
            return
        lock.first = None
        while lock.queue and lock.first is None:
            place = lock.queue.pop(0)
            if place.deadline > self.now:
                self.revision += 1
                place.token, place.deadline = self.revision, self.now + place.ttl
                lock.first = place

    def lock_now(self, name: bytes) -> Lock:
        lock = self.locks.setdefault(name, Lock())
        while lock.first is not None and lock.first.deadline <= self.now:
            self.time_over(lock, lock.first)
        return lock

    def acquire(self, command: Any) -> Reply:
        lock = self.lock_now(command.name)
        if lock.first is not None and not command.wait_ms:
            return self.says(LOCKED, deadline=lock.first.deadline)
        if len(lock.queue) >= self.limits.queue_max or len(self.places()) >= self.limits.places_max:
            return self.says(LIMIT)
        self.revision += 1
        place = Place(
            self.revision,
            self.now + min(command.wait_ms, self.limits.place_ms),
            command.ttl_ms,
            command.delay_ms,
            self.now + command.wait_ms,
            command.value,
        )
        if lock.first is not None:
            lock.queue.append(place)
            return self.says(QUEUED, place.number, place.until)
        place.token, place.deadline = place.number, self.now + place.ttl
        lock.first = place
        return self.says(GRANTED, place.token, place.deadline)

    def find(self, command: Any) -> tuple[Lock, Place | None]:
        lock = self.lock_now(command.name)
        for place in lock.places():
            if place.number == command.place and place.token >= 0:
                if place.deadline > self.now:
                    return lock, place
                self.time_over(lock, place)
        return lock, None

    def stay(self, command: Any) -> Reply:
        _, place = self.find(command)
        if place is None:
            return self.says(NOT_HELD)
        place.stays += 1
        if place.token:
            return self.says(GRANTED, place.token, place.deadline)
        place.deadline = min(self.now + self.limits.place_ms, place.until)
        return self.says(QUEUED, place.stays, place.until)

    def leave(self, command: Any) -> Reply:
        lock, place = self.find(command)
        if place is None:
            return self.says(DELETED)
        if place.stays != command.stays:
            return self.says(UNCHANGED)
        self.take_away(lock, place)
        return self.says(DELETED, count=1)

    def keep_lock(self, command: Any) -> Reply:
        first = self.lock_now(command.name).first
        if first is None or first.token != command.token:
            return self.says(NOT_HELD)
        first.deadline = self.now + first.ttl
        return self.says(CHANGED, first.token, first.deadline)

    def release(self, command: Any) -> Reply:
        lock = self.lock_now(command.name)
        if lock.first is None or lock.first.token != command.token:
            return self.says(NOT_HELD)
        self.take_away(lock, lock.first)
        return self.says(DELETED, command.token, count=1)

    def view(self, name: bytes) -> tuple[int, int, int, bytes]:
        """Token, deadline, waiting, value; without changing anything."""
        lock = self.locks.get(name, Lock())
        first = lock.first
        if first is None:
            return (0, 0, 0, b"")
        waiting = sum(place.deadline > self.now for place in lock.queue)
        if first.token > 0 and first.deadline > self.now:
            return (first.token, first.deadline, waiting, first.value)
        return (0, first.deadline + (first.delay if first.token > 0 else 0), waiting, b"")
