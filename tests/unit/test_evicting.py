"""Forgetting keys to make room: what the command does, and what the state says of its memory."""

from __future__ import annotations

import pytest

from raftcache.command.replies import Reply, Status
from raftcache.command.words import Evict, Once, Put, Touch
from raftcache.state.history import Event, Kind
from raftcache.state.keyspace import DEADLINE_COST_BYTES, KEY_COST_BYTES
from raftcache.state.machine import Machine
from raftcache.state.sessions import RECORD_COST_BYTES
from tests.unit.test_machine import at, do, unchanged_by


@pytest.fixture
def machine() -> Machine:
    """At 1000 ms and revision 3: a, b until 1500, c."""
    machine = Machine()
    at(machine, 1000, Put(b"a", b"1"), Put(b"b", b"2", ttl_ms=500), Put(b"c", b"3"))
    return machine


def events(machine: Machine, since: int) -> list[Event]:
    position = machine.history.position_after(since)
    assert position is not None
    return machine.history.read(position, 100) or []


def test_victims_go_in_one_revision_and_the_history_says_why(machine: Machine) -> None:
    assert do(machine, Evict(((b"c", 3), (b"a", 1)))) == Reply(Status.DELETED, 4, count=2)
    assert [key for key, _ in machine.items()] == [b"b"]
    gone = [(event.revision, event.kind, event.key) for event in events(machine, 3)]
    assert gone == [(4, Kind.EVICT, b"c"), (4, Kind.EVICT, b"a")]


def test_a_key_that_was_written_again_stays(machine: Machine) -> None:
    do(machine, Put(b"a", b"new"))
    assert unchanged_by(machine, Evict(((b"a", 1),))) == Reply(Status.DELETED, 4)
    item = machine.get(b"a")
    assert item is not None
    assert item.value == b"new"


def test_a_key_that_is_gone_or_named_twice_is_no_mistake(machine: Machine) -> None:
    assert do(machine, Evict(((b"x", 1), (b"a", 1), (b"a", 1)))).count == 1
    assert unchanged_by(machine, Evict(())) == Reply(Status.DELETED, 4)


def test_an_overdue_victim_has_expired(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.machine.EXPIRED_PER_ENTRY_MAX", 0)
    assert at(machine, 1500, Evict(((b"b", 2),))) == [Reply(Status.DELETED, 4)]
    assert [event.kind for event in events(machine, 3)] == [Kind.EXPIRE]


def test_the_soonest_deadlines_come_first(machine: Machine) -> None:
    do(machine, Put(b"sooner", b"", ttl_ms=100))
    assert machine.soonest(5) == [b"sooner", b"b"]
    assert machine.soonest(1) == [b"sooner"]


def test_a_key_is_weighed_whether_or_not_it_is_overdue(machine: Machine) -> None:
    weight = machine.weigh(b"b")
    assert weight is not None
    revision, size_bytes = weight
    assert revision == 2
    assert size_bytes > 30
    assert machine.weigh(b"x") is None


def test_memory_counts_keys_deadlines_and_remembered_requests() -> None:
    machine = Machine()
    assert machine.memory_size_bytes == 0
    do(machine, Put(b"key", b"value"))
    plain = machine.size_bytes + KEY_COST_BYTES
    assert machine.memory_size_bytes == plain
    do(machine, Put(b"key", b"value", ttl_ms=1000))
    assert machine.memory_size_bytes == plain + DEADLINE_COST_BYTES + len(b"key")
    do(machine, Put(b"key", b"value"))
    assert machine.memory_size_bytes == plain
    do(machine, Touch(b"key", once=Once(b"token", bytes(16))))
    assert machine.memory_size_bytes > plain + RECORD_COST_BYTES
    do(machine, Evict(((b"key", 3),)))
    assert machine.memory_size_bytes < plain + RECORD_COST_BYTES


def test_a_history_may_be_given_less_room() -> None:
    machine = Machine(history_size_bytes_max=10_000)
    for i in range(100):
        do(machine, Put(b"key", b"%d" % i * 100))
        assert machine.history.size_bytes <= 10_000
    assert machine.history.first_revision > 50
