"""The judges of Redis' workloads: what each must find, and what it must leave alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    ResponseError,
    TimeoutError,
    WatchError,
)

from chaos.history import Operation, Outcome
from chaos.resp import Door, meaning, worst
from chaos.workloads.base import Workload
from chaos.workloads.resp_group import STREAM as GROUPED
from chaos.workloads.resp_group import RespGroup
from chaos.workloads.resp_pipeline import RespPipeline
from chaos.workloads.resp_queue import TODO, RespQueue
from chaos.workloads.resp_register import RespRegister
from chaos.workloads.resp_stream import RespStream
from chaos.workloads.resp_txn import OPENING, RespTxn
from raftcache.errors import Refused, Unknown

MS = 10**6
OK, FAIL, UNKNOWN = Outcome.OK, Outcome.FAIL, Outcome.UNKNOWN


def op(
    kind: str,
    key: str,
    argument: object,
    begin: int,
    end: int,
    result: object = None,
    outcome: Outcome = OK,
    process: int = 0,
) -> Operation:
    return Operation(process, kind, key, argument, begin * MS, end * MS, outcome, result)


def sentences(workload: type[Workload], operations: Sequence[Operation]) -> str:
    found = workload.judge(sorted(operations, key=lambda o: o.invoked_ns))
    return "; ".join(anomaly.sentence for anomaly in found)


# --- what errors mean ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClusterDownError("no leader is known here"), Refused),
        (ConnectionError("Connection closed by server."), Unknown),
        (ResponseError("MISCONF too few nodes have room on their disks"), Refused),
        (TimeoutError("Timeout reading from node"), Unknown),
        (ResponseError("UNKNOWN the outcome: the leader changed"), Unknown),
        (WatchError("A ConnectionError occurred while watching one or more keys"), Unknown),
        (WatchError("Watched variable changed."), WatchError),
        (ResponseError("ERR value is not an integer or out of range"), ResponseError),
    ],
)
def test_what_an_error_of_redis_py_says_of_the_outcome(
    error: Exception, kind: type[Exception]
) -> None:
    assert type(meaning(error)) is kind


def test_of_a_pipeline_the_error_counts_that_leaves_most_open() -> None:
    refused, lost = ClusterDownError("x"), ResponseError("UNKNOWN the outcome: x")
    assert worst([1, "OK", None]) is None
    assert isinstance(worst([1, refused]), Refused)
    assert isinstance(worst([refused, lost, 1]), Unknown)
    with pytest.raises(ResponseError):
        worst([ResponseError("WRONGTYPE x")])


def test_a_node_that_is_not_there_has_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = "{}:{}".format(*taken.getsockname())

        async def ask() -> None:
            await Door([address], 1.0, 3, "linearizable").ask(lambda api: api.incr("k"))

        with pytest.raises(Refused):
            asyncio.run(ask())


def test_a_connection_that_takes_too_long_to_close_is_closed() -> None:
    class Slow:
        async def aclose(self) -> None:
            raise TimeoutError("Timed out closing connection after 0.3")

    async def close() -> None:
        door = Door(["127.0.0.1:1"], 1.0, 3, "linearizable")
        door._api = Slow()
        await door.leave()
        assert door._api is None

    asyncio.run(close())


# --- registers ----------------------------------------------------------------------------------


def register(
    kind: str,
    pair: list[str | None] | None,
    begin: int,
    end: int,
    result: object = None,
    outcome: Outcome = OK,
) -> Operation:
    return op(kind, "resp-register:0", pair, begin, end, result, outcome)


WRITTEN = register("set", [None, "a"], 0, 1, "True")
LOST = register("set", [None, "b"], 2, 3, outcome=UNKNOWN)


@pytest.mark.parametrize(
    "operations",
    [
        [register("get", None, 0, 1, "")],
        [WRITTEN, register("get", None, 2, 3, "a")],
        [WRITTEN, register("getset", [None, "b"], 2, 3, "a"), register("get", None, 4, 5, "b")],
        [WRITTEN, register("ifeq", ["a", "b"], 2, 3, "a"), register("get", None, 4, 5, "b")],
        [WRITTEN, register("ifeq", ["x", "b"], 2, 3, "a"), register("get", None, 4, 5, "a")],
        [WRITTEN, LOST, register("get", None, 4, 5, "a"), register("get", None, 6, 7, "b")],
        [WRITTEN, LOST, register("get", None, 4, 5, "a")],
        [WRITTEN, register("getset", [None, "b"], 2, 3, outcome=FAIL)],
    ],
)
def test_registers_that_are_as_they_should_be(operations: list[Operation]) -> None:
    assert sentences(RespRegister, operations) == ""


@pytest.mark.parametrize(
    "operations",
    [
        [WRITTEN, register("get", None, 2, 3, "")],
        [WRITTEN, register("getset", [None, "b"], 2, 3, "")],
        [WRITTEN, register("ifeq", ["a", "b"], 2, 3, "a"), register("get", None, 4, 5, "a")],
        [WRITTEN, register("ifeq", ["x", "b"], 2, 3, "a"), register("get", None, 4, 5, "b")],
        [WRITTEN, LOST, register("get", None, 4, 5, "b"), register("get", None, 6, 7, "a")],
        [
            WRITTEN,
            register("getset", [None, "b"], 2, 5, "a"),
            register("getset", [None, "c"], 2, 5, "a"),
        ],
        [
            WRITTEN,
            register("set", [None, "b"], 2, 3, outcome=FAIL),
            register("get", None, 4, 5, "b"),
        ],
    ],
)
def test_registers_that_have_no_order(operations: list[Operation]) -> None:
    assert "no order explains this" in sentences(RespRegister, operations)


# --- queues -------------------------------------------------------------------------------------


def push(job: str, begin: int, end: int, outcome: Outcome = OK) -> Operation:
    return op("push", TODO, job, begin, end, 1, outcome)


def take(job: str | None, begin: int, end: int, process: int = 1) -> Operation:
    return op("take", TODO, None, begin, end, job, OK, process)


def done(job: str, begin: int, end: int, count: int = 1, outcome: Outcome = OK) -> Operation:
    return op("done", TODO, job, begin, end, count, outcome, 1)


def look(jobs: list[str], begin: int, end: int, process: int = 1) -> Operation:
    return op("look", TODO, None, begin, end, jobs, OK, process)


def lists(begin: int, todo: list[str], doing: list[str]) -> Operation:
    return op("final", TODO, None, begin, begin + 1, {"todo": todo, "1": doing}, OK, 9)


@pytest.mark.parametrize(
    "operations",
    [
        [push("a", 0, 1), take("a", 2, 3), done("a", 4, 5), lists(9, [], [])],
        [push("a", 0, 1), push("b", 2, 3), take("a", 4, 5), lists(9, ["b"], ["a"])],
        [push("a", 0, 1, UNKNOWN), take(None, 2, 3), lists(9, [], [])],
        [push("a", 0, 1, UNKNOWN), take("a", 2, 3), lists(9, [], ["a"])],
        [push("a", 0, 1), take("a", 2, 3), done("a", 4, 5, 0, UNKNOWN), lists(9, [], [])],
        [push("a", 0, 1), look(["a"], 2, 3), done("a", 4, 5), done("a", 6, 7, 0), lists(9, [], [])],
        [
            push("a", 0, 3),
            push("b", 2, 4),
            take("b", 5, 6),
            take("a", 7, 8),
            lists(9, [], list("ab")),
        ],
    ],
)
def test_queues_that_are_as_they_should_be(operations: list[Operation]) -> None:
    assert sentences(RespQueue, operations) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([push("a", 0, 1), lists(9, [], [])], "'a' was acknowledged, and is lost"),
        ([push("a", 0, 1, FAIL), lists(9, ["a"], [])], "'a' was refused, and is there"),
        ([push("a", 0, 1, FAIL), take("a", 2, 3)], "'a' was refused, and yet seen"),
        ([take("a", 2, 3)], "'a' is nobody's"),
        ([push("a", 0, 1), lists(9, ["a"], ["a"])], "'a' is there twice"),
        ([push("a", 0, 1), take("a", 2, 3), take("a", 2, 3, 2)], "'a' came to two clients"),
        ([push("a", 0, 1), take("a", 2, 3), take("a", 4, 5)], "'a' was taken twice"),
        ([push("a", 0, 1), take("a", 2, 3), look(["a"], 4, 5, 2)], "'a' came to two clients"),
        ([push("a", 0, 1), done("a", 2, 3), done("a", 2, 3)], "'a' was removed twice"),
        ([push("a", 0, 1), done("a", 2, 3), look(["a"], 4, 5)], "'a' was removed, and came back"),
        ([push("a", 0, 1), done("a", 2, 3), lists(9, ["a"], [])], "'a' was removed, and is there"),
        (
            [push("a", 0, 1), push("b", 2, 3), take("b", 4, 5), take("a", 6, 7)],
            "'a' was pushed before 'b', and taken after",
        ),
    ],
)
def test_jobs_lost_or_done_twice(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(RespQueue, operations)


# --- transactions -------------------------------------------------------------------------------


OPEN = {"a0": OPENING, "a1": OPENING, "a2": OPENING, "b0": OPENING, "b1": OPENING}
MOVED = {**OPEN, "a0": 70, "b1": 130}


KEY = "resp-txn:"


def transfer(
    id: str, begin: int, end: int, is_done: bool | None = True, outcome: Outcome = OK
) -> Operation:
    return op("transfer", KEY, {"id": id, "accounts": ["a0", "b1"]}, begin, end, is_done, outcome)


def glance(balances: dict[str, int], lines: int, begin: int) -> Operation:
    return op("look", KEY, None, begin, begin + 1, [balances, lines])


def final(balances: dict[str, int], ledger: dict[str, str]) -> Operation:
    return op("final", KEY, None, 90, 91, [balances, ledger])


LEDGER = {"t": "a0:b1:30"}


@pytest.mark.parametrize(
    "operations",
    [
        [glance(OPEN, 0, 0), final(OPEN, {})],
        [glance(OPEN, 0, 0), transfer("t", 2, 3), glance(MOVED, 1, 4), final(MOVED, LEDGER)],
        [transfer("t", 2, 3, None, UNKNOWN), glance(OPEN, 0, 4), final(MOVED, LEDGER)],
        [transfer("t", 2, 3, None, UNKNOWN), final(OPEN, {})],
        [transfer("t", 2, 5), transfer("u", 3, 6, is_done=False), final(MOVED, LEDGER)],
        [
            transfer("t", 2, 3, None, UNKNOWN),
            transfer("u", 8, 9, is_done=False),
            final(MOVED, LEDGER),
        ],
    ],
)
def test_money_that_is_as_it_should_be(operations: list[Operation]) -> None:
    assert sentences(RespTxn, operations) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([glance({**OPEN, "a0": 99}, 0, 0)], "499 is there in all, and not 500"),
        ([glance({**OPEN, "a0": -1, "a1": 201}, 0, 0)], "an account is negative"),
        ([transfer("t", 2, 3), final(OPEN, LEDGER)], "an update was lost"),
        ([transfer("t", 2, 3), final(OPEN, {})], "was acknowledged, and is lost"),
        ([transfer("t", 2, 3, None, FAIL), final(MOVED, LEDGER)], "was refused, and yet done"),
        ([transfer("t", 2, 3, False), final(MOVED, LEDGER)], "a key had changed, and yet done"),
        ([transfer("t", 2, 3, False), final(OPEN, {})], "a key had changed, and none had"),
        ([final(MOVED, LEDGER)], "'t' is in the ledger, and nobody asked for it"),
        (
            [transfer("t", 2, 3), glance(OPEN, 0, 4), final(MOVED, LEDGER)],
            "it saw 0 transfers; 1 were done before it, 1 begun",
        ),
        (
            [glance(MOVED, 1, 0), transfer("t", 2, 3), final(MOVED, LEDGER)],
            "it saw 1 transfers; 0 were done before it, 0 begun",
        ),
    ],
)
def test_money_lost_or_updates_overwritten(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(RespTxn, operations)


# --- numbered pipelines -------------------------------------------------------------------------


def incr(pipeline: str, begin: int, end: int, number: int) -> Operation:
    return op("incr", "resp-pipeline:0", pipeline, begin, end, [number])


def test_numbered_pipelines() -> None:
    lost = op("incr", "resp-pipeline:0", "q", 0, 3, None, UNKNOWN)
    good = [incr("p", 0, 3, 1), incr("p", 0, 3, 3), lost]
    assert sentences(RespPipeline, good) == ""
    twice = [incr("p", 0, 1, 1), incr("q", 2, 3, 3)]
    assert "no order explains that incr was answered 3" in sentences(RespPipeline, twice)
    turned = [incr("p", 0, 3, 2), incr("p", 0, 3, 1)]
    assert "was not done in its order" in sentences(RespPipeline, turned)


# --- streams ------------------------------------------------------------------------------------

STREAM = "resp-stream:0"


def add(value: str, begin: int, end: int, id: str | None, outcome: Outcome = OK) -> Operation:
    return op("add", STREAM, value, begin, end, id, outcome)


def seen_behind(last: str, begin: int, end: int, *entries: tuple[str, str]) -> Operation:
    return op("read", STREAM, last, begin, end, list(map(list, entries)))


def whole(*entries: tuple[str, str]) -> Operation:
    return op("final", STREAM, None, 90, 91, list(map(list, entries)))


A, B, C = ("1-0", "a"), ("1-1", "b"), ("10-0", "c")


@pytest.mark.parametrize(
    "operations",
    [
        [add("a", 0, 1, "1-0"), add("b", 2, 3, "1-1"), add("c", 4, 5, "10-0"), whole(A, B, C)],
        [add("a", 0, 5, "1-1"), add("b", 1, 4, "1-0"), whole(("1-0", "b"), ("1-1", "a"))],
        [add("a", 0, 1, None, UNKNOWN), whole(A)],
        [add("a", 0, 1, None, UNKNOWN), whole()],
        [add("a", 0, 1, None, FAIL), whole()],
        [add("a", 0, 1, "1-0"), add("b", 2, 9, "1-1"), seen_behind("0-0", 3, 4, A), whole(A, B)],
        [add("a", 0, 1, "1-0"), add("b", 2, 9, "1-1"), seen_behind("1-0", 3, 4, B), whole(A, B)],
        [add("a", 0, 1, "1-0"), seen_behind("1-0", 3, 4), whole(A)],
        [add("a", 0, 1, "1-0"), whole(A), whole(A)],
    ],
)
def test_a_stream_that_is_as_it_should_be(operations: list[Operation]) -> None:
    assert sentences(RespStream, operations) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([add("a", 0, 1, "1-0"), whole()], "was acknowledged, and is lost"),
        ([add("a", 0, 1, "1-0"), whole(("1-1", "a"))], "was acknowledged, and is lost"),
        ([add("a", 0, 1, None, FAIL), whole(A)], "was refused, and yet done"),
        ([add("a", 0, 1, None, UNKNOWN), whole(A, ("1-1", "a"))], "a is there 2 times"),
        ([whole(A)], "'a' is there, and nobody added it"),
        ([add("a", 0, 1, "1-0"), whole(A), whole()], "two nodes have not the same stream"),
        (
            [add("a", 0, 1, "1-1"), add("b", 2, 3, "1-0"), whole(("1-0", "b"), ("1-1", "a"))],
            "an id is below one that was told before",
        ),
        (
            [
                *(add("a", 0, 1, "1-0"), add("b", 2, 3, "1-1"), add("c", 4, 5, "10-0")),
                *(seen_behind("0-0", 6, 7, A, C), whole(A, B, C)),
            ],
            "a reader has seen another stream",
        ),
        (
            [add("a", 0, 1, "1-0"), seen_behind("0-0", 2, 3), whole(A)],
            "a reader has not seen what was acknowledged before",
        ),
        (
            [add("a", 5, 6, "1-0"), seen_behind("0-0", 2, 3, A), whole(A)],
            "a reader has seen an entry before it was added",
        ),
    ],
)
def test_a_stream_with_a_fault(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(RespStream, operations)


# --- groups of consumers ------------------------------------------------------------------------


def added(value: str, id: str | None, outcome: Outcome = OK) -> Operation:
    return op("add", GROUPED, value, 0, 1, id, outcome)


def got(
    kind: str, process: int, begin: int, *entries: tuple[str, str], outcome: Outcome = OK
) -> Operation:
    found = list(map(list, entries))
    return op(kind, GROUPED, None, begin, begin + 1, found, outcome, process)


def done(process: int, begin: int, *values: str, outcome: Outcome = OK) -> Operation:
    return op("done", GROUPED, list(values), begin, begin + 1, len(values), outcome, process)


def left(last: str, pending: Sequence[str], *entries: tuple[str, str]) -> Operation:
    result = {"entries": list(map(list, entries)), "pending": list(pending), "last": last}
    return op("final", GROUPED, None, 90, 91, result)


BOTH = [added("a", "1-0"), added("b", "1-1")]


@pytest.mark.parametrize(
    "operations",
    [
        [*BOTH, left("0-0", [], A, B), left("0-0", [], A, B)],
        [*BOTH, got("take", 1, 2, A), done(1, 4, "a"), left("1-0", [], A, B)],
        [*BOTH, got("take", 1, 2, A), left("1-0", ["1-0"], A, B)],
        [*BOTH, got("take", 1, 2, outcome=UNKNOWN), left("1-1", ["1-0", "1-1"], A, B)],
        [*BOTH, got("look", 1, 2, A), done(1, 4, "a", outcome=UNKNOWN), left("1-0", [], A, B)],
        [*BOTH, got("take", 1, 2, A), got("look", 1, 4, A), left("1-0", ["1-0"], A, B)],
        [*BOTH, got("look", 1, 5, A), done(1, 4, "a"), left("1-0", [], A, B)],
        [added("a", None, UNKNOWN), left("0-0", [])],
        [added("a", None, FAIL), left("0-0", [])],
    ],
)
def test_a_group_that_is_as_it_should_be(operations: list[Operation]) -> None:
    assert sentences(RespGroup, operations) == ""


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        ([*BOTH, left("1-0", [], A, B)], "'a' was given to nobody, and is lost"),
        ([*BOTH, left("0-0", [], A)], "'b' was added, and is not there"),
        ([added("a", None, FAIL), left("0-0", [], A)], "'a' was refused, and is there"),
        ([added("a", None, FAIL), got("take", 1, 2, A)], "'a' was refused, and yet given"),
        ([got("take", 1, 2, A)], "'a' is nobody's"),
        ([*BOTH, got("take", 1, 2, A), got("take", 1, 4, A)], "'a' was given twice"),
        ([*BOTH, got("take", 1, 2, A), got("look", 2, 4, A)], "'a' came to two consumers"),
        (
            [*BOTH, got("take", 1, 2, A), done(1, 4, "a"), got("look", 1, 6, A)],
            "'a' was acknowledged, and came back",
        ),
        ([*BOTH, done(1, 4, "a"), left("1-0", ["1-0"], A, B)], "'a' was acknowledged, and is pend"),
        ([left("0-0", []), left("1-0", [])], "two nodes have not the same group"),
    ],
)
def test_a_group_with_a_fault(operations: list[Operation], sentence: str) -> None:
    assert sentence in sentences(RespGroup, operations)
