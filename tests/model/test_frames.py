"""Frames under arbitrary splits and arbitrary damage."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.raft.frames import HEADER_SIZE_BYTES, BadFrame, FrameDecoder, decode, encode
from raftcache.raft.messages import SHAPES, Message
from tests.unit.test_frames import EXAMPLES, HELLO

messages = st.lists(st.sampled_from(EXAMPLES[1:]), max_size=8)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4),
    max_leaves=8,
)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    marks = [0, *sorted({c % (len(stream) + 1) for c in cuts}), len(stream)]
    return [stream[a:b] for a, b in pairwise(marks)]


def feed(stream: bytes, cuts: list[int]) -> tuple[list[Message], bool]:
    """The messages, and whether a bad frame ended them."""
    decoder, received = FrameDecoder(), []
    try:
        for piece in pieces(stream, cuts):
            received += decoder.feed(piece)
    except BadFrame:
        return received, True
    return received, False


@settings(max_examples=200, deadline=None)
@given(messages, st.lists(st.integers(0, 1 << 16), max_size=20))
def test_any_split_gives_the_same_messages(sent: list[Message], cuts: list[int]) -> None:
    stream = b"".join(encode(m) for m in [HELLO, *sent])
    assert feed(stream, cuts) == ([HELLO, *sent], False)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans(), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_are_accepted_or_a_bad_frame(data: bytes, greet: bool, cuts: list[int]) -> None:
    feed((encode(HELLO) if greet else b"") + data, cuts)


@settings(max_examples=300, deadline=None)
@given(messages, st.integers(0, 1 << 16), st.integers(0, 255), st.lists(st.integers(0, 1 << 16)))
def test_one_damaged_byte_fails_alike_at_every_split(
    sent: list[Message], at: int, byte: int, cuts: list[int]
) -> None:
    stream = bytearray(b"".join(encode(m) for m in [HELLO, *sent]))
    stream[at % len(stream)] = byte
    whole, whole_failed = feed(bytes(stream), [])
    parts, parts_failed = feed(bytes(stream), cuts)
    assert parts_failed == whole_failed
    # A piece that ends in a bad frame takes the good ones before it along.
    assert parts == whole if not whole_failed else parts[: len(whole)] == whole


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EXAMPLES), st.text(max_size=8), values, st.data())
def test_one_changed_field_gives_a_declared_shape_or_a_bad_frame(
    message: Message, other: str, value: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([*message, other]))
    body = msgspec.msgpack.encode(message | {name: value})
    with contextlib.suppress(BadFrame):
        received = decode(body)
        shapes = [s.__annotations__.keys() for s in SHAPES[received["type"]]]
        assert received.keys() in shapes
        assert decode(encode(received)[HEADER_SIZE_BYTES:]) == received
