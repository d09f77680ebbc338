"""Redis commands on keys of whatever type: presence, deletion, encodings, sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from raftcache.command.limits import RANGE_KEYS_MAX
from raftcache.command.values import Failure, Value
from raftcache.command.words import Put, Tick
from raftcache.state.keyspace import DEADLINE_COST_BYTES, KEY_COST_BYTES
from raftcache.state.machine import Machine
from raftcache.state.redis.keys import TOO_MANY_OVERDUE
from raftcache.state.redis.objects import NO_FREQUENCY
from tests.support.redis_server import redis_server
from tests.support.resp_wire import RespWire, plain
from tests.unit.test_machine import at
from tests.unit.test_notes import Heard
from tests.unit.test_redis_core import values


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespWire]:
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as address, contextlib.closing(RespWire(address)) as wire:
        yield wire


def read(machine: Machine, *words: bytes, dice: int = 0) -> Value:
    (value,) = machine.call([words], machine.now_ms, dice)
    return value


def test_keys_are_counted_as_often_as_they_are_named(machine: Machine) -> None:
    assert values(
        machine,
        "MSET a 1 b 2 c 3",
        "EXISTS a a x",
        "TOUCH a b x",
        "DEL a a x",
        "UNLINK b c",
        "DBSIZE",
    ) == ["OK", 2, 2, 1, 2, 0]


def test_size_and_a_random_key_leave_overdue_ones_out(machine: Machine) -> None:
    assert values(machine, "DBSIZE", "RANDOMKEY") == [0, None]
    at(machine, 1000, *[Put(b"due%d" % number, b"", ttl_ms=500) for number in range(50)])
    at(machine, 1000, Put(b"a", b""), Put(b"e", b""))
    machine._state.now_ms = 1500  # as after an entry that removed only some of those overdue
    assert read(machine, b"DBSIZE") == 2
    found = {read(machine, b"RANDOMKEY", dice=dice) for dice in range(100)}
    assert found == {b"a", b"e"}
    machine._state.keyspace.remove(b"a", machine._state.keyspace.find(b"a"))  # type: ignore[arg-type]
    machine._state.keyspace.remove(b"e", machine._state.keyspace.find(b"e"))  # type: ignore[arg-type]
    assert read(machine, b"RANDOMKEY") is None


def test_too_many_overdue_keys_are_not_looked_at(machine: Machine) -> None:
    puts = [Put(b"%d" % number, b"", ttl_ms=500) for number in range(RANGE_KEYS_MAX + 1)]
    for start in range(0, len(puts), 1000):
        at(machine, 1000, *puts[start : start + 1000])
    machine._state.now_ms = 1500
    assert read(machine, b"DBSIZE") == read(machine, b"RANDOMKEY") == Failure(TOO_MANY_OVERDUE)
    at(machine, 1500, Tick())
    assert read(machine, b"DBSIZE") == 0


@pytest.mark.parametrize("call", ["FLUSHALL", "FLUSHDB", "flushall ASYNC", "FLUSHALL sync"])
def test_a_flush_removes_all_keys_in_one_revision(machine: Machine, call: str) -> None:
    name, *options = call.split()
    values(machine, "SET a 1", "SET b 2")
    assert values(machine, " ".join([name.upper(), *options]), "DBSIZE") == ["OK", 0]
    assert machine.revision == 3


def test_a_flush_takes_one_option_and_no_more_keys_than_one_entry_may(machine: Machine) -> None:
    assert (
        values(machine, "FLUSHALL NOW", "FLUSHALL SYNC ASYNC") == [Failure("ERR syntax error")] * 2
    )
    for start in range(0, RANGE_KEYS_MAX, 1000):
        words = " ".join(f"{number} v" for number in range(start, start + 1000))
        values(machine, f"MSET {words}")
    values(machine, "SET more v")
    (value,) = values(machine, "FLUSHALL")
    assert isinstance(value, Failure)
    assert "MULTI" in value.text
    assert values(machine, "DEL more", "FLUSHALL", "DBSIZE") == [1, "OK", 0]


def test_how_a_string_would_be_kept(machine: Machine) -> None:
    values(machine, "SET int -12", "SET plus +1", f"SET short {'x' * 44}", f"SET long {'x' * 45}")
    asked = [f"OBJECT ENCODING {key}" for key in ("int", "plus", "short", "long", "none")]
    assert values(machine, *asked) == [b"int", b"embstr", b"embstr", b"raw", None]
    assert values(machine, "OBJECT REFCOUNT int", "OBJECT idletime int", "OBJECT FREQ none") == [
        1,
        0,
        None,
    ]
    assert values(machine, "OBJECT FREQ int") == [Failure(NO_FREQUENCY)]
    assert values(machine, "OBJECT HELP", "OBJECT NO int") == [Failure("ERR syntax error")] * 2


@pytest.mark.parametrize(
    ("call", "encoding"),
    [
        ("RPUSH k a", b"quicklist"),
        ("SADD k 1 -2", b"intset"),
        ("SADD k 1 a", b"hashtable"),
        ("SADD k " + " ".join(map(str, range(512))), b"intset"),
        ("SADD k " + " ".join(map(str, range(513))), b"hashtable"),
        (f"HSET k f {'x' * 64}", b"listpack"),
        (f"HSET k f {'x' * 65}", b"hashtable"),
        (f"HSET k {'x' * 65} f", b"hashtable"),
        ("HSET k " + " ".join(map(str, range(1024))), b"listpack"),
        ("HSET k " + " ".join(map(str, range(1026))), b"hashtable"),
        (f"ZADD k 1 {'x' * 64}", b"listpack"),
        (f"ZADD k 1 {'x' * 65}", b"skiplist"),
        ("ZADD k " + " ".join(map(str, range(256))), b"listpack"),
        ("ZADD k " + " ".join(map(str, range(258))), b"skiplist"),
    ],
)
def test_how_a_collection_would_be_kept(
    machine: Machine, redis: RespWire, call: str, encoding: bytes
) -> None:
    assert values(machine, call, "OBJECT ENCODING k")[1] == encoding
    redis.pipeline([(b"DEL", b"k"), tuple(call.encode().split())])
    assert plain(redis.call(b"OBJECT", b"ENCODING", b"k")) == encoding


@pytest.mark.parametrize("call", ["HSET k f 1 g 2", "RPUSH k a b", "SADD k a b", "ZADD k 1 a 2 b"])
def test_what_a_collection_takes_of_memory(machine: Machine, call: str) -> None:
    before = machine.memory_size_bytes
    values(machine, call)
    assert values(machine, "MEMORY USAGE k") == [machine.memory_size_bytes - before]


def test_what_a_string_takes_of_memory(machine: Machine) -> None:
    before = machine.memory_size_bytes
    values(machine, "SET a 12345", "PEXPIREAT a 1000000")
    (size_bytes,) = values(machine, "MEMORY USAGE a")
    assert size_bytes == machine.memory_size_bytes - before
    assert size_bytes > KEY_COST_BYTES + DEADLINE_COST_BYTES
    assert values(machine, "MEMORY USAGE a SAMPLES 0", "MEMORY usage none") == [size_bytes, None]
    refused = ["MEMORY USAGE a SAMPLES x", "MEMORY USAGE a SAMPLES -1", "MEMORY USAGE a SAMPLES"]
    assert [value.text for value in values(machine, *refused)] == [
        "ERR value is not an integer or out of range",
        "ERR syntax error",
        "ERR syntax error",
    ]


@pytest.mark.parametrize(
    ("call", "events"),
    [
        ("DEL a s none", "del:a del:s"),
        ("UNLINK none", ""),
        ("TOUCH a", ""),
        ("EXPIRE a 100", "expire:a"),
        ("EXPIRE a 100 XX", ""),
        ("EXPIRE a -1", "del:a"),
        ("PERSIST due", "persist:due"),
        ("PERSIST a", ""),
        ("RENAME s t", "new:t rename_from:s rename_to:t"),
        ("RENAME s a", "new:a rename_from:s rename_to:a"),
        ("RENAME a a", ""),
        ("RENAMENX s a", ""),
        ("COPY s t", "new:t copy_to:t"),
        ("COPY s a REPLACE", "new:a copy_to:a"),
        ("COPY s a", ""),
        ("FLUSHALL", "flushed"),
    ],
)
def test_what_is_told_of_keys(call: str, events: str) -> None:
    heard = Heard()
    values(heard.machine, "SET a 1", "SADD s x y", "SET due 1", "EXPIRE due 100")
    heard.take()
    values(heard.machine, call)
    assert heard.take() == events.split()
