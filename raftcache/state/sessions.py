"""First replies to idempotency keys, kept for a while so that a retry is answered, not applied.

Records stand in the order they were made. A record is dead exactly when its time is over, whether
or not it was dropped yet: dead ones answer nothing and never make the table full.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from raftcache.command.codec import UNREADABLE
from raftcache.command.limits import (
    FINGERPRINT_SIZE_BYTES,
    REQUESTS_FORGOTTEN_PER_ENTRY_MAX,
    REQUESTS_REMEMBERED_MAX,
    REQUESTS_REMEMBERED_MS,
    TOKEN_SIZE_BYTES_MAX,
)
from raftcache.command.words import Once, Reply


class Record(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a token stands for: the request, when it was applied, and its reply."""

    token: bytes
    fingerprint: bytes
    applied_ms: int
    reply: Reply

    def is_dead(self, now_ms: int) -> bool:
        return now_ms - self.applied_ms >= REQUESTS_REMEMBERED_MS


RECORD_SIZE_BYTES_MAX: Final = 512
"""Packed: a token, a fingerprint, a reply of small integers and the framing of each."""

assert TOKEN_SIZE_BYTES_MAX + FINGERPRINT_SIZE_BYTES + 128 < RECORD_SIZE_BYTES_MAX

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class Sessions:
    """The table of tokens.

    first is the number of the oldest record, counted from 0 since the store began; digest is the
    sum of a hash over each record and its number (see Keyspace). Records are kept packed: a
    quarter of the memory, and the bytes of the image.
    """

    __slots__ = ("_latest", "_queue", "digest", "first")

    def __init__(self, first: int = 0) -> None:
        self._queue: deque[bytes] = deque()
        self._latest: dict[bytes, bytes] = {}
        self.digest = 0
        self.first = first

    def __len__(self) -> int:
        """Records held, dead ones that were not dropped yet among them."""
        return len(self._queue)

    def find(self, token: bytes, now_ms: int) -> Record | None:
        """The living record of a token."""
        packed = self._latest.get(token)
        if packed is None:
            return None
        record = _decoder.decode(packed)
        return None if record.is_dead(now_ms) else record

    def is_full(self, now_ms: int) -> bool:
        """Whether there is no room for one more: every record is living, the oldest one too."""
        if len(self._queue) < REQUESTS_REMEMBERED_MAX:
            return False
        return not self._oldest().is_dead(now_ms)

    def remember(self, once: Once, now_ms: int, reply: Reply) -> None:
        """Add a record; the table must not be full, the token must have no living record."""
        if len(self._queue) >= REQUESTS_REMEMBERED_MAX:
            assert not self.is_full(now_ms)
            self._drop_oldest()
        packed = _encoder.encode(Record(once.token, once.fingerprint, now_ms, reply))
        assert len(packed) <= RECORD_SIZE_BYTES_MAX, len(packed)
        self._add(once.token, packed)

    def forget(self, now_ms: int) -> None:
        """Drop the oldest dead records, REQUESTS_FORGOTTEN_PER_ENTRY_MAX at most."""
        for _ in range(REQUESTS_FORGOTTEN_PER_ENTRY_MAX):
            if not self._queue or not self._oldest().is_dead(now_ms):
                return
            self._drop_oldest()

    def records(self) -> list[bytes]:
        """The packed records, oldest first. Copies references: 2 ms for a full table."""
        return list(self._queue)

    def load(self, packed: bytes, now_ms: int) -> str | None:
        """Add the next record of an image; why it cannot be one, or None."""
        try:
            record = _decoder.decode(packed)
        except UNREADABLE as error:
            return str(error)
        if _encoder.encode(record) != packed:
            return "a record that was not written here"
        if len(self._queue) >= REQUESTS_REMEMBERED_MAX:
            return f"more than {REQUESTS_REMEMBERED_MAX} records"
        if record.applied_ms > now_ms:
            return f"a record of {record.applied_ms} ms at {now_ms} ms"
        if self._queue and record.applied_ms < _decoder.decode(self._queue[-1]).applied_ms:
            return "records out of order"
        if self.find(record.token, record.applied_ms) is not None:
            return "two living records of one token"
        self._add(record.token, packed)
        return None

    def _add(self, token: bytes, packed: bytes) -> None:
        self.digest += xxh3_64_intdigest(packed, self.first + len(self._queue))
        self._queue.append(packed)
        self._latest[token] = packed

    def _oldest(self) -> Record:
        return _decoder.decode(self._queue[0])

    def _drop_oldest(self) -> None:
        packed = self._queue.popleft()
        self.digest -= xxh3_64_intdigest(packed, self.first)
        self.first += 1
        token = _decoder.decode(packed).token
        if self._latest[token] is packed:  # else a younger record took its place when it was dead
            del self._latest[token]
