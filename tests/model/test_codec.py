"""The codec against anything: it accepts or raises Corrupt, and says back what was said."""

from __future__ import annotations

from typing import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftcache.command import checks, codec
from raftcache.command.words import Command, Expire, Put
from raftcache.errors import Corrupt

COMMANDS = st.one_of([st.from_type(word) for word in get_args(Command)])


def is_encodable(command: Command) -> bool:
    """Whether msgpack has room for its numbers and characters, within their limits or not."""
    try:
        codec.encode(command)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


ENCODABLE = COMMANDS.filter(is_encodable)


@given(st.lists(ENCODABLE, max_size=20))
def test_what_is_encoded_is_decoded(commands: list[Command]) -> None:
    assert codec.decode(codec.batch([codec.encode(c) for c in commands])) == commands


@settings(max_examples=500)
@given(COMMANDS)
@example(Expire(b"k", -(1 << 63) - 1))
@example(Put(b"k", b"v", "\ud800"))
def test_what_passes_the_check_can_be_encoded(command: Command) -> None:
    why = checks.check(command)
    assert why is not None or is_encodable(command)


def accepts_or_is_corrupt(data: bytes) -> None:
    try:
        commands = codec.decode(data)
    except Corrupt:
        return
    again = codec.batch([codec.encode(command) for command in commands])
    assert codec.decode(again) == commands


@settings(max_examples=500)
@given(st.binary(max_size=200))
@example(b"\x91" * 5000)
def test_any_bytes_are_a_batch_or_corrupt(data: bytes) -> None:
    accepts_or_is_corrupt(data)


@settings(max_examples=500)
@given(st.lists(ENCODABLE, min_size=1, max_size=5), st.data())
def test_a_damaged_batch_is_a_batch_or_corrupt(
    commands: list[Command], data: st.DataObject
) -> None:
    damaged = bytearray(codec.batch([codec.encode(c) for c in commands]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    accepts_or_is_corrupt(bytes(damaged))
    accepts_or_is_corrupt(bytes(damaged[:end]))
