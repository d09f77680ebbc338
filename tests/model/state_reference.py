"""The rules of the state machine once more, as plainly as they can be said, and slowly.

It shares nothing with raftcache/state but the commands it is given; replies are plain tuples in
the order of Reply's fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Reply = tuple[int, int, int, int, int, int, bool]

CREATED, CHANGED, UNCHANGED, DELETED, MISSING, PRECONDITION = 1, 2, 3, 4, 5, 6
NOT_INTEGER, OVERFLOW, TOO_LARGE, MISUSED, FULL, INVALID = 7, 8, 9, 10, 11, 12


@dataclass
class Entry:
    value: bytes
    content_type: str
    created: int
    changed: int
    version: int
    deadline: int


class Reference:
    def __init__(self, expired_max: int, remembered_max: int, remembered_ms: int) -> None:
        self.expired_max = expired_max
        self.remembered_max = remembered_max
        self.remembered_ms = remembered_ms
        self.now = 0
        self.revision = 0
        self.entries: dict[bytes, Entry] = {}
        self.remembered: dict[bytes, tuple[bytes, int, Reply]] = {}

    def apply(self, now: int, commands: list[Any]) -> list[Reply]:
        self.now = max(self.now, now)
        overdue = sorted((e.deadline, key) for key, e in self.entries.items() if self.is_due(e))
        for _, key in overdue[: self.expired_max]:
            self.remove(key)
        return [self.answer(command) for command in commands]

    def is_due(self, entry: Entry) -> bool:
        return entry.deadline != 0 and entry.deadline <= self.now

    def remove(self, key: bytes) -> None:
        del self.entries[key]
        self.revision += 1

    def get(self, key: bytes) -> Entry | None:
        entry = self.entries.get(key)
        return None if entry is None or self.is_due(entry) else entry

    def next_deadline(self) -> int | None:
        return min((e.deadline for e in self.entries.values() if e.deadline), default=None)

    def answer(self, command: Any) -> Reply:
        if type(command).__name__ == "Tick":
            return self.nothing(UNCHANGED)
        if not self.is_valid(command):
            return self.nothing(INVALID)
        if command.once is None:
            return self.execute(command)
        living = {
            token: record
            for token, record in self.remembered.items()
            if self.now - record[1] < self.remembered_ms
        }
        token, fingerprint = command.once.token, command.once.fingerprint
        if token in living:
            if living[token][0] != fingerprint:
                return self.nothing(MISUSED)
            return (*living[token][2][:6], True)
        if len(living) >= self.remembered_max:
            return self.nothing(FULL)
        reply = self.execute(command)
        self.remembered[token] = (fingerprint, self.now, reply)
        return reply

    def is_valid(self, command: Any) -> bool:
        """The limits that the strategies of the tests overstep."""
        name = type(command).__name__
        if command.key == b"" or command.only < -2:
            return False
        if command.once is not None and command.once.token == b"":
            return False
        if name == "Put":
            return command.ttl_ms is None or bool(command.ttl_ms > 0)
        if name == "Append":
            return bool(command.size_bytes_max >= 0)
        return True

    def nothing(self, status: int, entry: Entry | None = None) -> Reply:
        if entry is None:
            return (status, self.revision, 0, 0, 0, 0, False)
        return (status, self.revision, entry.version, 0, 0, entry.deadline, False)

    def execute(self, command: Any) -> Reply:  # noqa: C901 - one plain case after the other
        name, key, only = type(command).__name__, command.key, command.only
        if key in self.entries and self.is_due(self.entries[key]):
            self.remove(key)
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
        if name == "Delete":
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
        if name == "Persist" and entry.deadline:
            return self.write(key, entry.value, entry.content_type, 0)
        assert name in ("Persist", "Touch")
        return self.nothing(UNCHANGED, entry)

    def precondition(self, entry: Entry | None) -> Reply:
        if entry is None:
            return (PRECONDITION, 0, 0, 0, 0, 0, False)
        return (PRECONDITION, entry.changed, entry.version, 0, 0, entry.deadline, False)

    def alter(self, key: bytes, value: bytes, number: int) -> Reply:
        entry = self.entries.get(key)
        if entry is None:
            return self.write(key, value, "", 0, number)
        return self.write(key, value, entry.content_type, entry.deadline, number)

    def write(
        self, key: bytes, value: bytes, content_type: str, deadline: int, number: int = 0
    ) -> Reply:
        self.revision += 1
        entry = self.entries.get(key)
        if entry is None:
            self.entries[key] = Entry(
                value, content_type, self.revision, self.revision, 1, deadline
            )
            return (CREATED, self.revision, 1, 0, number, deadline, False)
        self.entries[key] = Entry(
            value, content_type, entry.created, self.revision, entry.version + 1, deadline
        )
        return (CHANGED, self.revision, entry.version + 1, 0, number, deadline, False)
