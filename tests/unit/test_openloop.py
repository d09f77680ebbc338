"""The generator of open loops: when requests are due, what they ask for, and what an answer is."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from scripts.measuring.loads.answers import HttpAnswer, RespAnswer
from scripts.measuring.loads.asks import Asks, Wire, good_answer, key_of, request, requests
from scripts.measuring.loads.openloop import spread
from scripts.measuring.loads.schedule import NS_PER_S, Schedule

MS = NS_PER_S // 1000


def taken(schedule: Schedule, now_ns: int) -> list[int]:
    found = []
    while (due_ns := schedule.take(now_ns)) is not None:
        found.append(due_ns)
    return found


def test_requests_are_due_at_even_distances_from_the_first_on() -> None:
    schedule = Schedule(5 * MS, seconds=1, rate=100)
    assert taken(schedule, 5 * MS - 1) == []
    assert taken(schedule, 5 * MS) == [5 * MS]
    assert taken(schedule, 24 * MS) == [15 * MS]


def test_a_pause_changes_nothing_about_when_requests_were_due() -> None:
    steady, paused = Schedule(0, 1, 1000), Schedule(0, 1, 1000)
    one_by_one = [due_ns for now_ms in range(2000) for due_ns in taken(steady, now_ms * MS)]
    assert taken(paused, 2 * NS_PER_S) == one_by_one
    assert len(one_by_one) == 1000


def test_how_late_a_request_is_counts_from_when_it_was_due() -> None:
    schedule = Schedule(0, 1, 100)
    assert schedule.take(0) == 0
    assert [schedule.late_ns(at * MS) for at in (5, 10, 12)] == [0, 0, 2 * MS]
    assert Schedule(0, 1, None).late_ns(12 * MS) == 0


def test_nothing_is_due_after_the_last_second() -> None:
    schedule = Schedule(0, seconds=0.03, rate=100)
    assert taken(schedule, NS_PER_S) == [0, 10 * MS, 20 * MS]
    assert schedule.is_over(NS_PER_S)


def test_periods_do_not_drift() -> None:
    schedule = Schedule(0, seconds=10, rate=3000)
    due_ns = taken(schedule, 10 * NS_PER_S)
    assert {b - a for a, b in pairwise(due_ns)} == {333_333}


def test_without_a_rate_a_request_is_due_whenever_one_is_asked_for() -> None:
    schedule = Schedule(0, seconds=1, rate=None)
    assert [schedule.take(at * MS) for at in (3, 3, 999)] == [3 * MS, 3 * MS, 999 * MS]
    assert not schedule.is_over(999 * MS)
    assert schedule.take(1000 * MS) is None
    assert schedule.is_over(1000 * MS)


@pytest.mark.parametrize("rate", [None, 1000.0])
def test_a_count_and_a_stop_end_either_kind(rate: float | None) -> None:
    schedule = Schedule(0, 10, rate, count=3)
    assert len(taken(schedule, NS_PER_S)) == 3
    assert schedule.is_over(NS_PER_S)
    stopped = Schedule(0, 10, rate)
    assert stopped.take(MS) is not None
    stopped.stop()
    assert stopped.take(2 * MS) is None
    assert stopped.is_over(2 * MS)


# -- what is asked ---------------------------------------------------------------------------------


def test_a_walk_asks_for_every_key_once() -> None:
    asked = b"".join(requests(Asks("resp", "PUT", keys=960, pipeline=32, is_walk=True)))
    found = [asked.count(key_of(i) + b"\r\n") for i in range(960)]
    assert found == [1] * 960


def test_chance_is_the_same_for_every_system() -> None:
    def keys(wire: Wire) -> list[int]:
        asks = Asks(wire, "GET", keys=50)
        by_request = {request(asks, i): i for i in range(50)}
        return [by_request[each] for each in islice(requests(asks), 300)]

    assert keys("http") == keys("etcd") == keys("resp")


def test_values_have_the_size_that_was_asked_for() -> None:
    asks = Asks("http", "PUT", keys=1, value_size_bytes=1024)
    head, body = request(asks, 0).split(b"\r\n\r\n", 1)
    assert b"Content-Length: 1024" in head
    assert len(body) == 1024


def test_the_length_of_a_good_answer_is_known() -> None:
    assert good_answer(Asks("resp", "PUT", 1)) == (b"+OK\r\n", len(b"+OK\r\n"))
    answer = b"$64\r\n" + b"x" * 64 + b"\r\n"
    assert good_answer(Asks("resp", "GET", 1)) == (b"$64\r\n", len(answer))


# -- answers ---------------------------------------------------------------------------------------


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(("answer", "is_good"), [(GOOD, True), (CHUNKED, True), (REFUSED, False)])
def test_an_answer_over_http_is_whole_wherever_it_is_cut(answer: bytes, is_good: bool) -> None:
    for at in range(1, len(answer)):
        reader = HttpAnswer()
        assert reader.feed(answer[:at]) is None
        assert reader.feed(answer[at:]) is is_good
        assert reader.feed(answer) is is_good


@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (b"+OK\r\n" * 2, True),
        (b"+OK\r\n-ERR no\r\n", False),
        (b"-ERR no\r\n+OK\r\n", False),
        (b"-ER\r\n" * 2, False),  # as long as good ones
    ],
)
def test_a_pipeline_is_good_if_all_of_it_is_wherever_it_is_cut(
    answer: bytes, is_good: bool
) -> None:
    for at in range(1, len(answer)):
        reader = RespAnswer(Asks("resp", "PUT", 2, pipeline=2))
        assert reader.feed(answer[:at]) is None
        assert reader.feed(answer[at:]) is is_good
        assert reader.feed(answer) is is_good
        assert reader.feed(b"+OK\r\n" * 2) is True


def test_a_key_that_is_missing_is_no_good_answer() -> None:
    reader = RespAnswer(Asks("resp", "GET", 1))
    assert reader.feed(b"$-1\r\n") is False


def test_percentiles_are_samples_that_were_taken() -> None:
    found = spread(ms * 1_000_000 for ms in range(1, 1001))
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (500, 990, 1000)
    assert found.p999_ms in (999, 1000)
    assert spread([]).max_ms == 0
