"""Transactions and range deletes, told one at a time: one revision, all or nothing."""

from __future__ import annotations

import pytest

from raftcache.command.limits import (
    RANGE_KEYS_MAX,
    REQUESTS_REMEMBERED_MS,
    TXN_OPERATIONS_MAX,
    TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX,
    VALUE_SIZE_BYTES_MAX,
)
from raftcache.command.replies import Found, Item, Reply, Status, Stopped, TxnReply, Wrote
from raftcache.command.words import (
    Append,
    Compare,
    Delete,
    DeleteRange,
    Expire,
    Get,
    Increment,
    Once,
    Operation,
    Persist,
    Put,
    Range,
    Relation,
    Target,
    Tick,
    Touch,
    Txn,
)
from raftcache.errors import Compacted
from raftcache.state.history import Event, Kind
from raftcache.state.machine import Machine
from tests.unit.test_machine import at, do, unchanged_by

S, T, R = Status, Target, Relation


@pytest.fixture
def machine() -> Machine:
    """At 1000 ms and revision 4: a = 1 (written twice), b = text until 1500, c = z."""
    machine = Machine()
    at(machine, 1000, Put(b"a", b"0"), Put(b"a", b"1"), Put(b"b", b"text", ttl_ms=500))
    do(machine, Put(b"c", b"z", "text/plain"))
    return machine


def txn(machine: Machine, *operations: Operation) -> TxnReply:
    reply = do(machine, Txn((), operations))
    assert isinstance(reply, TxnReply)
    return reply


def stopped(machine: Machine, *operations: Operation) -> tuple[int, Status]:
    """Where and why a transaction stops that changes nothing."""
    reply = unchanged_by(machine, Txn((), operations))
    assert isinstance(reply, TxnReply)
    assert (reply.status, reply.revision) == (S.ABORTED, machine.revision)
    (result,) = reply.results
    assert isinstance(result, Stopped)
    assert result.branch is S.SUCCEEDED
    assert result.reply == Reply(result.reply.status, machine.revision)
    return result.place, result.reply.status


def events(machine: Machine, after: int) -> list[Event]:
    position = machine.history.position_after(after)
    assert position is not None
    found = machine.history.read(position, 1 << 20)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(b"a", T.REVISION, R.EQUAL, 2), True),
        (Compare(b"a", T.REVISION, R.EQUAL, 1), False),
        (Compare(b"a", T.REVISION, R.LESS, 3), True),
        (Compare(b"a", T.REVISION, R.LESS, 2), False),
        (Compare(b"a", T.REVISION, R.GREATER, 1), True),
        (Compare(b"a", T.CREATE_REVISION, R.EQUAL, 1), True),
        (Compare(b"a", T.VERSION, R.NOT_EQUAL, 2), False),
        (Compare(b"a", T.VERSION, R.NOT_EQUAL, 1), True),
        (Compare(b"a", T.VALUE, R.EQUAL, 0, b"1"), True),
        (Compare(b"a", T.VALUE, R.LESS, 0, b"11"), True),
        (Compare(b"a", T.VALUE, R.GREATER, 0, b"1"), False),
        (Compare(b"a", T.VALUE, R.NOT_EQUAL, 0, b"2"), True),
        (Compare(b"a", T.EXISTS, R.EQUAL, 1), True),
        (Compare(b"a", T.EXISTS, R.NOT_EQUAL, 1), False),
        (Compare(b"x", T.EXISTS, R.EQUAL, 0), True),
        (Compare(b"x", T.REVISION, R.EQUAL, 0), True),
        (Compare(b"x", T.VERSION, R.LESS, 1), True),
        (Compare(b"x", T.VALUE, R.EQUAL, 0, b""), False),
        (Compare(b"x", T.VALUE, R.NOT_EQUAL, 0, b"1"), False),
    ],
)
def test_a_compare_chooses_the_branch(machine: Machine, compare: Compare, holds: bool) -> None:
    reply = do(machine, Txn((compare,), (Get(b"a"),), (Get(b"x"), Get(b"c"))))
    assert isinstance(reply, TxnReply)
    assert reply.status is (S.SUCCEEDED if holds else S.FAILED)
    assert len(reply.results) == (1 if holds else 2)


