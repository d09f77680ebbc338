"""Redis commands on how long keys live."""

from __future__ import annotations

import pytest

from raftcache.command.leasing import LeaseGrant
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import Failure
from raftcache.command.words import LeasedPut, Put, Tick
from raftcache.state.machine import Machine
from raftcache.state.table import TIME_MS_MAX
from tests.unit.test_machine import at, do
from tests.unit.test_redis_core import values

NOW_MS = 1_000_000


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    at(made, NOW_MS, Tick())
    return made


def test_a_deadline_is_told_in_four_ways(machine: Machine) -> None:
    values(machine, "SET a 1", "SET b 1", "PEXPIRE a 1500")
    asked = ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME")
    assert values(machine, *[f"{name} a" for name in asked]) == [2, 1500, 1002, 1_001_500]
    assert values(machine, *[f"{name} b" for name in asked]) == [-1] * 4
    assert values(machine, *[f"{name} c" for name in asked]) == [-2] * 4
    at(machine, NOW_MS + 1001, Tick())
    assert values(machine, "TTL a", "PTTL a") == [0, 499]
    at(machine, NOW_MS + 1500, Tick())
    assert values(machine, "TTL a") == [-2]


@pytest.mark.parametrize(
    ("call", "deadline_ms"),
    [
        ("EXPIRE a 10", NOW_MS + 10_000),
        ("PEXPIRE a 10", NOW_MS + 10),
        ("EXPIREAT a 2000", 2_000_000),
        ("PEXPIREAT a 2000000", 2_000_000),
        ("EXPIRE a 10 nx", NOW_MS + 10_000),
        ("EXPIRE a 10 XX", -1),
        ("EXPIRE a 10 GT", -1),
        ("EXPIRE a 10 LT", NOW_MS + 10_000),
        ("EXPIRE a 10 XX LT", -1),
        ("EXPIRE a 0", -2),
        ("PEXPIREAT a 1000000", -2),
        ("EXPIRE a -9223372036854775 LT", -2),
    ],
)
def test_an_expiry(machine: Machine, call: str, deadline_ms: int) -> None:
    values(machine, "SET a 1")
    done, told = values(machine, call, "PEXPIRETIME a")
    assert (done, told) == (int(deadline_ms != -1), deadline_ms)


@pytest.mark.parametrize(
    ("options", "done"),
    [("NX", 0), ("XX", 1), ("GT", 1), ("LT", 0), ("XX GT", 1), ("XX LT", 0), ("XX XX", 1)],
)
def test_an_expiry_that_asks_for_the_one_before(machine: Machine, options: str, done: int) -> None:
    values(machine, "SET a 1", "PEXPIRE a 1000")
    same = int("XX" in options and "T" not in options)
    assert values(machine, f"PEXPIRE a 1000 {options}") == [same]
    assert values(machine, f"PEXPIRE a 1001 {options}") == [done]
    assert values(machine, "PEXPIRE a 1 GT", "PTTL a") == [0, 1000 + done]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("EXPIRE a x", "ERR value is not an integer or out of range"),
        ("EXPIRE a x y", "ERR Unsupported option y"),
        ("EXPIRE a x NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE a x LT GT", "ERR GT and LT options at the same time are not compatible"),
        (f"PEXPIRE a {INTEGER_MAX}", "ERR invalid expire time in 'pexpire' command"),
        ("EXPIRE a -9223372036854776", "ERR invalid expire time in 'expire' command"),
        ("EXPIREAT a 9223372036854776", "ERR invalid expire time in 'expireat' command"),
        (f"PEXPIREAT a {TIME_MS_MAX}", "ERR invalid expire time in 'pexpireat' command"),
    ],
)
def test_an_expiry_that_is_refused(machine: Machine, call: str, text: str) -> None:
    values(machine, "SET a 1")
    before = machine.digest
    assert values(machine, call) == [Failure(text)]
    assert machine.digest == before
    assert values(machine, f"PEXPIREAT a {TIME_MS_MAX - 1}", "PEXPIRETIME a") == [
        1,
        TIME_MS_MAX - 1,
    ]


def test_persisting(machine: Machine) -> None:
    values(machine, "SET a 1", "EXPIRE a 10", "SET b 1")
    assert values(machine, "PERSIST a", "PERSIST a", "PERSIST b", "PERSIST c", "TTL a") == [
        1,
        0,
        0,
        0,
        -1,
    ]


def lease_of(machine: Machine, *keys: bytes) -> int:
    lease = do(machine, LeaseGrant(10_000)).number
    for key in keys:
        do(machine, LeasedPut(key, b"v", lease))
    return lease


def test_a_key_of_a_lease_shows_its_deadline_and_leaves_it_with_its_own(machine: Machine) -> None:
    lease = lease_of(machine, b"a", b"b", b"c")
    assert values(machine, "PTTL a", "EXPIRE a 20 LT", "EXPIRE a 1 NX") == [10_000, 0, 0]
    assert values(machine, "EXPIRE a 20 GT", "PERSIST b", "EXPIRE c -1") == [1, 1, 1]
    assert machine.lease_keys(lease, 10) == []
    assert values(machine, "PTTL a", "PTTL b", "PTTL c") == [20_000, -1, -2]


def test_content_and_type_stay(machine: Machine) -> None:
    do(machine, Put(b"a", b"v", content_type="text/plain"))
    values(machine, "EXPIRE a 10")
    item = machine.get(b"a")
    assert item is not None
    assert (item.value, item.content_type) == (b"v", "text/plain")
