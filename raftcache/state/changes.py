"""The one way in which commands change keys: it takes revisions, notes events, and can undo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from raftcache.command.replies import Reply, Status
from raftcache.state.history import Event, History, Kind
from raftcache.state.items import (
    LEASED,
    STRING,
    Stored,
    closed,
    collections_of,
    pack,
    pack_next,
    weight_bytes,
)
from raftcache.state.notes import Notes
from raftcache.state.runs import PlainWrite
from raftcache.state.state import State

_PUT: Final = Kind.PUT
_CREATED: Final = Status.CREATED
_CHANGED: Final = Status.CHANGED


class Mark(NamedTuple):
    """A moment since begin, to which undo can go back."""

    keys: int
    rows: int
    settled: int
    notes: int
    next_id: int


class Changes:
    """Changes to one state, as of its cluster time.

    Each change takes a revision of its own, but those between begin and commit share one, which
    the first of them takes. Rows of collections change only between these two.
    """

    __slots__ = (
        "_add_run",
        "_base",
        "_before",
        "_begin",
        "_keys",
        "_note",
        "_rows",
        "_settled",
        "notes",
        "state",
    )

    def __init__(self, state: State, history: History, notes: Notes) -> None:
        """notes: of what is undone there are none."""
        self.state, self.notes = state, notes
        self._note, self._add_run = history.add, history.add_run
        # What the keys changed since begin held then, in the order of their first change.
        self._before: dict[bytes, tuple[Stored | None, Kind]] | None = None
        self._base = 0  # the revision at begin
        self._begin = Mark(0, 0, 0, 0, 0)
        self._settled: list[tuple[bytes, bytes]] = []  # ranges whose refills end with a commit
        self._keys: list[tuple[bytes, Stored | None]] = []  # what each change since then replaced
        self._rows: list[tuple[bytes, bytes | None]] = []

    def find(self, key: bytes) -> Stored | None:
        """What the key holds for a command; an overdue one is removed first."""
        keyspace = self.state.keyspace
        stored = keyspace.find(key)
        if stored is not None and keyspace.is_overdue(stored, self.state.now_ms):
            self.remove(key, stored, Kind.EXPIRE)
            return None
        return stored

    def at_begin(self, key: bytes) -> Stored | None:
        """What the key held for a command at begin."""
        assert self._before is not None
        held = self._before[key][0] if key in self._before else self.find(key)
        if held is None or self.state.keyspace.is_overdue(held, self.state.now_ms):
            return None
        return held

    def was_created(self, key: bytes) -> bool:
        """Whether the key was absent at a moment since begin, and then was there."""
        assert self._before is not None
        return key in self._before and (key, None) in self._keys

    def put_plain(self, key: bytes, content_type: bytes, value: bytes) -> bytes | None:
        """As find and write of a string that does not end, where nothing else has to be done.

        The packed item; None, with nothing done, if something has. Most writes are of this kind,
        and take half the time here.
        """
        state = self.state
        keyspace = state.keyspace
        if self._before is not None or keyspace.quotas.sizes or state.refills.by_key:
            return None
        old, revision = keyspace.packed(key), state.revision + 1
        packed = pack_next(old, revision, content_type, value)
        if packed is not None:
            state.revision = revision
            self._note(Event(revision, _PUT, key, packed, old))
            keyspace.put_plain(key, packed, old)
        return packed

    def put_run(self, writes: Iterable[PlainWrite]) -> list[int]:
        """As put_plain of each, and what that answers but the versions alone; ends at a None."""
        state = self.state
        if self._before is not None or state.keyspace.quotas.sizes or state.refills.by_key:
            return []
        run, versions = state.keyspace.put_run(state.revision, writes)
        state.revision = run.revision
        self._add_run(run)
        return versions

    def write(
        self,
        key: bytes,
        found: Stored | None,
        deadline_ms: int,
        content_type: bytes,
        value: bytes,
        number: int = 0,
        lease: int = 0,
        kind: int = STRING,
    ) -> Reply:
        """Give the key a new item, unless a quota is against it.

        found: what `find` returned. lease: one that is held. kind: of a collection, if the value
        describes one; the one that the key had is discarded, unless it is the same.
        """
        state, alone = self.state, self._before is None
        revision = (state.revision if alone else self._base) + 1
        if found is None:
            status, created, version, previous = _CREATED, revision, 1, None
        else:
            status, created, previous = _CHANGED, found.create_revision, found.packed
            version = found.version + (found.mod_revision != revision)
        packed = pack(revision, created, deadline_ms, version, content_type, value, lease, kind)
        if state.keyspace.quotas.sizes and (over := self._over(key, found, weight_bytes(packed))):
            return over
        if found is not None and found.kind > LEASED:
            self._discard(found, packed if kind > LEASED else None)
        if alone:
            state.revision = revision
            self._note(Event(revision, _PUT, key, packed, previous))
        else:
            self._join(key, found, _PUT)
        state.keyspace.put(key, packed, deadline_ms, found)
        if state.refills.by_key:
            self.settle(key, key + b"\0")
        if lease:
            deadline_ms = state.leases.deadline_ms(lease)
        return Reply(status, revision, version, 0, number, deadline_ms)

    def _over(self, key: bytes, found: Stored | None, size_bytes: int) -> Reply | None:
        """The answer to a write that would pass a quota, for a key that now holds found."""
        quotas, revision = self.state.keyspace.quotas, self.state.revision
        if found is None:
            over = quotas.over(key, True, len(key) + size_bytes)
            return over and Reply(over[0], revision, number=over[1])
        over = quotas.over(key, False, size_bytes - weight_bytes(found.packed))
        deadline_ms = found.deadline_ms or self.state.leases.deadline_ms(found.lease)
        return over and Reply(over[0], revision, found.version, 0, over[1], deadline_ms)

    def settle(self, start: bytes, end: bytes) -> None:
        """Keys of [start, end) were written or deleted: what was read of them before is old.

        Their rights to be refilled end, together with the changes since begin.
        """
        if self._before is None:
            self.state.refills.end_range(start, end)
        else:
            self._settled.append((start, end))

    def remove(self, key: bytes, found: Stored, kind: Kind = Kind.DELETE) -> None:
        """Remove the key, and discard its collection if it has one; found is what it holds."""
        if found.kind > LEASED:
            self._discard(found, None)
        self._remove(key, found, kind)

    def move_away(self, key: bytes, found: Stored) -> None:
        """Remove the key, whose collection, if it has one, goes on under another one."""
        self._remove(key, found, Kind.DELETE)

    def _remove(self, key: bytes, found: Stored, kind: Kind) -> None:
        state = self.state
        if kind is not Kind.DELETE:
            self.notes.note_gone(kind, key)
        if self._before is None:
            state.revision += 1
            self._note(Event(state.revision, kind, key, None, self._past(found)))
            state.tombstones.note(key, found.mod_revision)
        else:
            self._join(key, found, kind)
        state.keyspace.remove(key, found)
        if state.refills.by_key and kind is Kind.DELETE:
            self.settle(key, key + b"\0")

    def _discard(self, found: Stored, packed: bytes | None) -> None:
        """Its collections have lost their key, but those of the new item."""
        old, new = collections_of(found.packed), () if packed is None else collections_of(packed)
        for collection in () if old == new else sorted(set(old).difference(new)):
            self.state.rows.discard(collection)

    # Rows of collections, between begin and commit.

    def put_row(self, name: bytes, value: bytes) -> bytes | None:
        """Set a row; what it was before."""
        assert self._before is not None
        old = self.state.rows.put(name, value)
        self._rows.append((name, old))
        return old

    def remove_row(self, name: bytes) -> bytes | None:
        """Remove a row; what it was, None if there was none."""
        assert self._before is not None
        old = self.state.rows.remove(name)
        if old is not None:
            self._rows.append((name, old))
        return old

    def take_revision(self) -> int:
        """For a change that is not of a key."""
        assert self._before is None
        self.state.revision += 1
        return self.state.revision

    def begin(self) -> None:
        """From now on all changes share one revision."""
        assert self._before is None
        self._before, self._base = {}, self.state.revision
        self._settled.clear()
        self._keys.clear()
        self._rows.clear()
        self._begin = self.mark()

    def mark(self) -> Mark:
        """This moment, for undo."""
        sizes = len(self._keys), len(self._rows), len(self._settled), len(self.notes.pending)
        return Mark(*sizes, self.state.rows.next_id)

    def commit(self) -> None:
        """The changes since begin stay."""
        assert self._before is not None
        find, revision = self.state.keyspace.find, self.state.revision
        note_gone = self.state.tombstones.note
        for key, (old, kind) in self._before.items() if self._keys else ():
            new = find(key)
            if new is None:
                note_gone(key, revision if old is None else old.mod_revision)
            if new is None and old is None:
                continue  # it came and went
            if new is not None and old is not None and new.packed == old.packed:
                continue  # undone
            packed = None if new is None else new.packed
            previous = None if old is None else self._past(old)
            kind = _PUT if new is not None else kind
            self._note(Event(revision, kind, key, packed, previous))
        self._before = None
        for start, end in self._settled:
            self.state.refills.end_range(start, end)

    def undo(self) -> None:
        """All is as it was at begin."""
        self.undo_to(self._begin)
        self._before = None

    def undo_to(self, mark: Mark) -> None:
        """All is as it was at that moment; what was begun goes on."""
        assert self._before is not None
        keyspace, rows, keys = self.state.keyspace, self.state.rows, self._keys
        while len(keys) > mark.keys:
            key, old = keys.pop()
            new = keyspace.find(key)
            if old is not None:
                if old.kind > LEASED:
                    for collection in collections_of(old.packed):
                        rows.restore(collection)
                keyspace.put(key, old.packed, old.deadline_ms, new)
            elif new is not None:
                keyspace.remove(key, new)
        while len(self._rows) > mark.rows:
            name, value = self._rows.pop()
            if value is None:
                rows.remove(name)
            else:
                rows.put(name, value)
        rows.next_id = mark.next_id
        del self._settled[mark.settled :]
        del self.notes.pending[mark.notes :]
        if not keys:
            self.state.revision = self._base

    def _past(self, found: Stored) -> bytes:
        """As the history has it: its lease will be forgotten, so when it was over stands in it."""
        if found.lease and self.state.keyspace.is_overdue(found, self.state.now_ms):
            return closed(found.packed, self.state.leases.deadline_ms(found.lease))
        return found.packed

    def _join(self, key: bytes, found: Stored | None, kind: Kind) -> int:
        """Note what the key held, and how it changed last; the revision of them all."""
        assert self._before is not None
        old = self._before[key][0] if key in self._before else found
        self._before[key] = old, kind
        self._keys.append((key, found))
        if self.state.revision == self._base:
            self.state.revision += 1
        return self.state.revision
