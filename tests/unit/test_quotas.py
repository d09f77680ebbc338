"""Quotas on prefixes: what is refused, what is counted, and how late a quota may come."""

from __future__ import annotations

import pytest

from raftcache.command.limits import QUOTA_KEYS_COUNTED_PER_ENTRY, QUOTAS_MAX
from raftcache.command.replies import Reply, Status, Stopped, TxnReply
from raftcache.command.words import (
    Append,
    Command,
    Delete,
    DeleteQuota,
    DeleteRange,
    Evict,
    Expire,
    Increment,
    Once,
    Put,
    SetQuota,
    Tick,
    Txn,
)
from raftcache.state.machine import Machine
from tests.unit.test_machine import at, do, unchanged_by

S = Status
ITEM = 34
"""What is kept with a value."""


@pytest.fixture
def machine() -> Machine:
    """At revision 3: p:a, p:b and q, one byte each."""
    machine = Machine()
    at(machine, 1000, Put(b"p:a", b"1"), Put(b"p:b", b"2"), Put(b"q", b"3"))
    return machine


def counts(machine: Machine) -> dict[bytes, tuple[int, int]]:
    return {quota.prefix: (count.keys, count.size_bytes) for quota, count in machine.quotas()}


def test_a_quota_counts_what_was_there_and_what_comes_and_goes(machine: Machine) -> None:
    assert do(machine, SetQuota(b"p:", 10)) == Reply(S.CREATED, 3)
    assert counts(machine) == {b"p:": (2, 2 * (3 + ITEM + 1))}
    do(machine, Put(b"p:c", b"four"))
    do(machine, Put(b"q", b"elsewhere"))
    assert counts(machine) == {b"p:": (3, 9 + 3 * ITEM + 6)}
    do(machine, Append(b"p:c", b"more", 100))
    do(machine, Delete(b"p:a"))
    do(machine, Evict(((b"p:b", 2),)))
    assert counts(machine) == {b"p:": (1, 3 + ITEM + 8)}
    do(machine, Expire(b"p:c", 10))
    at(machine, 2000, Tick())
    assert counts(machine) == {b"p:": (0, 0)}


@pytest.mark.parametrize(
    "command", [Put(b"p:c", b""), Increment(b"p:c"), Append(b"p:c", b"x", 9)], ids=lambda c: str(c)
)
def test_a_key_too_many_is_refused_and_nothing_changes(machine: Machine, command: Command) -> None:
    do(machine, SetQuota(b"p:", keys_max=2))
    assert unchanged_by(machine, command) == Reply(S.OVER_KEYS_QUOTA, 3, number=2)
    assert do(machine, Put(b"p:a", b"a key that is there may grow")).status is S.CHANGED
    assert do(machine, Put(b"q2", b"")).status is S.CREATED
    do(machine, Delete(b"p:b"))
    assert do(machine, command).status is S.CREATED


def test_bytes_too_many_are_refused_and_less_never_is(machine: Machine) -> None:
    size = 2 * (3 + ITEM + 1)
    do(machine, SetQuota(b"p:", size_bytes_max=size + 4))
    assert do(machine, Put(b"p:a", b"12345")).status is S.CHANGED
    refused = unchanged_by(machine, Put(b"p:b", b"67"))
    assert refused == Reply(S.OVER_SIZE_QUOTA, 4, 1, number=2)
    assert do(machine, SetQuota(b"p:", size_bytes_max=10)).status is S.CHANGED
    assert do(machine, Put(b"p:a", b"54321")).status is S.CHANGED, "no growth"
    assert do(machine, Put(b"p:a", b"1")).status is S.CHANGED
    assert do(machine, Expire(b"p:a", 500)).status is S.CHANGED


def test_of_several_quotas_each_counts_and_the_shortest_prefix_speaks(machine: Machine) -> None:
    do(machine, SetQuota(b"", keys_max=4))
    do(machine, SetQuota(b"p:", keys_max=3))
    assert do(machine, Put(b"p:c", b"")).status is S.CREATED
    assert unchanged_by(machine, Put(b"p:d", b"")) == Reply(S.OVER_KEYS_QUOTA, 4, number=0)
    do(machine, Delete(b"q"))
    assert unchanged_by(machine, Put(b"p:d", b"")) == Reply(S.OVER_KEYS_QUOTA, 5, number=2)
    assert do(machine, Put(b"r", b"")).status is S.CREATED
    assert do(machine, DeleteQuota(b"p:")) == Reply(S.DELETED, 6, count=1)
    assert do(machine, DeleteQuota(b"p:")) == Reply(S.DELETED, 6)
    assert counts(machine) == {b"": (4, 10 + 4 * ITEM + 2)}


