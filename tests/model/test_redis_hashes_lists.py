"""Rows of hashes and lists against plain Python, through calls that fail, MULTI and dumps.

The limits are made tiny, so that names grow too long, lists begin anew and searches go in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.values import NIL_ARRAY
from raftcache.state.machine import Machine
from raftcache.state.redis import list_rows
from tests.model.hash_list_reference import NOTHING, HashListReference
from tests.model.plain_python import (
    SIZE_MAX,
    Step,
    call,
    hold_against,
    more,
    or_failure,
    steps_of,
)

KEYS = [b"h", b"l", b"m"]
VALUES = [b"", b"a", b"b", b"c", b"7", b"-1", b"a\0", b"\xff", b"x" * 12, b"z" * 13]
PLACES = b"0 1 2 3 -1 -2 -3 9 -9".split()

of_hash, of_list = st.sampled_from([b"h", b"h", b"m"]), st.sampled_from([b"l", b"l", b"l", b"m"])
value, place = st.sampled_from(VALUES), st.sampled_from(PLACES)
few = st.sampled_from([b"a", b"b"])
"""Elements that are there more than once."""

end = st.sampled_from([b"LEFT", b"RIGHT"])

CALL = st.one_of(
    call("SET", st.sampled_from(KEYS), value),
    call("DEL", st.sampled_from(KEYS)),
    *[more("HSET", of_hash, value, value) for _ in range(3)],
    call("HSETNX", of_hash, value, value),
    call("HINCRBY", of_hash, value, place),
    more("HDEL", of_hash, value),
    more("HMGET", of_hash, value),
    *[more(name, of_list, each) for name in ("RPUSH", "LPUSH") for each in (few, few, value)],
    *[call(name, of_list, st.sampled_from(b"1 2 5".split())) for name in ("LPOP", "RPOP")],
    *[call(name, of_list, place, place) for name in ("LRANGE", "LTRIM")],
    call("LSET", of_list, place, value),
    *[
        call("LINSERT", of_list, st.sampled_from([b"BEFORE", b"AFTER"]), few, value)
        for _ in range(4)
    ],
    call("LREM", of_list, st.sampled_from(b"0 1 -1 2 -2".split()), few),
    call("LMOVE", of_list, of_list, end, end),
    st.builds(
        lambda key, each, rank: (b"LPOS", key, each, b"RANK", rank, b"COUNT", b"0"),
        of_list,
        few,
        st.sampled_from(b"1 2 -1 -2".split()),
    ),
)


@pytest.fixture(autouse=True, scope="module", params=[8, 64], ids=["moving", "naming"])
def _small(request: pytest.FixtureRequest) -> Iterator[None]:
    """With 8 no name fits between two others: each insertion in the middle moves elements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_rows, "NAME_SIZE_BYTES_MAX", request.param)
        patch.setattr(list_rows, "REMOVED_AT_ONCE_MAX", 2)
        patch.setattr(list_rows, "PIECE", 2)
        yield


def _expected(reference: HashListReference, words: tuple[bytes, ...], answered: object) -> object:
    name, *args = words
    if name == b"LPOS":  # the reference is told the rank alone
        args = args[:4]
    found = or_failure(answered, lambda: reference.do(name.decode(), args))
    return NIL_ARRAY if found is NOTHING else found


def _holds(machine: Machine, reference: HashListReference) -> None:
    rows = 0
    for key in KEYS:
        held = reference.keys.get(key)
        match held:
            case bytes():
                assert machine.call([(b"GET", key)], 0) == [held]
            case dict():
                names = sorted(held)
                expected = [held, names, [held[name] for name in names], len(held)]
                words = (b"HGETALL", b"HKEYS", b"HVALS", b"HLEN")
                assert machine.call([(word, key) for word in words], 0) == expected
                rows += len(held)
            case list():
                calls = [(b"LRANGE", key, b"0", b"-1"), (b"LLEN", key)]
                assert machine.call(calls, 0) == [held, len(held)]
                rows += len(held)
            case None:
                assert machine.call([(b"EXISTS", key)], 0) == [0]
    assert len(machine._state.rows) == rows


@settings(max_examples=100)
@given(steps_of(CALL))
def test_rows_hold_what_plain_python_holds(steps: list[Step]) -> None:
    hold_against(HashListReference(SIZE_MAX), steps, SIZE_MAX, 0, _expected, _holds)
