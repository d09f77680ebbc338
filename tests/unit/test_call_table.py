"""The table of Redis commands: its facts are those of a redis-server, and so are its faults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from raftcache.command.call_table import SPECS, CallSpec, fault, find, keys_of
from raftcache.command.calls import WIDE
from tests.support.redis_server import redis_server
from tests.support.resp_wire import RespWire, plain

SENTINEL_ONLY: Final = "sentinel"
"""A command that a redis-server has only when it is a sentinel."""

NARROW: Final = set(
    b"""
    BLMOVE BLPOP BRPOP BRPOPLPUSH
    DEL FLUSHALL FLUSHDB OBJECT RANDOMKEY
    GEOADD GEODIST GEOHASH GEOPOS MSET MSETEX MSETNX PSETEX SETEX
    HSCAN KEYS LCS SCAN SSCAN ZSCAN
    """.split()
)
"""Calls that Redis names slow, and that take here as long as their bytes tell: an index finds the
element, what is gone is freed later, or they are not for the log, or bounded by themselves."""

NOT_ASKED_FOR: Final = {"client|idempotency", "client|consistency"}
"""Ours alone."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespWire]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield from _connected(address)


def _connected(address: Path) -> Iterator[RespWire]:
    with contextlib.closing(RespWire(address)) as wire:
        yield wire


def every_spec() -> list[CallSpec]:
    return [s for spec in SPECS.values() for s in (spec, *spec.subcommands.values())]


def facts_of(row: list[Any]) -> dict[str, tuple[Any, ...]]:
    """What COMMAND INFO says of a command and its subcommands."""
    name, arity, flags, first, last, step, categories, _tips, _keys, subcommands = row
    told = {b"@" + category for category in (c[1:] for c in categories)}
    facts = {name.decode(): (arity, set(flags), first, last, step, told)}
    for each in subcommands:
        facts |= facts_of(each)
    return facts


def test_facts_are_those_of_redis(redis: RespWire) -> None:
    theirs: dict[str, tuple[Any, ...]] = {}
    for row in plain(redis.call(b"COMMAND")):
        theirs |= facts_of(row)
    known = [spec for spec in every_spec() if spec.name in theirs]
    unknown = {spec.name for spec in every_spec()} - theirs.keys()
    newer = {s.name for s in every_spec() if s.since.startswith(("7.2", "8."))}
    sentinel = {name for name in unknown if name.startswith(SENTINEL_ONLY)}
    assert unknown == newer | sentinel | NOT_ASKED_FOR
    for spec in known:
        flags = {flag.encode() for flag in spec.flags}
        categories = {b"@" + category.encode() for category in spec.categories}
        ours = (spec.arity, flags, spec.first_key, spec.last_key, spec.step, categories)
        assert ours == theirs[spec.name], spec.name


def test_documents_are_those_of_redis(redis: RespWire) -> None:
    flat = plain(redis.call(b"COMMAND", b"DOCS"))
    for name, told in zip(flat[::2], flat[1::2], strict=True):
        document = dict(zip(told[::2], told[1::2], strict=True))
        spec = SPECS.get(name.upper())
        if spec is None:
            continue
        assert spec.group.encode() == document[b"group"], name
        assert spec.since.encode() == document[b"since"], name
        assert spec.summary.encode() == document[b"summary"].rstrip(), name
        assert document[b"complexity"].startswith(spec.complexity.encode()), name


FAULTY: Final = [
    [b"GET"],
    [b"get", b"a", b"b"],
    [b"SET", b"a"],
    [b"config"],
    [b"CONFIG", b"GET"],
    [b"CONFIG", b"nothing\r\nsuch", b"x"],
    [b"OBJECT", b"ENCODING"],
    [b"nothing"],
    [b"No\r\nThing", b"a\0b", b"", b"c" * 200, b"d"],
    [b"n" * 200, b"a" * 60, b"b" * 60, b"c" * 60],
    [b"n\xff\xfe", b"\xff"],
    [b""],
]


@pytest.mark.parametrize("argv", FAULTY, ids=repr)
def test_faults_are_worded_as_redis_words_them(redis: RespWire, argv: list[bytes]) -> None:
    text = fault(argv)
    assert text is not None
    assert redis.call(*argv) == ("-", text.encode(errors="surrogateescape"))


def test_calls_without_fault() -> None:
    assert fault([b"get", b"a"]) is None
    assert fault([b"MGET", b"a", b"b", b"c"]) is None
    assert fault([b"config", b"get", b"*"]) is None
    assert fault([b"COMMAND"]) is None


