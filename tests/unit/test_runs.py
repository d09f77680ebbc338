"""Runs of plain writes: all that anybody sees of them is as if each were done by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from raftcache.command import codec
from raftcache.command.calls import Call, Calls
from raftcache.command.leasing import LeaseGrant
from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.command.replies import Status
from raftcache.command.words import (
    PRESENT,
    Command,
    Delete,
    DeleteQuota,
    Increment,
    LeasedPut,
    Once,
    Put,
    SetQuota,
    Vivify,
)
from raftcache.state.history import Event, History
from raftcache.state.machine import Machine

SIZE_MAX = 100

DIGESTS = {
    100: "8d875379587f09e0",
    101: "036402bc442a11dc",
    102: "5351219449a6bf19",
    103: "4db37d1bc853da4b",
    104: "82073f8e438d204f",
}
"""By seed: of the states that the code before there were runs came to, after entries of `told`."""


def keys(dice: random.Random) -> bytes:
    return b"key%d" % dice.randrange(12)


def call(dice: random.Random) -> Call:
    key, value = keys(dice), b"v" * dice.randrange(SIZE_MAX)
    others: list[Call] = [
        (b"SET", key, value, b"PX", b"40"),
        (b"SET", key, value, b"NX"),
        (b"SET", key, bytes(SIZE_MAX + 1)),
        (b"SET", b"", value),
        (b"SET", bytes(KEY_SIZE_BYTES_MAX + 1), value),
        (b"SET", key),
        (b"GET", key),
        (b"INCR", key),
        (b"APPEND", key, b"x"),
        (b"DEL", key),
        (b"HSET", key, b"f", value),
        (b"EXPIRE", key, b"1"),
    ]
    return (b"SET", key, value) if dice.random() < 0.9 else dice.choice(others)


def command(dice: random.Random) -> Command:
    key, value = keys(dice), b"v" * dice.randrange(SIZE_MAX)
    others: list[Command] = [
        Put(key, value, ttl_ms=dice.randrange(1, 60)),
        Put(key, value, only=PRESENT),
        Put(key, value, once=Once(b"t%d" % dice.randrange(4), bytes(16))),
        Put(b"", value),
        Put(key, value, "no\ntype"),
        Delete(key),
        Increment(key),
        LeaseGrant(100),
        LeasedPut(key, value, 1),
        SetQuota(b"key1", 2),
        DeleteQuota(b"key1"),
        Vivify(key, 30),
    ]
    if dice.random() < 0.2:
        return Calls(tuple(call(dice) for _ in range(dice.randrange(1, 40))), SIZE_MAX)
    plain = Put(key, value, dice.choice(("", "", "text/plain")))
    return plain if dice.random() < 0.9 else dice.choice(others)


def told(seed: int, count: int = 40) -> Iterator[tuple[int, bytes]]:
    """Entries that are mostly runs: cluster times and batches."""
    dice, now_ms = random.Random(seed), 0
    for _ in range(count):
        now_ms += dice.randrange(20)
        commands = [codec.encode(command(dice)) for _ in range(dice.randrange(1, 40))]
        yield now_ms, codec.batch(commands)


def seen(machine: Machine) -> tuple[bytes, list[Event] | None, int, int]:
    history = machine.history
    events = history.read(history.position_after(history.first_revision) or 0, 1 << 20)
    return b"".join(machine.dump()), events, history.size_bytes, machine.size_bytes


@pytest.mark.parametrize("together_max", [1 << 20, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_run_is_as_good_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch, seed: int, together_max: int
) -> None:
    """Also while the keys are spread, and in the run that begins it."""
    monkeypatch.setattr("raftcache.state.keyspace.TOGETHER_MAX", together_max)
    entries = list(told(seed))
    inside = Machine()
    replies = [inside.apply(now_ms, batch) for now_ms, batch in entries]
    for module in ("raftcache.state.machine", "raftcache.state.redis.execute"):
        monkeypatch.setattr(f"{module}.RUN_WORTH", 1 << 30)
    alone = Machine()
    assert replies == [alone.apply(now_ms, batch) for now_ms, batch in entries]
    assert seen(inside) == seen(alone)


@pytest.mark.parametrize("seed", DIGESTS)
def test_digests_are_what_they_were(seed: int) -> None:
    machine = Machine()
    for now_ms, batch in told(seed):
        machine.apply(now_ms, batch)
    assert f"{machine.digest:016x}" == DIGESTS[seed]


def test_runs_are_what_is_tested_here(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    add_run = History.add_run
    monkeypatch.setattr(
        History, "add_run", lambda self, run: (sizes.append(len(run.keys)), add_run(self, run))
    )
    machine = Machine()
    for now_ms, batch in told(0):
        machine.apply(now_ms, batch)
    assert sum(sizes) > machine.revision / 4
    assert min(sizes) == 0, "some begin where there is none"
    assert max(sizes) > 20


def test_a_dump_under_way_sees_nothing_of_a_run() -> None:
    machine = Machine()
    machine.apply(0, codec.batch([codec.encode(Put(b"k%d" % at, b"old")) for at in range(9)]))
    before = b"".join(machine.dump())
    dump = machine.dump()
    machine.apply(0, codec.batch([codec.encode(Put(b"k%d" % at, b"new")) for at in range(99)]))
    assert b"".join(dump) == before


def test_a_run_is_read_from_any_place() -> None:
    machine = Machine()
    for first in (0, 1, 20):
        commands = [Put(b"%d" % (first + at), b"value") for at in range(1 + first)]
        machine.apply(0, codec.batch([codec.encode(each) for each in commands]))
    history, whole = machine.history, machine.history.read(0, 100)
    assert whole is not None
    assert [event.revision for event in whole] == list(range(1, 25))
    for position in range(25):
        assert history.position_after(position) == position
        for count_max in range(1, 25):
            assert history.read(position, count_max) == whole[position : position + count_max]


def test_runs_are_forgotten_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 20)
    machine = Machine()
    for _ in range(5):
        calls = tuple((b"SET", b"key%d" % at, b"value") for at in range(9))
        (reply,) = machine.apply(0, codec.batch([codec.encode(Calls(calls, SIZE_MAX))]))
        assert reply.status is Status.SUCCEEDED
    history = machine.history
    assert (history.first_revision, history.end) == (27, 45)
    assert [event.revision for event in history.read(27, 100) or ()] == list(range(28, 46))
    assert history.read(26, 100) is None
