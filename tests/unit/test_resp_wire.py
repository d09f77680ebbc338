"""Requests of the Redis protocol: what is read, what is refused, and with which words."""

from __future__ import annotations

import pytest

from raftcache.server.resp.inline import split_arguments
from raftcache.server.resp.reference import (
    ARRAY_LENGTH_MAX,
    BULK_SIZE_BYTES_MAX,
    INLINE_SIZE_BYTES_MAX,
    REQUEST_SIZE_BYTES_MAX,
)
from raftcache.server.resp.wire import FAST_SIZE_BYTES_MAX, RequestParser
from tests.support.resp_wire import packed


def read(data: bytes) -> tuple[list[list[bytes]], str | None]:
    parser = RequestParser()
    return parser.feed(data), parser.error


def test_a_pipeline() -> None:
    calls = [[b"SET", b"k", b"\r\n$*\0"], [b"GET", b"k"], [b""], [b"PING"]]
    assert read(b"".join(map(packed, calls))) == (calls, None)


def test_empty_requests_are_nothing() -> None:
    data = b"*0\r\n*-1\r\n\r\n  \r\n*0\r\n*1\r\n$4\r\nPING\r\n*-7\r\n"
    assert read(data) == ([[b"PING"]], None)
    assert read(b"*1\r\n$4\r\nPING\r\n*0\r\n*1\r\n$4\r\nPING\r\n") == ([[b"PING"]] * 2, None)


def test_the_end_of_a_string_or_line_is_taken_on_trust() -> None:
    """As in Redis: two bytes after a string, one after a carriage return."""
    assert read(b"*2\r\n$1\r\naXY$1\r\nbXY" + packed([b"c"])) == ([[b"a", b"b"], [b"c"]], None)
    assert read(b"*1\rX$4\rXPINGXX") == ([[b"PING"]], None)
    # What comes next looks like a reply to hiredis.
    assert read(b"*2\r\n$1\r\naXY+b\r\n")[1] == "expected '$', got '+'"


def test_mixed_with_inline_commands() -> None:
    data = packed([b"GET", b"a"]) + b"GET b\n" + packed([b"GET", b"c"]) + b"get 'd e'\r\n"
    expected = [[b"GET", b"a"], [b"GET", b"b"], [b"GET", b"c"], [b"get", b"d e"]]
    assert read(data) == (expected, None)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*%d\r\n" % (ARRAY_LENGTH_MAX + 1), "invalid multibulk length"),
        (b"*1" + b"0" * INLINE_SIZE_BYTES_MAX, "too big mbulk count string"),
        (b"*1\r\n$1" + b"0" * INLINE_SIZE_BYTES_MAX, "too big bulk count string"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$%d\r\n" % (BULK_SIZE_BYTES_MAX + 1), "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*1\r\n=8\r\ntxt:PING\r\n", "expected '$', got '='"),
        (b"*1\r\n(123\r\n", "expected '$', got '('"),
        (b"*1\r\n-\xff\r\n", "expected '$', got '-'"),
        (b"*1\r\n-\xff\0a\r\n", "expected '$', got '-'"),
        (b"*1\r\n,x\r\n", "expected '$', got ','"),
        (b"*1\r\n_\r\n", "expected '$', got '_'"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
        (b"*1\r\n~1\r\n$4\r\nPING\r\n", "expected '$', got '~'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\0\r\n", "expected '$', got ''"),
        (b"*1\r\n\xff\r\n", "expected '$', got '\udcff'"),
        (b"a" * (INLINE_SIZE_BYTES_MAX + 1), "too big inline request"),
        (b'GET "a\r\n', "unbalanced quotes in request"),
    ],
)
def test_what_is_no_request(data: bytes, error: str) -> None:
    before = [[b"SET", b"a", b"b"]]
    assert read(packed(before[0]) + data) == (before, error)