def test_a_transaction_is_refused_as_a_whole_and_says_where(machine: Machine) -> None:
    do(machine, SetQuota(b"p:", keys_max=3))
    reply = unchanged_by(machine, Txn((), (Put(b"p:c", b""), Put(b"q", b""), Put(b"p:d", b""))))
    assert isinstance(reply, TxnReply)
    cause = Reply(S.OVER_KEYS_QUOTA, 3, number=2)
    assert reply == TxnReply(S.ABORTED, 3, results=(Stopped(S.SUCCEEDED, 2, cause),))
    assert counts(machine) == {b"p:": (2, 2 * (3 + ITEM + 1))}
    moved = Txn((), (DeleteRange(b"p:", b"p;"), Put(b"p:c", b""), Put(b"p:d", b"")))
    assert do(machine, moved).status is S.SUCCEEDED, "what goes first makes room"
    assert counts(machine) == {b"p:": (2, 2 * (3 + ITEM))}


def test_a_refusal_is_remembered_like_any_other(machine: Machine) -> None:
    do(machine, SetQuota(b"p:", keys_max=0))
    put = Put(b"p:c", b"", once=Once(b"token", bytes(16)))
    assert do(machine, put) == Reply(S.OVER_KEYS_QUOTA, 3, number=2)
    do(machine, DeleteQuota(b"p:"))
    assert do(machine, put) == Reply(S.OVER_KEYS_QUOTA, 3, number=2, replayed=True)


def test_many_keys_are_counted_by_entries_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.quotas.QUOTA_KEYS_COUNTED_PER_ENTRY", 3)
    machine = Machine()
    at(machine, 1000, *(Put(b"p%d" % i, b"") for i in range(8)))
    do(machine, SetQuota(b"p", keys_max=5))
    ((quota, count),) = machine.quotas()
    assert (quota.counted_to, count.keys) == (b"p3", 3)
    assert machine.next_deadline_ms() == 1000, "whoever leads ticks on"
    assert do(machine, Put(b"p00", b"")).status is S.CREATED, "nothing is refused yet"
    ((quota, count),) = machine.quotas()
    assert (quota.counted_to, count.keys) == (b"p6", 7), "the new one among them"
    do(machine, Delete(b"p7"))
    ((quota, count),) = machine.quotas()
    assert (quota.counted_to, count.keys) == (None, 8)
    assert machine.next_deadline_ms() is None
    assert do(machine, Put(b"p9", b"")).status is S.OVER_KEYS_QUOTA


def test_counting_a_large_prefix_is_bounded_work_in_each_entry() -> None:
    machine = Machine()
    for start in range(0, 2 * QUOTA_KEYS_COUNTED_PER_ENTRY, 1000):
        at(machine, 1000, *(Put(b"%06d" % i, b"") for i in range(start, start + 1000)))
    do(machine, SetQuota(b"", keys_max=1))
    ((_, count),) = machine.quotas()
    assert count.keys == QUOTA_KEYS_COUNTED_PER_ENTRY


def test_quotas_are_bounded_in_number(machine: Machine) -> None:
    for number in range(QUOTAS_MAX):
        assert do(machine, SetQuota(b"%d" % number, 1)).status is S.CREATED
    assert unchanged_by(machine, SetQuota(b"more", 1)) == Reply(S.NO_ROOM, 3)
    assert do(machine, SetQuota(b"1", 2)).status is S.CHANGED
    do(machine, DeleteQuota(b"1"))
    assert do(machine, SetQuota(b"more", 1)).status is S.CREATED


def test_an_image_of_format_1_is_written_while_there_are_none(machine: Machine) -> None:
    """So that an older voter reads it, until one is used."""
    assert b"".join(machine.dump())[8] == 1
    do(machine, SetQuota(b"p:", 1))
    assert b"".join(machine.dump())[8] == 2
    do(machine, DeleteQuota(b"p:"))
    assert b"".join(machine.dump())[8] == 1
