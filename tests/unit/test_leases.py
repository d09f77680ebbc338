"""Leases, told one command at a time: what they answer, and what becomes of their keys."""

from __future__ import annotations

import pytest

from raftcache.command import codec
from raftcache.command.leasing import LeaseGrant, LeaseKeepAlive, LeaseRevoke, LeaseView
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX, LEASE_KEYS_MAX, LEASES_MAX
from raftcache.command.replies import Found, Item, Reply, Status, TxnReply
from raftcache.command.words import (
    Append,
    Command,
    Compare,
    Delete,
    DeleteRange,
    Expire,
    Get,
    Increment,
    LeasedPut,
    Once,
    Persist,
    Put,
    Range,
    Relation,
    Target,
    Touch,
    Txn,
)
from raftcache.state import items
from raftcache.state.history import Event, Kind
from raftcache.state.machine import Machine
from tests.unit.test_machine import at, do, unchanged_by

S = Status
L = 1
"""The lease of the fixture: the first revision."""


@pytest.fixture
def machine() -> Machine:
    """At 1000 ms: lease L until 1500, with the keys a and b."""
    machine = Machine()
    at(machine, 1000, LeaseGrant(500), LeasedPut(b"b", b"2", L), LeasedPut(b"a", b"1", L))
    return machine


def events(machine: Machine) -> list[Event]:
    found = machine.history.read(0, 1 << 20)
    assert found is not None
    return found