WITH_KEYS: Final = [
    [b"GET", b"a"],
    [b"mset", b"a", b"1", b"b", b"2"],
    [b"BITOP", b"AND", b"d", b"a", b"b"],
    [b"BLPOP", b"a", b"b", b"0"],
    [b"LMOVE", b"a", b"b", b"LEFT", b"RIGHT"],
    [b"OBJECT", b"ENCODING", b"a"],
    [b"MEMORY", b"USAGE", b"a"],
    [b"ZUNION", b"2", b"a", b"b", b"WITHSCORES"],
    [b"ZUNIONSTORE", b"d", b"2", b"a", b"b", b"WEIGHTS", b"1", b"2"],
    [b"LMPOP", b"1", b"a", b"LEFT"],
    [b"BZMPOP", b"0", b"2", b"a", b"b", b"MIN"],
    [b"SINTERCARD", b"2", b"a", b"b", b"LIMIT", b"1"],
    [b"SORT", b"a", b"BY", b"x", b"STORE", b"b"],
    [b"SORT", b"a", b"STORE", b"b", b"GET", b"STORE", b"LIMIT", b"0", b"1", b"store", b"c"],
    [b"GEORADIUS", b"a", b"1", b"2", b"3", b"km", b"COUNT", b"1", b"STORE", b"b"],
    [b"GEORADIUSBYMEMBER", b"a", b"STORE", b"3", b"km", b"STOREDIST", b"b", b"ASC"],
    [b"GEORADIUS_RO", b"a", b"1", b"2", b"3", b"km", b"STORE", b"b"],
    [b"GEOSEARCHSTORE", b"d", b"a", b"FROMMEMBER", b"m", b"BYRADIUS", b"1", b"m"],
    [b"PFCOUNT", b"a", b"b"],
    [b"XREAD", b"COUNT", b"1", b"BLOCK", b"2", b"STREAMS", b"a", b"b", b"0", b"0"],
    [b"XREADGROUP", b"GROUP", b"STREAMS", b"c", b"NOACK", b"streams", b"a", b"b", b">", b">"],
    [b"XREADGROUP", b"NOACK", b"BLOCK", b"1", b"GROUP", b"g", b"c", b"STREAMS", b"a", b">"],
    [b"XAUTOCLAIM", b"a", b"g", b"c", b"0", b"0"],
    [b"XGROUP", b"CREATE", b"a", b"g", b"0"],
    [b"SORT_RO", b"a", b"GET", b"STORE"],
]


@pytest.mark.parametrize("argv", WITH_KEYS, ids=repr)
def test_keys_of_a_call_are_those_redis_finds(redis: RespWire, argv: list[bytes]) -> None:
    assert keys_of(argv) == plain(redis.call(b"COMMAND", b"GETKEYS", *argv))


def test_keys_of_calls_that_only_newer_ones_know_or_that_have_none() -> None:
    assert keys_of([b"MSETEX", b"2", b"a", b"1", b"b", b"2", b"EX", b"9"]) == [b"a", b"b"]
    assert keys_of([b"DELEX", b"a", b"IFEQ", b"1"]) == [b"a"]
    assert keys_of([b"PING"]) == []
    assert keys_of([b"nothing", b"a"]) == []


def test_the_key_of_the_last_store_is_the_one_that_is_written() -> None:
    radius = [b"GEORADIUS", b"a", b"1", b"2", b"3", b"km"]
    assert keys_of([*radius, b"STOREDIST", b"b", b"store", b"c"]) == [b"a", b"c"]
    assert keys_of([*radius, b"STORE", b"STORE", b"STOREDIST"]) == [b"a", b"STORE"]


@pytest.mark.parametrize("count", [b"0", b"-1", b"3", b"x", b"", b"9" * 5000])
def test_a_wrong_count_names_no_keys(count: bytes) -> None:
    assert keys_of([b"ZUNION", count, b"a", b"b"]) == []


def test_who_executes_a_call() -> None:
    data = {spec.name for spec in every_spec() if spec.is_data}
    assert {
        "get",
        "bitfield",
        "sort",
        "flushall",
        "memory|usage",
        "object|encoding",
        "publish",
    } <= data
    assert not data & {"wait", "subscribe", "watch", "info", "client|tracking"}
    assert not data & {"object|help", "xgroup|help", "xinfo|help"}
    assert {spec.name for spec in every_spec() if spec.is_blocking} == {
        "blpop",
        "brpop",
        "brpoplpush",
        "blmove",
        "blmpop",
        "bzpopmin",
        "bzpopmax",
        "bzmpop",
        "xread",
        "xreadgroup",
    }
    spec = find([b"object", b"freq", b"a"])
    assert spec is not None
    assert not spec.is_write


def test_a_call_that_redis_names_slow_is_wide_or_known_to_be_narrow() -> None:
    slow = {name for name, spec in SPECS.items() if spec.is_data and "fast" not in spec.flags}
    assert slow - WIDE == NARROW
    assert all(SPECS[name].is_data for name in WIDE)
