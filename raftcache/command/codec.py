"""Commands to bytes and back: one MessagePack array per command, one array of those per batch.

Decoding is strict about shape and silent about limits: bytes that are no batch raise Corrupt and
stop a node, a field outside its limits is for checks.py, and gets a reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from xxhash import xxh3_128

from raftcache.command.calls import CALLS_INTRODUCED, CallsAnswered, CallsSince
from raftcache.command.limits import (
    BATCH_COMMANDS_MAX,
    ENTRY_SIZE_BYTES_MAX,
)
from raftcache.command.words import (
    INTRODUCED,
    NUMBERS_INTRODUCED,
    OPERATIONS_INTRODUCED,
    Command,
    Tick,
    Txn,
)
from raftcache.errors import Corrupt

_ARRAY16: Final = b"\xdc"
assert BATCH_COMMANDS_MAX < 1 << 16

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bad bytes: text that is no UTF-8 and deep nesting have their own."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Command])


def encode(command: Command) -> bytes:
    """One command as bytes, to be put in a batch."""
    return _encoder.encode(command)


TICK: Final = encode(Tick())
"""A tick's bytes: all ticks are equal."""


def batch(commands: Sequence[bytes]) -> bytes:
    """Encoded commands as one batch: the body of a log entry. At most BATCH_COMMANDS_MAX."""
    assert len(commands) <= BATCH_COMMANDS_MAX, len(commands)
    joined = b"".join((_ARRAY16, len(commands).to_bytes(2, "big"), *commands))
    assert len(joined) <= ENTRY_SIZE_BYTES_MAX, len(joined)
    return joined


def decode(data: bytes) -> list[Command]:
    """The commands of one batch, in order; Corrupt for bytes that are not exactly one batch."""
    try:
        commands = _decoder.decode(data)
    except UNREADABLE as error:
        raise Corrupt("batch", 0, str(error)) from error
    if len(commands) > BATCH_COMMANDS_MAX:
        raise Corrupt("batch", 0, f"{len(commands)} commands, at most {BATCH_COMMANDS_MAX}")
    return commands


def version_needed(command: Command) -> int:
    """The version of the commands that knows this one, and all that it holds."""
    known = INTRODUCED | OPERATIONS_INTRODUCED
    needed = known[type(command)]
    word: Any = command
    if type(command) is not Tick and word.once is not None and word.once.is_numbered:
        needed = max(needed, NUMBERS_INTRODUCED)
    if isinstance(command, Txn):
        return max((needed, *(known[type(o)] for o in command.success + command.failure)))
    if isinstance(command, CallsSince | CallsAnswered):
        return max((needed, *(CALLS_INTRODUCED.get(call[0], needed) for call in command.calls)))
    return needed


def fingerprint(method_and_target: bytes, body: bytes) -> bytes:
    """What makes two requests the same one, in FINGERPRINT_SIZE_BYTES.

    XXH3 finds mistakes, not malice: whoever can forge a collision only fools himself.
    """
    # The length first, so that no byte can move from the target to the body unnoticed.
    hasher = xxh3_128(len(method_and_target).to_bytes(8, "big"))
    hasher.update(method_and_target)
    hasher.update(body)
    return hasher.digest()
