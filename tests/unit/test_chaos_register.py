"""The judge of registers: good histories stay good, and every way to change an answer shows."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from chaos.history import Anomaly, Operation, Outcome
from chaos.workloads.register import Register

MS = 10**6
KEY = "register:0"


def op(
    kind: str,
    argument: object,
    begin: int,
    end: int,
    result: object = None,
    outcome: Outcome = Outcome.OK,
) -> Operation:
    return Operation(0, kind, KEY, argument, begin * MS, end * MS, outcome, result)


def write(value: str, begin: int, end: int, revision: int) -> Operation:
    return op("write", value, begin, end, revision)


def read(value: str, revision: int, begin: int, end: int) -> Operation:
    return op("read", None, begin, end, [value, revision])


def cas(
    seen: tuple[str, int], value: str, begin: int, end: int, result: tuple[bool, int]
) -> Operation:
    return op("cas", [*seen, value], begin, end, list(result))


def unknown(value: str, begin: int, end: int) -> Operation:
    return op("write", value, begin, end, None, Outcome.UNKNOWN)


def refused(value: str, begin: int, end: int) -> Operation:
    return op("write", value, begin, end, None, Outcome.FAIL)


def judged(*operations: Operation) -> list[Anomaly]:
    return Register.judge(sorted(operations, key=lambda o: o.invoked_ns))


GOOD = {
    "absent": [read("", 0, 0, 1)],
    "in order": [write("a", 0, 1, 3), read("a", 3, 2, 3), write("b", 4, 5, 9)],
    "swapped": [write("a", 0, 1, 3), cas(("a", 3), "b", 2, 3, (True, 5)), read("b", 5, 4, 5)],
    "not swapped": [
        write("a", 0, 1, 3),
        write("b", 2, 3, 4),
        cas(("a", 3), "c", 4, 5, (False, 4)),
    ],
    "late": [unknown("a", 0, 1), write("b", 2, 3, 4), read("b", 4, 4, 5), read("a", 7, 6, 7)],
    "never": [unknown("a", 0, 1), write("b", 2, 3, 4), read("b", 4, 4, 5)],
    "not answered when the run ended": [Operation(0, "read", KEY, None, 1)],
    "refused": [refused("a", 0, 1), read("", 0, 2, 3)],
    "seen only by a refused swap": [
        write("a", 0, 1, 3),
        unknown("b", 2, 3),
        cas(("a", 3), "c", 4, 5, (False, 4)),
    ],
}

BAD = {
    "stale": [write("a", 0, 1, 3), write("b", 2, 3, 4), read("a", 3, 4, 5)],
    "lost": [write("a", 0, 1, 3), read("", 0, 2, 3)],
    "from nowhere": [read("a", 3, 0, 1)],
    "back again": [unknown("a", 0, 1), read("a", 2, 2, 3), write("b", 4, 5, 6), read("a", 2, 7, 8)],
    "refused, yet seen": [refused("a", 0, 1), read("a", 2, 2, 3)],
    "swapped twice": [
        write("a", 0, 1, 3),
        cas(("a", 3), "b", 2, 9, (True, 4)),
        cas(("a", 3), "c", 2, 9, (True, 5)),
    ],
    "not swapped for nothing": [write("a", 0, 1, 3), cas(("a", 3), "b", 2, 3, (False, 3)),
                                cas(("a", 3), "c", 4, 5, (False, 9))],
    "revisions against time": [write("a", 0, 1, 4), write("b", 2, 3, 3)],
    "a revision of nobody": [write("a", 0, 1, 3), cas(("a", 3), "b", 2, 3, (False, 9))],
    "two revisions": [write("a", 0, 1, 3), read("a", 4, 2, 3)],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name: str) -> None:
    assert judged(*GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name: str) -> None:
    found = judged(*BAD[name])
    assert found
    assert all(anomaly.key == KEY for anomaly in found)


def test_it_says_that_a_refused_write_was_seen() -> None:
    assert judged(*BAD["refused, yet seen"])[0].sentence.endswith("'a' was refused, and yet seen")


# --- generated histories ------------------------------------------------------------------------


def simulated(size: int, dice: random.Random) -> list[Operation]:
    """A register that keeps its word, and its clients; some never hear what became of a write."""
    spans, free = [], [0] * 8
    for _ in range(size):
        client = free.index(min(free))
        begin = free[client] + dice.randrange(1, 40)
        end = free[client] = begin + dice.randrange(1, 60)
        spans.append((dice.randint(begin, end), begin, end))
    value, revision, known = "", 0, [("", 0)]
    done: list[Operation] = []
    for number, (_, begin, end) in enumerate(sorted(spans), 1):
        chance, fresh, new = dice.random(), f"v{number}", revision + dice.randrange(1, 4)
        lost = dice.random() < 0.03
        if chance < 0.4:
            done.append(read(value, revision, begin, end))
            known.append((value, revision))
            continue
        if chance < 0.7:
            happens, result = not lost or dice.random() < 0.5, new
            operation = write(fresh, begin, end, result)
        else:
            seen = dice.choice(known[-2:])
            happens = seen == (value, revision) and seen[1] > 0
            if seen[1] == 0:
                continue
            operation = cas(seen, fresh, begin, end, (happens, new if happens else revision))
            happens = happens and (not lost or dice.random() < 0.5)
        if lost:
            operation.outcome, operation.result = Outcome.UNKNOWN, None
        done.append(operation)
        if happens:
            value, revision = fresh, new
    return sorted(done, key=lambda o: o.invoked_ns)


def stale_answers(history: Sequence[Operation]) -> list[tuple[Operation, Operation]]:
    """(read, write): what the write set was replaced, for all to know, before the read began."""
    writes = [o for o in history if o.kind == "write" and o.ok]
    found = []
    for one in (o for o in history if o.kind == "read"):
        before = [o for o in writes if (o.completed_ns or 0) < one.invoked_ns]
        if len(before) > 1:
            first, last = min(before, key=lambda o: o.result), max(before, key=lambda o: o.result)
            if (first.completed_ns or 0) < last.invoked_ns:
                found.append((one, first))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_register_that_keeps_its_word_is_found_good(seed: int) -> None:
    assert Register.judge(simulated(600, random.Random(seed))) == []


@pytest.mark.parametrize("seed", range(8))
def test_one_stale_answer_among_hundreds_is_found_and_explained_by_a_few(seed: int) -> None:
    dice = random.Random(seed)
    history = simulated(600, dice)
    one, old = dice.choice(stale_answers(history))
    one.result = [old.argument, old.result]
    (anomaly,) = Register.judge(history)
    assert len(anomaly.evidence) <= 4, anomaly
    assert Register.judge(anomaly.evidence), "the evidence proves nothing by itself"


@pytest.mark.parametrize("seed", range(4))
def test_one_lost_write_is_found(seed: int) -> None:
    """It was acknowledged, and everyone goes on as if it had not been there."""
    dice = random.Random(seed)
    history = simulated(300, dice)
    last_ns = max(o.completed_ns or 0 for o in history) // MS
    top = max(o.result for o in history if o.kind == "write" and o.ok)
    value = next((o for o in reversed(history) if o.kind == "read"), None)
    assert value is not None
    history.append(write("lost", last_ns + 1, last_ns + 2, top + 10))
    history.append(read(*value.result, last_ns + 3, last_ns + 4))
    assert Register.judge(history)
