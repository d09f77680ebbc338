"""Redis commands on bitmaps and bit fields, beside the slow and obvious way."""

from __future__ import annotations

import random

import pytest

from raftcache.command.values import Failure, Value
from raftcache.state.machine import Machine
from raftcache.state.redis.parsing import TOO_LONG
from tests.unit.test_redis_strings import (
    NOT_INTEGER,
    SYNTAX,
    WRONG,
    item,
    machine,
    run,
)

__all__ = ["machine"]  # the fixture

OFFSET = Failure("ERR bit offset is not an integer or out of range")
BIT = Failure("ERR bit is not an integer or out of range")
FIELD = Failure(
    "ERR Invalid bitfield type. Use something like i16 u8. "
    "Note that u64 is not supported but i64 is."
)


@pytest.mark.parametrize(
    ("line", "reply", "value"),
    [
        ("SETBIT b 7 1", 0, b"\x01"),
        ("SETBIT b 8 0", 0, b"\0\0"),
        ("SETBIT a 1 0", 1, b"6"),
        ("SETBIT a 15 1", 0, b"v\x01"),
        ("SETBIT a 7999 1", 0, None),
        ("SETBIT a 8000 1", OFFSET, b"v"),
        ("SETBIT a 8000 2", OFFSET, b"v"),
        ("SETBIT a 4294967296 1", OFFSET, b"v"),
        ("SETBIT a -1 1", OFFSET, b"v"),
        ("SETBIT a #1 1", OFFSET, b"v"),
        ("SETBIT a x y", OFFSET, b"v"),
        ("SETBIT s 0 2", BIT, None),
        ("SETBIT s 0 x", BIT, None),
        ("SETBIT s 0 1", WRONG, None),
        ("GETBIT a 1", 1, b"v"),
        ("GETBIT a 0", 0, b"v"),
        ("GETBIT a 4294967295", 0, b"v"),
        ("GETBIT a 4294967296", OFFSET, b"v"),
        ("GETBIT b 0", 0, None),
        ("GETBIT s x", OFFSET, None),
        ("GETBIT s 0", WRONG, None),
    ],
)
def test_bits(machine: Machine, line: str, reply: Value, value: bytes | None) -> None:
    assert run(machine, line) == reply
    if value is not None:
        assert item(machine, line.split()[1]).value == value


def test_a_bit_that_is_set_already_changes_nothing(machine: Machine) -> None:
    before = machine.revision
    assert run(machine, "SETBIT a 1 1") == 1
    assert machine.revision == before


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("BITCOUNT b x y z", 0),
        ("BITCOUNT s x y z", WRONG),
        ("BITCOUNT a 1", SYNTAX),
        ("BITCOUNT a 1 2 BIT 3", SYNTAX),
        ("BITCOUNT a x 1 NEVER", NOT_INTEGER),
        ("BITCOUNT a 0 1 NEVER", SYNTAX),
        ("BITCOUNT a -1 -2 NEVER", 0),
        ("BITPOS b 1", -1),
        ("BITPOS b 0 x", 0),
        ("BITPOS s x", NOT_INTEGER),
        ("BITPOS s 2", Failure("ERR The bit argument must be 1 or 0.")),
        ("BITPOS s 1 x", WRONG),
        ("BITPOS a 1 x 1 NEVER", NOT_INTEGER),
        ("BITPOS a 1 0 x NEVER", SYNTAX),
        ("BITPOS a 1 0 1 BIT 2", SYNTAX),
        ("BITOP NEVER b s", SYNTAX),
        ("BITOP NOT b a a", Failure("ERR BITOP NOT must be called with a single source key.")),
        ("BITOP AND b a s", WRONG),
        ("BITOP OR s a", 1),
    ],
)
def test_replies(machine: Machine, line: str, reply: Value) -> None:
    assert run(machine, line) == reply


def _bits(value: bytes) -> list[int]:
    return [byte >> shift & 1 for byte in value for shift in range(7, -1, -1)]


def _ranged(value: bytes, start: int, end: int, unit: str) -> tuple[int, list[int]]:
    """The first bit of a range, and the bits, the way of Redis for what is out of it."""
    each = 1 if unit == "BIT" else 8
    size = len(value) * 8 // each
    start = max(start + size, 0) if start < 0 else start
    end = max(end + size, 0) if end < 0 else end
    end = min(end, size - 1)
    return start * each, _bits(value)[start * each : (end + 1) * each] if start <= end else []


def test_counts_and_places_in_ranges(machine: Machine) -> None:
    chance = random.Random(7)
    for _ in range(400):
        value = b"".join(chance.choice((b"\0", b"\xff", b"\x0f", b"\x10")) for _ in range(6))
        value = value[: chance.randrange(7)]
        run(machine, (b"SET", b"a", value))
        start, end = chance.randrange(-60, 60), chance.randrange(-60, 60)
        unit, bit = chance.choice(("BIT", "byte")).upper(), chance.randrange(2)
        first, bits = _ranged(value, start, end, unit)
        count = 0 if end < start < 0 else bits.count(1)
        assert run(machine, f"BITCOUNT a {start} {end} {unit}") == count, (value, start, end)
        place = first + bits.index(bit) if bit in bits else -1
        assert run(machine, f"BITPOS a {bit} {start} {end} {unit}") == place, (value, start, end)


