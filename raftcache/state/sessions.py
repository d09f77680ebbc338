"""First replies to idempotency keys, kept for a while so that a retry is answered, not applied.

Records stand in the order they were made. A record is dead exactly when its time is over, whether
or not it was dropped yet: dead ones answer nothing and never make the table full.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, astuple
from xxhash import xxh3_64_intdigest

from raftcache.command.limits import (
    FINGERPRINT_SIZE_BYTES,
    REQUESTS_FORGOTTEN_PER_ENTRY_MAX,
    REQUESTS_REMEMBERED_MAX,
    REQUESTS_REMEMBERED_MS,
    TOKEN_SIZE_BYTES_MAX,
    TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX,
)
from raftcache.command.replies import CallsReply, Reply, Result, TxnReply
from raftcache.command.values import pack_values, unpack_values
from raftcache.command.words import Once
from raftcache.state.records import pack, unpack


class Record(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a token stands for: the request, when it was applied, and its reply."""

    token: bytes
    fingerprint: bytes
    applied_ms: int
    reply: Reply

    def is_dead(self, now_ms: int) -> bool:
        return now_ms - self.applied_ms >= REQUESTS_REMEMBERED_MS

    @property
    def first_reply(self) -> Reply:
        return self.reply


class TxnRecord(Record, frozen=True):
    """The record of a transaction: its reply without the results, and those."""

    results: tuple[Result, ...]

    @property
    def first_reply(self) -> Reply:
        return TxnReply(**asdict(self.reply), results=self.results)


class CallsRecord(Record, frozen=True):
    """The record of Redis commands: their reply without the values, and those, packed."""

    results: tuple[()]
    values: bytes

    @property
    def first_reply(self) -> Reply:
        return CallsReply(**asdict(self.reply), values=unpack_values(self.values))


RECORD_SIZE_BYTES_MAX: Final = 512 + TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX
"""Packed: a token, a fingerprint, a reply of small integers, the framing of each, and results."""

RECORDS_SIZE_BYTES_MAX: Final = REQUESTS_REMEMBERED_MAX * 512
"""Of all records: as many as there can be, unless they are of transactions that read much."""

assert TOKEN_SIZE_BYTES_MAX + FINGERPRINT_SIZE_BYTES + 128 < 512

RECORD_COST_BYTES: Final = 208
"""What Python takes for a record beside its bytes, its token once more included: measured, 200."""

_PLAIN_RECORD: Final = b"\x94"
"""How an array of four begins in MessagePack; one of five is a transaction's."""

_CALLS_RECORD: Final = b"\x96"
"""The same of six, for Redis commands."""

_record_decoder = msgspec.msgpack.Decoder(Record)
_txn_record_decoder = msgspec.msgpack.Decoder(TxnRecord)
_calls_record_decoder = msgspec.msgpack.Decoder(CallsRecord)

_decoders: Final[dict[bytes, msgspec.msgpack.Decoder[Any]]] = {
    _PLAIN_RECORD: _record_decoder,
    _CALLS_RECORD: _calls_record_decoder,
}


def _decode(packed: bytes) -> Record:
    record: Record = _decoders.get(packed[:1], _txn_record_decoder).decode(packed)
    return record


def _encode(once: Once, now_ms: int, reply: Reply) -> bytes:
    if isinstance(reply, CallsReply):
        bare, values = Reply(*astuple(reply)[:-1]), pack_values(reply.values)
        return pack(CallsRecord(once.token, once.fingerprint, now_ms, bare, (), values))
    if not isinstance(reply, TxnReply):
        return pack(Record(once.token, once.fingerprint, now_ms, reply))
    bare = Reply(*astuple(reply)[:-1])
    return pack(TxnRecord(once.token, once.fingerprint, now_ms, bare, reply.results))


class Sessions:
    """The table of tokens.

    first is the number of the oldest record, counted from 0 since the store began; digest is the
    sum of a hash over each record and its number (see Keyspace). size_bytes is of the packed
    records; transactions counts those of transactions, calls those of Redis commands. Records are
    kept packed: a quarter of the memory, and the bytes of the image.
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
        record = _decode(packed)
        return None if record.is_dead(now_ms) else record

    def make_room(self, now_ms: int) -> bool:
        """Drop dead records until any other one fits; False if all are living, and it may not."""
        while (
            len(self._queue) >= REQUESTS_REMEMBERED_MAX
            or self.size_bytes > RECORDS_SIZE_BYTES_MAX - RECORD_SIZE_BYTES_MAX
        ):
            if not self._oldest().is_dead(now_ms):
                return False
            self._drop_oldest()
        return True

    def remember(self, once: Once, now_ms: int, reply: Reply) -> None:
        """Add a record; there must be room, and no living record of the token."""
        assert len(self._queue) < REQUESTS_REMEMBERED_MAX
        packed = _encode(once, now_ms, reply)
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
        record = unpack(_decode, packed)
        if isinstance(record, str):
            return record
        if len(self._queue) >= REQUESTS_REMEMBERED_MAX:
            return f"more than {REQUESTS_REMEMBERED_MAX} records"
        if record.applied_ms > now_ms:
            return f"a record of {record.applied_ms} ms at {now_ms} ms"
        if self._queue and record.applied_ms < _decode(self._queue[-1]).applied_ms:
            return "records out of order"
        if self.find(record.token, record.applied_ms) is not None:
            return "two living records of one token"
        self._add(record.token, packed)
        return None

    def _add(self, token: bytes, packed: bytes) -> None:
        self.digest += xxh3_64_intdigest(packed, self.first + len(self._queue))
        self.size_bytes += len(packed)
        self.transactions += packed[:1] != _PLAIN_RECORD
        self.calls += packed[:1] == _CALLS_RECORD
        self._queue.append(packed)
        self._latest[token] = packed

    def _oldest(self) -> Record:
        return _decode(self._queue[0])

    def _drop_oldest(self) -> None:
        packed = self._queue.popleft()
        self.digest -= xxh3_64_intdigest(packed, self.first)
        self.size_bytes -= len(packed)
        self.transactions -= packed[:1] != _PLAIN_RECORD
        self.calls -= packed[:1] == _CALLS_RECORD
        self.first += 1
        token = _decode(packed).token
        if self._latest[token] is packed:  # else a younger record took its place when it was dead
            del self._latest[token]
