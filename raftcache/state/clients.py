"""Clients that number their requests, and first replies to those whose answers they still wait for.

A client says with each request from which number on it waits: what is below is dropped, and refused
from then on, wherever a duplicate of it may still come from. A client that is forgotten is refused
with all it sends: its id is never given again. So nothing here depends on how fast time goes, but
whether a client is still known.
"""

from __future__ import annotations

import struct
from typing import Final

from xxhash import xxh3_64_intdigest

from raftcache.command.limits import (
    CLIENT_HEARD_MS,
    CLIENT_IDLE_MS,
    CLIENT_REQUESTS_MAX,
    CLIENT_SPARED_MS,
    CLIENTS_MAX,
    REQUESTS_FORGOTTEN_PER_ENTRY_MAX,
    REQUESTS_NUMBERED_MAX,
)
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Number, Once
from raftcache.state.records import unpack
from raftcache.state.remembered import RECORD_SIZE_BYTES_MAX, Record, decode, encode
from raftcache.state.table import Numbered, Table

RECORDS_SIZE_BYTES_MAX: Final = REQUESTS_NUMBERED_MAX * 512
"""Of all records: as many as there can be, unless they are of transactions that read much."""

CLIENT_COST_BYTES: Final = 400
RECORD_COST_BYTES: Final = 96
"""What Python takes for a client, and for a record beside its bytes: measured, 310 and 85."""

_SEED: Final = 0xC11E27
_TOKEN: Final = struct.Struct(">QQ")


class Client(Numbered, frozen=True):
    """Its number is its id; deadline_ms: when it is forgotten, unless it says something before."""

    pending_from: int