def test_all_compares_must_hold(machine: Machine) -> None:
    exists, not_there = (Compare(k, T.EXISTS, R.EQUAL, 1) for k in (b"a", b"x"))
    assert do(machine, Txn((exists, not_there))).status is S.FAILED
    assert do(machine, Txn((exists, exists))).status is S.SUCCEEDED
    assert do(machine, Txn()).status is S.SUCCEEDED


def test_all_changes_share_one_revision_and_reads_see_those_before(machine: Machine) -> None:
    reply = txn(
        machine,
        Get(b"x"),
        Put(b"x", b"new"),
        Get(b"x"),
        Increment(b"a", 41),
        Delete(b"b"),
        Range(b"", b""),
        Append(b"x", b"er", 100),
        Get(b"x"),
    )
    new = Item(b"new", "", 5, 5, 1, 0)
    a = Item(b"42", "", 1, 5, 3, 0)
    c = Item(b"z", "text/plain", 4, 4, 1, 0)
    assert reply == TxnReply(
        S.SUCCEEDED,
        5,
        results=(
            Found((), 0),
            Wrote(Reply(S.CREATED, 5, 1)),
            Found(((b"x", new),), 1),
            Wrote(Reply(S.CHANGED, 5, 3, number=42)),
            Wrote(Reply(S.DELETED, 5, count=1)),
            Found(((b"a", a), (b"c", c), (b"x", new)), 3),
            Wrote(Reply(S.CHANGED, 5, 1, number=5)),
            Found(((b"x", Item(b"newer", "", 5, 5, 1, 0)),), 1),
        ),
    )
    assert machine.revision == 5


def test_a_transaction_that_changes_nothing_takes_no_revision(machine: Machine) -> None:
    reply = unchanged_by(machine, Txn((), (Get(b"a"), Delete(b"x"), Touch(b"a"), Persist(b"a"))))
    assert (reply.status, reply.revision) == (S.SUCCEEDED, 4)


def test_the_events_of_a_transaction_are_one_for_a_key(machine: Machine) -> None:
    before = machine.history.end
    txn(
        machine,
        Put(b"a", b"2"),
        Put(b"a", b"3"),
        Put(b"new", b""),
        Delete(b"c"),
        Put(b"came", b""),
        Delete(b"came"),
        Delete(b"b"),
        Put(b"b", b"again"),
    )
    assert machine.history.end == before + 4
    got = [(e.revision, e.kind, e.key, e.packed is None) for e in events(machine, 4)]
    assert got == [
        (5, Kind.PUT, b"a", False),
        (5, Kind.PUT, b"new", False),
        (5, Kind.DELETE, b"c", True),
        (5, Kind.PUT, b"b", False),
    ]
    item = machine.get(b"b")
    assert item is not None
    assert (item.create_revision, item.version) == (5, 1)
    previous = {e.key: e.previous for e in events(machine, 4)}
    assert previous[b"new"] is None
    assert (previous[b"a"] or b"").endswith(b"1")


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (Increment(b"b"), S.NOT_INTEGER),
        (Increment(b"a", (1 << 63) - 1), S.OVERFLOW),
        (Append(b"b", b"more", 7), S.TOO_LARGE),
        (Expire(b"x", 5), S.MISSING),
        (Persist(b"x"), S.MISSING),
        (Touch(b"x"), S.MISSING),
    ],
)
def test_an_operation_that_fails_undoes_all_before_it(
    machine: Machine, operation: Operation, status: Status
) -> None:
    before = machine.history.end
    changes = (Put(b"a", b"2"), Put(b"new", b"v", ttl_ms=9), Delete(b"c"), DeleteRange(b"b", b""))
    changes += (Put(b"b", b"text", ttl_ms=7), Increment(b"a", -1))
    assert stopped(machine, *changes, operation, Put(b"never", b"")) == (6, status)
    assert machine.history.end == before
    assert machine.next_deadline_ms() == 1500


def test_a_dump_under_way_is_not_disturbed_by_what_is_undone(machine: Machine) -> None:
    expected = b"".join(machine.dump())
    dump = machine.dump()
    pieces = [next(dump)]
    operations = (Delete(b"a"), Put(b"aa", b""), DeleteRange(b"", b""), Touch(b"x"))
    assert do(machine, Txn((), operations)).status is S.ABORTED
    pieces += dump
    assert b"".join(pieces) == expected


