"""The fast parser against the reference, on pipelines, on what is left of them, at every split."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftcache.server.resp.reference import ProtocolError, ReferenceParser
from raftcache.server.resp.wire import RequestParser
from tests.support.resp_wire import packed

ARGUMENTS = st.binary(max_size=12) | st.sampled_from(
    (b"SET", b"a\r\n+b", b"*100000", b"=", b"(", b"~", b"x" * 1500, b"\r\n*0\r\n", b"$-1\r\n")
)
CALLS = st.lists(ARGUMENTS, min_size=1, max_size=5)
INLINE = st.sampled_from((b"PING\r\n", b"GET 'a b'\n", b"\r\n", b"*0\r\n", b"*-1\r\n", b"~1\r\n"))
PIPELINES = st.lists(CALLS.map(packed) | INLINE, max_size=8).map(b"".join)
SIGNS = st.sampled_from(b"*$+-:_,#=(~%>|\r\n\0 x0123456789'\"")
Read = tuple[list[list[bytes]], str | None]


def read_by_reference(data: bytes) -> Read:
    parser, calls = ReferenceParser(), list[list[bytes]]()
    parser.add(data)
    try:
        while (call := parser.next(trusted=True)) is not None:
            calls.append(call)
    except ProtocolError as error:
        return calls, error.text
    return calls, None


def read(pieces: list[bytes]) -> Read:
    parser = RequestParser()
    calls = [call for piece in pieces for call in parser.feed(piece)]
    return calls, parser.error


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@settings(deadline=None)
@given(PIPELINES, st.lists(st.integers(0, 1 << 16), max_size=6))
def test_pipelines(data: bytes, places: list[int]) -> None:
    expected = read_by_reference(data)
    assert expected[1] is None
    assert read(cut(data, places)) == expected


@settings(max_examples=500, deadline=None)
@given(
    PIPELINES,
    st.lists(st.tuples(st.integers(0, 1 << 16), SIGNS), min_size=1, max_size=4),
    st.lists(st.integers(0, 1 << 16), max_size=4),
)
@example(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", [(11, ord("+"))], [])
@example(b"*1\r\n$0\r\n\r\n*1\r\n$0\r\n\r\n", [(10, ord("~"))], [])
def test_pipelines_with_other_bytes_in_them(
    data: bytes, others: list[tuple[int, int]], places: list[int]
) -> None:
    changed = bytearray(data or b"x")
    for place, byte in others:
        changed[place % len(changed)] = byte
    assert read(cut(bytes(changed), places)) == read_by_reference(bytes(changed))


@settings(max_examples=20, deadline=None)
@given(PIPELINES)
def test_every_split(data: bytes) -> None:
    expected = read_by_reference(data)
    for place in range(len(data) + 1):
        assert read([data[:place], data[place:]]) == expected
    assert read([data[at : at + 1] for at in range(len(data))]) == expected


@settings(max_examples=500, deadline=None)
@given(st.lists(SIGNS, max_size=40).map(bytes) | st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_refused_or_waited_for(data: bytes, trusted: bool) -> None:
    parser = RequestParser(trusted)
    calls = parser.feed(data)
    assert all(type(argument) is bytes for call in calls for argument in call)
    assert all(calls)
    if trusted:
        assert (calls, parser.error) == read_by_reference(data)
