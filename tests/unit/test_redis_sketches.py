"""HyperLogLogs at the state: what random calls do not find; see tests/differential for all else."""

from __future__ import annotations

import random
from typing import Final

import pytest

from raftcache.command.calls import NEWER_CALLS, CallsSince
from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure
from raftcache.command.words import Once, Put
from raftcache.state.machine import Machine
from raftcache.state.redis import hyperloglog, sketches
from raftcache.state.redis.hyperloglog import (
    CORRUPT,
    EMPTY,
    NO_SKETCH,
    REGISTERS,
    SPARSE_SIZE_BYTES_MAX,
    Sketch,
    estimate,
    highest,
    register_of,
)
from raftcache.state.redis.sketches import HASHED_BYTES_PER_ELEMENT, SKETCH_COST
from raftcache.state.redis.store import ELEMENTS_READ_MAX
from tests.unit.test_machine import do
from tests.unit.test_redis_places import TOO_MANY, read
from tests.unit.test_redis_streams import SIZE_MAX, said, write

SEVEN: Final = bytes.fromhex(
    "48594c4c010000000700000000000000466d80560c80443c84388050b184498c80426d80425a"
)
"""What a redis-server keeps for PFADD k a b c d e f g, and a PFCOUNT behind it."""

DENSE_SIZE: Final = 12304


def dense(machine: Machine, key: bytes, count: int) -> None:
    """A HyperLogLog too large for SIZE_MAX, as HTTP would put it."""
    sketch = Sketch(EMPTY)
    for number in range(count):
        sketch.raise_to(*register_of(b"%d" % number))
    do(machine, Put(key, sketch.value()))


def test_the_bytes_are_those_of_redis() -> None:
    machine = Machine()
    assert said(machine, "PFADD k a b c d", "PFADD k e f g", "PFADD k a b") == [1, 1, 0]
    kept = read(machine, "GET k")
    assert kept[:8] + kept[16:] == SEVEN[:8] + SEVEN[16:]
    assert kept[8:16] == bytes(7) + b"\x80"  # the estimate is none
    do(machine, Put(b"theirs", SEVEN))
    assert read(machine, "PFCOUNT theirs") == read(machine, "PFCOUNT k") == 7
    assert said(machine, "PFADD theirs a", "PFADD theirs h") == [0, 1]
    assert read(machine, "PFCOUNT theirs") == 8


def test_counting_changes_nothing_and_is_done_once() -> None:
    machine = Machine()
    said(machine, "PFADD k a b c")
    before, revision = machine.digest, machine.revision
    hyperloglog._counted.cache_clear()
    assert [read(machine, "PFCOUNT k") for _ in range(3)] == [3, 3, 3]
    assert said(machine, "PFCOUNT k") == [3]
    assert (machine.digest, machine.revision) == (before, revision)
    assert hyperloglog._counted.cache_info().misses == 1


def test_estimates_are_near() -> None:
    sketch, dice = Sketch(EMPTY), random.Random(1)
    for count in range(1, 50_001):
        sketch.raise_to(*register_of(dice.randbytes(8)))
        if count in (10, 100, 1000, 10_000, 50_000):
            assert estimate(sketch.registers) == pytest.approx(count, rel=0.04)


def test_sparse_and_dense_ones_say_the_same() -> None:
    sketch, dice, registers = Sketch(EMPTY), random.Random(2), bytearray(REGISTERS)
    value = b""
    while not sketch.is_dense:
        index, rank = register_of(dice.randbytes(9))
        assert sketch.raise_to(index, rank) == (rank > registers[index])
        registers[index] = max(registers[index], rank)
        assert sketch.registers == registers
        if dice.random() < 0.05 and not sketch.is_dense:
            value = sketch.value()
            assert len(value) <= SPARSE_SIZE_BYTES_MAX
            assert Sketch(value).registers == registers
    assert len(value) > SPARSE_SIZE_BYTES_MAX - 200
    assert len(sketch.value()) == DENSE_SIZE
    assert Sketch(sketch.value()).registers == registers


def test_a_rank_that_runs_do_not_hold_makes_it_dense() -> None:
    sketch = Sketch(EMPTY)
    sketch.raise_to(5, 32)
    assert not sketch.is_dense
    sketch.raise_to(5, 33)
    assert sketch.is_dense
    assert Sketch(sketch.value()).registers[5] == 33