def test_overdue_keys_that_it_writes_go_first(machine: Machine) -> None:
    expired = [Put(b"k%04d" % i, b"", ttl_ms=1) for i in range(1000)]
    at(machine, 1000, *expired, Put(b"late", b"v", ttl_ms=2), Put(b"later", b"v", ttl_ms=3))
    revision = machine.revision
    (reply,) = at(machine, 2000, Txn((), (Get(b"late"), Put(b"late", b"new"), Range(b"l", b"m"))))
    assert isinstance(reply, TxnReply)
    item = Item(b"new", "", revision + 1002, revision + 1002, 1, 0)
    assert reply.results == (
        Found((), 0),
        Wrote(Reply(S.CREATED, revision + 1002, 1)),
        Found(((b"late", item),), 1),
    )
    assert [(e.key, e.kind) for e in events(machine, revision + 1000)] == [
        (b"late", Kind.EXPIRE),
        (b"late", Kind.PUT),
    ]
    count = txn(machine, Range(b"l", b"m", count_only=True)).results[0]
    assert count == Found((), 1), "the other one is overdue"


def test_a_range_has_a_limit_and_says_whether_there_is_more(machine: Machine) -> None:
    reply = txn(
        machine,
        Range(b"a", b"", limit=2, keys_only=True),
        Range(b"b", b"", limit=2),
        Range(b"a", b"c", count_only=True),
        Range(b"x", b"y"),
    )
    first, second, count, nothing = reply.results
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert [(key, item.value) for key, item in first.entries] == [(b"a", b""), (b"b", b"")]
    assert (first.more, first.count) == (True, 2)
    assert [key for key, _ in second.entries] == [b"b", b"c"]
    assert not second.more
    assert (count, nothing) == (Found((), 2), Found((), 0))