def test_behind_a_string_without_an_end_there_are_zeros(machine: Machine) -> None:
    run(machine, (b"SET", b"a", b"\xff\xff"))
    assert run(machine, "BITPOS a 0") == 16
    assert run(machine, "BITPOS a 0 1") == 16
    assert run(machine, "BITPOS a 0 2") == -1
    assert run(machine, "BITPOS a 0 0 -1") == -1
    run(machine, (b"SET", b"a", b""))
    assert run(machine, "BITPOS a 0") == -1


def test_joining(machine: Machine) -> None:
    run(machine, (b"MSET", b"x", b"\x0f\xf0\xff", b"y", b"\x3c"))
    for name, joined in (
        ("and", b"\x0c\0\0"),
        ("OR", b"\x3f\xf0\xff"),
        ("XOR", b"\x33\xf0\xff"),
    ):
        assert run(machine, f"BITOP {name} due x y none") == 3
        if name == "and":
            joined = bytes(3)  # with what is absent
        assert item(machine, "due").value == joined
    assert item(machine, "due").deadline_ms == 0
    assert run(machine, "BITOP AND due x y") == 3
    assert item(machine, "due").value == b"\x0c\0\0"
    assert run(machine, "BITOP NOT x x") == 3
    assert item(machine, "x").value == b"\xf0\x0f\0"
    assert run(machine, "BITOP XOR x none none") == 0
    assert machine.get(b"x") is None


# Fields.


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("BITFIELD b", []),
        ("BITFIELD s", WRONG),
        ("BITFIELD s GET u8", SYNTAX),
        ("BITFIELD a NEVER u8 0", SYNTAX),
        ("BITFIELD s GET u64 0", FIELD),
        ("BITFIELD s GET i65 0", FIELD),
        ("BITFIELD s GET u0 0", FIELD),
        ("BITFIELD s GET U8 0", FIELD),
        ("BITFIELD s GET u08 0", FIELD),
        ("BITFIELD s GET u8 -1", OFFSET),
        ("BITFIELD s GET u8 8000", OFFSET),
        ("BITFIELD s GET u8 #1000", OFFSET),
        ("BITFIELD a GET u8 #999", [0]),
        ("BITFIELD_RO s GET u8 4294967296", OFFSET),
        ("BITFIELD_RO s GET u8 #536870912", OFFSET),
        ("BITFIELD_RO a GET u8 #536870911", [0]),
        ("BITFIELD s SET u8 0 x", NOT_INTEGER),
        ("BITFIELD s OVERFLOW never GET u8 x", Failure("ERR Invalid OVERFLOW type specified")),
        ("BITFIELD a SET u8 7993 1", Failure(TOO_LONG)),
        ("BITFIELD_RO s SET u8 0 1", Failure("ERR BITFIELD_RO only supports the GET subcommand")),
        ("BITFIELD_RO s GET u8 0", WRONG),
        ("BITFIELD_RO a GET u8 0 GET u4 #1 GET i8 4", [118, 6, 96]),
        ("BITFIELD_RO b GET i64 3", [0]),
        ("BITFIELD b SET u8 0 255 GET u8 0 GET i8 0", [0, 255, -1]),
        ("BITFIELD b INCRBY u2 0 1 OVERFLOW SAT INCRBY u2 2 9 INCRBY u2 2 -9", [1, 3, 0]),
        ("BITFIELD b incrby i5 #1 16 overflow fail incrby i5 #1 -1 get i5 #1", [-16, None, -16]),
        ("BITFIELD b OVERFLOW FAIL SET u4 0 16", [None]),
        ("BITFIELD b SET u4 0 -1 GET u4 0", [0, 15]),
        ("BITFIELD b OVERFLOW SAT SET u4 0 -1 GET u4 0", [0, 15]),
        ("BITFIELD b OVERFLOW SAT SET i4 0 -100 GET i4 0", [0, -8]),
        ("BITFIELD b SET i64 1 -9223372036854775808 INCRBY i64 1 -1", [0, (1 << 63) - 1]),
    ],
)
def test_fields(machine: Machine, line: str, reply: Value) -> None:
    assert run(machine, line) == reply


def test_a_field_that_fails_still_makes_the_string_long_enough(machine: Machine) -> None:
    """So does Redis."""
    assert run(machine, "BITFIELD b OVERFLOW FAIL SET u4 13 16") == [None]
    assert item(machine, "b").value == bytes(3)


def test_reading_fields_changes_nothing(machine: Machine) -> None:
    before = b"".join(machine.dump())
    assert run(machine, "BITFIELD a GET i64 100 OVERFLOW FAIL") == [0]
    assert run(machine, "BITFIELD a SET u8 0 118") == [118]
    assert b"".join(machine.dump()) == before


def test_fields_of_any_width_anywhere(machine: Machine) -> None:
    """Against bits in a list."""
    chance = random.Random(8)
    bits = [0] * 160
    run(machine, (b"SET", b"b", bytes(20)))
    for _ in range(400):
        width = chance.choice((1, 2, 7, 8, 9, 31, 32, 63, chance.randrange(1, 65)))
        signed = width == 64 or chance.random() < 0.5
        at = chance.randrange(160 - width)
        number = chance.randrange(1 << width)
        old = int("".join(map(str, bits[at : at + width])), 2)
        bits[at : at + width] = [number >> shift & 1 for shift in range(width - 1, -1, -1)]
        kind = f"{'i' if signed else 'u'}{width}"
        if signed:
            old, number = (
                each - (1 << width) if each >> (width - 1) else each for each in (old, number)
            )
        line = f"BITFIELD b SET {kind} {at} {number} GET {kind} {at}"
        assert run(machine, line) == [old, number], line
    assert _bits(item(machine, "b").value) == bits
