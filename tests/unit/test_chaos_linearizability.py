"""The search for an order: histories known to be good and bad, of a plain register."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from chaos import linearizability
from chaos.linearizability import Call, Undecided, first_inexplicable

Word = tuple[str, int]


def step(value: int, word: Word) -> int | None:
    """A register: w sets it, r is what a read saw."""
    kind, number = word
    if kind == "w":
        return number
    return value if value == number else None


def w(number: int, begin: int, end: int | None) -> Call[Word]:
    return Call(("w", number), begin, end)


def r(number: int, begin: int, end: int | None) -> Call[Word]:
    return Call(("r", number), begin, end, changes=False)


def judged(*calls: Call[Word]) -> Call[Word] | None:
    found = first_inexplicable(calls, 0, step)
    assert found == first_inexplicable(calls[::-1], 0, step), "the order of the list matters"
    return found


GOOD = [
    [],
    [r(0, 0, 1)],
    [w(1, 0, 1), r(1, 2, 3)],
    [w(1, 0, 10), r(0, 1, 2), r(1, 3, 4)],  # between the two, and all within the write
    [w(1, 0, 10), w(2, 0, 10), r(2, 11, 12)],
    [w(1, 0, 10), w(2, 0, 10), r(1, 11, 12)],
    [w(1, 0, 10), w(2, 0, 10), r(2, 1, 2), r(1, 3, 4)],
    [w(1, 0, None), r(0, 5, 6), r(1, 7, 8)],  # an unknown outcome: late ...
    [w(1, 0, None), r(0, 5, 6)],  # ... or never
    [w(1, 0, None), w(2, 1, 2), r(2, 3, 4), r(1, 5, 6)],
    [w(1, 0, 5), r(1, 5, 6), r(0, 0, 5)],  # what touches overlaps
    [w(1, 0, 1), w(2, 2, 3), r(2, 2, 3), r(1, 2, 3)],
]

BAD = [
    ([r(1, 0, 1)], 0),  # nobody wrote it
    ([w(1, 0, 1), r(0, 2, 3)], 1),  # stale
    ([w(1, 0, 10), r(1, 1, 2), r(0, 3, 4)], 2),  # back again
    ([w(1, 0, 1), w(2, 2, 3), r(1, 4, 5)], 2),  # a lost write
    ([w(1, 5, None), r(1, 0, 1)], 1),  # seen before it was asked for
    ([w(1, 0, None), r(1, 1, 2), r(0, 3, 4)], 2),  # unknown, but it was seen
    ([w(1, 0, None), r(1, 1, 2), w(2, 3, 4), r(1, 5, 6)], 3),  # a late write happens once
    ([w(1, 0, 10), w(2, 0, 10), r(1, 11, 12), r(2, 13, 14)], 3),
    ([w(1, 0, 10), w(2, 0, 10), r(1, 1, 2), r(2, 3, 4), r(1, 5, 6)], 4),
    ([w(1, 0, 1), r(0, 2, 9), r(1, 3, 4)], 1),  # reported when the answer came, not before
]


@pytest.mark.parametrize("calls", GOOD)
def test_what_has_an_order_is_good(calls: list[Call[Word]]) -> None:
    assert judged(*calls) is None


@pytest.mark.parametrize(("calls", "culprit"), BAD)
def test_what_has_none_ends_with_the_call_that_cannot_be(
    calls: list[Call[Word]], culprit: int
) -> None:
    assert judged(*calls) == calls[culprit]


def one_register(size: int, clients: int, dice: random.Random) -> list[Call[Word]]:
    """A good history: every call takes effect at some moment between its two ends."""
    free = [0] * clients
    spans = []
    for _ in range(size):
        client = free.index(min(free))
        begin = free[client] + dice.randrange(1, 50)
        end = free[client] = begin + dice.randrange(1, 100)
        spans.append((dice.randint(begin, end), begin, end))
    calls, value = [], 0
    for number, (_, begin, end) in enumerate(sorted(spans), 1):
        if dice.random() < 0.5:
            value = number
            calls.append(w(value, begin, end))
        else:
            calls.append(r(value, begin, end))
    return calls


@pytest.mark.parametrize("seed", range(3))
def test_a_long_history_is_judged_and_one_changed_answer_is_found(seed: int) -> None:
    calls = one_register(3000, 5, random.Random(seed))
    assert judged(*calls) is None
    changed, call = next((i, c) for i, c in enumerate(calls[2000:], 2000) if c.word[0] == "r")
    calls[changed] = r(-1, call.invoked_ns, call.completed_ns)
    assert judged(*calls) == calls[changed]


def test_calls_that_never_completed_do_not_slow_it_down() -> None:
    """A hundred of them could happen anywhere: tried early, each would double the work."""
    calls: list[Call[Word]] = []
    for number in range(1, 2001):
        calls += [w(number, 10 * number, 10 * number + 4)]
        calls += [r(number, 10 * number + 5, 10 * number + 9)]
        if number % 20 == 0:
            calls.append(w(-number, 10 * number, None))
    assert judged(*calls) is None


def test_a_search_that_takes_too_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "CONFIGURATIONS_MAX", 1000)
    calls: Sequence[Call[Word]] = [w(n, 0, 100) for n in range(1, 30)] + [r(99, 0, 100)]
    with pytest.raises(Undecided, match="30 calls"):
        first_inexplicable(calls, 0, step)
