"""Frames: every shape survives the wire, and everything else is refused in the same one way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from raftcache.command.limits import FRAME_SIZE_BYTES_MAX
from raftcache.errors import RaftcacheError
from raftcache.raft.frames import (
    HEADER_SIZE_BYTES,
    HELLO_SIZE_BYTES_MAX,
    BadFrame,
    FrameDecoder,
    decode,
    encode,
)
from raftcache.raft.messages import SHAPES, Message

HELLO: Message = {
    "type": "hello",
    "magic": "raftcache",
    "version_min": 1,
    "version_max": 1,
    "commands_version": 1,
    "cluster_id": "c",
    "name": "n2",
    "incarnation": 7,
    "members_version": 2,
    "member_id": "",
    "raft": "",
    "http": "",
    "resp": "",
    "life": "",
    "holds": 3,
    "to": "n1",
}
VOTE: Message = {
    "term": 3,
    "last_log_index": 9,
    "last_log_term": 2,
    "version": 1,
    "voter_id": "d",
}
HEAD: Message = {
    "term": 3,
    "commit_index": 8,
    "seq": 5,
    "now": 1_700_000_000_000,
    "fresh": 1_699_999_999_940,
    "lease": True,
    "full": False,
}

EXAMPLES: list[Message] = [
    HELLO,
    {"type": "refused", "reason": "another cluster", "detail": "this is 'n1'"},
    {"type": "alive"},
    {
        "type": "append_entries",
        **HEAD,
        "prevLogIdx": 8,
        "prevLogTerm": 2,
        "entries": [(b"\x00one", 9, 3), (b"", 10, 3)],
    },
    {
        "type": "next_node_idx",
        "term": 3,
        "seq": 5,
        "next_node_idx": 11,
        "reset": False,
        "success": True,
        "short": True,
    },
    {"type": "ping", **HEAD, "answer": True},
    {"type": "pong", "term": 3, "seq": 5, "short": False},
    {"type": "request_vote", **VOTE, "force": False},
    {"type": "response_vote", "term": 3, "now": 1 << 41},
    {"type": "pre_vote", **VOTE},
    {"type": "accesses", "keys": [(b"key", 2), (b"\xff", 1)]},
    {"type": "subscribers_ask", "id": 1, "scope": "channel", "names": [b"a", b""]},
    {"type": "subscribers_ask", "id": 2, "scope": "pattern", "pattern": b"*"},
    {"type": "subscribers_reply", "id": 1, "counts": [(b"a", 3)]},
    {"type": "subscribers_reply", "id": 2, "counts": None},
    {"type": "pre_vote_ok", "term": 3, "now": 0},
    {"type": "term", "term": (1 << 63) - 1},
    {"type": "timeout_now", "term": 3},
    {
        "type": "snapshot_chunk",
        **HEAD,
        "index": 7,
        "index_term": 2,
        "offset": 0,
        "data": b"\x00\xff",
        "last": True,
    },
    {"type": "snapshot_ack", "term": 3, "seq": 5, "index": 7, "offset": 2},
    {"type": "apply_command", "command": b"\x00set", "request_id": 1 << 40},
    {"type": "apply_command_response", "request_id": 1, "log_idx": 9, "log_term": 3},
    {"type": "apply_command_response", "request_id": 1, "error": 4},
    {"type": "change_members", "id": 1, "change": b"c"},
    {"type": "change_members_reply", "id": 1, "error": "", "detail": "", "body": b"\x02b"},
    {"type": "digest_ask", "term": 3, "index": 9},
    {"type": "digest_reply", "term": 3, "index": 9, "digest": bytes(8)},
    {"type": "digest_verdict", "term": 3, "index": 9, "digest": b"\xff" * 8},
    {"type": "read_index", "id": 1, "term": 3},
    {"type": "read_index_reply", "id": 1, "index": 9},
    {"type": "read_index_reply", "id": 1, "index": None},
]

PONG = {"type": "pong", "term": 3, "seq": 5, "short": False}


def greeted() -> FrameDecoder:
    decoder = FrameDecoder()
    assert decoder.feed(encode(HELLO)) == [HELLO]
    return decoder


def raw(body: bytes) -> bytes:
    return len(body).to_bytes(HEADER_SIZE_BYTES, "little") + body


def packed(message: Any) -> bytes:
    return msgspec.msgpack.encode(message)


def test_the_examples_cover_every_type() -> None:
    assert {m["type"] for m in EXAMPLES} == set(SHAPES)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: m["type"])
def test_a_message_survives_the_wire(message: Message) -> None:
    decoder = FrameDecoder() if message["type"] == "hello" else greeted()
    assert decoder.feed(encode(message)) == [message]


def test_entries_come_out_as_tuples_also_when_they_went_in_as_lists() -> None:
    (message,) = [m for m in EXAMPLES if m["type"] == "append_entries"]
    sent = message | {"entries": [list(e) for e in message["entries"]]}
    (received,) = greeted().feed(encode(sent))
    assert received["entries"] == message["entries"]
    assert all(type(e) is tuple and type(e[0]) is bytes for e in received["entries"])


def test_several_frames_in_one_piece_and_one_frame_in_several() -> None:
    stream = b"".join(encode(m) for m in EXAMPLES)
    assert FrameDecoder().feed(stream) == EXAMPLES
    decoder = FrameDecoder()
    pieces = [decoder.feed(stream[i : i + 1]) for i in range(len(stream))]
    assert [m for piece in pieces for m in piece] == EXAMPLES


def test_a_frame_of_the_largest_size_arrives_in_pieces() -> None:
    (chunk,) = [m for m in EXAMPLES if m["type"] == "snapshot_chunk"]
    chunk = chunk | {"data": b"x" * (1 << 16)}
    size_bytes = len(encode(chunk)) - HEADER_SIZE_BYTES
    chunk = chunk | {"data": b"x" * (FRAME_SIZE_BYTES_MAX - size_bytes + (1 << 16) - 2)}
    stream = encode(chunk) + encode(PONG)
    assert len(encode(chunk)) - HEADER_SIZE_BYTES >= FRAME_SIZE_BYTES_MAX - 8
    decoder, received = greeted(), []
    for start in range(0, len(stream), 1 << 16):
        received += decoder.feed(stream[start : start + (1 << 16)])
    assert received == [chunk, PONG]


def test_fields_of_a_newer_version_are_dropped() -> None:
    assert decode(packed(PONG | {"colour": [1, {"a": None}]})) == PONG


BAD: dict[str, Any] = {
    "no map": [1, 2],
    "no type": {"term": 3},
    "type is a number": {"type": 1},
    "unknown type": {"type": "shout", "term": 3},
    "field missing": {"type": "pong", "term": 3},
    "wrong type": PONG | {"seq": "5"},
    "a float": PONG | {"seq": 5.0},
    "a bool for a number": PONG | {"seq": True},
    "a number for a bool": EXAMPLES[4] | {"reset": 0},
    "negative": PONG | {"term": -1},
    "above 63 bits": PONG | {"term": 1 << 63},
    "a read of no key": {"type": "accesses", "keys": [(b"", 1)]},
    "a read of too long a key": {"type": "accesses", "keys": [(bytes(1025), 1)]},
    "too many reads": {"type": "accesses", "keys": [(b"k", 1)] * 4097},
    "null": PONG | {"term": None},
    "entry of two": EXAMPLES[3] | {"entries": [(b"", 1)]},
    "entry of text": EXAMPLES[3] | {"entries": [("text", 1, 1)]},
    "entries is a map": EXAMPLES[3] | {"entries": {}},
    "placed and refused are half there": {"type": "apply_command_response", "request_id": 1},
    "half a place": {"type": "apply_command_response", "request_id": 1, "log_idx": 1},
    "number as key": {"type": "pong", "term": 3, "seq": 5, 7: 7},
    "other magic": HELLO | {"magic": "memcached"},
    "version 0": HELLO | {"version_min": 0},
}


@pytest.mark.parametrize("message", BAD.values(), ids=BAD.keys())
def test_a_wrong_shape_is_a_bad_frame(message: Any) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(packed(message))
    assert isinstance(caught.value, RaftcacheError)
    assert caught.value.definite
    assert caught.value.detail


NO_MESSAGE: dict[str, bytes] = {
    "empty": b"",
    "cut short": packed(PONG)[:-1],
    "bytes behind": packed(PONG) + b"\x00",
    "bad UTF-8 in a key": packed(PONG).replace(b"term", b"t\xff\xfem"),
    "bad UTF-8 in the type": packed(PONG).replace(b"pong", b"p\xff\xfeg"),
    "arrays in arrays": b"\x82\xa4type\xa4term\xa4deep" + b"\x91" * 100_000 + b"\x01",
    "an array that promises 4 G": b"\x82\xa4type\xaeappend_entries\xa7entries\xdd\xff\xff\xff\xff",
    "bytes that promise 4 G": b"\x82\xa4type\xadapply_command\xa7command\xc6\xff\xff\xff\xff",
    "the unused code": b"\x82\xa4type\xa4pong\xa4term\xc1",
}


@pytest.mark.parametrize("body", NO_MESSAGE.values(), ids=NO_MESSAGE.keys())
def test_bytes_that_are_no_message_are_a_bad_frame(body: bytes) -> None:
    with pytest.raises(BadFrame):
        greeted().feed(raw(body))


def test_the_largest_size_is_refused_by_its_header_alone() -> None:
    at_limit = FRAME_SIZE_BYTES_MAX.to_bytes(HEADER_SIZE_BYTES, "little")
    assert greeted().feed(at_limit) == []
    with pytest.raises(BadFrame, match=str(FRAME_SIZE_BYTES_MAX)):
        greeted().feed((FRAME_SIZE_BYTES_MAX + 1).to_bytes(HEADER_SIZE_BYTES, "little"))


def test_a_greeting_is_small() -> None:
    assert FrameDecoder().feed(HELLO_SIZE_BYTES_MAX.to_bytes(HEADER_SIZE_BYTES, "little")) == []
    with pytest.raises(BadFrame, match=str(HELLO_SIZE_BYTES_MAX)):
        FrameDecoder().feed((HELLO_SIZE_BYTES_MAX + 1).to_bytes(HEADER_SIZE_BYTES, "little"))


@pytest.mark.parametrize("message", EXAMPLES[2:], ids=lambda m: m["type"])
def test_nothing_comes_before_the_greeting(message: Message) -> None:
    with pytest.raises(BadFrame, match="before the greeting"):
        FrameDecoder().feed(encode(message))


def test_a_link_greets_once() -> None:
    with pytest.raises(BadFrame, match="second hello"):
        greeted().feed(encode(HELLO))


def test_what_peers_would_refuse_is_not_sent() -> None:
    with pytest.raises(AssertionError, match="colour"):
        encode(PONG | {"colour": 1})
    with pytest.raises(AssertionError, match="pong"):
        encode({"type": "pong", "term": 3})
    large = {"type": "apply_command", "command": bytes(FRAME_SIZE_BYTES_MAX), "request_id": 1}
    with pytest.raises(AssertionError, match="apply_command"):
        encode(large)
