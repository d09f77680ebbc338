"""The memory limit: what is refused, by whom, and how far it can be passed."""

from __future__ import annotations

from typing import Any

import pytest

from raftcache.command import codec
from raftcache.command.calls import Calls, as_calls
from raftcache.command.leasing import LeaseKeepAlive, LockRelease
from raftcache.command.replies import Reply, Status
from raftcache.command.words import (
    Append,
    Command,
    Delete,
    DeleteRange,
    Evict,
    Expire,
    Increment,
    LeasedPut,
    Once,
    Persist,
    Put,
    Tick,
    Touch,
    Txn,
)
from raftcache.config import Eviction
from raftcache.errors import OutOfMemory, Overloaded, RaftcacheError
from raftcache.service.kv import KvService
from raftcache.service.memory import Memory, history_size_bytes_max
from raftcache.state.machine import Machine
from tests.unit.test_machine import do

LIMIT = 80_000
BUDGET = LIMIT - LIMIT // 8
VALUE = bytes(1000)


def memory_of(
    machine: Machine, eviction: Eviction = Eviction.NOEVICTION, members: int = 3
) -> Memory:
    return Memory(machine, LIMIT, eviction, 0, lambda: members)


def refusal(memory: Memory, command: Command) -> RaftcacheError | None:
    try:
        memory.admit(command, lambda outcome: None)("landed")
    except RaftcacheError as error:
        return error
    return None


@pytest.fixture
def full() -> Machine:
    """So full that no further key of VALUE fits; counter, text and brief are there too."""
    machine = Machine(history_size_bytes_max(LIMIT))
    do(machine, Put(b"counter", b"1"))
    do(machine, Put(b"text", b"a"))
    do(machine, Put(b"brief", b"a", ttl_ms=1_000_000))
    memory, number = memory_of(machine), 0
    while refusal(memory, Put(b"key%d" % number, VALUE)) is None:
        do(machine, Put(b"key%d" % number, VALUE))
        number += 1
    return machine


def test_the_count_stays_below_the_limit_whatever_the_history_does(full: Machine) -> None:
    memory = memory_of(full)
    assert memory.used_size_bytes <= BUDGET
    for i in range(200):
        do(full, Put(b"key0", b"%d" % i * 300))
        do(full, Put(b"key0", VALUE))
    assert full.history.size_bytes > LIMIT // 10
    assert memory.view()["size_bytes"] <= LIMIT


@pytest.mark.parametrize(
    "command",
    [
        Put(b"new", VALUE),
        LeasedPut(b"new", VALUE, 1),
        Put(b"new", VALUE, once=Once(b"token", bytes(16))),
        Put(b"text", bytes(2000)),
        Append(b"text", VALUE, 1 << 20),
        Append(b"new", VALUE, 1 << 20),
        Txn((), (Put(b"new", VALUE),)),
        Txn((), (), (Delete(b"text"), Put(b"new", VALUE))),
        Txn((), tuple(Put(b"new%d" % i, bytes(100)) for i in range(20))),
    ],
)
def test_what_grows_a_full_state_is_refused_for_good(full: Machine, command: Command) -> None:
    error = refusal(memory_of(full), command)
    assert isinstance(error, OutOfMemory)
    assert (error.status, error.definite) == (507, True)
    assert "limit of 80000 bytes leaves" in error.detail


@pytest.mark.parametrize(
    "command",
    [
        Put(b"key0", VALUE),
        Put(b"key0", b"smaller"),
        Delete(b"key0"),
        Delete(b"key0", once=Once(b"token", bytes(16))),
        DeleteRange(b"", b""),
        Increment(b"counter"),
        Expire(b"key0", 1000),
        Persist(b"brief"),
        Touch(b"key0"),
        Tick(),
        Txn((), (Delete(b"key0"), Put(b"key1", VALUE))),
        Evict(((b"key0", 4),)),
        LeasedPut(b"key0", VALUE, 1),
        LeaseKeepAlive(1),
        LockRelease(b"l", 1),
    ],
)
def test_what_does_not_grow_it_goes_on(full: Machine, command: Command) -> None:
    assert refusal(memory_of(full), command) is None


@pytest.mark.parametrize(
    "calls",
    [
        ["SETBIT bits 800000 1"],
        ["SETRANGE text 100000 a"],
        ["BITFIELD bits SET u8 800000 1"],
        ["BITFIELD bits GET u8 0 INCRBY i16 #50000 1"],
        [f"SETBIT bits{number} 8000 1" for number in range(80)],
        [f"COPY large copy{number}" for number in range(8)],
    ],
)
def test_what_calls_do_not_say_needs_room_as_well(calls: list[str]) -> None:
    machine = Machine()
    do(machine, Put(b"large", bytes(10_000)))
    word = Calls(tuple(tuple(call.encode().split()) for call in calls), 1 << 20)
    assert isinstance(refusal(memory_of(machine), word), OutOfMemory)
    do(machine, word)
    assert machine.memory_size_bytes > BUDGET


@pytest.mark.parametrize(
    "call",
    [
        "SETBIT large 79999 1",
        "SETRANGE large 9000 a",
        "BITFIELD large SET u8 #9999 1",
        "BITFIELD large GET u8 800000",
        "SETBIT bits 99999999999 1",
        "SETRANGE bits x 1",
        "BITFIELD bits SET u999999 #99999999 1",
    ],
)
def test_what_makes_no_string_longer_needs_no_room(call: str) -> None:
    machine = Machine()
    do(machine, Put(b"large", bytes(10_000)))
    word = Calls((tuple(call.encode().split()),) * 20, 1 << 20)
    assert refusal(memory_of(machine), word) is None
    do(machine, word)
    assert machine.memory_size_bytes < BUDGET // 2


