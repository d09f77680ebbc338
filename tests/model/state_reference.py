"""The rules of the state machine once more, as plainly as they can be said, and slowly.

It shares nothing with raftcache/state but the commands it is given; replies are plain tuples in
the order of Reply's fields.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

from tests.model.client_reference import REGISTERING, Registering
from tests.model.keeping_reference import (
    HEADER,
    KEEPING,
    OVER_KEYS_QUOTA,
    OVER_SIZE_QUOTA,
    Keeping,
    within,
)
from tests.model.lease_reference import (
    LEASING,
    LIMIT,
    LOCKING,
    NO_LEASE,
    LeaseLimits,
    Leasing,
)

Reply = tuple[Any, ...]
"""Seven fields, and for a transaction an eighth: its results."""

CREATED, CHANGED, UNCHANGED, DELETED, MISSING, PRECONDITION = 1, 2, 3, 4, 5, 6
NOT_INTEGER, OVERFLOW, TOO_LARGE, MISUSED, FULL, INVALID = 7, 8, 9, 10, 11, 12
TOO_MANY_KEYS, REPLY_TOO_LARGE, SUCCEEDED, FAILED, ABORTED = 13, 14, 15, 16, 17
PUT, DELETE, EXPIRE, EVICT = 1, 2, 3, 4
RELATIONS = {1: operator.eq, 2: operator.ne, 3: operator.lt, 4: operator.gt}

Event = tuple[int, int, bytes, "Entry | None", "Entry | None"]
"""Revision, kind, key, what it holds, what it held before."""


@dataclass
class Entry:
    value: bytes
    content_type: str
    created: int
    changed: int
    version: int
    deadline: int
    lease: int = 0


class Aborted(Exception):
    """An operation of a transaction could not be done: its status, and a number."""


class Reference(Leasing, Keeping, Registering):
    def __init__(
        self,
        expired_max: int,
        remembered_max: int,
        remembered_ms: int,
        range_keys_max: int,
        results_max: int,
        results_remembered_max: int,
        leases: LeaseLimits,
        quotas_max: int,
        counted_max: int,
        refills_max: int,
    ) -> None:
        self.start(leases)
        self.start_keeping(quotas_max, counted_max, refills_max)
        self.start_registering()
        self.range_keys_max = range_keys_max
        self.results_max = results_max
        self.results_remembered_max = results_remembered_max
        self.events: list[Event] = []
        self.in_txn = False
        self.expired_max = expired_max
        self.remembered_max = remembered_max
        self.remembered_ms = remembered_ms
        self.now = 0
        self.changed_keys: dict[bytes, int] = {}  # how each was changed last
        self.revision = 0
        self.entries: dict[bytes, Entry] = {}
        self.remembered: dict[bytes, tuple[bytes, int, Reply]] = {}

    def apply(self, now: int, commands: list[Any]) -> list[Reply]:
        self.now = max(self.now, now)
        overdue = sorted(
            (e.deadline, key) for key, e in self.entries.items() if 0 < e.deadline <= self.now
        )
        for _, key in overdue[: self.expired_max]:
            self.remove(key, EXPIRE)
        self.end_leases()
        self.end_places()
        if self.counted_to:
            self.count(min(self.counted_to))
        return [self.answer(command) for command in commands]

    def is_due(self, entry: Entry) -> bool:
        return 0 < self.deadline(entry) <= self.now

    def deadline(self, entry: Entry) -> int:
        return self.leases[entry.lease][0] if entry.lease else entry.deadline

    def past(self, entry: Entry | None) -> Entry | None:
        """As events have it: with the end of its lease, if that is over."""
        if entry is None or not entry.lease or not self.is_due(entry):
            return entry
        return dataclasses.replace(entry, deadline=self.deadline(entry), lease=0)

    def take_revision(self) -> None:
        """Of a transaction, the first change takes it."""
        self.revision = self.txn_revision if self.in_txn else self.revision + 1

    def note(self, kind: int, key: bytes, before: Entry | None) -> None:
        if not self.in_txn:
            self.events.append(
                (self.revision, kind, key, copy(self.entries.get(key)), self.past(before))
            )

    def remove(self, key: bytes, kind: int = DELETE) -> None:
        if kind == DELETE:
            self.end_rights(key, key + b"\0")
        before = self.entries.pop(key)
        self.take_revision()
        self.changed_keys[key] = kind
        self.note(kind, key, before)

    def get(self, key: bytes) -> Entry | None:
        entry = self.entries.get(key)
        return None if entry is None or self.is_due(entry) else entry

    def next_deadline(self) -> int | None:
        if self.counted_to:
            return self.now
        deadlines = [e.deadline for e in self.entries.values() if e.deadline]
        deadlines += [deadline for deadline, _ in self.leases.values()]
        deadlines += [place[0] for place in self.places()]
        return min(deadlines, default=None)

    def answer(self, command: Any) -> Reply:
        if type(command).__name__ == "Tick":
            return self.nothing(UNCHANGED)
        if not self.is_valid(command):
            return self.nothing(INVALID)
        if command.once is None:
            return self.execute(command)
        if hasattr(command.once.token, "number"):
            return self.answer_numbered(command)
        living = {
            token: record
            for token, record in self.remembered.items()
            if self.now - record[1] < self.remembered_ms
        }
        token, fingerprint = command.once.token, command.once.fingerprint
        if token in living:
            if living[token][0] != fingerprint:
                return self.nothing(MISUSED)
            first = living[token][2]
            return (*first[:6], True, *first[7:])
        if len(living) >= self.remembered_max:
            return self.nothing(FULL)
        reply = self.execute(command)
        if reply[0] != LIMIT:
            self.remembered[token] = (fingerprint, self.now, reply)
        return reply

    def is_valid(self, command: Any) -> bool:
        """The limits that the strategies of the tests overstep."""
        name = type(command).__name__
        if not self.is_valid_mark(command):
            return False
        if name in REGISTERING:
            return self.is_valid_register_word(command)
        if name in KEEPING:
            return self.is_valid_keeping_word(command)
        if name == "Evict":
            return all(key != b"" and revision > 0 for key, revision in command.victims)
        if command.__class__.__name__ in ("Txn", "DeleteRange", "Range"):
            return self.is_valid_wide(command)
        if name in LEASING + LOCKING:
            return self.is_valid_lease_word(command)
        if name == "Get":
            return bool(command.key != b"")
        if command.key == b"" or command.only < -2:
            return False
        if name == "Put":
            return command.ttl_ms is None or bool(command.ttl_ms > 0)
        if name == "LeasedPut":
            return bool(command.lease > 0)
        if name == "Append":
            return bool(command.size_bytes_max >= 0)
        return True

    def is_valid_mark(self, command: Any) -> bool:
        if getattr(command, "once", None) is None:
            return True
        token = command.once.token
        return self.is_valid_number(token) if hasattr(token, "number") else bool(token != b"")

    def is_valid_wide(self, command: Any) -> bool:
        if type(command).__name__ == "Range":
            return command.end == b"" or bool(command.start < command.end)
        if type(command).__name__ == "DeleteRange":
            return command.end == b"" or bool(command.start < command.end)
        return all(c.key != b"" for c in command.compares) and all(
            self.is_valid(operation) and getattr(operation, "only", -1) == -1
            for operation in command.success + command.failure
        )

    def nothing(self, status: int, entry: Entry | None = None) -> Reply:
        if entry is None:
            return (status, self.revision, 0, 0, 0, 0, False)
        return (status, self.revision, entry.version, 0, 0, self.deadline(entry), False)

    def execute(self, command: Any) -> Reply:  # noqa: C901 - one plain case after the other
        if type(command).__name__ == "Txn":
            return self.transaction(command)
        if type(command).__name__ == "DeleteRange":
            return self.alone(command)
        if type(command).__name__ in LEASING + LOCKING:
            return self.answer_lease_word(command)
        if type(command).__name__ in REGISTERING:
            return self.answer_register_word(command)
        if type(command).__name__ == "Evict":
            return self.evict(command)
        if type(command).__name__ in KEEPING:
            return self.answer_keeping_word(command)
        name, key, only = type(command).__name__, command.key, command.only
        if key in self.entries and self.is_due(self.entries[key]):
            self.remove(key, EXPIRE)
        entry = self.entries.get(key)

        if only == 0 and entry is not None:
            return self.precondition(entry)
        if only == -2 and entry is None:
            return self.precondition(entry)
        if only > 0 and (entry is None or entry.changed != only):
            return self.precondition(entry)

        if name == "Put":
            deadline = 0 if command.ttl_ms is None else self.now + command.ttl_ms
            return self.write(key, command.value, command.content_type, deadline)
        if name == "LeasedPut":
            if not self.lives(command.lease):
                return self.nothing(NO_LEASE)
            keys = self.keys_of(command.lease)
            if key not in keys and len(keys) >= self.limits.lease_keys_max:
                return self.nothing(LIMIT)
            return self.write(key, command.value, command.content_type, 0, 0, command.lease)
        if name == "Delete":
            self.end_rights(key, key + b"\0")
            if entry is None:
                return self.nothing(DELETED)
            self.remove(key)
            return (DELETED, self.revision, 0, 1, 0, 0, False)
        if name == "Increment":
            value = b"0" if entry is None else entry.value
            if not re.fullmatch(rb"0|-?[1-9][0-9]*", value):
                return self.nothing(NOT_INTEGER, entry)
            if not -(2**63) <= int(value) < 2**63:
                return self.nothing(NOT_INTEGER, entry)
            number = int(value) + command.by
            if not -(2**63) <= number < 2**63:
                return self.nothing(OVERFLOW, entry)
            return self.alter(key, str(number).encode(), number)
        if name == "Append":
            value = (b"" if entry is None else entry.value) + command.value
            if len(value) > command.size_bytes_max:
                return self.nothing(TOO_LARGE, entry)
            return self.alter(key, value, len(value))

        if entry is None:
            return self.nothing(MISSING)
        if name == "Expire" and command.ttl_ms <= 0:
            self.remove(key)
            return (DELETED, self.revision, 0, 1, 0, 0, False)
        if name == "Expire":
            return self.write(key, entry.value, entry.content_type, self.now + command.ttl_ms)
        if name == "Persist" and self.deadline(entry):
            return self.write(key, entry.value, entry.content_type, 0)
        assert name in ("Persist", "Touch")
        return self.nothing(UNCHANGED, entry)

    def transaction(self, txn: Any) -> Reply:
        held = all(self.holds(compare) for compare in txn.compares)
        branch, status = (txn.success, SUCCEEDED) if held else (txn.failure, FAILED)
        for operation in branch:  # overdue keys go first, each with a revision of its own
            entry = self.entries.get(operation.key) if hasattr(operation, "only") else None
            if entry is not None and self.is_due(entry):
                self.remove(operation.key, EXPIRE)
        room = self.results_max if txn.once is None else self.results_remembered_max
        before, revision = deepcopy(self.entries), self.revision
        self.begin()
        results: list[tuple[Any, ...]] = []
        for place, operation in enumerate(branch):
            try:
                result, size = self.operation(operation)
                room -= size
                if room < 0:
                    raise Aborted(REPLY_TOO_LARGE)
            except Aborted as aborted:
                self.entries, self.revision, self.in_txn = before, revision, False
                number = aborted.args[1] if len(aborted.args) > 1 else 0
                reply = (aborted.args[0], revision, 0, 0, number, 0, False)
                return (*self.nothing(ABORTED), ((status, place, reply),))
            results.append(result)
        self.commit(before)
        return (*self.nothing(status), tuple(results))

    def alone(self, command: Any) -> Reply:
        before = deepcopy(self.entries)
        self.begin()
        try:
            reply = self.delete_range(command)
        except Aborted:
            self.in_txn = False
            return self.nothing(TOO_MANY_KEYS)
        self.commit(before)
        return reply

    def evict(self, command: Any) -> Reply:
        before, count = deepcopy(self.entries), 0
        self.begin()
        for key, revision in command.victims:
            entry = self.entries.get(key)
            if entry is not None and entry.changed == revision:
                self.remove(key, EXPIRE if self.is_due(entry) else EVICT)
                count += not self.is_due(entry)
        self.commit(before)
        return (DELETED, self.revision, 0, count, 0, 0, False)

    def begin(self) -> None:
        self.in_txn, self.changed_keys, self.touched, self.ended = True, {}, 0, []
        self.txn_revision = self.revision + 1

    def commit(self, before: dict[bytes, Entry]) -> None:
        self.in_txn = False
        for start, end in self.ended:
            self.end_rights(start, end)
        for key, kind in self.changed_keys.items():
            old, new = before.get(key), copy(self.entries.get(key))
            if old is not None or new is not None:
                kind = PUT if new is not None else kind
                self.events.append((self.revision, kind, key, new, self.past(old)))

    def together(self, changes: Any) -> None:
        before = deepcopy(self.entries)
        self.begin()
        changes()
        self.commit(before)

    def operation(self, operation: Any) -> tuple[tuple[Any, ...], int]:
        name = type(operation).__name__
        if name == "Get":
            entry = self.get(operation.key)
            found = [] if entry is None else [(operation.key, entry)]
            return self.found(found, False, keys_only=False)
        if name == "Range":
            return self.range(operation)
        reply = self.delete_range(operation) if name == "DeleteRange" else self.execute(operation)
        if reply[0] in (OVER_KEYS_QUOTA, OVER_SIZE_QUOTA):
            raise Aborted(reply[0], reply[4])
        if reply[0] in (MISSING, NOT_INTEGER, OVERFLOW, TOO_LARGE, NO_LEASE, LIMIT):
            raise Aborted(reply[0])
        return (reply,), 64

    def range(self, asked: Any) -> tuple[tuple[Any, ...], int]:
        keys = sorted(key for key in self.entries if within(key, asked.start, asked.end))
        if asked.count_only:
            self.touch(sum(self.is_due(entry) for entry in self.entries.values()))
            return ((), sum(not self.is_due(self.entries[key]) for key in keys), False), 64
        found: list[tuple[bytes, Entry]] = []
        for key in keys:
            due = self.is_due(self.entries[key])
            if not due and asked.limit and len(found) == asked.limit:
                return self.found(found, True, asked.keys_only)
            self.touch(1)
            if not due:
                found.append((key, self.entries[key]))
        return self.found(found, False, asked.keys_only)

    def found(
        self, found: list[tuple[bytes, Entry]], more: bool, keys_only: bool
    ) -> tuple[tuple[Any, ...], int]:
        entries = tuple(
            (
                key,
                (
                    b"" if keys_only else e.value,
                    e.content_type,
                    e.created,
                    e.changed,
                    e.version,
                    self.deadline(e),
                    e.lease,
                ),
            )
            for key, e in found
        )
        size = sum(64 + len(key) + len(item[0]) + len(item[1]) for key, item in entries)
        return (entries, len(entries), more), 64 + size

    def delete_range(self, command: Any) -> Reply:
        keys = sorted(key for key in self.entries if within(key, command.start, command.end))
        self.touch(len(keys))
        self.end_rights(command.start, command.end)
        count = 0
        for key in keys:
            due = self.is_due(self.entries[key])
            self.remove(key, EXPIRE if due else DELETE)
            count += not due
        return (DELETED, self.revision, 0, count, 0, 0, False)

    def touch(self, keys: int) -> None:
        self.touched += keys
        if self.touched > self.range_keys_max:
            raise Aborted(TOO_MANY_KEYS)

    def holds(self, compare: Any) -> bool:
        entry, relation = self.get(compare.key), RELATIONS[compare.relation]
        if compare.target == 4:
            return entry is not None and bool(relation(entry.value, compare.value))
        if entry is None:
            return bool(relation(0, compare.number))
        present = {
            1: entry.changed,
            2: entry.created,
            3: entry.version,
            5: 1,
            6: entry.lease,
        }
        return bool(relation(present[compare.target], compare.number))

    def precondition(self, entry: Entry | None) -> Reply:
        if entry is None:
            return (PRECONDITION, 0, 0, 0, 0, 0, False)
        return (PRECONDITION, entry.changed, entry.version, 0, 0, self.deadline(entry), False)

    def alter(self, key: bytes, value: bytes, number: int) -> Reply:
        entry = self.entries.get(key)
        if entry is None:
            return self.write(key, value, "", 0, number)
        return self.write(key, value, entry.content_type, entry.deadline, number, entry.lease)

    def write(
        self,
        key: bytes,
        value: bytes,
        content_type: str,
        deadline: int,
        number: int = 0,
        lease: int = 0,
    ) -> Reply:
        over = self.over_quota(key, HEADER + len(content_type) + len(value))
        if over is not None:
            return over
        self.end_rights(key, key + b"\0")
        self.take_revision()
        self.changed_keys[key] = PUT
        entry = self.entries.get(key)
        if entry is None:
            self.entries[key] = Entry(
                value, content_type, self.revision, self.revision, 1, deadline, lease
            )
            self.note(PUT, key, None)
            deadline = self.deadline(self.entries[key])
            return (CREATED, self.revision, 1, 0, number, deadline, False)
        again = entry.changed == self.revision  # in the same transaction
        version = entry.version if again else entry.version + 1
        self.entries[key] = Entry(
            value, content_type, entry.created, self.revision, version, deadline, lease
        )
        self.note(PUT, key, entry)
        deadline = self.deadline(self.entries[key])
        return (CHANGED, self.revision, version, 0, number, deadline, False)
