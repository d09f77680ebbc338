"""What each command about one key does to it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from msgspec.structs import replace

from raftcache.command.checks import check_content_type
from raftcache.command.integers import integer_or_none
from raftcache.command.limits import (
    INTEGER_MAX,
    INTEGER_MIN,
    KEY_SIZE_BYTES_MAX,
    LEASE_KEYS_MAX,
    VALUE_SIZE_BYTES_MAX,
)
from raftcache.command.replies import Reply, Status
from raftcache.command.words import (
    ABSENT,
    ANY,
    PRESENT,
    Append,
    Command,
    Delete,
    Expire,
    Increment,
    Keyed,
    LeasedPut,
    Persist,
    Put,
    Touch,
)
from raftcache.state.changes import Changes
from raftcache.state.items import LEASED, STRING, Stored, version_of
from raftcache.state.runs import PlainWrite

_CREATED: Final = Status.CREATED
_CHANGED: Final = Status.CHANGED


class Operations:
    """The commands about one key, by their types."""

    def __init__(self, changes: Changes) -> None:
        self._changes, self._state = changes, changes.state
        self._handlers: dict[type, Callable[[Any, Stored | None], Reply]] = {
            Put: self._put,
            Delete: self._delete,
            Increment: self._increment,
            Append: self._append,
            Expire: self._expire,
            Persist: self._persist,
            Touch: self._touch,
            LeasedPut: self._put_leased,
        }

    def put(self, command: Put) -> Reply:
        """Execute the commonest of them."""
        if command.ttl_ms is None and command.only == ANY:
            content_type = command.content_type.encode("ascii")
            packed = self._changes.put_plain(command.key, content_type, command.value)
            if packed is not None:
                version = version_of(packed)
                status = Status.CREATED if version == 1 else Status.CHANGED
                return Reply(status, self._state.revision, version)
        return self.execute(command)

    def put_run(self, commands: Iterable[Command]) -> list[Reply]:
        """Execute the first of them, as many as are plain (see runs.py) and within their limits."""
        revision = self._state.revision
        versions = self._changes.put_run(_plain_puts(commands))
        return [
            Reply(_CREATED if version == 1 else _CHANGED, revision, version)
            for revision, version in enumerate(versions, revision + 1)
        ]

    def execute(self, command: Keyed) -> Reply:
        """Do it; an overdue key is removed first."""
        found = self._changes.find(command.key)
        if command.only != ANY and not _holds(command.only, found):
            revision = 0 if found is None else found.mod_revision
            return replace(self._keep(Status.PRECONDITION, found), revision=revision)
        return self._handlers[type(command)](command, found)

    # The commands, each given what its key holds now.

    def _put(self, command: Put, found: Stored | None) -> Reply:
        deadline_ms = 0 if command.ttl_ms is None else self._state.now_ms + command.ttl_ms
        content_type = command.content_type.encode("ascii")
        return self._changes.write(command.key, found, deadline_ms, content_type, command.value)

    def _put_leased(self, command: LeasedPut, found: Stored | None) -> Reply:
        leases, lease = self._state.leases, command.lease
        if leases.living(lease, self._state.now_ms) is None:
            return self._refuse(Status.NO_LEASE)
        joins = found is None or found.lease != lease
        if joins and len(leases.keys(lease)) >= LEASE_KEYS_MAX:
            return self._refuse(Status.LIMIT)
        content_type = command.content_type.encode("ascii")
        return self._changes.write(command.key, found, 0, content_type, command.value, lease=lease)

    def _delete(self, command: Delete, found: Stored | None) -> Reply:
        return self._remove(command.key, found)

    def _increment(self, command: Increment, found: Stored | None) -> Reply:
        if found is not None and found.kind > LEASED:
            return self._keep(Status.WRONG_TYPE, found)
        number = 0 if found is None else integer_or_none(found.value)
        if number is None:
            return self._keep(Status.NOT_INTEGER, found)
        number += command.by
        if not INTEGER_MIN <= number <= INTEGER_MAX:
            return self._keep(Status.OVERFLOW, found)
        return self._alter(command.key, found, b"%d" % number, number)

    def _append(self, command: Append, found: Stored | None) -> Reply:
        if found is not None and found.kind > LEASED:
            return self._keep(Status.WRONG_TYPE, found)
        size_bytes = len(command.value) + (0 if found is None else found.value_size_bytes)
        if size_bytes > command.size_bytes_max:
            return self._keep(Status.TOO_LARGE, found)
        value = command.value if found is None else found.value + command.value
        return self._alter(command.key, found, value, size_bytes)

    def _expire(self, command: Expire, found: Stored | None) -> Reply:
        if found is None:
            return self._refuse(Status.MISSING)
        if command.ttl_ms <= 0:
            return self._remove(command.key, found)
        deadline_ms = self._state.now_ms + command.ttl_ms
        return self._redate(command.key, found, deadline_ms)

    def _persist(self, command: Persist, found: Stored | None) -> Reply:
        if found is None:
            return self._refuse(Status.MISSING)
        if not (found.deadline_ms or found.lease):
            return self._keep(Status.UNCHANGED, found)
        return self._redate(command.key, found, 0)

    def _touch(self, command: Touch, found: Stored | None) -> Reply:
        return self._keep(Status.MISSING if found is None else Status.UNCHANGED, found)

    # What they are made of.

    def _remove(self, key: bytes, found: Stored | None) -> Reply:
        if found is None:
            if self._state.refills.by_key:
                self._changes.settle(key, key + b"\0")
            return self._refuse(Status.DELETED)
        self._changes.remove(key, found)
        return Reply(Status.DELETED, self._state.revision, count=1)

    def _redate(self, key: bytes, found: Stored, deadline_ms: int) -> Reply:
        """Give the key another deadline; value and type stay, a lease does not."""
        kind = STRING if found.kind == LEASED else found.kind
        kept = found.content_type
        return self._changes.write(key, found, deadline_ms, kept, found.value, kind=kind)

    def _alter(self, key: bytes, found: Stored | None, value: bytes, number: int) -> Reply:
        """Write a value; content type, deadline and lease stay as they are."""
        write = self._changes.write
        if found is None:
            return write(key, None, 0, b"", value, number)
        kept = found.content_type
        return write(key, found, found.deadline_ms, kept, value, number, found.lease)

    def _refuse(self, status: Status) -> Reply:
        """The answer of a command that changed nothing and speaks of no key."""
        return Reply(status, self._state.revision)

    def _keep(self, status: Status, found: Stored | None) -> Reply:
        """The answer of a command that left its key as it was."""
        if found is None:
            return self._refuse(status)
        deadline_ms = found.deadline_ms or self._state.leases.deadline_ms(found.lease)
        return Reply(status, self._state.revision, found.version, 0, 0, deadline_ms)


def _plain_puts(commands: Iterable[Command]) -> Iterator[PlainWrite]:
    for command in commands:
        if type(command) is not Put or command.ttl_ms is not None or command.only != ANY:
            return
        key, value = command.key, command.value
        content_type = _packed_type(command.content_type) if command.content_type else b""
        if (
            command.once is not None
            or content_type is None
            or not 1 <= len(key) <= KEY_SIZE_BYTES_MAX
            or len(value) > VALUE_SIZE_BYTES_MAX
        ):
            return
        yield key, len(content_type), content_type + value


@lru_cache(256)
def _packed_type(content_type: str) -> bytes | None:
    """A content type as an item has it; None if it is outside its limits. Few are in use."""
    return None if check_content_type(content_type) else content_type.encode("ascii")


def _holds(only: int, found: Stored | None) -> bool:
    """Whether a precondition holds for what the key holds."""
    if only == PRESENT:
        return found is not None
    return only == (ABSENT if found is None else found.mod_revision)
