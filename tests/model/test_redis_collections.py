"""Rows of sets and sorted sets against plain Python, through calls that fail, MULTI and dumps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.calls import Calls
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure, Members, Pairs
from raftcache.command.words import Tick
from raftcache.state.machine import Machine
from raftcache.state.redis import collection
from tests.model.redis_reference import RedisReference, Wrong
from tests.unit.test_machine import do

SIZE_MAX = 12
"""Of members; a sorted set finds out by its second row, when the first is there already."""

KEYS = [b"j", b"k", b"l"]
MEMBERS = [b"", b"a", b"b", b"c", b"a", b"b", b"c", b"a\0", b"\xff", b"x" * 12, b"z" * 13]
SCORES = b"0 -0 0 -0 1 1 -1.5 2 1e300 -1e-300 inf -inf".split()
PLACES = b"0 1 2 -1 -2 9 -9".split()

key, member = st.sampled_from(KEYS), st.sampled_from(MEMBERS)
of_set, of_zset = st.sampled_from([b"j", b"j", b"j", b"l"]), st.sampled_from([b"k", b"k", b"l"])
"""Keys that mostly hold the right type: calls that are refused for it try nothing else."""

score, place = st.sampled_from(SCORES), st.sampled_from(PLACES)


def call(name: str, *args: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.tuples(st.just(name.encode()), *args)


def more(
    name: str, first: st.SearchStrategy[bytes], *each: st.SearchStrategy[bytes]
) -> st.SearchStrategy[tuple[bytes, ...]]:
    """With one to five such at the end."""
    ends = st.lists(st.tuples(*each), min_size=1, max_size=5)
    return st.builds(lambda key, rest: (name.encode(), key, *sum(rest, ())), first, ends)


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

STEP = st.tuples(st.lists(CALL, min_size=1, max_size=4), st.booleans(), st.booleans())
"""Calls, whether they are one transaction, and whether a dump is under way meanwhile."""


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "NAME_SIZE_BYTES_MAX", SIZE_MAX)
        yield


def _expected(reference: RedisReference, words: tuple[bytes, ...], answered: object) -> object:
    name, *args = words
    try:
        if name == b"SPOP":
            return _popped(reference, args, answered)
        return reference.do(name.decode(), args)
    except Wrong:
        assert isinstance(answered, Failure), answered
        assert "internal" not in answered.text
        return answered


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


def _copy(image: bytes) -> Machine:
    machine = Machine()
    loader = machine.loader()
    loader.feed(image)
    loader.install()
    return machine


@settings(max_examples=200)
@given(st.lists(STEP, min_size=1, max_size=15), st.integers(0, 1 << 62))
def test_rows_hold_what_plain_python_holds(
    steps: list[tuple[list[tuple[bytes, ...]], bool, bool]], dice: int
) -> None:
    machine, other = Machine(), Machine()
    reference = RedisReference(SIZE_MAX)
    for calls, atomic, is_dumped in steps:
        before = b"".join(machine.dump())
        dump = machine.dump() if is_dumped else iter(())
        begun = next(dump, b"")
        command = Calls(tuple(calls), 1000, atomic=atomic, dice=dice)
        reply = do(machine, command)
        assert isinstance(reply, CallsReply)
        for words, answered in zip(calls, reply.values, strict=True):
            assert answered == _expected(reference, words, answered), words
        assert do(other, command) == reply
        for each in (machine, other):
            do(each, Tick())  # frees the rows of what is gone
        if is_dumped:
            assert b"".join([begun, *dump]) == before
            other = _copy(b"".join(machine.dump()))
        assert machine.digest == other.digest
        _holds(machine, reference)
    assert b"".join(machine.dump()) == b"".join(other.dump())
