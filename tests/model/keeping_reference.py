"""The rules of quotas and of rights to refill once more, plainly; a part of the reference."""

from __future__ import annotations

from typing import Any

Reply = tuple[Any, ...]

CREATED, CHANGED, UNCHANGED, DELETED = 1, 2, 3, 4
OVER_KEYS_QUOTA, OVER_SIZE_QUOTA, NO_ROOM, WON, LOST, RIGHT_OVER = 24, 25, 26, 27, 28, 29
EXPIRE = 3
HEADER = 34
"""What an item has beside its type and value."""
KEEPING = ("SetQuota", "DeleteQuota", "Vivify", "Refill")


def within(key: bytes, start: bytes, end: bytes) -> bool:
    return start <= key and (end == b"" or key < end)


class Keeping:
    """Mixed into Reference, whose entries it looks at."""

    now: int
    revision: int
    in_txn: bool
    entries: dict[bytes, Any]

    def start_keeping(self, quotas_max: int, counted_max: int, refills_max: int) -> None:
        self.quotas_max, self.counted_max, self.refills_max = quotas_max, counted_max, refills_max
        self.quotas: dict[bytes, tuple[int | None, int | None]] = {}
        self.counted_to: dict[bytes, bytes] = {}  # of quotas whose keys are not all counted yet
        self.rights: dict[bytes, tuple[int, int]] = {}  # token and deadline
        self.ended: list[tuple[bytes, bytes]] = []  # ranges without rights after this transaction

    def remove(self, key: bytes, kind: int = 0) -> None:
        raise NotImplementedError

    def is_due(self, entry: Any) -> bool:
        raise NotImplementedError

    def deadline(self, entry: Any) -> int:
        raise NotImplementedError

    def nothing(self, status: int, entry: Any = None) -> Reply:
        raise NotImplementedError

    def write(self, key: bytes, value: bytes, content_type: str, deadline: int) -> Reply:
        raise NotImplementedError

    def is_valid_keeping_word(self, command: Any) -> bool:
        name = type(command).__name__
        if name == "SetQuota":
            limits = [m for m in (command.keys_max, command.size_bytes_max) if m is not None]
            return bool(limits) and min(limits) >= 0
        if name == "DeleteQuota":
            return True
        if name == "Vivify":
            return bool(command.key != b"" and command.right_ms > 0)
        ttl_ms = 1 if command.ttl_ms is None else command.ttl_ms
        return bool(command.key != b"" and command.token > 0 and ttl_ms > 0)

    def answer_keeping_word(self, command: Any) -> Reply:
        return {
            "SetQuota": self.set_quota,
            "DeleteQuota": self.delete_quota,
            "Vivify": self.vivify,
            "Refill": self.refill,
        }[type(command).__name__](command)

    def end_rights(self, start: bytes, end: bytes) -> None:
        if self.in_txn:
            self.ended.append((start, end))
        else:
            self.rights = {k: r for k, r in self.rights.items() if not within(k, start, end)}

    def vivify(self, command: Any) -> Reply:
        key = command.key
        if key in self.entries and self.is_due(self.entries[key]):
            self.remove(key, EXPIRE)
        entry = self.entries.get(key)
        deadline = self.deadline(entry) if entry else 0
        if entry and (not deadline or deadline - self.now > command.early_ms):
            return self.nothing(UNCHANGED, entry)
        living = {k: r for k, r in self.rights.items() if r[1] > self.now}
        if key in living:
            return (LOST, self.revision, 0, 0, 0, living[key][1], False)
        if len(living) >= self.refills_max:
            return self.nothing(NO_ROOM)
        self.revision += 1
        self.rights = living | {key: (self.revision, self.now + command.right_ms)}
        return (WON, self.revision, 0, 0, 0, self.now + command.right_ms, False)

    def refill(self, command: Any) -> Reply:
        key = command.key
        if key in self.entries and self.is_due(self.entries[key]):
            self.remove(key, EXPIRE)
        token, right_until = self.rights.get(key, (0, 0))
        if token != command.token or right_until <= self.now:
            entry = self.entries.get(key)
            return (RIGHT_OVER, entry.changed if entry else 0, 0, 0, 0, 0, False)
        deadline = 0 if command.ttl_ms is None else self.now + command.ttl_ms
        return self.write(key, command.value, command.content_type, deadline)

    def set_quota(self, command: Any) -> Reply:
        prefix, limits = command.prefix, (command.keys_max, command.size_bytes_max)
        existed = prefix in self.quotas
        if not existed and len(self.quotas) >= self.quotas_max:
            return self.nothing(NO_ROOM)
        self.quotas[prefix] = limits
        if not existed:
            self.counted_to[prefix] = prefix
            self.count(prefix)
        return self.nothing(CHANGED if existed else CREATED)

    def delete_quota(self, command: Any) -> Reply:
        existed = self.quotas.pop(command.prefix, None) is not None
        self.counted_to.pop(command.prefix, None)
        return (DELETED, self.revision, 0, int(existed), 0, 0, False)

    def count(self, prefix: bytes) -> None:
        below = [key for key in self.entries if key.startswith(prefix)]
        left = sorted(key for key in below if key >= self.counted_to[prefix])
        if len(left) > self.counted_max:
            self.counted_to[prefix] = left[self.counted_max]
        else:
            del self.counted_to[prefix]

    def counts(self, prefix: bytes) -> tuple[int, int]:
        """Keys below a prefix that are counted, and their sizes."""
        to = self.counted_to.get(prefix)
        keys = [k for k in self.entries if k.startswith(prefix) and (to is None or k < to)]
        return len(keys), sum(len(key) + self.size(self.entries[key]) for key in keys)

    def size(self, entry: Any) -> int:
        return HEADER + len(entry.content_type) + len(entry.value)

    def over_quota(self, key: bytes, size: int) -> Reply | None:
        """Why a key cannot hold an item of this size; the shortest prefix says so."""
        entry = self.entries.get(key)
        growth = len(key) + size if entry is None else size - self.size(entry)
        for prefix in sorted(self.quotas, key=len):
            if not key.startswith(prefix) or prefix in self.counted_to:
                continue
            (keys_max, size_max), (keys, total) = self.quotas[prefix], self.counts(prefix)
            answer = self.nothing(OVER_KEYS_QUOTA, entry)
            if entry is None and keys_max is not None and keys + 1 > keys_max:
                return (*answer[:4], len(prefix), *answer[5:])
            if growth > 0 and size_max is not None and total + growth > size_max:
                return (OVER_SIZE_QUOTA, *answer[1:4], len(prefix), *answer[5:])
        return None
