"""The other judges: what each of them must find, and what it must leave alone."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest

from chaos.history import Operation, Outcome
from chaos.workloads.bank import Bank
from chaos.workloads.counter import Counter
from chaos.workloads.stale import Stale
from chaos.workloads.ttl import CLOCK, TimeToLive
from chaos.workloads.unique_set import UniqueSet
from chaos.workloads.watch import Watching

MS = 10**6


def op(
    kind: str,
    key: str,
    argument: object,
    begin: int,
    end: int,
    result: object = None,
    outcome: Outcome = Outcome.OK,
) -> Operation:
    return Operation(0, kind, key, argument, begin * MS, end * MS, outcome, result)


def sentences(judge: type, *operations: Operation) -> str:
    found = judge.judge(sorted(operations, key=lambda o: o.invoked_ns))  # type: ignore[attr-defined]
    return "; ".join(anomaly.sentence for anomaly in found)


# --- counter ------------------------------------------------------------------------------------


def incr(begin: int, end: int, *numbers: int, outcome: Outcome = Outcome.OK) -> Operation:
    return op("incr", "counter:0", 1, begin, end, list(numbers), outcome)


def total(number: int, begin: int, end: int) -> Operation:
    return op("read", "counter:0", None, begin, end, number)


def test_each_increment_once() -> None:
    lost = incr(2, 3, outcome=Outcome.UNKNOWN)
    refused = incr(2, 3, outcome=Outcome.FAIL)
    good = [incr(0, 1, 1), incr(2, 5, 3), incr(2, 5, 2), refused, total(3, 6, 7)]
    assert sentences(Counter, *good) == ""
    assert sentences(Counter, incr(0, 1, 1), lost, total(1, 4, 5), total(2, 6, 7)) == ""
    assert sentences(Counter, incr(0, 1, 1), lost, total(1, 4, 5)) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([incr(0, 1, 1), incr(2, 3, 1)], "two increments were answered 1"),
        ([incr(0, 1, 1, 2)], "one increment was answered [1, 2]"),
        ([incr(0, 1, 1), total(2, 2, 3)], "that read was answered 2: 1 increments were done"),
        ([incr(0, 1, 1), total(0, 2, 3)], "that read was answered 0: 1 increments were done"),
        ([incr(0, 1, 2), incr(2, 3, 1)], "that incr was answered 2"),
        ([incr(0, 1, 2)], "that incr was answered 2"),
    ],
)
def test_increments_lost_or_done_twice(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(Counter, *operations)


# --- set ----------------------------------------------------------------------------------------


def add(element: str, begin: int, end: int, size: int) -> Operation:
    return op("add", "set:0", element, begin, end, size)


def final(text: str) -> Operation:
    return op("final", "set:0", None, 90, 99, text)


def seen(text: str, begin: int, end: int) -> Operation:
    return op("read", "set:0", None, begin, end, [len(text), crc32(text.encode())])


A, B = add("a;", 0, 1, 2), add("b;", 2, 3, 4)
NEVER = op("add", "set:0", "n;", 0, 1, None, Outcome.FAIL)
MAYBE = op("add", "set:0", "m;", 0, 1, None, Outcome.UNKNOWN)


def test_sets_that_keep_their_word() -> None:
    assert sentences(UniqueSet, A, B, NEVER, final("a;b;")) == ""
    assert sentences(UniqueSet, A, MAYBE, final("a;m;"), seen("a;", 2, 3)) == ""
    assert sentences(UniqueSet, A, B, final("a;b;"), seen("", 0, 1), seen("a;b;", 2, 3)) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([A, B, final("a;")], "'b;' was acknowledged, and is lost"),
        ([A, final("a;a;")], "'a;' is there 2 times"),
        ([A, NEVER, final("a;n;")], "'n;' was refused, and yet is there"),
        ([A, final("a;x;")], "'x;' is there, and nobody added it"),
        ([A, B, final("b;a;")], "'a;' is not where its answer said"),
        ([add("b;", 0, 1, 4), add("a;", 2, 3, 2), final("a;b;")], "in the wrong order"),
        ([A, final("a;"), final("")], "nodes do not agree"),
        ([A, B, final("a;b;"), seen("a;", 4, 5)], "missed what was done before it began"),
        ([A, B, final("a;b;"), seen("b;", 4, 5)], "no beginning of the final value"),
        ([A, B, final("a;b;"), seen("a;b;", 0, 1)], "saw what was begun after it"),
    ],
)
def test_sets_that_do_not(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(UniqueSet, *operations)


# --- ttl ----------------------------------------------------------------------------------------


def put(begin: int, end: int, ttl_ms: int, outcome: Outcome = Outcome.OK) -> Operation:
    return op("put", "ttl:k", ttl_ms, begin, end, 1, outcome)


def left(begin: int, end: int, left_ms: int | None, kind: str = "read") -> Operation:
    return op(kind, "ttl:k", None, begin, end, left_ms)


def clock(at: int, cluster_ms: int) -> Operation:
    """A look at the clock key, which has a million ms to live."""
    return op("read", CLOCK, None, at, at, 1_000_000 - cluster_ms)


TRUE = (clock(0, 0), clock(5000, 5000), clock(9000, 9000))


def test_keys_that_live_as_long_as_they_may() -> None:
    assert (
        sentences(TimeToLive, *TRUE, put(1, 2, 1000), left(900, 901, 99), left(1001, 1002, None))
        == ""
    )
    assert (
        sentences(TimeToLive, *TRUE, put(1, 2, 1000), left(4000, 4001, 5), left(4500, 4600, None))
        == ""
    ), "cluster time may run behind"
    late = put(1, 2, 1000, Outcome.UNKNOWN)
    assert sentences(TimeToLive, *TRUE, late, left(3, 4, None), left(5, 6, 900)) == ""


def test_a_cold_start_may_move_cluster_time_ahead() -> None:
    jumped = (clock(0, 0), clock(500, 80_000))
    assert sentences(TimeToLive, *jumped, put(1, 2, 1000), left(400, 401, None)) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([put(1, 2, 1000), left(500, 501, None)], "gone after 500 of 1000 ms"),
        ([put(1, 2, 1000), left(1100, 1101, None), left(1200, 1201, 5)], "back from the dead"),
        ([put(1, 2, 1000), left(5, 6, 1001)], "1001 ms left of 1000"),
        ([put(1, 2, 1000, Outcome.FAIL), left(5, 6, 900)], "refused, and yet seen"),
        ([put(1, 2, 1000), left(8000, 8001, 5, "final")], "not removed long after its time"),
    ],
)
def test_keys_that_die_early_or_come_back(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(TimeToLive, *TRUE, *operations)


# --- stale --------------------------------------------------------------------------------------


def wrote(number: int, begin: int, end: int, outcome: Outcome = Outcome.OK) -> Operation:
    return op("write", "stale:0", number, begin, end, 1, outcome)


def got(number: int, bound_ms: int, begin: int, end: int) -> Operation:
    return op("read", "stale:0", bound_ms, begin, end, [number, "n1"])


def test_stale_reads_within_their_bound() -> None:
    one, two = wrote(1, 0, 10), wrote(2, 20, 30)
    assert sentences(Stale, one, two, got(1, 100, 130, 131)) == "", "replaced 100 ms ago"
    assert sentences(Stale, one, two, got(2, 100, 25, 26)) == "", "not acknowledged yet"
    assert sentences(Stale, one, wrote(2, 20, 30, Outcome.FAIL), got(1, 100, 900, 901)) == ""
    assert sentences(Stale, one, wrote(2, 20, 30, Outcome.UNKNOWN), got(1, 100, 900, 901)) == ""


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (got(1, 100, 131, 132), "1 was replaced 101 ms ago; the bound was 100 ms"),
        (got(0, 100, 131, 132), "0 was replaced 121 ms ago"),
        (got(2, 100, 15, 16), "2 was seen before it was written"),
        (got(3, 100, 50, 51), "3 was refused, and yet seen"),
    ],
)
def test_stale_reads_beyond_it(read: Operation, sentence: str) -> None:
    writes = [wrote(1, 0, 10), wrote(2, 20, 30), wrote(3, 40, 41, Outcome.FAIL)]
    assert sentence in sentences(Stale, *writes, read)


# --- watch --------------------------------------------------------------------------------------


def changed(
    begin: int, end: int, revision: int, *changes: list[str | None], **more: Any
) -> Operation:
    return op("put", "watch:0", list(changes), begin, end, revision, **more)


def watched(
    begin: int, end: int, first: int, last: int, *seen: Any, since: int | None = 0
) -> Operation:
    result = {"from": first, "to": last, "seen": list(seen)}
    return op("watch", "watch:", since, begin, end, result)


ONE: list[str | None] = ["watch:0", "x"]
TWO: list[str | None] = ["watch:1", "y"]
GONE: list[str | None] = ["watch:0", None]
FIRST, THIRD = changed(0, 1, 1, ONE), changed(2, 3, 3, TWO, GONE)
WHOLE = watched(4, 5, 0, 4, [1, [ONE]], [3, [TWO, GONE]])


def test_watches_that_keep_their_word() -> None:
    part = watched(4, 5, 1, 3, [3, [TWO, GONE]], since=1)
    now = watched(4, 5, 3, 9, since=None)
    maybe = changed(0, 1, 0, ["watch:0", "z"], outcome=Outcome.UNKNOWN)
    forgotten = op("watch", "watch:", 0, 6, 7, {"forgotten": 2})
    assert sentences(Watching, FIRST, THIRD, WHOLE, part, now, maybe, forgotten) == ""
    assert sentences(Watching, FIRST, THIRD) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([watched(4, 5, 0, 4, [3, [TWO, GONE]])], "a watch missed revision 1"),
        ([watched(4, 5, 0, 4, [1, [ONE]], [3, [TWO]])], "two watches differ at 3"),
        ([watched(4, 5, 0, 4, [3, [TWO, GONE]], [1, [ONE]])], "revision 1 came after 3"),
        ([watched(4, 5, 0, 1, [1, [ONE]], [1, [ONE]])], "revision 1 came after 1"),
        ([watched(4, 5, 0, 1, [1, [ONE]], [3, [TWO, GONE]])], "in a watch up to 1"),
        ([watched(4, 5, 1, 4, [3, [TWO, GONE]], since=0)], "since 0 began at 1"),
        ([changed(0, 1, 2, ["watch:0", "lost"])], "acknowledged at 2, where watches saw []"),
        ([changed(0, 1, 3, TWO)], "acknowledged at 3, where watches saw"),
        ([watched(4, 5, 4, 9, [5, [ONE]], since=4)], "'x' was seen at two revisions"),
        ([changed(0, 1, 0, TWO, outcome=Outcome.FAIL)], "'y' was refused, and yet seen"),
        ([watched(4, 5, 2, 2, since=None)], "a watch from now began before it"),
        ([changed(6, 7, 4, ["watch:0", "late"])], "a watch knew what was begun later"),
    ],
)
def test_watches_that_break_it(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(Watching, FIRST, THIRD, WHOLE, *operations)


# --- bank ---------------------------------------------------------------------------------------

OPENING = op("open", "bank:", [100] * 5, 0, 1, 1)
POOR, RICH, SAME = [90, 5], [110, 5], [100, 1]
BEFORE, AFTER = [SAME] * 5, [POOR, RICH, SAME, SAME, SAME]


def moved(begin: int, end: int, result: object, **more: Any) -> Operation:
    """Ten, from the first account to the second."""
    argument = {"id": "x", "accounts": [0, 1], "amount": 10, "saw": [SAME, SAME]}
    argument |= {"by": more.pop("by", "revision"), "id": more.pop("line", "x")}
    return op("transfer", "bank:", argument, begin, end, result, **more)


def looked(begin: int, end: int, revision: int, accounts: list[list[int]]) -> Operation:
    return op("read", "bank:", None, begin, end, [revision, accounts])


def ledger(revision: int, *lines: list[Any]) -> Operation:
    return op("final", "bank:", None, 90, 99, [revision, list(lines)])


MOVED, LEDGER = moved(2, 5, [True, 5]), ledger(9, ["x", 5, 1])
LATE = moved(6, 7, [False, 6], line="late")


def test_banks_that_keep_their_word() -> None:
    looks = [looked(2, 3, 1, BEFORE), looked(3, 4, 5, AFTER), looked(6, 7, 8, AFTER)]
    gone = op("list", "bank:", None, 3, 4, None)
    assert sentences(Bank, OPENING, MOVED, LATE, *looks, gone, LEDGER) == ""
    refused = moved(2, 3, None, line="no", outcome=Outcome.FAIL)
    never = moved(2, 3, None, line="maybe", outcome=Outcome.UNKNOWN)
    behind = op("final", "bank:", None, 3, 4, [3, []])
    assert sentences(Bank, OPENING, MOVED, refused, never, LEDGER, behind) == ""
    maybe = moved(2, 3, None, outcome=Outcome.UNKNOWN)
    assert sentences(Bank, OPENING, maybe, *looks, LEDGER) == "", "it took effect later"
    assert sentences(Bank, OPENING, maybe, *looks) == "", "no node could be read in the end"
    early = op("final", "bank:", None, 2, 3, [1, []])
    assert sentences(Bank, OPENING, maybe, *looks, early) == "", "nor after it took effect"


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([MOVED, LEDGER, looked(2, 3, 5, [POOR, *BEFORE[1:]])], "490 is there in all, and not 500"),
        ([MOVED, LEDGER, looked(2, 3, 5, BEFORE[1:])], "400 is there in all, and not 500"),
        ([MOVED, LEDGER, looked(2, 3, 5, [[-10, 5], [210, 5], *BEFORE[2:]])], "is negative"),
        ([MOVED, LEDGER, looked(2, 3, 4, AFTER)], "at 4 the accounts were [[100, 1]"),
        ([MOVED, LEDGER, looked(2, 3, 5, BEFORE)], "at 5 the accounts were [[90, 5]"),
        ([MOVED, LEDGER, looked(2, 3, 0, BEFORE)], "at 0 the accounts were []"),
        ([MOVED, ledger(9)], "a transfer was acknowledged, and is lost"),
        ([MOVED, ledger(9, ["x", 5, 2])], "a transfer was done 2 times"),
        ([MOVED, ledger(9, ["x", 6, 1])], "done at 6, and not where its answer said"),
        ([moved(2, 3, None, outcome=Outcome.FAIL), LEDGER], "was refused, and yet done"),
        ([moved(2, 3, [False, 5]), LEDGER], "came too late, and yet done"),
        ([LEDGER], "'x' is in the ledger, and nobody asked for it"),
        ([MOVED, LEDGER, ledger(6)], "nodes do not agree on the ledger"),
        ([moved(2, 3, [False, 4], line="y"), MOVED, LEDGER], "came too late, and had not"),
        ([moved(2, 3, [False, 4], line="y", by="value"), MOVED, LEDGER], "and had not"),
        (
            [MOVED, moved(6, 7, [True, 6], line="y"), ledger(9, ["x", 5, 1], ["y", 6, 1])],
            "a transfer was done at 6, where the accounts were [[90, 5]",
        ),
        ([MOVED, LEDGER, looked(6, 7, 4, BEFORE)], "read was at 4; before it began 5 was known"),
        ([looked(0, 1, 5, AFTER), MOVED, LEDGER], "transfer was at 5; before it began 5 was known"),
        ([looked(2, 3, 8, AFTER), looked(4, 5, 7, AFTER), MOVED, LEDGER], "read was at 7; before"),
    ],
)
def test_banks_that_break_it(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(Bank, OPENING, *operations)


def test_a_bank_that_never_opened() -> None:
    assert sentences(Bank, MOVED) == "the accounts were never opened"
