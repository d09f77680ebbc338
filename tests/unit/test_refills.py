"""Rights to refill: who wins, what ends a right, and what a late refill cannot do."""

from __future__ import annotations

import pytest

from raftcache.command.replies import Reply, Status
from raftcache.command.words import (
    Append,
    Command,
    Delete,
    DeleteRange,
    Evict,
    Expire,
    Increment,
    Put,
    Refill,
    SetQuota,
    Tick,
    Txn,
    Vivify,
)
from raftcache.state.machine import Machine
from tests.unit.test_machine import at, do, unchanged_by

S = Status
K = b"key"
ASK = Vivify(K, 100, 50)


@pytest.fixture
def machine() -> Machine:
    """Empty, at 1000 ms."""
    machine = Machine()
    at(machine, 1000)
    return machine


@pytest.fixture
def won(machine: Machine) -> Machine:
    """The right to K was won at revision 1, until 1100."""
    assert do(machine, ASK) == Reply(S.WON, 1, deadline_ms=1100)
    return machine


def test_the_first_who_misses_a_key_wins_and_nobody_else_does(won: Machine) -> None:
    for _ in range(3):
        assert unchanged_by(won, ASK) == Reply(S.LOST, 1, deadline_ms=1100)
    assert do(won, Vivify(b"other", 100)) == Reply(S.WON, 2, deadline_ms=1100)


def test_a_win_is_no_event_and_takes_a_revision(won: Machine) -> None:
    assert won.revision == 1
    assert won.history.end == 0


def test_the_winner_brings_the_key_back_and_the_right_ends(won: Machine) -> None:
    assert do(won, Refill(K, b"v", 1, "text/plain", 500)) == Reply(S.CREATED, 2, 1, 0, 0, 1500)
    assert do(won, ASK) == Reply(S.UNCHANGED, 2, 1, deadline_ms=1500)
    assert unchanged_by(won, Refill(K, b"w", 1)) == Reply(S.RIGHT_OVER, 2)


def test_a_key_that_is_soon_stale_is_won_once_and_stays_readable(machine: Machine) -> None:
    do(machine, Put(K, b"old", ttl_ms=200))
    assert do(machine, ASK).status is S.UNCHANGED
    assert at(machine, 1149, ASK) == [Reply(S.UNCHANGED, 1, 1, deadline_ms=1200)]
    assert at(machine, 1150, ASK) == [Reply(S.WON, 2, deadline_ms=1250)]
    assert at(machine, 1151, ASK) == [Reply(S.LOST, 2, deadline_ms=1250)]
    item = machine.get(K)
    assert item is not None
    assert item.value == b"old"
    assert do(machine, Refill(K, b"new", 2)) == Reply(S.CHANGED, 3, 2)


def test_a_key_without_a_deadline_is_never_stale(machine: Machine) -> None:
    do(machine, Put(K, b"v"))
    assert unchanged_by(machine, ASK).status is S.UNCHANGED


def test_who_does_not_come_back_loses_the_right_to_the_next(won: Machine) -> None:
    assert at(won, 1099, ASK) == [Reply(S.LOST, 1, deadline_ms=1100)]
    assert at(won, 1100, ASK) == [Reply(S.WON, 2, deadline_ms=1200)]
    assert unchanged_by(won, Refill(K, b"late", 1)) == Reply(S.RIGHT_OVER, 0)
    assert do(won, Refill(K, b"v", 2)).status is S.CREATED


def test_a_right_is_over_at_its_deadline_whether_or_not_it_was_dropped(
    won: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.refills.REFILLS_FORGOTTEN_PER_ENTRY_MAX", 0)
    assert at(won, 1100, Refill(K, b"late", 1)) == [Reply(S.RIGHT_OVER, 0)]
    assert at(won, 1100, ASK)[0].status is S.WON


@pytest.mark.parametrize(
    "command",
    [
        Put(K, b"newer"),
        Increment(K),
        Append(K, b"newer", 100),
        Delete(K),
        DeleteRange(b"k", b"l"),
        Txn((), (Delete(K),)),
        Txn((), (Put(K, b"newer"), Delete(K))),
        Txn((), (DeleteRange(b"", b""),)),
    ],
    ids=lambda c: type(c).__name__,
)
@pytest.mark.parametrize("exists", [True, False])
def test_what_was_read_before_a_write_or_delete_is_not_put_back(
    machine: Machine, command: Command, exists: bool
) -> None:
    if exists:
        do(machine, Put(K, b"1", ttl_ms=40))
    token = do(machine, ASK).revision
    do(machine, command)
    assert unchanged_by(machine, Refill(K, b"stale", token)).status is S.RIGHT_OVER


@pytest.mark.parametrize(
    "command",
    [
        Put(b"other", b""),
        Delete(b"other"),
        DeleteRange(b"", b"key"),
        DeleteRange(b"key\0", b""),
        Txn((), (Delete(K), Expire(b"absent", 5))),
        Expire(K, 500),
        Tick(),
    ],
    ids=lambda c: str(c)[:40],
)
def test_what_does_not_touch_the_key_leaves_the_right(won: Machine, command: Command) -> None:
    do(won, command)
    assert do(won, Refill(K, b"v", 1)).status is S.CREATED


def test_a_right_survives_that_the_stale_key_expires_or_is_evicted(machine: Machine) -> None:
    do(machine, Put(K, b"1", ttl_ms=40))
    token = do(machine, ASK).revision
    at(machine, 1050, Tick())
    assert machine.get(K) is None
    assert do(machine, Refill(K, b"2", token, ttl_ms=40)).status is S.CREATED
    token = do(machine, ASK).revision
    do(machine, Evict(((K, machine.revision - 1),)))
    assert machine.get(K) is None
    assert do(machine, Refill(K, b"3", token)).status is S.CREATED


def test_a_refill_over_a_quota_keeps_its_right(won: Machine) -> None:
    do(won, SetQuota(b"", keys_max=0))
    assert unchanged_by(won, Refill(K, b"v", 1)).status is S.OVER_KEYS_QUOTA
    do(won, SetQuota(b"", keys_max=1))
    assert do(won, Refill(K, b"v", 1)).status is S.CREATED


def test_rights_are_bounded_and_dead_ones_make_room(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.refills.REFILLS_MAX", 2)
    monkeypatch.setattr("raftcache.state.refills.REFILLS_FORGOTTEN_PER_ENTRY_MAX", 0)
    do(machine, Vivify(b"a", 100))
    do(machine, Vivify(b"b", 200))
    assert unchanged_by(machine, ASK) == Reply(S.NO_ROOM, 2)
    assert at(machine, 1100, ASK) == [Reply(S.WON, 3, deadline_ms=1200)]
    assert machine.right(b"a", 1100) is None
    assert machine.right(b"b", 1100) is not None


def test_rights_count_for_memory_and_dead_ones_go(won: Machine) -> None:
    assert won.memory_size_bytes > 0
    at(won, 1100, Tick())
    assert won.memory_size_bytes == 0
