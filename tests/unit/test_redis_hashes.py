"""Redis commands on hashes, as redis-server 7.0.15 answers them."""

from __future__ import annotations

import pytest

from raftcache.command.calls import Calls
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure, Pairs, Value
from raftcache.state.machine import Machine
from raftcache.state.notes import KeyEvent, Note
from raftcache.state.redis.parsing import NOT_FLOAT, NOT_INTEGER, SYNTAX, WRONG_TYPE
from raftcache.state.redis.store import ELEMENTS_READ_MAX, ROWS_TOUCHED_MAX
from tests.unit.test_machine import do
from tests.unit.test_redis_core import SIZE_BYTES_MAX, calls, values
from tests.unit.test_redis_keys import read


@pytest.fixture
def machine() -> Machine:
    """With a hash h, whose fields are n: a number, t: a text; and a string s."""
    machine = Machine()
    calls(machine, "HSET h n 7 t text", "SET s 1")
    return machine


def write(machine: Machine, *words: bytes) -> Value:
    reply = do(machine, Calls((words,), SIZE_BYTES_MAX))
    assert isinstance(reply, CallsReply)
    (value,) = reply.values
    return value


def test_fields_are_set_read_and_removed(machine: Machine) -> None:
    assert values(
        machine,
        "HSET h n 8 new 1 new 2",
        "HGET h n",
        "HGET h none",
        "HGET none n",
        "HMGET h new none t",
        "HMGET none a b",
        "HLEN h",
        "HDEL h new new none",
        "HGETALL h",
    ) == [
        1,
        b"8",
        None,
        None,
        [b"2", None, b"text"],
        [None, None],
        3,
        1,
        {b"n": b"8", b"t": b"text"},
    ]


def test_what_a_hash_has(machine: Machine) -> None:
    assert values(
        machine,
        "HKEYS h",
        "HVALS h",
        "HEXISTS h n",
        "HEXISTS h none",
        "HSTRLEN h t",
        "HSTRLEN h none",
        "TYPE h",
    ) == [[b"n", b"t"], [b"7", b"text"], 1, 0, 4, 0, "hash"]


def test_a_key_that_is_absent_is_an_empty_hash(machine: Machine) -> None:
    absent = "HGETALL x", "HKEYS x", "HVALS x", "HLEN x", "HEXISTS x f", "HSTRLEN x f", "HDEL x f"
    assert values(machine, *absent, "EXISTS x") == [{}, [], [], 0, 0, 0, 0, 0]


def test_the_last_field_takes_the_key_with_it(machine: Machine) -> None:
    assert values(machine, "HDEL h n t", "EXISTS h", "HSET h a 1", "HGETALL h") == [
        2,
        0,
        1,
        {b"a": b"1"},
    ]


def test_a_field_is_set_once(machine: Machine) -> None:
    assert values(machine, "HSETNX h n 9", "HSETNX h new 9", "HGET h n") == [0, 1, b"7"]
    assert values(machine, "HMSET h n 1 n 2", "HGET h n") == ["OK", b"2"]


def test_empty_fields_and_values_are_fields_and_values(machine: Machine) -> None:
    assert write(machine, b"HSET", b"e", b"", b"") == 1
    assert write(machine, b"HSETNX", b"e", b"", b"x") == 0
    assert read(machine, b"HGET", b"e", b"") == b""
    assert read(machine, b"HEXISTS", b"e", b"") == 1
    assert read(machine, b"HGETALL", b"e") == {b"": b""}
    assert write(machine, b"HINCRBY", b"e", b"", b"1") == Failure(
        "ERR hash value is not an integer"
    )
    assert write(machine, b"HDEL", b"e", b"") == 1