def test_sets_maps_and_attributes_are_no_arrays() -> None:
    """They are inline commands, as anything without a star is; hiredis would read arrays."""
    assert read(b"~1\r\n$4\r\nPING\r\n") == ([[b"~1"], [b"$4"], [b"PING"]], None)
    words = [b"~1", b"$4", b"PING", b">1", b"|1", b"%1"]
    data = packed([b"a"]) + b"\r\n".join(words) + b"\r\n"
    assert read(data) == ([[b"a"], *([word] for word in words)], None)


def test_nothing_is_read_after_an_error() -> None:
    parser = RequestParser()
    assert parser.feed(b"*x\r\n") == []
    assert parser.feed(packed([b"PING"])) == []
    assert parser.error == "invalid multibulk length"


def test_a_request_at_its_limits() -> None:
    long = [b""] * ARRAY_LENGTH_MAX
    assert read(packed(long)) == ([long], None)
    large = [b"SET", b"x" * BULK_SIZE_BYTES_MAX]
    assert read(packed(large)) == ([large], None)
    parser = RequestParser()
    for at in range(0, len(data := packed([b"SET", b"k", b"v" * (1 << 20)])), 1 << 16):
        calls = parser.feed(data[at : at + (1 << 16)])
    assert calls == [[b"SET", b"k", b"v" * (1 << 20)]]


def test_a_request_is_too_big_when_its_headers_say_so() -> None:
    share = b"x" * BULK_SIZE_BYTES_MAX
    shares = REQUEST_SIZE_BYTES_MAX // BULK_SIZE_BYTES_MAX
    parser = RequestParser()
    assert parser.feed(b"*9\r\n") == []
    for _ in range(shares):
        assert parser.feed(b"$%d\r\n%b\r\n" % (len(share), share)) == []
    assert parser.error is None
    assert parser.feed(b"$1\r\n") == []
    assert parser.error == "too big request"


def test_a_large_piece_is_read_carefully() -> None:
    calls = [[b"SET", b"k", b"v" * 100_000]] * (FAST_SIZE_BYTES_MAX // 100_000 + 1)
    assert read(b"".join(map(packed, calls))) == (calls, None)


def test_before_the_password_requests_are_short_and_come_one_by_one() -> None:
    parser = RequestParser(trusted=False)
    long = [b"DEL", *[b"x"] * 20]
    assert parser.feed(packed([b"AUTH", b"p"]) + packed(long)) == [[b"AUTH", b"p"]]
    assert parser.is_midway
    parser.trusted = True
    assert parser.feed(b"") == [long]
    assert not parser.is_midway
    parser = RequestParser(trusted=False)
    assert parser.feed(packed([b"PING"]) + packed(long)) == [[b"PING"]]
    assert parser.feed(b"") == []
    assert parser.error == "unauthenticated multibulk length"
    parser = RequestParser(trusted=False)
    assert parser.feed(b"*2\r\n$3\r\nGET\r\n$16385\r\n") == []
    assert parser.error == "unauthenticated bulk length"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b" \t\v\f\r", []),
        (b"a  b\tc", [b"a", b"b", b"c"]),
        (b"a\vb", [b"a\vb"]),
        (b"\va", [b"a"]),
        (b'"a b" c', [b"a b", b"c"]),
        (b"'a b'\vc", [b"a b", b"c"]),
        (b'a"b c"', [b"ab c"]),
        (b'""', [b""]),
        (b"''", [b""]),
        (rb'"\x41\n\r\t\b\a\q\x4\"\\"', [b'A\n\r\t\b\aqx4"\\']),
        (rb"'\'\n\\'", None),
        (rb"'\'\n\\' '", [rb"'\n\' "]),
        (rb"'a\'", None),
        (b'"a', None),
        (b'"a\\', None),
        (b'"a"b', None),
        (b"'a'b", None),
        (b"a\0 b", [b"a"]),
        (b'"a\0"', None),
    ],
)
def test_words_of_a_line(line: bytes, words: list[bytes] | None) -> None:
    assert split_arguments(line) == words
