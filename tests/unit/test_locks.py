"""Locks, told one command at a time: tokens, the queue, delays, and places that nobody waits at."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from raftcache.command.leasing import (
    LockAcquire,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
    LockView,
)
from raftcache.command.limits import LOCK_PLACE_MS, LOCK_PLACES_MAX, LOCK_QUEUE_MAX
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Command, Once, Put
from raftcache.state.machine import Machine
from tests.unit.test_machine import at, do, unchanged_by

S = Status
N = b"lock"
WAIT = 60_000


@pytest.fixture
def machine() -> Machine:
    """At 1000 ms: token 1 holds N until 2000, with a value; places 2 and 3 wait."""
    machine = Machine()
    wait = LockAcquire(N, 3000, WAIT)
    at(machine, 1000, LockAcquire(N, 1000, value=b"first"), wait, wait)
    return machine


def at_once(machine: Machine, now_ms: int, command: Command) -> Reply:
    """Apply at a time at which the entry itself ends nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.lock_commands.EXPIRED_PER_ENTRY_MAX", 0)
        (reply,) = at(machine, now_ms, command)
    return reply


def test_a_free_lock_is_granted_with_the_revision_as_its_token() -> None:
    machine = Machine()
    replies = at(machine, 1000, Put(b"k", b""), LockAcquire(N, 500), LockAcquire(N, 500))
    assert replies[1] == Reply(S.GRANTED, 2, number=2, deadline_ms=1500)
    assert replies[2] == Reply(S.LOCKED, 2, deadline_ms=1500)
    assert machine.lock(N) == LockView(2, 1500)
    assert machine.lock(b"other") == LockView()


def test_locks_are_listed_by_name_until_they_are_free(machine: Machine) -> None:
    delayed = LockAcquire(b"delayed", 100, delay_ms=1000)
    at(machine, 1000, LockAcquire(b"z", 500), LockAcquire(b"\xff", 500), delayed)
    held = LockView(1, 2000, 2, b"first")
    z, last = (b"z", LockView(4, 1500)), (b"\xff", LockView(5, 1500))
    assert machine.locks(b"delaye", 3) == [(b"delayed", LockView(6, 1100)), (N, held), z]
    assert machine.locks(N, 9) == [z, last]
    assert machine.locks(b"\xff", 9) == []
    do(machine, LockRelease(b"z", 4))
    at(machine, 1100)
    assert machine.locks(b"", 9) == [(b"delayed", LockView(0, 2100)), (N, held), last]
    at(machine, 2100)
    assert [name for name, _ in machine.locks(b"", 9)] == [N]


def test_the_queue_is_fair(machine: Machine) -> None:
    assert machine.lock(N) == LockView(1, 2000, 2, b"first")
    assert do(machine, LockRelease(N, 1)) == Reply(S.DELETED, 4, count=1, number=1)
    assert machine.lock(N) == LockView(4, 4000, 1)
    assert do(machine, LockStay(N, 2)) == Reply(S.GRANTED, 4, number=4, deadline_ms=4000)
    assert do(machine, LockRelease(N, 4)).status is S.DELETED
    assert do(machine, LockStay(N, 3)) == Reply(S.GRANTED, 5, number=5, deadline_ms=4000)
    do(machine, LockRelease(N, 5))
    assert machine.lock(N) == LockView()
    assert machine.next_deadline_ms() is None


def test_a_holder_keeps_it_alive_and_without_that_it_goes_to_the_next(machine: Machine) -> None:
    (kept,) = at(machine, 1900, LockKeepAlive(N, 1))
    assert kept == Reply(S.CHANGED, 3, number=1, deadline_ms=2900)
    at(machine, 2899)
    assert machine.lock(N).token == 1
    at(machine, 2900)
    assert machine.lock(N) == LockView(4, 5900, 1)


@pytest.mark.parametrize("command", [LockKeepAlive(N, 1), LockRelease(N, 1)])
def test_a_holder_whose_time_is_over_is_told_so(machine: Machine, command: Command) -> None:
    (reply,) = at(machine, 2000, command)
    assert reply.status is S.NOT_HELD


@pytest.mark.parametrize("number", [2, 9])
@pytest.mark.parametrize("kind", [LockKeepAlive, LockRelease])
def test_only_the_token_that_holds_it_counts(
    machine: Machine, kind: type[LockKeepAlive | LockRelease], number: int
) -> None:
    assert unchanged_by(machine, kind(N, number)).status is S.NOT_HELD
    assert unchanged_by(machine, kind(b"other", 1)).status is S.NOT_HELD


# Delay.


def delayed() -> Machine:
    machine = Machine()
    at(machine, 1000, LockAcquire(N, 500, delay_ms=400), LockAcquire(N, 500, WAIT))
    return machine


def test_after_an_owner_that_let_it_run_out_nobody_has_it_for_the_delay() -> None:
    machine = delayed()
    at(machine, 1500)
    assert machine.lock(N) == LockView(0, 1900, 1)
    assert do(machine, LockKeepAlive(N, 1)).status is S.NOT_HELD
    assert do(machine, LockAcquire(N, 500)) == Reply(S.LOCKED, 2, deadline_ms=1900)
    at(machine, 1900)
    assert machine.lock(N) == LockView(3, 2400)


def test_the_delay_counts_from_the_end_of_the_hold_whenever_that_is_noticed() -> None:
    machine = delayed()
    at(machine, 1850)
    assert machine.lock(N) == LockView(0, 1900, 1)
    late = delayed()
    at(late, 2000)
    assert late.lock(N) == LockView(3, 2500)


def test_a_release_knows_no_delay() -> None:
    machine = delayed()
    do(machine, LockRelease(N, 1))
    assert machine.lock(N) == LockView(3, 1500)