def test_numbers_are_counted(machine: Machine) -> None:
    assert values(machine, "HINCRBY h n -9", "HINCRBY x f 5", "HINCRBYFLOAT x f 0.1") == [
        -2,
        5,
        b"5.1",
    ]
    assert values(machine, "HINCRBYFLOAT x g 3.0e3", "HGET x g", "HINCRBYFLOAT x g -3000") == [
        b"3000",
        b"3000",
        b"0",
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("HSET s f", "ERR wrong number of arguments for 'hset' command"),
        ("HMSET h f 1 g", "ERR wrong number of arguments for 'hmset' command"),
        ("HINCRBY s f x", NOT_INTEGER),
        ("HINCRBY h t 1", "ERR hash value is not an integer"),
        ("HINCRBY h n 9223372036854775807", "ERR increment or decrement would overflow"),
        ("HINCRBYFLOAT s f x", NOT_FLOAT),
        ("HINCRBYFLOAT s f inf", "ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h t 1", "ERR hash value is not a float"),
        ("HINCRBYFLOAT h i 1", "ERR increment would produce NaN or Infinity"),
        ("HRANDFIELD s x", NOT_INTEGER),
        ("HRANDFIELD s 1 values", SYNTAX),
        ("HRANDFIELD s 1 WITHVALUES x", SYNTAX),
        ("HRANDFIELD s 4611686018427387904 WITHVALUES", "ERR value is out of range"),
    ],
)
def test_what_is_refused_before_anything_changes(machine: Machine, call: str, text: str) -> None:
    calls(machine, "HSET h i inf")
    digest = machine.digest
    assert values(machine, call) == [Failure(text)]
    assert machine.digest == digest


@pytest.mark.parametrize(
    "call",
    [
        "HSET s f 1",
        "HSETNX s f 1",
        "HMSET s f 1",
        "HGET s f",
        "HMGET s f",
        "HGETALL s",
        "HDEL s f",
        "HLEN s",
        "HEXISTS s f",
        "HKEYS s",
        "HVALS s",
        "HSTRLEN s f",
        "HINCRBY s f 1",
        "HINCRBYFLOAT s f 1",
        "HRANDFIELD s",
        "HRANDFIELD s 1",
    ],
)
def test_other_types_are_refused(machine: Machine, call: str) -> None:
    assert values(machine, call) == [Failure(WRONG_TYPE)]


def test_fields_by_chance(machine: Machine) -> None:
    calls(machine, *[f"HSET r f{number} {number}" for number in range(9)])
    pairs = {b"f%d" % number: b"%d" % number for number in range(9)}
    assert values(machine, "HRANDFIELD x", "HRANDFIELD x 3", "HRANDFIELD r 0") == [None, [], []]
    fields = [read(machine, b"HRANDFIELD", b"r", dice=dice) for dice in range(200)]
    assert set(fields) == set(pairs)
    drawn = read(machine, b"HRANDFIELD", b"r", b"5", dice=3)
    assert len(drawn) == len(set(drawn) & set(pairs)) == 5
    assert sorted(read(machine, b"HRANDFIELD", b"r", b"100")) == sorted(pairs)
    repeated = read(machine, b"HRANDFIELD", b"r", b"-100", b"WITHVALUES", dice=4)
    assert isinstance(repeated, Pairs)
    assert len(repeated.pairs) == 100
    assert dict(repeated.pairs).items() <= pairs.items()


def test_one_call_has_bounds(machine: Machine) -> None:
    many = tuple(b"%d" % number for number in range(2 * ROWS_TOUCHED_MAX + 2))
    refused = write(machine, b"HSET", b"many", *many)
    assert isinstance(refused, Failure)
    assert "at most 10000 elements" in refused.text
    calls(machine, "HSET many f 1")
    refused = read(machine, b"HRANDFIELD", b"many", b"-%d" % (ELEMENTS_READ_MAX + 1))
    assert isinstance(refused, Failure)
    assert "100000 elements" in refused.text
    refused = write(machine, b"HSET", b"many", b"f", b"x" * (SIZE_BYTES_MAX + 1))
    assert isinstance(refused, Failure)
    assert "maximum allowed size" in refused.text


def test_what_is_said_of_hashes(machine: Machine) -> None:
    machine.notes.wanted = "hg"
    told: list[Note] = []
    machine.note_listeners.append(lambda notes: told.extend(notes or ()))
    calls(
        machine, "HSET h n 1", "HSETNX h n 2", "HINCRBY h n 1", "HINCRBYFLOAT h n 1", "HDEL h n t"
    )
    events = [b"hset", b"hincrby", b"hincrbyfloat", b"hdel", b"del"]
    assert told == [KeyEvent(event, b"h") for event in events]
