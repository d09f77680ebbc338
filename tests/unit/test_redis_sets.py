"""Sets: what each command answers and leaves, as redis-server 7.0.15 does."""

from __future__ import annotations

from collections import Counter

import pytest

from raftcache.command.calls import Calls
from raftcache.command.values import Failure, Members, Value
from raftcache.command.words import Tick
from raftcache.state.machine import Machine
from raftcache.state.redis.parsing import NOT_INTEGER, NOT_POSITIVE, SYNTAX, WRONG_TYPE
from raftcache.state.redis.sets import PIECE
from raftcache.state.redis.store import ELEMENTS_READ_MAX, ROWS_TOUCHED_MAX
from raftcache.state.rows import NAME_SIZE_BYTES_MAX
from tests.unit.test_machine import do
from tests.unit.test_notes import Heard
from tests.unit.test_redis_core import calls, values


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    calls(made, "SADD s a b c", "SADD t b c d", "SADD n 1 2", "SET str x")
    return made


def fill(machine: Machine, key: str, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, ROWS_TOUCHED_MAX):
        some = range(start, min(start + ROWS_TOUCHED_MAX, numbers.stop))
        assert values(machine, f"SADD {key} " + " ".join(map(str, some))) == [len(some)]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SADD s a d d e", 2),
        ("SREM s a a x", 1),
        ("SREM no a", 0),
        ("SCARD s", 3),
        ("SCARD no", 0),
        ("SISMEMBER s a", 1),
        ("SISMEMBER s x", 0),
        ("SMISMEMBER s a x c", [1, 0, 1]),
        ("SMISMEMBER no a", [0]),
        ("SMEMBERS s", Members([b"a", b"b", b"c"])),
        ("SMEMBERS no", Members([])),
        ("SMOVE s t a", 1),
        ("SMOVE s t x", 0),
        ("SMOVE s s a", 1),
        ("SMOVE s s x", 0),
        ("SMOVE no str a", 0),
        ("SINTER s t", Members([b"b", b"c"])),
        ("SINTER s no t", Members([])),
        ("SINTERCARD 2 s t", 2),
        ("SINTERCARD 2 s t limit 1", 1),
        ("SINTERCARD 2 s t LIMIT 1 LIMIT 0", 2),
        ("SUNION s t no", Members([b"a", b"b", b"c", b"d"])),
        ("SDIFF s t", Members([b"a"])),
        ("SDIFF s no", Members([b"a", b"b", b"c"])),
        ("SDIFF s n s", Members([])),
        ("SDIFF no s", Members([])),
        ("SINTERSTORE str s t", 2),
        ("SUNIONSTORE s s t", 4),
        ("SDIFFSTORE t s t", 1),
        ("SDIFFSTORE t s s", 0),
        ("SPOP no", None),
        ("SPOP no 1", Members([])),
        ("SPOP s 0", Members([])),
        ("SRANDMEMBER no", None),
        ("SRANDMEMBER no -3", []),
        ("SRANDMEMBER s 0", []),
        ("SADD str a", Failure(WRONG_TYPE)),
        ("SMOVE s str a", Failure(WRONG_TYPE)),
        ("SINTER no str", Failure(WRONG_TYPE)),
        ("SUNIONSTORE d s str", Failure(WRONG_TYPE)),
        ("SPOP str x", Failure(NOT_POSITIVE)),
        ("SPOP s -1", Failure(NOT_POSITIVE)),
        ("SPOP s 1 1", Failure(SYNTAX)),
        ("SRANDMEMBER s x", Failure(NOT_INTEGER)),
        ("SRANDMEMBER s 1 1", Failure(SYNTAX)),
        ("SINTERCARD 0 s", Failure("ERR numkeys should be greater than 0")),
        ("SINTERCARD x s", Failure("ERR numkeys should be greater than 0")),
        ("SINTERCARD 3 s t", Failure("ERR Number of keys can't be greater than number of args")),
        ("SINTERCARD 1 s LIMIT -1", Failure("ERR LIMIT can't be negative")),
        ("SINTERCARD 1 str LIMIT", Failure(SYNTAX)),
        ("SINTERCARD 1 s t", Failure(SYNTAX)),
    ],
)
def test_answers(machine: Machine, line: str, value: Value) -> None:
    assert values(machine, line) == [value]
    if isinstance(value, Failure):
        assert values(machine, "SMEMBERS s", "SMEMBERS t") == [
            Members([b"a", b"b", b"c"]),
            Members([b"b", b"c", b"d"]),
        ]