# Waiting.


def test_a_place_lasts_while_somebody_stays_and_no_longer_than_asked_for() -> None:
    machine = Machine()
    at(machine, 1000, LockAcquire(N, 80_000), LockAcquire(N, 500, LOCK_PLACE_MS + 5000))
    at(machine, 1000 + LOCK_PLACE_MS - 1)
    stayed = do(machine, LockStay(N, 2))
    assert stayed == Reply(S.QUEUED, 2, number=1, deadline_ms=1000 + LOCK_PLACE_MS + 5000)
    at(machine, 1000 + LOCK_PLACE_MS + 4999)
    assert machine.lock(N).waiting == 1
    at(machine, 1000 + LOCK_PLACE_MS + 5000)
    assert machine.lock(N).waiting == 0
    assert do(machine, LockStay(N, 2)).status is S.NOT_HELD


def test_a_place_that_nobody_stays_at_is_passed_over() -> None:
    machine = Machine()
    wait = LockAcquire(N, 500, WAIT)
    at(machine, 1000, LockAcquire(N, 80_000), wait, wait)
    at(machine, 5000, LockStay(N, 3))
    at(machine, 1000 + LOCK_PLACE_MS, LockRelease(N, 1))
    assert do(machine, LockStay(N, 3)).status is S.GRANTED


def test_whoever_leaves_leaves_the_queue_or_gives_up_what_was_granted(machine: Machine) -> None:
    assert do(machine, LockLeave(N, 2, 0)) == Reply(S.DELETED, 3, count=1)
    assert do(machine, LockLeave(N, 2, 0)) == Reply(S.DELETED, 3)
    do(machine, LockRelease(N, 1))
    assert machine.lock(N).token == 4
    assert do(machine, LockLeave(N, 3, 0)).count == 1
    assert machine.lock(N) == LockView()


def test_whoever_leaves_takes_no_place_from_another_who_came_to_it(machine: Machine) -> None:
    """A client broke off and came back through another node before the first one noticed."""
    do(machine, LockStay(N, 2))
    assert unchanged_by(machine, LockLeave(N, 2, 0)) == Reply(S.UNCHANGED, 3)
    do(machine, LockRelease(N, 1))
    assert unchanged_by(machine, LockLeave(N, 2, 0)) == Reply(S.UNCHANGED, 4)
    assert do(machine, LockLeave(N, 2, 1)).count == 1


def test_a_place_belongs_to_its_lock(machine: Machine) -> None:
    assert unchanged_by(machine, LockStay(b"other", 2)).status is S.NOT_HELD
    assert unchanged_by(machine, LockLeave(b"other", 2, 0)) == Reply(S.DELETED, 3)


def test_a_retry_gets_the_same_place_and_never_a_second_one(machine: Machine) -> None:
    acquire = LockAcquire(N, 500, WAIT, once=Once(b"t", b"f" * 16))
    first, again = do(machine, acquire), do(machine, acquire)
    assert (first.status, first.number, again.number, again.replayed) == (S.QUEUED, 4, 4, True)
    assert machine.lock(N).waiting == 3


# What is overdue and not done yet.


def test_a_lock_whose_holder_is_overdue_shows_nobody_and_a_command_does_what_is_due(
    machine: Machine,
) -> None:
    at_once(machine, 2000, Put(b"k", b""))
    assert machine.lock(N) == LockView(0, 2000, 2)
    assert at_once(machine, 2000, LockStay(N, 3)).status is S.QUEUED
    assert machine.lock(N) == LockView(5, 5000, 1)


def test_a_place_that_is_overdue_is_gone_for_commands() -> None:
    machine = Machine()
    at(machine, 1000, LockAcquire(N, 80_000), LockAcquire(N, 500, 700), LockAcquire(N, 500, 700))
    assert at_once(machine, 1700, LockStay(N, 2)).status is S.NOT_HELD
    assert at_once(machine, 1700, LockLeave(N, 3, 0)) == Reply(S.DELETED, 3)
    assert machine.lock(N) == LockView(1, 81_000)


# Limits.


def test_a_queue_has_a_limit() -> None:
    machine = Machine()
    wait = LockAcquire(N, 500, WAIT)
    at(machine, 1000, LockAcquire(N, 5000), *[wait] * LOCK_QUEUE_MAX)
    assert unchanged_by(machine, wait).status is S.LIMIT
    do(machine, LockLeave(N, 2, 0))
    assert do(machine, wait).status is S.QUEUED


def test_places_have_a_limit() -> None:
    machine = Machine()
    for begin in range(0, LOCK_PLACES_MAX, 4096):
        at(machine, 1000, *(LockAcquire(b"%d" % n, 500) for n in range(begin, begin + 4096)))
    assert unchanged_by(machine, LockAcquire(N, 500)).status is S.LIMIT
    assert do(machine, LockAcquire(b"7", 500)).status is S.LOCKED
    do(machine, LockRelease(b"7", 8))
    assert do(machine, LockAcquire(N, 500)).status is S.GRANTED


def test_it_tells_once_an_entry_which_locks_changed(machine: Machine) -> None:
    told: list[Collection[bytes] | None] = []
    machine.on_locks = told.append
    at(machine, 1000, LockRelease(N, 1), LockAcquire(b"m", 500), LockAcquire(b"m", 500))
    at(machine, 1000, Put(b"k", b""), LockAcquire(b"m", 500))
    assert told == [{N, b"m"}]
    loader = machine.loader()
    loader.feed(b"".join(machine.dump()))
    loader.install()
    at(machine, 1000, Put(b"k", b""))
    assert told[1:] == [None]