def without_ticks(machine: Machine, now_ms: int, command: Command) -> Reply:
    """Apply at a time at which the entry itself removes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.lease_commands.EXPIRED_PER_ENTRY_MAX", 0)
        (reply,) = at(machine, now_ms, command)
    return reply


def test_a_lease_has_the_revision_that_it_took_as_its_id() -> None:
    machine = Machine()
    replies = at(machine, 1000, Put(b"k", b""), LeaseGrant(500), LeaseGrant(700))
    assert replies[1:] == [
        Reply(S.CREATED, 2, number=2, deadline_ms=1500),
        Reply(S.CREATED, 3, number=3, deadline_ms=1700),
    ]
    assert machine.next_deadline_ms() == 1500
    assert machine.leases(0, 10) == [LeaseView(2, 500, 1500, 0), LeaseView(3, 700, 1700, 0)]
    assert machine.leases(2, 10) == [LeaseView(3, 700, 1700, 0)]
    assert machine.leases(0, 1) == [LeaseView(2, 500, 1500, 0)]


def test_a_key_with_a_lease_shows_it_and_what_it_has_left(machine: Machine) -> None:
    assert machine.get(b"a") == Item(b"1", "", 3, 3, 1, 1500, L)
    assert machine.lease(L) == LeaseView(L, 500, 1500, 2)
    assert machine.lease_keys(L, 10) == [b"a", b"b"]
    assert machine.lease_keys(L, 1) == [b"a"]
    touched = unchanged_by(machine, Touch(b"a"))
    assert touched == Reply(S.UNCHANGED, 3, version=1, deadline_ms=1500)


def test_a_keep_alive_gives_it_its_whole_time_again_and_takes_no_revision(machine: Machine) -> None:
    (reply,) = at(machine, 1200, LeaseKeepAlive(L))
    assert reply == Reply(S.CHANGED, 3, number=L, deadline_ms=1700)
    at(machine, 1699)
    assert machine.get(b"a") == Item(b"1", "", 3, 3, 1, 1700, L)
    at(machine, 1700)
    assert machine.get(b"a") is None


def test_its_keys_go_with_it_in_one_revision(machine: Machine) -> None:
    at(machine, 1500)
    assert (machine.count, machine.revision, machine.next_deadline_ms()) == (0, 4, None)
    assert machine.lease(L) is None
    gone = [(e.revision, e.kind, e.key, e.packed) for e in events(machine)[2:]]
    assert gone == [(4, Kind.EXPIRE, b"a", None), (4, Kind.EXPIRE, b"b", None)]


def test_an_ended_lease_stands_in_the_history_as_the_deadline_of_its_keys(machine: Machine) -> None:
    at(machine, 1500)
    previous = events(machine)[-1].previous
    assert previous is not None
    assert items.read(previous, 1499) == Item(b"2", "", 2, 2, 1, 1500)
    assert items.read(previous, 1500) is None


def test_a_revoked_lease_takes_its_keys_at_once(machine: Machine) -> None:
    assert do(machine, LeaseRevoke(L)) == Reply(S.DELETED, 4, count=2, number=L)
    assert (machine.count, machine.lease(L)) == (0, None)
    assert [e.kind for e in events(machine)[2:]] == [Kind.DELETE, Kind.DELETE]
    assert unchanged_by(machine, LeaseRevoke(L)) == Reply(S.NO_LEASE, 4)


def test_a_lease_without_keys_ends_without_a_revision() -> None:
    machine = Machine()
    at(machine, 1000, LeaseGrant(500), LeaseGrant(500))
    assert do(machine, LeaseRevoke(1)) == Reply(S.DELETED, 2, number=1)
    at(machine, 1500)
    assert (machine.revision, machine.leases(0, 10)) == (2, [])


@pytest.mark.parametrize(
    "command", [LeaseKeepAlive(9), LeaseRevoke(9), LeasedPut(b"k", b"", 9), LeasedPut(b"a", b"", 9)]
)
def test_what_needs_a_lease_misses_it(machine: Machine, command: Command) -> None:
    assert unchanged_by(machine, command).status is S.NO_LEASE


@pytest.mark.parametrize(
    ("command", "lease"),
    [
        (Put(b"a", b"2"), 0),
        (Put(b"a", b"2", ttl_ms=9), 0),
        (Expire(b"a", 100), 0),
        (Persist(b"a"), 0),
        (Increment(b"a"), L),
        (Append(b"a", b"2", 10), L),
        (LeasedPut(b"a", b"2", L), L),
    ],
)
def test_which_writes_leave_a_key_its_lease(machine: Machine, command: Command, lease: int) -> None:
    reply = do(machine, command)
    item = machine.get(b"a")
    assert item is not None
    assert (item.lease, reply.deadline_ms) == (lease, item.deadline_ms)
    assert machine.lease_keys(L, 10) == ([b"a", b"b"] if lease else [b"b"])
    at(machine, 2000)
    assert (machine.get(b"a") is None) == (lease == L or item.deadline_ms > 0)


def test_a_key_moves_from_lease_to_lease(machine: Machine) -> None:
    do(machine, LeaseGrant(900))
    assert do(machine, LeasedPut(b"a", b"x", 4)) == Reply(S.CHANGED, 5, 2, deadline_ms=1900)
    assert (machine.lease_keys(L, 10), machine.lease_keys(4, 10)) == ([b"b"], [b"a"])
    at(machine, 1500)
    assert machine.get(b"a") == Item(b"x", "", 3, 5, 2, 1900, 4)


@pytest.mark.parametrize("command", [Delete(b"a"), DeleteRange(b"a", b"b")])
def test_a_key_that_is_removed_leaves_its_lease(machine: Machine, command: Command) -> None:
    do(machine, command)
    assert machine.lease(L) == LeaseView(L, 500, 1500, 1)


# Over, and still held.


def test_the_keys_of_a_lease_that_is_over_are_absent_though_held(machine: Machine) -> None:
    count_all = Range(b"", b"", count_only=True)
    read_all = Txn((), (Get(b"a"), Range(b"", b""), count_all, DeleteRange(b"", b"")))
    reply = without_ticks(machine, 1500, read_all)
    assert isinstance(reply, TxnReply)
    assert reply.results[:3] == (Found((), 0), Found((), 0), Found((), 0))
    assert [e.kind for e in events(machine)[2:]] == [Kind.EXPIRE, Kind.EXPIRE]


def test_a_lease_that_is_over_is_so_for_commands_though_held(machine: Machine) -> None:
    assert without_ticks(machine, 1500, LeaseKeepAlive(L)).status is S.NO_LEASE
    assert without_ticks(machine, 1500, LeaseRevoke(L)).status is S.NO_LEASE
    assert without_ticks(machine, 1500, LeasedPut(b"c", b"", L)).status is S.NO_LEASE
    assert (machine.count, machine.get(b"a"), machine.lease(L)) == (2, None, None)
    assert machine.leases(0, 10) == []
    assert list(machine.items()) == []
    assert machine.next_deadline_ms() == 1500, "so that the leader ticks"


def test_an_overdue_key_goes_before_the_command(machine: Machine) -> None:
    reply = without_ticks(machine, 1500, Put(b"a", b"new", only=0))
    assert reply == Reply(S.CREATED, 5, 1)
    assert [(e.revision, e.kind) for e in events(machine)[2:]] == [(4, Kind.EXPIRE), (5, Kind.PUT)]


def test_one_entry_ends_leases_until_enough_keys_went() -> None:
    machine = Machine()
    half = EXPIRED_PER_ENTRY_MAX // 2
    at(machine, 1000, *(LeaseGrant(100 + n) for n in range(4)))
    for lease in (1, 2, 3, 4):
        at(machine, 1000, *(LeasedPut(b"%d.%d" % (lease, n), b"", lease) for n in range(half)))
    before = machine.revision
    at(machine, 2000)
    assert [view for n in (1, 2, 3, 4) if (view := machine.lease(n))] == []
    assert (machine.count, machine.revision) == (2 * half, before + 2)
    assert machine.get(b"4.0") is None
    at(machine, 2000)
    assert (machine.count, machine.next_deadline_ms()) == (0, None)


def test_a_transaction_that_is_undone_leaves_the_lease_as_it_was(machine: Machine) -> None:
    moves = (LeasedPut(b"c", b"", L), Put(b"a", b""), Delete(b"b"), Increment(b"c", 1))
    (reply,) = at(machine, 1000, Txn((), (*moves, Expire(b"none", 5))))
    assert reply.status is S.ABORTED
    assert machine.lease_keys(L, 10) == [b"a", b"b"]
    at(machine, 1500)
    assert machine.count == 0


def test_a_transaction_compares_leases(machine: Machine) -> None:
    has = Compare(b"a", Target.LEASE, Relation.EQUAL, L)
    hasnt = Compare(b"none", Target.LEASE, Relation.EQUAL, 0)
    assert do(machine, Txn((has, hasnt), (Persist(b"a"),))).status is S.SUCCEEDED
    assert do(machine, Txn((has,))).status is S.FAILED


@pytest.mark.parametrize("lease", [9, L])
def test_an_operation_without_its_lease_ends_the_transaction(machine: Machine, lease: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.operations.LEASE_KEYS_MAX", 2)
        reply = unchanged_by(machine, Txn((), (Put(b"z", b""), LeasedPut(b"c", b"", lease))))
    assert isinstance(reply, TxnReply)
    (stopped,) = reply.results
    status = S.LIMIT if lease == L else S.NO_LEASE
    assert (stopped.place, stopped.reply.status) == (1, status)  # type: ignore[union-attr]


# Limits.


def test_leases_have_a_limit() -> None:
    machine = Machine()
    grants = [codec.encode(LeaseGrant(500))] * 4096
    for _ in range(LEASES_MAX // 4096):
        machine.apply(1000, codec.batch(grants))
    assert do(machine, LeaseGrant(500)) == Reply(S.LIMIT, LEASES_MAX)
    do(machine, LeaseRevoke(7))
    assert do(machine, LeaseGrant(500)).status is S.CREATED


def test_the_keys_of_a_lease_have_a_limit() -> None:
    machine = Machine()
    at(machine, 1000, LeaseGrant(500))
    keys = [b"%d" % n for n in range(LEASE_KEYS_MAX)]
    for begin in range(0, LEASE_KEYS_MAX, 4000):
        at(machine, 1000, *(LeasedPut(key, b"", L) for key in keys[begin : begin + 4000]))
    assert unchanged_by(machine, LeasedPut(b"more", b"", L)).status is S.LIMIT
    assert do(machine, LeasedPut(keys[0], b"again", L)).status is S.CHANGED
    at(machine, 1500)
    assert machine.count == 0, "they go in one entry"


def test_a_refusal_for_a_limit_is_not_remembered() -> None:
    machine, once = Machine(), Once(b"t", b"f" * 16)
    at(machine, 1000, LeaseGrant(500))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.lease_commands.LEASES_MAX", 1)
        assert unchanged_by(machine, LeaseGrant(500, once)).status is S.LIMIT
    granted = do(machine, LeaseGrant(500, once))
    again = do(machine, LeaseGrant(500, once))
    assert (granted.status, again.replayed, again.number) == (S.CREATED, True, granted.number)
