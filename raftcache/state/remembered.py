"""First replies to commands that are applied once: as what they are remembered, and read again."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, astuple

from raftcache.command.limits import (
    FINGERPRINT_SIZE_BYTES,
    TOKEN_SIZE_BYTES_MAX,
    TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX,
)
from raftcache.command.replies import CallsReply, Reply, Result, TxnReply
from raftcache.command.values import pack_values, unpack_values
from raftcache.state.records import pack


class Record(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a token stands for: the request, when it was applied, and its reply.

    Of a request with a number, token is that with its client, and applied_ms is 0.
    """

    token: bytes
    fingerprint: bytes
    applied_ms: int
    reply: Reply

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

assert TOKEN_SIZE_BYTES_MAX + FINGERPRINT_SIZE_BYTES + 128 < 512

PLAIN_RECORD: Final = b"\x94"
"""How an array of four begins in MessagePack; one of five is a transaction's."""

CALLS_RECORD: Final = b"\x96"
"""The same of six, for Redis commands."""

_record_decoder = msgspec.msgpack.Decoder(Record)
_txn_record_decoder = msgspec.msgpack.Decoder(TxnRecord)
_calls_record_decoder = msgspec.msgpack.Decoder(CallsRecord)

_decoders: Final[dict[bytes, msgspec.msgpack.Decoder[Any]]] = {
    PLAIN_RECORD: _record_decoder,
    CALLS_RECORD: _calls_record_decoder,
}


def decode(packed: bytes) -> Record:
    """The record that encode made; raises what codec.UNREADABLE names for other bytes."""
    record: Record = _decoders.get(packed[:1], _txn_record_decoder).decode(packed)
    return record


def encode(token: bytes, fingerprint: bytes, applied_ms: int, reply: Reply) -> bytes:
    """The record of a first reply, packed: a quarter of the memory, and the bytes of the image."""
    if isinstance(reply, CallsReply):
        bare, values = Reply(*astuple(reply)[:-1]), pack_values(reply.values)
        packed = pack(CallsRecord(token, fingerprint, applied_ms, bare, (), values))
    elif isinstance(reply, TxnReply):
        bare = Reply(*astuple(reply)[:-1])
        packed = pack(TxnRecord(token, fingerprint, applied_ms, bare, reply.results))
    else:
        packed = pack(Record(token, fingerprint, applied_ms, reply))
    assert len(packed) <= RECORD_SIZE_BYTES_MAX, len(packed)
    return packed