def test_groups_and_consumers_need_room_and_what_removes_them_does_not() -> None:
    machine, number = Machine(), 0
    memory = memory_of(machine)
    do(machine, as_calls([(b"XADD", b"x", b"*", b"f", b"v")], 1 << 20))

    def group(*words: bytes) -> Calls:
        return as_calls([(b"XGROUP", words[0], b"x", b"group %d" % number, *words[1:])], 1 << 20)

    while refusal(memory, group(b"CREATE", b"0")) is None:
        do(machine, group(b"CREATE", b"0"))
        number += 1
        assert number < 1000
    number -= 1
    assert number
    assert isinstance(refusal(memory, group(b"createconsumer", b"c")), OutOfMemory)
    assert refusal(memory, group(b"DELCONSUMER", b"c")) is None
    assert refusal(memory, group(b"DESTROY")) is None


def test_a_new_counter_needs_room_too(full: Machine) -> None:
    memory = memory_of(full)
    number = 0
    while refusal(memory, Increment(b"n%d" % number)) is None:
        do(full, Increment(b"n%d" % number))
        number += 1
        assert number < 10
    assert isinstance(refusal(memory, Increment(b"new")), OutOfMemory)


@pytest.mark.parametrize(
    "eviction", [Eviction.ALLKEYS_LRU, Eviction.ALLKEYS_LFU, Eviction.ALLKEYS_SIEVE]
)
def test_where_something_gives_way_the_writer_is_to_come_again(
    full: Machine, eviction: Eviction
) -> None:
    error = refusal(memory_of(full, eviction), Put(b"new", VALUE))
    assert isinstance(error, Overloaded)
    assert error.definite
    assert error.retry_after_s


def test_only_keys_with_deadlines_give_way_to_volatile_ttl(full: Machine) -> None:
    memory = memory_of(full, Eviction.VOLATILE_TTL)
    assert isinstance(refusal(memory, Put(b"new", VALUE)), Overloaded)
    do(full, Delete(b"brief"))
    assert isinstance(refusal(memory, Put(b"new", 2 * VALUE)), OutOfMemory)


@pytest.mark.parametrize("eviction", list(Eviction))
def test_what_can_never_fit_is_never_asked_to_come_again(eviction: Eviction) -> None:
    error = refusal(memory_of(Machine(), eviction), Put(b"key", bytes(BUDGET)))
    assert isinstance(error, OutOfMemory)


def test_more_than_eviction_keeps_free_fits_only_while_it_does(full: Machine) -> None:
    large = Put(b"large", bytes(BUDGET // 16))
    assert isinstance(refusal(memory_of(full, Eviction.ALLKEYS_LRU), large), OutOfMemory)
    assert refusal(memory_of(Machine(), Eviction.ALLKEYS_LRU), large) is None


def test_all_members_together_cannot_take_more_than_fits() -> None:
    """Each knows only its own writes under way; here nothing of them lands."""
    machine, taken = Machine(), 0
    members = [memory_of(machine) for _ in range(3)]
    growth = 0
    for memory in members:
        for number in range(1000):
            try:
                memory.admit(Put(b"%04d" % number, VALUE), lambda outcome: None)
            except Overloaded:
                break
            taken += 1
    for number in range(taken):
        do(machine, Put(b"%04d" % number, VALUE))
        growth = machine.memory_size_bytes
    assert BUDGET * 0.8 < growth <= BUDGET


def test_one_write_alone_may_use_the_last_room(full: Machine) -> None:
    """And so each member may pass the limit by one write, at most."""
    do(full, Delete(b"key0"))
    members = [memory_of(full) for _ in range(3)]
    for memory in members:
        memory.admit(Put(b"new", VALUE), lambda outcome: None)
        with pytest.raises(Overloaded):
            memory.admit(Put(b"more", b""), lambda outcome: None)


def test_room_comes_back_when_a_write_ends_however_it_does(full: Machine) -> None:
    do(full, Delete(b"key0"))
    memory, outcomes = memory_of(full), list[object]()
    landed = memory.admit(Put(b"new", VALUE), outcomes.append)
    assert isinstance(refusal(memory, Put(b"other", VALUE)), Overloaded)
    landed("refused, say")
    assert outcomes == ["refused, say"]
    assert refusal(memory, Put(b"other", VALUE)) is None
    assert memory.refused == 1


class _Replica:
    commands_version, is_full = 2, False

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def propose(self, command: bytes, done: Any, weight: int = 1, width: int = 0) -> None:
        (reply,) = self.machine.apply(0, codec.batch([command]))
        done(reply)


def test_the_service_refuses_before_the_log_hears_of_it(full: Machine) -> None:
    outcomes: list[object] = []
    kv = KvService(
        _Replica(full),  # type: ignore[arg-type]
        full,
        None,  # type: ignore[arg-type]
        1 << 20,
        10,
        memory_of(full),
    )
    revision = full.revision
    kv.write(Put(b"new", VALUE), outcomes.append)
    assert full.revision == revision
    kv.write(Delete(b"key0"), outcomes.append)
    kv.write(Put(b"new", VALUE), outcomes.append)
    refused, deleted, created = outcomes
    assert isinstance(refused, OutOfMemory)
    assert isinstance(deleted, Reply)
    assert isinstance(created, Reply)
    assert created.status is Status.CREATED
