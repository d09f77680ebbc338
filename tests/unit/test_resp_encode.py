"""Values as the Redis protocol writes them, in both versions."""

from __future__ import annotations

import math

import pytest

from raftcache.command.values import (
    NIL_ARRAY,
    RESP2,
    RESP3,
    Failure,
    Members,
    Pairs,
    Value,
    Verbatim,
)
from raftcache.server.resp.encode import Pushes, encode, encode_all, encode_push


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        ("OK", b"+OK\r\n", None),
        ("QUEUED", b"+QUEUED\r\n", None),
        ("a\r\nb\udcff", b"+a  b\xff\r\n", None),
        (b"", b"$0\r\n\r\n", None),
        (b"a\r\nb", b"$4\r\na\r\nb\r\n", None),
        (b"x" * 5000, b"$5000\r\n" + b"x" * 5000 + b"\r\n", None),
        (0, b":0\r\n", None),
        (1023, b":1023\r\n", None),
        (-1, b":-1\r\n", None),
        ((1 << 63) - 1, b":9223372036854775807\r\n", None),
        (None, b"$-1\r\n", b"_\r\n"),
        (NIL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (1.0, b"$1\r\n1\r\n", b",1\r\n"),
        (0.1, b"$19\r\n0.10000000000000001\r\n", b",0.10000000000000001\r\n"),
        (1e300, b"$23\r\n1.0000000000000001e+300\r\n", b",1.0000000000000001e+300\r\n"),
        (-0.0, b"$2\r\n-0\r\n", b",-0\r\n"),
        (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
        (-math.inf, b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (-math.nan, b"$3\r\nnan\r\n", b",nan\r\n"),
        (Failure("ERR no\r\n\udcff"), b"-ERR no  \xff\r\n", None),
        ([], b"*0\r\n", None),
        (
            [1, [b"a", None]],
            b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n",
            b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n",
        ),
        (
            {b"a": 1, b"b": []},
            b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n",
            b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n",
        ),
        (Members([b"a", 2]), b"*2\r\n$1\r\na\r\n:2\r\n", b"~2\r\n$1\r\na\r\n:2\r\n"),
        (
            Pairs([(b"a", 1.5)]),
            b"*2\r\n$1\r\na\r\n$3\r\n1.5\r\n",
            b"*1\r\n*2\r\n$1\r\na\r\n,1.5\r\n",
        ),
        (Verbatim(b"text"), b"$4\r\ntext\r\n", b"=8\r\ntxt:text\r\n"),
    ],
)
def test_values(value: Value, resp2: bytes, resp3: bytes | None) -> None:
    assert encode(value, RESP2) == resp2
    assert encode(value, RESP3) == (resp2 if resp3 is None else resp3)


def test_replies_follow_each_other() -> None:
    assert encode_all(["OK", 1, None, Failure("ERR x")], RESP2) == b"+OK\r\n:1\r\n$-1\r\n-ERR x\r\n"


def test_an_answer_of_several_messages() -> None:
    told = Pushes([[b"subscribe", b"a", 1], [b"subscribe", b"b", 2]])
    first = b"3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    second = b"3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
    assert encode(told, RESP2) == b"*" + first + b"*" + second
    assert encode(told, RESP3) == b">" + first + b">" + second


def test_pushes() -> None:
    message = [b"message", b"c", b"text"]
    body = b"3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\ntext\r\n"
    assert encode_push(message, RESP2) == b"*" + body
    assert encode_push(message, RESP3) == b">" + body