class Clients:
    """All clients of a state.

    record_count and size_bytes are of all records, which are kept packed; digest is the sum of a
    hash over each client and each record (see Keyspace).
    """

    __slots__ = ("_answers", "_digest", "_last", "record_count", "size_bytes", "table")

    def __init__(self) -> None:
        self.table = Table(Client, _SEED)
        self._answers: dict[int, dict[int, bytes]] = {}  # by client and number
        self._digest = self.record_count = self.size_bytes = 0
        self._last = b""  # token that was loaded

    @property
    def count(self) -> int:
        """Clients held, with those that are silent for too long and were not dropped yet."""
        return len(self._answers)

    @property
    def digest(self) -> int:
        """0 if there are none: as if there were no such thing, which older nodes say."""
        return self.table.digest + self._digest

    @property
    def memory_size_bytes(self) -> int:
        """About what they take of the process's memory."""
        records = self.size_bytes + self.record_count * RECORD_COST_BYTES
        return self.count * CLIENT_COST_BYTES + records

    def register(self, id: int, now_ms: int) -> Client:
        """A new client; there must be room, and its id above all others."""
        client = Client(id, now_ms + CLIENT_IDLE_MS, 1)
        self.table.put(client)
        self._answers[id] = {}
        return client

    def knows(self, id: int, now_ms: int) -> bool:
        """Whether a client is remembered."""
        return self._living(id, now_ms) is not None

    def leave(self, id: int, now_ms: int) -> bool:
        """Forget a client; whether it was known."""
        client = self._living(id, now_ms)
        if client is not None:
            self._drop(client)
        return client is not None

    def hear(self, request: Number, now_ms: int) -> Status | None:
        """Note what a client says with a request; why that is refused for ever, or None."""
        client = self._living(request.client, now_ms)
        if client is None:
            return Status.FORGOTTEN
        deadline_ms, pending_from = client.deadline_ms, client.pending_from
        if now_ms + CLIENT_IDLE_MS - deadline_ms >= CLIENT_HEARD_MS:
            deadline_ms = now_ms + CLIENT_IDLE_MS
        if request.pending_from > pending_from:
            pending_from = request.pending_from
            self._drop_below(client, pending_from)
        if deadline_ms != client.deadline_ms or pending_from != client.pending_from:
            self.table.put(Client(client.number, deadline_ms, pending_from))
        return Status.ANSWERED if request.number < pending_from else None

    def find(self, request: Number) -> Record | None:
        """What is remembered of a request; its client was just heard."""
        packed = self._answers[request.client].get(request.number)
        return None if packed is None else decode(packed)

    def shortage(self, request: Number, now_ms: int) -> Status | None:
        """Why its answer may not be remembered, or None: then any fits. Its client was just heard.

        Where there are too many of all clients, those who are silent are forgotten first.
        """
        client = self.table.get(request.client)
        assert client is not None
        if request.number - client.pending_from >= CLIENT_REQUESTS_MAX:
            return Status.TOO_MANY_PENDING
        while (
            self.record_count >= REQUESTS_NUMBERED_MAX
            or self.size_bytes > RECORDS_SIZE_BYTES_MAX - RECORD_SIZE_BYTES_MAX
        ):
            if not self._drop_silent(now_ms):
                return Status.FULL
        return None

    def make_room(self, now_ms: int) -> bool:
        """Forget who is silent until there is room for another client; False if nobody may be."""
        while self.count >= CLIENTS_MAX:
            if not self._drop_silent(now_ms):
                return False
        return True

    def remember(self, once: Once, reply: Reply) -> None:
        """Add a record; there must be room, and none of its number."""
        request = once.token
        assert type(request) is Number
        token = _TOKEN.pack(request.client, request.number)
        packed = encode(token, once.fingerprint, 0, reply)
        self._add(request.client, request.number, packed)

    def forget(self, now_ms: int) -> None:
        """Drop clients that are silent for too long, until enough was dropped."""
        left = REQUESTS_FORGOTTEN_PER_ENTRY_MAX
        while left > 0 and (client := self.table.first_overdue(now_ms)) is not None:
            left -= 1 + self._drop(client)

    # For images.

    def records(self) -> list[bytes]:
        """The packed records, by client and number. Copies references."""
        answers = self._answers.values()
        return [packed for each in answers for _, packed in sorted(each.items())]

    def load(self, packed: bytes, revision: int) -> str | None:
        """Add the next client of an image; why it cannot be one, or None."""
        client = self.table.load(packed, revision)
        if isinstance(client, str):
            return client
        if client.pending_from < 1:
            return f"a client that waits from {client.pending_from} on"
        self._answers[client.number] = {}
        return None

    def load_record(self, packed: bytes, revision: int) -> str | None:
        """The same with the next record; clients come before."""
        record = unpack(decode, packed)
        if isinstance(record, str):
            return record
        if len(record.token) != _TOKEN.size or record.applied_ms:
            return "a record of no number"
        if record.token <= self._last:
            return "records out of order"
        client_id, number = _TOKEN.unpack(record.token)
        client = self.table.get(client_id)
        if client is None or not 0 <= number - client.pending_from < CLIENT_REQUESTS_MAX:
            return f"a record of {number} of client {client_id}, who does not wait for it"
        self._last = record.token
        self._add(client_id, number, packed)
        return None

    def _living(self, id: int, now_ms: int) -> Client | None:
        client = self.table.get(id)
        return None if client is None or client.deadline_ms <= now_ms else client

    def _drop_silent(self, now_ms: int) -> bool:
        """Forget the client that is silent longest, if it may be; whether it was."""
        spared_ms = CLIENT_SPARED_MS + CLIENT_HEARD_MS
        client = self.table.first_overdue(now_ms + CLIENT_IDLE_MS - spared_ms)
        if client is not None:
            self._drop(client)
        return client is not None

    def _drop(self, client: Client) -> int:
        """Forget a client; how many records went with it."""
        answers = self._answers.pop(client.number)
        for packed in answers.values():
            self._uncount(packed)
        self.table.remove(client)
        return len(answers)

    def _drop_below(self, client: Client, number: int) -> None:
        """Forget what a client waits for no more.

        All its records are of CLIENT_REQUESTS_MAX numbers that follow each other, so that what it
        takes to look for them is bounded by what it took to make them.
        """
        answers, first = self._answers[client.number], client.pending_from
        if number - first > len(answers):
            gone = [each for each in answers if each < number]
        else:
            gone = [each for each in range(first, number) if each in answers]
        for each in gone:
            self._uncount(answers.pop(each))

    def _add(self, client_id: int, number: int, packed: bytes) -> None:
        self._answers[client_id][number] = packed
        self._digest += xxh3_64_intdigest(packed, _SEED)
        self.size_bytes += len(packed)
        self.record_count += 1

    def _uncount(self, packed: bytes) -> None:
        self._digest -= xxh3_64_intdigest(packed, _SEED)
        self.size_bytes -= len(packed)
        self.record_count -= 1
