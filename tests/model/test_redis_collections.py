"""Rows of sets and sorted sets against plain Python, through calls that fail, MULTI and dumps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.values import Members, Pairs
from raftcache.state.machine import Machine
from raftcache.state.redis import collection
from tests.model.plain_python import (
    SIZE_MAX,
    Step,
    call,
    hold_against,
    more,
    or_failure,
    steps_of,
)
from tests.model.redis_reference import RedisReference

KEYS = [b"j", b"k", b"l"]
MEMBERS = [b"", b"a", b"b", b"c", b"a", b"b", b"c", b"a\0", b"\xff", b"x" * 12, b"z" * 13]
SCORES = b"0 -0 0 -0 1 1 -1.5 2 1e300 -1e-300 inf -inf".split()
PLACES = b"0 1 2 -1 -2 9 -9".split()

key, member = st.sampled_from(KEYS), st.sampled_from(MEMBERS)
of_set, of_zset = st.sampled_from([b"j", b"j", b"j", b"l"]), st.sampled_from([b"k", b"k", b"l"])
"""Keys that mostly hold the right type: calls that are refused for it try nothing else."""

score, place = st.sampled_from(SCORES), st.sampled_from(PLACES)


def algebra(name: str) -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.builds(
        lambda target, keys: (name.encode(), target, b"%d" % len(keys), *keys),
        of_zset,
        st.lists(st.one_of(of_set, of_zset), min_size=1, max_size=3),
    )


CALL = st.one_of(
    call("SET", key, member),
    call("DEL", key),
    *[more("SADD", of_set, member) for _ in range(4)],
    more("SREM", of_set, member),
    call("SMOVE", of_set, of_set, member),
    call("SPOP", of_set, st.sampled_from([b"1", b"2", b"9"])),
    *[more(name, of_set, of_set) for name in ("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE")],
    *[more("ZADD", of_zset, score, member) for _ in range(4)],
    call("ZINCRBY", of_zset, score, member),
    more("ZREM", of_zset, member),
    *[call(name, of_zset, member) for name in ("ZSCORE", "ZRANK")],
    *[call(name, of_zset, place, place) for name in ("ZRANGE", "ZREVRANGE", "ZREMRANGEBYRANK")],
    *[
        call(name, of_zset, score, score)
        for name in ("ZRANGEBYSCORE", "ZCOUNT", "ZREMRANGEBYSCORE")
    ],
    call("ZPOPMIN", of_zset),
    call("ZRANGESTORE", of_zset, of_zset, place, place),
    algebra("ZUNIONSTORE"),
    algebra("ZDIFFSTORE"),
)


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "NAME_SIZE_BYTES_MAX", SIZE_MAX)
        yield


def _expected(reference: RedisReference, words: tuple[bytes, ...], answered: object) -> object:
    name, *args = words
    if name == b"SPOP":
        return or_failure(answered, lambda: _popped(reference, args, answered))
    return or_failure(answered, lambda: reference.do(name.decode(), args))


def _popped(reference: RedisReference, args: list[bytes], answered: object) -> object:
    """Any members would do, if they are different and as many as there can be."""
    reference.do("SREM", [args[0]])  # of a set at all
    assert isinstance(answered, Members)
    held = reference.keys.get(args[0], set())
    assert isinstance(held, set)
    assert len(answered.members) == len(set(answered.members)) == min(int(args[1]), len(held))
    assert held.issuperset(answered.members)
    reference.do("SREM", [args[0], *answered.members])
    return answered


def _holds(machine: Machine, reference: RedisReference) -> None:
    rows = 0
    for each in KEYS:
        held = reference.keys.get(each)
        match held:
            case bytes():
                (found,) = machine.call([(b"GET", each)], 0)
                assert found == held
            case set():
                (found,) = machine.call([(b"SMEMBERS", each)], 0)
                assert found == Members(sorted(held))
                rows += len(held)
            case dict():
                (found,) = machine.call([(b"ZRANGE", each, b"0", b"-1", b"WITHSCORES")], 0)
                assert isinstance(found, Pairs)
                assert found.pairs == sorted(held.items(), key=lambda pair: (pair[1], pair[0]))
                rows += 2 * len(held)
            case None:
                (found,) = machine.call([(b"EXISTS", each)], 0)
                assert found == 0
    assert len(machine._state.rows) == rows


@settings(max_examples=200)
@given(steps_of(CALL), st.integers(0, 1 << 62))
def test_rows_hold_what_plain_python_holds(steps: list[Step], dice: int) -> None:
    hold_against(RedisReference(SIZE_MAX), steps, 1000, dice, _expected, _holds)