def test_the_highest_of_two_is_taken_register_by_register() -> None:
    dice = random.Random(3)
    one, other = (bytearray(dice.choices(range(64), k=REGISTERS)) for _ in range(2))
    assert highest(one, other) == bytearray(map(max, one, other))


def test_several_together() -> None:
    machine = Machine()
    said(machine, "PFADD a 1 2 3", "PFADD b 3 4", "PFADD c 5")
    assert read(machine, "PFCOUNT a b none c") == 5
    assert said(machine, "PFMERGE d a b", "PFMERGE d c", "PFMERGE new") == ["OK", "OK", "OK"]
    assert read(machine, "PFCOUNT d") == 5
    assert read(machine, "PFCOUNT new") == 0
    dense(machine, b"large", 5000)
    assert read(machine, "PFCOUNT a b large") == pytest.approx(5000, rel=0.04)
    assert "maximum allowed size" in said(machine, "PFMERGE d large")[0].text
    assert read(machine, "PFCOUNT d") == 5


@pytest.mark.parametrize(
    "value",
    [b"", b"1", EMPTY[:15], b"X" + EMPTY[1:], b"HYLL\2" + EMPTY[5:], b"HYLL\0" + EMPTY[5:]],
    ids=repr,
)
def test_what_is_none_is_refused(value: bytes) -> None:
    machine = Machine()
    do(machine, Put(b"k", value))
    before = machine.revision
    refused = Failure(NO_SKETCH)
    assert said(machine, "PFADD k a", "PFADD k", "PFMERGE d k", "PFMERGE k") == [refused] * 4
    assert [read(machine, line) for line in ("PFCOUNT k", "PFCOUNT none k")] == [refused] * 2
    assert machine.revision == before


@pytest.mark.parametrize(
    "runs", [b"", b"\0", b"\x7f", b"\x7f\xfe", b"\x7f\xff\0", b"\x3f" * SIZE_MAX]
)
def test_what_is_corrupt_is_refused(runs: bytes) -> None:
    machine = Machine()
    do(machine, Put(b"k", EMPTY[:15] + b"\x80" + runs))
    before = machine.revision
    corrupt = Failure(CORRUPT)
    assert said(machine, "PFADD k a", "PFMERGE d k", "PFMERGE k") == [corrupt] * 3
    assert [read(machine, line) for line in ("PFCOUNT k", "PFCOUNT none k")] == [corrupt] * 2
    assert machine.revision == before


@pytest.mark.parametrize("rank", [0, 41, 50, 51])
def test_an_estimate_of_registers_that_nothing_makes_is_a_number_of_64_bits(rank: int) -> None:
    """Else no node could remember the answer of a numbered call, and each would stop at it."""
    machine = Machine()
    registers = bytearray([60]) * REGISTERS
    registers[0] = rank
    do(machine, Put(b"k", EMPTY[:4] + bytes(11) + b"\x80" + hyperloglog._packed(registers)))
    calls = (b"PFCOUNT", b"k"), (b"PFCOUNT", b"k", b"k"), (b"SET", b"a", b"1")
    once = Once(b"t", bytes(16))
    reply = do(machine, CallsSince(calls, SIZE_MAX, True, once=once, since=INTEGER_MAX))
    assert isinstance(reply, CallsReply)
    assert reply.values[2] == "OK"
    assert all(INTEGER_MIN <= value <= INTEGER_MAX for value in reply.values[:2])


def test_one_call_has_bounds() -> None:
    machine = Machine()
    most = ELEMENTS_READ_MAX // SKETCH_COST
    said(machine, "PFADD k a")
    assert read(machine, "PFCOUNT" + " k" * most) == 1
    assert read(machine, "PFCOUNT" + " k" * (most + 1)) == Failure(TOO_MANY)
    long = b"x" * (ELEMENTS_READ_MAX * HASHED_BYTES_PER_ELEMENT + HASHED_BYTES_PER_ELEMENT)
    assert write(machine, b"PFADD", b"k", long) == Failure(TOO_MANY)


def test_calls_that_older_nodes_know_do_not_know_them() -> None:
    assert sketches.CALLS.keys() <= NEWER_CALLS
