"""The judge of locks: what it must find, and what it must leave alone."""

from __future__ import annotations

import pytest

from chaos.history import Operation, Outcome
from chaos.workloads.lock import CLOCK, Locking
from tests.unit.test_chaos_workloads import op, sentences

KEY = "lock:0"
TTL = 1000


def read(at: int, left: int) -> Operation:
    """Of the clock, which has that many milliseconds left."""
    return op("read", CLOCK, None, at, at, left)


CALM = [read(0, 90_000), read(20_000, 70_000)]
JUMP = [read(0, 90_000), read(20_000, 60_000)]
"""Cluster time gains ten seconds: the whole cluster began again."""


def acquire(token: int | None, begin: int, end: int, kind: str = "acquire") -> Operation:
    return op(kind, KEY, [TTL, 0], begin, end, token)


def keep(token: int, begin: int, end: int, held: bool = True) -> Operation:
    return op("keep", KEY, token, begin, end, held)


def release(token: int, begin: int, end: int, held: bool = True) -> Operation:
    return op("release", KEY, token, begin, end, held)


def unknown(kind: str, token: int, begin: int, end: int) -> Operation:
    return op(kind, KEY, token, begin, end, None, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    "operations",
    [
        [acquire(1, 10, 20), release(1, 30, 40), acquire(2, 50, 60)],
        [acquire(1, 10, 20), release(1, 30, 80), acquire(2, 5, 35)],  # asked early, given at once
        [acquire(1, 10, 20), acquire(None, 30, 40), acquire(2, 30, 1050)],  # it ran out
        [acquire(1, 10, 20), keep(1, 900, 910), acquire(2, 30, 1950)],
        [acquire(1, 10, 20), keep(1, 1900, 1910, held=False), acquire(2, 30, 1050)],
        [acquire(1, 10, 20), unknown("release", 1, 30, 40), acquire(2, 30, 45)],
        [acquire(1, 10, 20), release(1, 30, 40), release(1, 50, 60, held=False)],
        [acquire(2, 10, 5000), acquire(3, 20, 4000)],  # answered when their time was over
        [acquire(1, 10, 20, "final"), release(1, 30, 40)],
    ],
)
def test_what_may_be(operations: list[Operation]) -> None:
    assert sentences(Locking, *CALM, *operations) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([acquire(1, 10, 20), acquire(2, 30, 40)], "tokens 1 and 2 were held at the same time"),
        (
            [acquire(1, 10, 20), keep(1, 900, 910), acquire(2, 30, 1500)],
            "tokens 1 and 2 were held at the same time",
        ),
        ([acquire(1, 10, 20), release(1, 30, 40), acquire(1, 50, 60)], "token 1 was given twice"),
        (
            [acquire(5, 10, 20), release(5, 30, 40), acquire(4, 50, 60)],
            "token 4 was asked for after 5 was known",
        ),
        ([acquire(1, 10, 20), keep(1, 30, 40, held=False)], "lost before its time was over"),
        ([acquire(1, 10, 20), release(1, 30, 40, held=False)], "lost before its time was over"),
        ([acquire(None, 10, 20, "final")], "it was not granted within 30000 ms"),
    ],
)
def test_what_may_not_be(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(Locking, *CALM, *operations)


def test_a_hold_is_shorter_when_cluster_time_gained_and_unsure_when_nobody_looked() -> None:
    broken = [acquire(1, 10, 20), acquire(2, 30, 40)]
    assert sentences(Locking, *JUMP, *broken) == ""
    assert sentences(Locking, *broken) == ""
