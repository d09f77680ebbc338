"""RENAME and COPY: what moves with a key, and what is copied of it."""

from __future__ import annotations

import pytest

from raftcache.command.leasing import LeaseGrant
from raftcache.command.limits import LEASE_KEYS_MAX
from raftcache.command.values import Failure
from raftcache.command.words import LeasedPut, Put, SetQuota, Tick
from raftcache.state.machine import Machine
from raftcache.state.redis.store import ROWS_TOUCHED_MAX
from tests.unit.test_machine import at, do
from tests.unit.test_redis_core import copy, values

NO_KEY = Failure("ERR no such key")


@pytest.fixture
def machine() -> Machine:
    return Machine()


def filled(machine: Machine, key: str, count: int) -> None:
    for start in range(0, count, 5000):
        stop = min(count, start + 5000)
        values(machine, f"SADD {key} " + " ".join(f"m{number}" for number in range(start, stop)))


def test_a_key_takes_another_name_with_all_that_it_has(machine: Machine) -> None:
    at(machine, 1000, Put(b"a", b"v", "text/plain", ttl_ms=500))
    values(machine, "SET b old", "PEXPIREAT b 1000000")
    assert values(machine, "RENAME a b", "EXISTS a", "GET b", "PEXPIRETIME b") == [
        "OK",
        0,
        b"v",
        1500,
    ]
    item = machine.get(b"b")
    assert item is not None
    assert item.content_type == "text/plain"
    at(machine, 1500, Tick())
    assert values(machine, "EXISTS b") == [0]


def test_names_that_are_the_same_or_taken_or_of_nothing(machine: Machine) -> None:
    assert values(machine, "RENAME x x", "RENAMENX x x", "RENAME x a", "COPY x a") == [
        *[NO_KEY] * 3,
        0,
    ]
    values(machine, "SET a 1", "SET b 2")
    before = machine.revision
    assert values(machine, "RENAME a a", "RENAMENX a a", "RENAMENX a b", "COPY a b") == [
        "OK",
        0,
        0,
        0,
    ]
    assert machine.revision == before
    assert values(machine, "RENAMENX a c", "MGET a b c") == [1, [None, b"2", b"1"]]
    assert (
        values(machine, "COPY b b", "COPY x x")
        == [Failure("ERR source and destination objects are the same")] * 2
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("DB 1", "ERR DB index is out of range"),
        ("DB x", "ERR value is not an integer or out of range"),
        (
            "REPLACE DB 2147483648",
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        ("DB", "ERR syntax error"),
        ("NX", "ERR syntax error"),
    ],
)
def test_options_of_a_copy_are_checked_first(machine: Machine, options: str, text: str) -> None:
    assert values(machine, f"COPY a a {options}") == [Failure(text)]
    values(machine, "SET a 1", "SET b 2")
    assert values(machine, "COPY a b replace db 0 REPLACE", "GET b") == [1, b"1"]


def test_a_collection_moves_however_large_it_is_and_its_target_is_freed(machine: Machine) -> None:
    filled(machine, "a", ROWS_TOUCHED_MAX + 1)
    values(machine, "SADD b x y z", "PEXPIREAT a 1000000")
    assert values(machine, "RENAME a b", "SCARD b", "PEXPIRETIME b", "EXISTS a") == [
        "OK",
        ROWS_TOUCHED_MAX + 1,
        1_000_000,
        0,
    ]
    do(machine, Tick())
    assert len(machine._state.rows) == ROWS_TOUCHED_MAX + 1
    assert values(machine, "SADD b more", "SISMEMBER b m7", "SADD a x", "SCARD b", "SCARD a") == [
        1,
        1,
        1,
        ROWS_TOUCHED_MAX + 2,
        1,
    ]
    copy(machine)


def test_a_copy_shares_nothing(machine: Machine) -> None:
    values(machine, "ZADD a 1 x -2 y 3 z", "PEXPIREAT a 1000000", "SADD b old")
    assert values(machine, "COPY a b REPLACE", "PEXPIRETIME b") == [1, 1_000_000]
    values(machine, "ZADD a 9 x", "ZREM b y")
    assert values(machine, "ZRANGE a 0 -1", "ZRANGE b 0 -1") == [[b"y", b"z", b"x"], [b"x", b"z"]]
    values(machine, "DEL a")
    do(machine, Tick())
    assert values(machine, "ZRANGE b 0 -1") == [[b"x", b"z"]]
    assert len(machine._state.rows) == 4
    copy(machine)


def test_a_copy_has_as_many_elements_as_one_call_may_change(machine: Machine) -> None:
    filled(machine, "a", ROWS_TOUCHED_MAX + 1)
    before = machine.digest
    (value,) = values(machine, "COPY a b")
    assert isinstance(value, Failure)
    assert "10000 elements" in value.text
    assert machine.digest == before
    assert values(machine, "SREM a m0", "COPY a b", "SCARD b") == [1, 1, ROWS_TOUCHED_MAX]


def test_what_is_refused_leaves_all_as_it_was(machine: Machine) -> None:
    values(machine, "SADD a x y", "SADD q/b z")
    do(machine, SetQuota(b"q/", size_bytes_max=120))
    values(machine, f"SADD a {'m' * 120}")
    before = machine.digest
    refused = values(machine, "RENAME a q/b", "COPY a q/b REPLACE", f"RENAME a {'k' * 1025}")
    assert [value.text.split()[0] for value in refused] == ["OOM", "OOM", "ERR"]
    assert machine.digest == before
    assert not machine._state.rows.gone
    assert values(machine, "SCARD a", "SCARD q/b") == [3, 1]


def test_a_key_of_a_lease_stays_with_it(machine: Machine) -> None:
    lease = do(machine, LeaseGrant(10_000)).number
    do(machine, LeasedPut(b"a", b"v", lease))
    values(machine, "RENAME a b", "COPY b c", "COPY b c REPLACE")
    assert machine.lease_keys(lease, 10) == [b"b", b"c"]
    at(machine, 10_000, Tick())
    assert values(machine, "EXISTS b c") == [0]


def test_a_lease_has_so_many_keys(machine: Machine) -> None:
    lease = do(machine, LeaseGrant(10_000)).number
    puts = [LeasedPut(b"%d" % number, b"", lease) for number in range(LEASE_KEYS_MAX)]
    for start in range(0, len(puts), 1000):
        at(machine, 0, *puts[start : start + 1000])
    (value,) = values(machine, "COPY 1 x")
    assert value == Failure(f"ERR a lease has at most {LEASE_KEYS_MAX} keys")
    assert values(machine, "COPY 1 2 REPLACE", "RENAME 1 x") == [1, "OK"]
