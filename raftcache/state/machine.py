"""The replicated state machine: what each command does to the keys, and what it answers.

Pure, total and deterministic: the same batches at the same cluster times give the same replies and
the same image on every node. It reads no clock and touches no file; time comes with the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from msgspec.structs import replace

from raftcache.command.codec import check, decode
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX, INTEGER_MAX, INTEGER_MIN
from raftcache.command.words import (
    ABSENT,
    ANY,
    PRESENT,
    Append,
    Command,
    Delete,
    Expire,
    Increment,
    Item,
    Once,
    Persist,
    Put,
    Reply,
    Status,
    Tick,
    Touch,
)
from raftcache.state import image
from raftcache.state.image import (
    SLICE_KEYS_MAX,
    SLICE_SIZE_BYTES,
    TIME_MS_MAX,
    Loader,
    State,
)
from raftcache.state.items import Stored, pack, read
from raftcache.state.keyspace import Keyspace

_NOT_REMEMBERED: Final = (Status.INVALID, Status.FULL, Status.MISUSED)
_SHED_PER_ENTRY: Final = 100
"""Keys of a replaced state freed by one entry: no more work than the entry itself, for a node that
installed a snapshot has thousands of entries to catch up with."""
_INTEGER_SIZE_BYTES_MAX: Final = len(str(INTEGER_MIN))


class Machine:
    """A StateMachine (see ports): keys with deadlines, and remembered requests.

    Every applied change takes one revision, counted from 1; so does the removal of an overdue key.
    A key is overdue from the first entry whose cluster time reaches its deadline: from then on it
    is absent to every read and command, though it may be removed only by a later entry.
    """

    def __init__(self) -> None:
        self._state = State()
        self._replaced: Keyspace | None = None
        self._handlers: dict[type, Callable[[Any, Stored | None], Reply]] = {
            Put: self._put,
            Delete: self._delete,
            Increment: self._increment,
            Append: self._append,
            Expire: self._expire,
            Persist: self._persist,
            Touch: self._touch,
        }

    # Applying.

    def apply(self, now_ms: int, batch: bytes) -> list[Reply]:
        """Apply one batch at a cluster time: overdue keys go, then the commands in order.

        A time before the last one counts as the last one. Raises Corrupt, with nothing applied,
        for bytes that are no batch.
        """
        assert now_ms < TIME_MS_MAX, now_ms
        commands = decode(batch)
        self._advance(now_ms)
        return [self._answer(command) for command in commands]

    def _advance(self, now_ms: int) -> None:
        state = self._state
        state.now_ms = now_ms = max(state.now_ms, now_ms)
        for key in state.keyspace.overdue(now_ms, EXPIRED_PER_ENTRY_MAX):
            stored = state.keyspace.find(key)
            assert stored is not None
            assert 0 < stored.deadline_ms <= now_ms
            self._remove(key, stored)
        state.sessions.forget(now_ms)
        if self._replaced is not None and not self._replaced.shed(_SHED_PER_ENTRY):
            self._replaced = None

    def _answer(self, command: Command) -> Reply:
        if check(command) is not None:
            return self._refuse(Status.INVALID)
        if isinstance(command, Tick):
            return self._refuse(Status.UNCHANGED)
        if command.once is not None:
            return self._execute_once(command, command.once)
        return self._execute(command)

    def _execute_once(self, command: Command, once: Once) -> Reply:
        sessions, now_ms = self._state.sessions, self._state.now_ms
        record = sessions.find(once.token, now_ms)
        if record is not None:
            if record.fingerprint != once.fingerprint:
                return self._refuse(Status.MISUSED)
            return replace(record.reply, replayed=True)
        if sessions.is_full(now_ms):
            return self._refuse(Status.FULL)
        reply = self._execute(command)
        assert reply.status not in _NOT_REMEMBERED
        sessions.remember(once, now_ms, reply)
        return reply

    def _execute(self, command: Command) -> Reply:
        assert not isinstance(command, Tick)
        found = self._find(command.key)
        if command.only != ANY and not _holds(command.only, found):
            revision = 0 if found is None else found.mod_revision
            return replace(self._keep(Status.PRECONDITION, found), revision=revision)
        return self._handlers[type(command)](command, found)

    # The commands, each given what its key holds now.

    def _put(self, command: Put, found: Stored | None) -> Reply:
        deadline_ms = 0 if command.ttl_ms is None else self._state.now_ms + command.ttl_ms
        content_type = command.content_type.encode("ascii")
        return self._write(command.key, found, deadline_ms, content_type, command.value)

    def _delete(self, command: Delete, found: Stored | None) -> Reply:
        if found is None:
            return self._refuse(Status.DELETED)
        self._remove(command.key, found)
        return Reply(Status.DELETED, self._state.revision, count=1)

    def _increment(self, command: Increment, found: Stored | None) -> Reply:
        number = 0 if found is None else _parse_integer(found.value)
        if number is None:
            return self._keep(Status.NOT_INTEGER, found)
        number += command.by
        if not INTEGER_MIN <= number <= INTEGER_MAX:
            return self._keep(Status.OVERFLOW, found)
        return self._alter(command.key, found, b"%d" % number, number)

    def _append(self, command: Append, found: Stored | None) -> Reply:
        size_bytes = len(command.value) + (0 if found is None else found.value_size_bytes)
        if size_bytes > command.size_bytes_max:
            return self._keep(Status.TOO_LARGE, found)
        value = command.value if found is None else found.value + command.value
        return self._alter(command.key, found, value, size_bytes)

    def _expire(self, command: Expire, found: Stored | None) -> Reply:
        if found is None:
            return self._refuse(Status.MISSING)
        if command.ttl_ms <= 0:
            self._remove(command.key, found)
            return Reply(Status.DELETED, self._state.revision, count=1)
        deadline_ms = self._state.now_ms + command.ttl_ms
        return self._write(command.key, found, deadline_ms, found.content_type, found.value)

    def _persist(self, command: Persist, found: Stored | None) -> Reply:
        if found is None:
            return self._refuse(Status.MISSING)
        if not found.deadline_ms:
            return self._keep(Status.UNCHANGED, found)
        return self._write(command.key, found, 0, found.content_type, found.value)

    def _touch(self, command: Touch, found: Stored | None) -> Reply:
        return self._keep(Status.MISSING if found is None else Status.UNCHANGED, found)

    # What they are made of.

    def _find(self, key: bytes) -> Stored | None:
        """What the key holds for a command; an overdue one is removed first."""
        stored = self._state.keyspace.find(key)
        if stored is not None and 0 < stored.deadline_ms <= self._state.now_ms:
            self._remove(key, stored)
            return None
        return stored

    def _write(
        self,
        key: bytes,
        found: Stored | None,
        deadline_ms: int,
        content_type: bytes,
        value: bytes,
        number: int = 0,
    ) -> Reply:
        state = self._state
        state.revision = revision = state.revision + 1
        if found is None:
            status, created, version = Status.CREATED, revision, 1
        else:
            status, created, version = Status.CHANGED, found.create_revision, found.version + 1
        packed = pack(revision, created, deadline_ms, version, content_type, value)
        state.keyspace.put(key, packed, deadline_ms, found)
        return Reply(status, revision, version, 0, number, deadline_ms)

    def _alter(self, key: bytes, found: Stored | None, value: bytes, number: int) -> Reply:
        """Write a value; content type and deadline stay as they are."""
        if found is None:
            return self._write(key, None, 0, b"", value, number)
        return self._write(key, found, found.deadline_ms, found.content_type, value, number)

    def _remove(self, key: bytes, stored: Stored) -> None:
        self._state.revision += 1
        self._state.keyspace.remove(key, stored)

    def _refuse(self, status: Status) -> Reply:
        """The answer of a command that changed nothing and speaks of no key."""
        return Reply(status, self._state.revision)

    def _keep(self, status: Status, found: Stored | None) -> Reply:
        """The answer of a command that left its key as it was."""
        if found is None:
            return self._refuse(status)
        return Reply(status, self._state.revision, found.version, 0, 0, found.deadline_ms)

    # Reading.

    def get(self, key: bytes) -> Item | None:
        """The key as of the last entry applied; an overdue one is absent."""
        return self._state.keyspace.get(key, self._state.now_ms)

    def items(self) -> Iterator[tuple[bytes, Item]]:
        """All keys in order, without those overdue; nothing may be applied meanwhile."""
        walk = self._state.keyspace.begin_pass()
        try:
            while not walk.done:
                for key, packed in walk.take(SLICE_KEYS_MAX, SLICE_SIZE_BYTES):
                    item = read(packed, self._state.now_ms)
                    if item is not None:
                        yield key, item
        finally:
            self._state.keyspace.end_pass()

    def next_deadline_ms(self) -> int | None:
        """The earliest deadline of any key held, overdue ones among them; None for none."""
        return self._state.keyspace.next_deadline_ms()

    @property
    def count(self) -> int:
        """Keys held, overdue ones that were not removed yet among them."""
        return len(self._state.keyspace)

    @property
    def size_bytes(self) -> int:
        """Keys and packed items, without Python's own cost of about 200 bytes a key."""
        return self._state.keyspace.size_bytes

    @property
    def revision(self) -> int:
        """Writes applied since the store began."""
        return self._state.revision

    @property
    def now_ms(self) -> int:
        """The cluster time of the last entry applied."""
        return self._state.now_ms

    @property
    def digest(self) -> int:
        """64 bits over the whole state; equal states have equal digests."""
        return self._state.digest

    # Images.

    def dump(self) -> Generator[bytes, None, None]:
        """The canonical image as of this call, in slices; see image.dump."""
        return image.dump(self._state)

    def loader(self) -> Loader:
        """Builds another state from an image; its install() puts it in place of this one."""
        return Loader(self._adopt)

    def _adopt(self, state: State) -> None:
        self._replaced, self._state = self._state.keyspace, state


def _holds(only: int, found: Stored | None) -> bool:
    """Whether a precondition holds for what the key holds."""
    if only == PRESENT:
        return found is not None
    return only == (ABSENT if found is None else found.mod_revision)


def _parse_integer(value: bytes) -> int | None:
    """A decimal integer in its one canonical form, signed 64-bit; None for anything else."""
    if len(value) > _INTEGER_SIZE_BYTES_MAX:
        return None
    try:
        number = int(value)  # lenient: b" 1", b"+1", b"1_0", b"007"
    except ValueError:
        return None
    canonical = b"%d" % number == value
    return number if canonical and INTEGER_MIN <= number <= INTEGER_MAX else None
