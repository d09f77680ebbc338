"""First replies to idempotency keys, kept for a while so that a retry is answered, not applied.

Records stand in the order they were made. A record is dead exactly when its time is over, whether
or not it was dropped yet: dead ones answer nothing and never make the table full.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from xxhash import xxh3_64_intdigest

from raftcache.command.limits import (
    REQUESTS_FORGOTTEN_PER_ENTRY_MAX,
    REQUESTS_REMEMBERED_MAX,
    REQUESTS_REMEMBERED_MS,
)
from raftcache.command.replies import Reply
from raftcache.command.words import Once
from raftcache.state.records import unpack
from raftcache.state.remembered import (
    CALLS_RECORD,
    PLAIN_RECORD,
    RECORD_SIZE_BYTES_MAX,
    Record,
    decode,
    encode,
)

RECORDS_SIZE_BYTES_MAX: Final = REQUESTS_REMEMBERED_MAX * 512
"""Of all records: as many as there can be, unless they are of transactions that read much."""

RECORD_COST_BYTES: Final = 208
"""What Python takes for a record beside its bytes, its token once more included: measured, 200."""


class Sessions:
    """The table of tokens.

    first is the number of the oldest record, counted from 0 since the store began; digest is the
    sum of a hash over each record and its number (see Keyspace). size_bytes is of the packed
    records; transactions counts those of transactions, calls those of Redis commands.
    """

    __slots__ = ("_latest", "_queue", "calls", "digest", "first", "size_bytes", "transactions")

    def __init__(self, first: int = 0) -> None:
        self._queue: deque[bytes] = deque()
        self._latest: dict[bytes, bytes] = {}
        self.digest = self.size_bytes = self.transactions = self.calls = 0
        self.first = first

    def __len__(self) -> int:
        """Records held, dead ones that were not dropped yet among them."""
        return len(self._queue)

    @property
    def memory_size_bytes(self) -> int:
        """About what it takes of the process's memory."""
        return self.size_bytes + len(self._queue) * RECORD_COST_BYTES

    def find(self, token: bytes, now_ms: int) -> Record | None:
        """The living record of a token."""
        packed = self._latest.get(token)
        if packed is None:
            return None
        record = decode(packed)
        return None if _is_dead(record, now_ms) else record

    def make_room(self, now_ms: int) -> bool:
        """Drop dead records until any other one fits; False if all are living, and it may not."""
        while (
            len(self._queue) >= REQUESTS_REMEMBERED_MAX
            or self.size_bytes > RECORDS_SIZE_BYTES_MAX - RECORD_SIZE_BYTES_MAX
        ):
            if not _is_dead(self._oldest(), now_ms):
                return False
            self._drop_oldest()
        return True

    def remember(self, once: Once, now_ms: int, reply: Reply) -> None:
        """Add a record; there must be room, and no living record of the token."""
        assert len(self._queue) < REQUESTS_REMEMBERED_MAX
        assert isinstance(once.token, bytes)
        self._add(once.token, encode(once.token, once.fingerprint, now_ms, reply))

    def forget(self, now_ms: int) -> None:
        """Drop the oldest dead records, REQUESTS_FORGOTTEN_PER_ENTRY_MAX at most."""
        for _ in range(REQUESTS_FORGOTTEN_PER_ENTRY_MAX):
            if not self._queue or not _is_dead(self._oldest(), now_ms):
                return
            self._drop_oldest()

    def records(self) -> list[bytes]:
        """The packed records, oldest first. Copies references: 2 ms for a full table."""
        return list(self._queue)

    def load(self, packed: bytes, now_ms: int) -> str | None:
        """Add the next record of an image; why it cannot be one, or None."""
        record = unpack(decode, packed)
        if isinstance(record, str):
            return record
        if len(self._queue) >= REQUESTS_REMEMBERED_MAX:
            return f"more than {REQUESTS_REMEMBERED_MAX} records"
        if record.applied_ms > now_ms:
            return f"a record of {record.applied_ms} ms at {now_ms} ms"
        if self._queue and record.applied_ms < decode(self._queue[-1]).applied_ms:
            return "records out of order"
        if self.find(record.token, record.applied_ms) is not None:
            return "two living records of one token"
        self._add(record.token, packed)
        return None

    def _add(self, token: bytes, packed: bytes) -> None:
        self.digest += xxh3_64_intdigest(packed, self.first + len(self._queue))
        self.size_bytes += len(packed)
        self.transactions += packed[:1] != PLAIN_RECORD
        self.calls += packed[:1] == CALLS_RECORD
        self._queue.append(packed)
        self._latest[token] = packed

    def _oldest(self) -> Record:
        return decode(self._queue[0])

    def _drop_oldest(self) -> None:
        packed = self._queue.popleft()
        self.digest -= xxh3_64_intdigest(packed, self.first)
        self.size_bytes -= len(packed)
        self.transactions -= packed[:1] != PLAIN_RECORD
        self.calls -= packed[:1] == CALLS_RECORD
        self.first += 1
        token = decode(packed).token
        if self._latest[token] is packed:  # else a younger record took its place when it was dead
            del self._latest[token]


def _is_dead(record: Record, now_ms: int) -> bool:
    return now_ms - record.applied_ms >= REQUESTS_REMEMBERED_MS
