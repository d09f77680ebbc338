"""KEYS and the scans as they are in a transaction: all at once."""

from __future__ import annotations

import pytest

from raftcache.command.globs import GLOB_SIZE_BYTES_MAX
from raftcache.command.limits import RANGE_KEYS_MAX
from raftcache.command.values import Failure
from raftcache.command.words import Put
from raftcache.state.machine import Machine
from tests.unit.test_machine import at
from tests.unit.test_redis_core import values

SYNTAX = Failure("ERR syntax error")
WRONG_TYPE = Failure("WRONGTYPE Operation against a key holding the wrong kind of value")


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    values(made, "SET a:1 v", "SET a:2 v", "SADD b x 2 3", "ZADD c 1.5 x -3 y 1e20 z")
    values(made, "HSET h f 1 g 2", "RPUSH l x")
    return made


def test_keys_that_match(machine: Machine) -> None:
    assert values(machine, "KEYS *", "KEYS a:*", "KEYS a:[13]", "KEYS b", "KEYS x*") == [
        [b"a:1", b"a:2", b"b", b"c", b"h", b"l"],
        [b"a:1", b"a:2"],
        [b"a:1"],
        [b"b"],
        [],
    ]


def test_a_scan_of_keys(machine: Machine) -> None:
    assert values(
        machine,
        "SCAN 0 COUNT 1 MATCH a*",
        "SCAN 0 TYPE ZSET",
        "SCAN 00 type string",
        "SCAN 0 TYPE x",
    ) == [[b"0", [b"a:1", b"a:2"]], [b"0", [b"c"]], [b"0", [b"a:1", b"a:2"]], [b"0", []]]


def test_overdue_keys_are_not_told(machine: Machine) -> None:
    at(machine, 1000, Put(b"due", b"v", ttl_ms=500))
    machine._state.now_ms = 1500  # as after an entry that removed only some of those overdue
    assert machine.call([(b"KEYS", b"d*"), (b"SCAN", b"0", b"MATCH", b"d*")], 1500) == [
        [],
        [b"0", []],
    ]


def test_scans_of_elements(machine: Machine) -> None:
    assert values(machine, "SSCAN b 0", "ZSCAN c 0", "HSCAN h 0", "HSCAN h 0 NOVALUES") == [
        [b"0", [b"2", b"3", b"x"]],
        [b"0", [b"x", b"1.5", b"y", b"-3", b"z", b"1e+20"]],
        [b"0", [b"f", b"1", b"g", b"2"]],
        [b"0", [b"f", b"g"]],
    ]
    assert values(machine, "SSCAN b 0 MATCH [0-9]", "ZSCAN c 0 MATCH y COUNT 1", "SSCAN no 7") == [
        [b"0", [b"2", b"3"]],
        [b"0", [b"y", b"-3"]],
        [b"0", []],
    ]


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("SCAN x", Failure("ERR invalid cursor")),
        ("SCAN 18446744073709551616", Failure("ERR invalid cursor")),
        ("SCAN " + 5000 * "9", Failure("ERR invalid cursor")),
        ("SCAN " + 5000 * "0" + "x", Failure("ERR invalid cursor")),
        ("SCAN + MATCH", Failure("ERR invalid cursor")),
        ("SCAN 0 MATCH", SYNTAX),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT x", Failure("ERR value is not an integer or out of range")),
        ("SCAN 0 NOVALUES", SYNTAX),
        ("SSCAN b 0 TYPE set", SYNTAX),
        ("SSCAN b 0 NOVALUES", SYNTAX),
        ("SSCAN c x", Failure("ERR invalid cursor")),
        ("SSCAN c 0 NO", WRONG_TYPE),
        ("SSCAN a:1 0", WRONG_TYPE),
        ("HSCAN l 0", WRONG_TYPE),
        ("SSCAN none 0 NO", [b"0", []]),
        (
            f"KEYS {'x' * (GLOB_SIZE_BYTES_MAX + 1)}",
            Failure("ERR a pattern has at most 1024 bytes"),
        ),
    ],
)
def test_what_is_refused(machine: Machine, call: str, value: object) -> None:
    assert values(machine, call) == [value]


@pytest.mark.parametrize("call", ["SCAN 1", "SCAN -1", "SSCAN b 1", "ZSCAN c 1", "HSCAN h 1"])
def test_there_are_no_cursors_in_a_transaction(machine: Machine, call: str) -> None:
    (value,) = values(machine, call, atomic=True)
    assert isinstance(value, Failure)
    assert value.text.startswith("ERR invalid cursor: in a transaction")


def test_a_transaction_looks_at_so_many_keys(machine: Machine) -> None:
    for start in range(0, RANGE_KEYS_MAX, 1000):
        values(machine, "MSET " + " ".join(f"k{each} v" for each in range(start, start + 1000)))
    assert len(values(machine, "KEYS k*")[0]) == RANGE_KEYS_MAX
    for value in values(machine, "KEYS *", "SCAN 0 MATCH a*"):
        assert isinstance(value, Failure)
        assert "outside of MULTI" in value.text
