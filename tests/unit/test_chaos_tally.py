"""The judge of kill_leader: it must find what is lost, what is there twice, and what is ghostly."""

from __future__ import annotations

import pytest

from chaos.tally import Increments, Puts, Verdict, judge, longest_gap_s


def verdict(put: int, counter: int, numbers: list[int] | None = None) -> Verdict:
    """Puts 1, 2 and 4 were acknowledged (3 was refused), and three increments."""
    puts = {"p": Puts([1, 2, 4], refused=1)}
    increments = {"c": Increments(numbers or [1, 3, 2])}
    return judge(puts, increments, {"n1": {"p": 4, "c": 3}, "n2": {"p": put, "c": counter}})


def test_what_agrees_holds() -> None:
    assert verdict(4, 3) == Verdict(0, 0, ())
    assert verdict(4, 3).holds


@pytest.mark.parametrize(
    ("put", "counter", "lost", "duplicates", "sentence"),
    [
        (2, 3, 1, 0, "p is 2 on n2: 4 was acknowledged"),
        (0, 3, 3, 0, "p is 0 on n2: 4 was acknowledged"),
        (3, 3, 1, 0, "p is 3 on n2: 4 was acknowledged"),
        (5, 3, 0, 1, "p is 5 on n2: put after 4, yet refused"),
        (4, 1, 2, 0, "c is 1 on n2: 3 were acknowledged"),
        (4, 5, 0, 2, "c is 5 on n2: only 3 were acknowledged"),
    ],
)
def test_what_does_not_is_counted_and_named(
    put: int, counter: int, lost: int, duplicates: int, sentence: str
) -> None:
    assert verdict(put, counter) == Verdict(lost, duplicates, (sentence,))
    assert not verdict(put, counter).holds


def test_two_increments_with_one_answer_mean_that_one_was_lost() -> None:
    """Even if a later duplicate makes up for it in the sum."""
    got = verdict(4, 3, [1, 2, 2])
    assert (got.lost, got.duplicates) == (1, 0)
    assert got.sentences == ("c: two increments were answered with [2]",)


@pytest.mark.parametrize(
    ("acknowledged_at", "gap_s"),
    [
        ([1.0, 2.0, 9.0, 9.5], 7.0),  # from the last one before the kill at 3
        ([1.0, 2.9, 3.1, 8.0, 9.9], 4.9),  # one that was under way got through
        ([4.0, 5.0], 5.0),  # nothing before, and silence after
        ([], 7.0),
        ([1.0, 2.0, 99.0], 8.0),  # what comes after the window is not looked at
    ],
)
def test_the_longest_gap(acknowledged_at: list[float], gap_s: float) -> None:
    assert longest_gap_s(acknowledged_at, 3.0, 10.0) == pytest.approx(gap_s)
