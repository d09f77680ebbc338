"""Rows of groups against plain Python, through calls that fail, MULTI, dumps and new beginnings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.state.machine import Machine
from raftcache.state.redis import stream_groups, stream_rows
from tests.model.group_reference import GroupReference
from tests.model.plain_python import Step, call, hold_against, more, or_failure, steps_of
from tests.model.stream_reference import ABSENT, Plain, shown
from tests.model.test_redis_streams import KEYS, SIZE_MAX, few, key, number, rising, value

words = st.just
group = st.sampled_from([b"g", b"g", b"g", b"h"])
consumer = st.sampled_from([b"a", b"a", b"b", b""])
count = st.sampled_from(b"1 2 9".split())
start = st.sampled_from(b"0 1-1 2 $".split())


def _group_call(what: str, *args: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    return call("XGROUP", words(what.encode()), key, group, *args)


def _read(*behind: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    before = (words(b"GROUP"), group, consumer, words(b"COUNT"), count)
    return call("XREADGROUP", *before, *behind)


NEW = (words(b"STREAMS"), key, words(b">"))

CALL = st.one_of(
    call("SET", st.sampled_from(KEYS), words(b"v")),
    call("DEL", st.sampled_from(KEYS)),
    call("RENAME", key, key),
    call("COPY", key, key),
    *[call("XADD", key, rising, value, value) for _ in range(4)],
    more("XDEL", key, number),
    call("XTRIM", key, words(b"MAXLEN"), few),
    *[_group_call("CREATE", start, words(b"MKSTREAM")) for _ in range(3)],
    _group_call("CREATE", start),
    _group_call("DESTROY"),
    _group_call("SETID", st.sampled_from(b"0 1-1 2-1 9".split())),
    _group_call("CREATECONSUMER", consumer),
    _group_call("DELCONSUMER", consumer),
    *[_read(*NEW) for _ in range(4)],
    _read(words(b"NOACK"), *NEW),
    *[_read(words(b"STREAMS"), key, st.sampled_from([b"0", b"1-1", b"3"])) for _ in range(2)],
    *[call("XACK", key, group, number, number) for _ in range(2)],
    call("XPENDING", key, group),
    *[
        call("XCLAIM", key, group, consumer, words(b"0"), number, number, words(option))
        for option in (b"FORCE", b"JUSTID", b"FORCE")
    ],
    call("XAUTOCLAIM", key, group, consumer, words(b"0"), number, words(b"COUNT"), count),
    call(
        "XAUTOCLAIM",
        *(key, group, consumer, words(b"0"), words(b"-")),
        *(words(b"COUNT"), count, words(b"JUSTID")),
    ),
)


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_rows, "REMOVED_AT_ONCE_MAX", 1)
        patch.setattr(stream_groups, "ROWS_AT_A_TIME", 2)
        yield


def _expected(reference: GroupReference, words: tuple[bytes, ...], answered: object) -> object:
    name, *args = words
    found = or_failure(answered, lambda: reference.do(name.decode(), args))
    return None if found is ABSENT else found


def _holds(machine: Machine, reference: GroupReference) -> None:
    rows = 0
    for each in KEYS:
        held = reference.keys.get(each)
        if not isinstance(held, Plain):
            continue
        rows += len(held.entries) + len(held.groups)
        [told, groups] = machine.call(
            [(b"XINFO", b"STREAM", each, b"FULL", b"COUNT", b"0"), (b"XINFO", b"GROUPS", each)], 0
        )
        assert [one[b"name"] for one in told[b"groups"]] == sorted(held.groups)
        for one, short in zip(told[b"groups"], groups, strict=True):
            plain = held.groups[one[b"name"]]
            rows += 2 * (len(plain.pending) + len(plain.consumers))
            assert one[b"last-delivered-id"] == shown(plain.last)
            assert one[b"pel-count"] == short[b"pending"] == len(plain.pending)
            assert short[b"consumers"] == len(plain.consumers)
            assert [(entry[0], entry[1], entry[3]) for entry in one[b"pending"]] == [
                (shown(entry), *known) for entry, known in sorted(plain.pending.items())
            ]
            assert [owner[b"name"] for owner in one[b"consumers"]] == sorted(plain.consumers)
            for owner in one[b"consumers"]:
                assert [entry[0] for entry in owner[b"pending"]] == [
                    shown(entry)
                    for entry, (name, _) in sorted(plain.pending.items())
                    if name == owner[b"name"]
                ]
    assert len(machine._state.rows) == rows


@settings(max_examples=200, deadline=None)
@given(steps_of(CALL))
def test_rows_hold_what_plain_python_holds(steps: list[Step]) -> None:
    hold_against(GroupReference(SIZE_MAX), steps, SIZE_MAX, 0, _expected, _holds)