def test_ranges_touch_a_bounded_number_of_keys_together(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.transactions.RANGE_KEYS_MAX", 4)
    every = Range(b"", b"", count_only=True)
    assert stopped(machine, Range(b"", b""), Range(b"a", b"c")) == (1, S.TOO_MANY_KEYS)
    assert stopped(
        machine, DeleteRange(b"b", b""), Range(b"", b""), Put(b"d", b""), DeleteRange(b"a", b"e")
    ) == (3, S.TOO_MANY_KEYS)
    do(machine, Put(b"d", b""))
    do(machine, Put(b"e", b""))
    assert stopped(machine, Range(b"", b"")) == (0, S.TOO_MANY_KEYS)
    assert txn(machine, Range(b"", b"", 4), every).status is S.SUCCEEDED
    do(machine, DeleteRange(b"d", b""))
    assert txn(machine, Range(b"", b""), every, Range(b"a", b"b")).status is S.SUCCEEDED


def test_what_is_read_is_bounded(machine: Machine) -> None:
    do(machine, Put(b"large", bytes(VALUE_SIZE_BYTES_MAX - 1000)))
    assert txn(machine, Get(b"large"), Get(b"a")).status is S.SUCCEEDED
    assert stopped(machine, Get(b"large"), Put(b"n", b""), Get(b"large")) == (2, S.REPLY_TOO_LARGE)
    assert stopped(machine, Get(b"large"), Range(b"", b"")) == (1, S.REPLY_TOO_LARGE)
    assert txn(machine, Get(b"large"), Range(b"", b"", keys_only=True)).status is S.SUCCEEDED


# Range deletes.


def test_a_range_goes_in_one_revision(machine: Machine) -> None:
    assert do(machine, DeleteRange(b"b", b"")) == Reply(S.DELETED, 5, count=2)
    assert [key for key, _ in machine.items()] == [b"a"]
    assert [(e.revision, e.kind, e.key) for e in events(machine, 4)] == [
        (5, Kind.DELETE, b"b"),
        (5, Kind.DELETE, b"c"),
    ]
    assert unchanged_by(machine, DeleteRange(b"b", b"")) == Reply(S.DELETED, 5, count=0)


def test_overdue_keys_go_with_the_range_and_are_not_counted(machine: Machine) -> None:
    at(machine, 1000, *[Put(b"k%04d" % i, b"", ttl_ms=1) for i in range(1001)])
    revision = machine.revision
    (reply,) = at(machine, 2000, DeleteRange(b"b", b"kz"))
    assert reply.status is S.DELETED
    assert reply.revision == machine.revision == revision + 1001
    assert reply.count == 1, "c; b and the thousandth are overdue, and were not removed yet"
    assert [e.kind for e in events(machine, revision + 1000)] == [
        Kind.EXPIRE,
        Kind.DELETE,
        Kind.EXPIRE,
    ]


def test_too_large_a_range_is_left_as_it_is() -> None:
    machine = Machine()
    for start in range(0, RANGE_KEYS_MAX, 1000):
        at(machine, 0, *[Put(b"%08d" % i, b"") for i in range(start, start + 1000)])
    do(machine, Put(b"x", b""))
    reply = unchanged_by(machine, DeleteRange(b"", b""))
    assert reply == Reply(S.TOO_MANY_KEYS, RANGE_KEYS_MAX + 1)
    assert do(machine, DeleteRange(b"", b"x")).count == RANGE_KEYS_MAX


# Once.


def once(token: bytes = b"t", request: bytes = b"f") -> Once:
    return Once(token, request * 16)


def test_a_transaction_sent_again_is_answered_as_the_first_time(machine: Machine) -> None:
    command = Txn((), (Increment(b"a"), Get(b"a")), once=once())
    first = do(machine, command)
    assert isinstance(first, TxnReply)
    again = unchanged_by(machine, command)
    assert isinstance(again, TxnReply)
    assert (again.results, again.revision, again.replayed) == (first.results, 5, True)
    assert do(machine, Txn((), (), once=once(request=b"g"))).status is S.MISUSED
    assert do(machine, Delete(b"a", once=once(request=b"g"))).status is S.MISUSED
    assert machine.get(b"a") is not None
    at(machine, 1000 + REQUESTS_REMEMBERED_MS, Tick())
    assert not do(machine, command).replayed


def test_a_range_delete_sent_again_is_answered_as_the_first_time(machine: Machine) -> None:
    command = DeleteRange(b"b", b"", once())
    assert do(machine, command) == Reply(S.DELETED, 5, count=2)
    do(machine, Put(b"b", b"back"))
    assert unchanged_by(machine, command) == Reply(S.DELETED, 5, count=2, replayed=True)


def test_what_is_remembered_survives_an_image_and_raises_its_format(machine: Machine) -> None:
    assert b"".join(machine.dump())[8] == 1
    command = Txn((), (Increment(b"a"), Get(b"c")), once=once())
    first = do(machine, command)
    image = b"".join(machine.dump())
    assert image[8] == 2
    loader = (other := Machine()).loader()
    loader.feed(image)
    loader.install()
    again = do(other, command)
    assert isinstance(again, TxnReply)
    assert isinstance(first, TxnReply)
    assert (again.results, again.replayed) == (first.results, True)
    assert b"".join(other.dump()) == image


def test_a_reply_too_large_to_remember_is_refused(machine: Machine) -> None:
    do(machine, Put(b"page", bytes(TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX)))
    operations = (Put(b"n", b""), Get(b"page"))
    reply = do(machine, Txn((), operations, once=once()))
    assert isinstance(reply, TxnReply)
    assert reply.results == (Stopped(S.SUCCEEDED, 1, Reply(S.REPLY_TOO_LARGE, 5)),)
    assert machine.get(b"n") is None
    assert do(machine, Txn((), operations)).status is S.SUCCEEDED


def test_as_many_writes_as_there_can_be_are_remembered(machine: Machine) -> None:
    puts = tuple(Put(b"%d" % i, b"", ttl_ms=1 << 38) for i in range(TXN_OPERATIONS_MAX))
    command = Txn((), puts, once=once())
    assert do(machine, command).status is S.SUCCEEDED
    assert do(machine, command).replayed


# Looking back.


def test_a_listing_of_a_forgotten_revision_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = machine.listing(b"", b"")
    assert [key for key, _ in listing.take(1, 1000)] == [b"a"]
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 1)
    at(machine, 0, Put(b"c", b"2"), Put(b"d", b""))
    with pytest.raises(Compacted) as caught:
        listing.take(1, 1000)
    assert caught.value.oldest_revision == 5
    with pytest.raises(Compacted, match=r"after revision 4 .* oldest known here is 5"):
        machine.listing(b"", b"", 4)


def test_a_listing_ends_when_another_state_is_loaded(machine: Machine) -> None:
    listing = machine.listing(b"", b"")
    loader = machine.loader()
    loader.feed(b"".join(machine.dump()))
    loader.install()
    with pytest.raises(Compacted):
        listing.take(1, 1000)
    assert [key for key, _ in machine.listing(b"b", b"c").take(5, 1000)] == [b"b"]
