"""Rows of streams against plain Python, through calls that fail, MULTI, dumps and new beginnings.

The limits are made tiny, so that streams begin anew when much is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.state.machine import Machine
from raftcache.state.redis import stream_rows
from tests.model.plain_python import Step, call, hold_against, more, or_failure, steps_of
from tests.model.stream_reference import ABSENT, Plain, StreamReference, shown

SIZE_MAX = 20

KEYS = [b"s", b"t", b"m"]

key = st.sampled_from([b"s", b"s", b"s", b"t", b"m"])
number = st.sampled_from(b"1-1 1-2 2 2-1 3-3 4 5-1 9".split())
rising = st.sampled_from(b"1-* 2-* 2-* 3-* 4-* 5-* 9-*".split())
value = st.sampled_from([b"", b"a", b"b\0\xff", b"x" * 12])
few = st.sampled_from(b"0 1 2 3 9".split())
words = st.just


def _added(*before: bytes) -> st.SearchStrategy[tuple[bytes, ...]]:
    made = st.tuples(key, st.one_of(rising, rising, number), few, value, value)
    return made.map(
        lambda parts: (
            b"XADD",
            parts[0],
            *[parts[2] if each == b"few" else each for each in before],
            parts[1],
            *parts[3:],
        )
    )


CALL = st.one_of(
    call("SET", st.sampled_from(KEYS), st.just(b"v")),
    call("DEL", st.sampled_from(KEYS)),
    call("RENAME", key, key),
    call("COPY", key, key),
    *[_added() for _ in range(5)],
    _added(b"NOMKSTREAM"),
    _added(b"MAXLEN", b"=", b"few"),
    more("XDEL", key, number),
    call("XTRIM", key, st.just(b"MAXLEN"), few),
    call("XTRIM", key, st.just(b"MINID"), number),
    call("XLEN", key),
    *[
        call(name, key, *ends, st.just(b"COUNT"), st.sampled_from(b"1 2 9".split()))
        for name, ends in (
            ("XRANGE", (st.one_of(words(b"-"), number), st.one_of(words(b"+"), number))),
            ("XREVRANGE", (st.one_of(words(b"+"), number), st.one_of(words(b"-"), number))),
        )
    ],
)


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_rows, "REMOVED_AT_ONCE_MAX", 1)
        yield


def _expected(reference: StreamReference, words: tuple[bytes, ...], answered: object) -> object:
    name, *args = words
    found = or_failure(answered, lambda: reference.do(name.decode(), args))
    return None if found is ABSENT else found


def _holds(machine: Machine, reference: StreamReference) -> None:
    rows = 0
    for each in KEYS:
        held = reference.keys.get(each)
        if isinstance(held, Plain):
            [entries, count, info] = machine.call(
                [(b"XRANGE", each, b"-", b"+"), (b"XLEN", each), (b"XINFO", b"STREAM", each)], 0
            )
            assert entries == held.told((0, 0), (1 << 64, 0))
            assert count == len(held.entries)
            assert info[b"entries-added"] == held.added
            assert info[b"last-generated-id"] == shown(held.last)
            assert info[b"max-deleted-entry-id"] == shown(held.deleted)
            rows += len(held.entries)
        else:
            assert machine.call([(b"GET", each)], 0) == [held]
    assert len(machine._state.rows) == rows


@settings(max_examples=200)
@given(steps_of(CALL))
def test_rows_hold_what_plain_python_holds(steps: list[Step]) -> None:
    hold_against(StreamReference(SIZE_MAX), steps, SIZE_MAX, 0, _expected, _holds)
