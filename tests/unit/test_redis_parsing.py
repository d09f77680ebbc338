"""How arguments of Redis commands are read; each expectation was tried with redis-server 7.0.15."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN
from raftcache.state.machine import Machine
from raftcache.state.redis.parsing import (
    Refuse,
    at_least,
    count_to_draw,
    double_or_none,
    strtod,
    timeout_ms,
)
from raftcache.state.redis.store import ELEMENTS_READ_MAX, Store


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"1", 1.0),
        (b"+.5", 0.5),
        (b"5.", 5.0),
        (b"-1e3", -1000.0),
        (b"0x10", 16.0),
        (b"-0x1.8P1", -3.0),
        (b"InFinity", math.inf),
        (b"-inf", -math.inf),
        (b"1e-320", 1e-320),
        (b"0e-400", 0.0),
        (b"0x0.0p-5000", 0.0),
    ],
)
def test_a_double(text: bytes, number: float) -> None:
    assert double_or_none(text) == number
    assert strtod(text) == number


@pytest.mark.parametrize(
    "text", [b"", b" 1", b"1 ", b"nan", b"0x", b"1e", b".", b"1_0", b"e5", b"1\0", b"+-1", b"0x1p"]
)
def test_no_double(text: bytes) -> None:
    assert double_or_none(text) is None
    assert strtod(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"1e400", math.inf),
        (b"-0x1p9999", -math.inf),
        (b"1e-400", 0.0),
        (b"0x1p-9999", 0.0),
    ],
)
def test_what_is_near_no_double(text: bytes, number: float) -> None:
    assert double_or_none(text) is None
    assert strtod(text) == number


def test_counts() -> None:
    assert at_least(b"1", 1) == 1
    assert count_to_draw(b"%d" % -INTEGER_MAX) == -INTEGER_MAX
    for text in (b"0", b"-1", b"x", b"%d" % (INTEGER_MAX + 1)):
        with pytest.raises(Refuse, match="must be positive"):
            at_least(text, 1)
    with pytest.raises(Refuse, match="must between -9223372036854775807 and 9223372036854775807"):
        count_to_draw(b"%d" % INTEGER_MIN)
    with pytest.raises(Refuse, match="not an integer"):
        count_to_draw(b"1.0")


def test_timeouts() -> None:
    assert [timeout_ms(text) for text in (b"0", b"1.5", b"0.0001", b"-0.0001")] == [0, 1500, 1, 0]
    for text in (b"-1", b"1e300", b"1e400", b"inf"):
        with pytest.raises(Refuse, match="ERR timeout is negative"):
            timeout_ms(text)
    with pytest.raises(Refuse, match="ERR timeout is not a float or out of range"):
        timeout_ms(b"soon")


def test_what_is_drawn_depends_on_the_dice_alone_and_all_have_the_same_chance() -> None:
    store = Store(Machine()._changes)

    def draw(dice: int, count: int, size: int) -> list[int]:
        store.begin(0, 0, dice)
        return store.draw(count, size)

    assert draw(7, 3, 10) == draw(7, 3, 10)
    assert sorted(draw(7, 99, 10)) == list(range(10))
    assert draw(7, 0, 10) == []
    assert len(draw(7, -99, 2)) == 99
    chances = Counter(tuple(draw(dice, 2, 4)) for dice in range(1200))
    assert len(chances) == 12
    assert min(chances.values()) > 60
    for count in (-ELEMENTS_READ_MAX - 1, ELEMENTS_READ_MAX + 1):
        with pytest.raises(Refuse, match="looks at up to"):
            draw(7, count, 1 << 30)