@pytest.mark.parametrize(
    ("line", "key", "left"),
    [
        ("SADD s d", "s", b"abcd"),
        ("SREM s a", "s", b"bc"),
        ("SREM s a b c", "s", b""),
        ("SMOVE s t a", "t", b"abcd"),
        ("SMOVE s t b", "t", b"bcd"),
        ("SUNIONSTORE s s t", "s", b"abcd"),
        ("SINTERSTORE str s t", "str", b"bc"),
        ("SDIFFSTORE t s t", "t", b"a"),
        ("SDIFFSTORE t s s", "t", b""),
        ("SPOP s 9", "s", b""),
    ],
)
def test_what_is_left(machine: Machine, line: str, key: str, left: bytes) -> None:
    calls(machine, line)
    members = [bytes((byte,)) for byte in left]
    assert values(machine, f"SMEMBERS {key}", f"EXISTS {key}") == [
        Members(members),
        int(bool(left)),
    ]


def test_what_is_stored_replaces_all_of_what_was_there(machine: Machine) -> None:
    calls(machine, "SADD big x y z", "PEXPIRE big 100000")
    revision, rows = machine.revision, len(machine._state.rows)
    assert values(machine, "SINTERSTORE big s t", "PTTL big") == [2, -1]
    assert machine.revision == revision + 1
    assert values(machine, "SMEMBERS big") == [Members([b"b", b"c"])]
    do(machine, Tick())
    assert len(machine._state.rows) == rows - 1
    found = machine.get(b"big")
    assert found is not None
    assert (found.version, found.create_revision) == (3, 5)


def test_what_is_drawn(machine: Machine) -> None:
    def drawn(line: str, dice: int) -> Value:
        reply = calls(machine, line, dice=dice)
        return reply.values[0]

    once = Counter(drawn("SRANDMEMBER s", dice) for dice in range(300))
    assert set(once) == {b"a", b"b", b"c"}
    assert min(once.values()) > 60
    pairs = {tuple(drawn("SRANDMEMBER s 2", dice)) for dice in range(100)}
    assert len(pairs) == 6
    assert all(one != other for one, other in pairs)
    assert sorted(drawn("SRANDMEMBER s 9", 1)) == [b"a", b"b", b"c"]
    assert len(drawn("SRANDMEMBER s -9", 1)) == 9
    gone = drawn("SPOP s", 5)
    (pair,) = [drawn("SPOP s 2", 5)]
    assert {gone, *pair.members} == {b"a", b"b", b"c"}
    assert values(machine, "EXISTS s") == [0]


def test_a_set_may_be_larger_than_what_one_call_looks_at(machine: Machine) -> None:
    fill(machine, "big", range(ELEMENTS_READ_MAX + 1))
    fill(machine, "other", range(PIECE // 2))
    assert values(machine, "SCARD big", "SISMEMBER big 7") == [ELEMENTS_READ_MAX + 1, 1]
    for line in ("SMEMBERS big", "SUNION big s", "SINTER big big", "SRANDMEMBER big -100001"):
        (value,) = values(machine, line)
        assert isinstance(value, Failure)
        assert "looks at up to" in value.text
    assert values(
        machine, "SINTERCARD 2 big other", "SINTERCARD 2 big big LIMIT 3", "SDIFF s big"
    ) == [PIECE // 2, 3, Members([b"a", b"b", b"c"])]
    (value,) = values(machine, f"SPOP big {ROWS_TOUCHED_MAX + 1}")
    assert isinstance(value, Failure)
    assert "changes at most" in value.text
    assert values(machine, "SCARD big") == [ELEMENTS_READ_MAX + 1]


def test_a_call_that_fails_in_the_middle_changes_nothing(machine: Machine) -> None:
    digest = machine.digest
    (value,) = values(machine, f"SADD s d {'x' * (NAME_SIZE_BYTES_MAX + 1)}")
    assert isinstance(value, Failure)
    assert machine.digest == digest


def test_bytes_of_all_kinds_are_members(machine: Machine) -> None:
    every = (b"", b"\0", b"\xff" * 20, b"a\r\nb")
    command = Calls(((b"SADD", b"new", *every), (b"SMEMBERS", b"new")), 1000)
    reply = do(machine, command)
    assert reply.values == (4, Members(sorted(every)))


def test_events_are_those_of_redis() -> None:
    heard = Heard("gsn")
    calls(heard.machine, "SADD s a b c", "SADD t b c d", "SADD n 1 2")
    heard.take()
    for line, events in {
        "SADD s a": [],
        "SADD s d": ["sadd:s"],
        "SREM s x": [],
        "SREM s d": ["srem:s"],
        "SMOVE s t a": ["srem:s", "sadd:t"],
        "SMOVE n n 1": [],
        "SPOP n 0": [],
        "SPOP n 5": ["spop:n", "del:n"],
        "SDIFFSTORE s t t": ["del:s"],
        "SDIFFSTORE s t t t": [],
        "SUNIONSTORE u t": ["new:u", "sunionstore:u"],
        "SINTERSTORE u t": ["sinterstore:u"],
        "SMOVE u t a": ["srem:u"],
        "SREM u b c": ["srem:u"],
        "SMOVE u other d": ["srem:u", "del:u", "new:other", "sadd:other"],
    }.items():
        calls(heard.machine, line)
        assert heard.take() == events, line
