"""SORT in all its forms."""

from __future__ import annotations

import pytest

from raftcache.command.calls import Calls
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure, Value
from raftcache.command.words import Tick
from raftcache.state.machine import Machine
from raftcache.state.redis.sorting import NOT_NUMBERS
from raftcache.state.redis.store import ELEMENTS_READ_MAX
from tests.unit.test_machine import do
from tests.unit.test_redis_core import SIZE_BYTES_MAX, values

SYNTAX = "ERR syntax error"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    values(
        made,
        "RPUSH l 10 9 -1 1e1 2",
        "SADD s 3 1 2",
        "ZADD z 3 a 1 c 2 b",
        "MSET w_1 30 w_2 10 w_3 20 o_1 one o_3 three",
        "HSET h_1 f x",
        "HSET h_2 f y g 1",
        "RPUSH words b a B aa",
    )
    return made


def words(text: str) -> list[bytes]:
    return [word.encode() for word in text.split()]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("SORT l", "-1 2 9 10 1e1"),
        ("SORT l DESC", "1e1 10 9 2 -1"),
        ("SORT l DESC asc", "-1 2 9 10 1e1"),
        ("SORT l LIMIT 1 2", "2 9"),
        ("SORT l LIMIT -3 2", "-1 2"),
        ("SORT l LIMIT 4 9", "1e1"),
        ("SORT l LIMIT 9 1", ""),
        ("SORT l LIMIT 1 -1", "2 9 10 1e1"),
        ("SORT l LIMIT 1 0", ""),
        ("SORT l ALPHA", "-1 10 1e1 2 9"),
        ("SORT words ALPHA", "B a aa b"),
        ("SORT words ALPHA DESC LIMIT 0 2", "b aa"),
        ("SORT s", "1 2 3"),
        ("SORT z ALPHA", "a b c"),
        ("SORT z BY nosort", "c b a"),
        ("SORT z BY nosort DESC", "a b c"),
        ("SORT z BY nosort DESC LIMIT 1 1", "b"),
        ("SORT l BY x", "10 9 -1 1e1 2"),
        ("SORT l BY x DESC LIMIT 1 2", "1e1 -1"),
        ("SORT l BY x LIMIT 3 9", "1e1 2"),
        ("SORT s BY w_*", "2 3 1"),
        ("SORT s BY w_* DESC", "1 3 2"),
        ("SORT s BY nosort BY w_* ALPHA", "1 2 3"),
        ("SORT s BY o_* ALPHA", "2 1 3"),
        ("SORT s BY h_*->g", "1 3 2"),
        ("SORT s BY none_*", "1 2 3"),
        ("SORT s GET #", "1 2 3"),
        ("SORT none", ""),
        ("SORT_RO s BY w_* GET #", "2 3 1"),
    ],
)
def test_an_order(machine: Machine, call: str, answer: str) -> None:
    assert values(machine, call) == [words(answer)]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("SORT s GET o_*", [b"one", None, b"three"]),
        ("SORT s GET # GET h_*->f", [b"1", b"x", b"2", b"y", b"3", None]),
        ("SORT s LIMIT 0 1 GET h_* GET constant GET o_*->f GET w_*->", [None] * 4),
    ],
)
def test_what_stands_elsewhere(machine: Machine, call: str, answer: Value) -> None:
    assert values(machine, call) == [answer]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("SORT words", NOT_NUMBERS),
        ("SORT s BY o_*", NOT_NUMBERS),
        ("SORT w_1", WRONG_TYPE),
        ("SORT h_1", WRONG_TYPE),
        ("SORT w_1 NO", SYNTAX),
        ("SORT s LIMIT 1", SYNTAX),
        ("SORT s LIMIT x y", "ERR value is not an integer or out of range"),
        ("SORT s BY", SYNTAX),
        ("SORT_RO s STORE d", SYNTAX),
    ],
)
def test_what_is_refused(machine: Machine, call: str, text: str) -> None:
    assert values(machine, call) == [Failure(text)]


def test_numbers_are_read_as_c_reads_them(machine: Machine) -> None:
    odd = (b"0x10", b" 3", b"", b"\0x", b"2\0x", b"-inf", b"1e-2")
    do(machine, Calls(((b"RPUSH", b"odd", *odd),), SIZE_BYTES_MAX))
    assert values(machine, "SORT odd") == [[b"-inf", b"", b"\0x", b"1e-2", b"2\0x", b" 3", b"0x10"]]
    for wrong in (b"nan", b" ", b"1x", b"1e999"):
        reply = do(
            machine,
            Calls(((b"DEL", b"k"), (b"RPUSH", b"k", wrong), (b"SORT", b"k")), SIZE_BYTES_MAX),
        )
        assert isinstance(reply, CallsReply)
        assert reply.values[2] == Failure(NOT_NUMBERS)


def test_an_order_is_stored_as_a_list(machine: Machine) -> None:
    values(machine, "SET d v", "PEXPIREAT d 1000000", "SADD e x")
    assert values(
        machine,
        "SORT s DESC GET o_* STORE d",
        "LRANGE d 0 -1",
        "TTL d",
        "SORT l LIMIT 0 2 STORE l",
        "LRANGE l 0 -1",
        "SORT s BY nosort STORE e",
        "LRANGE e 0 -1",
    ) == [3, [b"three", b"", b"one"], -1, 2, [b"-1", b"2"], 3, [b"1", b"2", b"3"]]
    assert values(machine, "SORT none STORE d", "EXISTS d", "SORT none STORE d") == [0, 0, 0]
    do(machine, Tick())


def test_one_call_looks_at_so_much(machine: Machine) -> None:
    gets = " ".join(["GET x*"] * (ELEMENTS_READ_MAX // 5 + 1))
    (value,) = values(machine, f"SORT l {gets}")
    assert isinstance(value, Failure)
    assert "elements" in value.text
