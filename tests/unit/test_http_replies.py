"""Problems, the table of statuses, and the bytes of an answer."""

from __future__ import annotations

import logging

import orjson
import pytest

from raftcache import errors
from raftcache.command.replies import Status
from raftcache.errors import NotLeader, Overloaded, RaftcacheError, Unknown
from raftcache.server.replies import (
    REFUSED,
    Answer,
    answer_error,
    closing,
    problem,
    refusal,
    render,
    retry_after,
)

DATE = b"Date: now\r\n"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Refused", 503),
        ("BadRequest", 400),
        ("TooLarge", 413),
        ("Misused", 422),
        ("NotLeader", 503),
        ("Overloaded", 429),
        ("Unknown", 503),
        ("RaftcacheError", 500),
    ],
)
def test_every_error_becomes_a_problem(name: str, status: int) -> None:
    error: RaftcacheError = getattr(errors, name)("a sentence")
    answer = refusal(error, write=True)
    body = orjson.loads(answer.body)
    assert answer.status == body["status"] == status
    assert body["detail"] == "a sentence"
    assert body["title"] == error.title
    assert body["type"].startswith("urn:raftcache:")
    assert body["definite"] is error.definite
    assert b"Content-Type: application/problem+json\r\n" in answer.headers


def test_only_writes_say_definite() -> None:
    assert "definite" not in orjson.loads(refusal(NotLeader(), write=False).body)
    assert orjson.loads(refusal(NotLeader(), write=True).body)["definite"] is True
    assert orjson.loads(refusal(Unknown(), write=True).body)["definite"] is False


@pytest.mark.parametrize(("delay_s", "seconds"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (30, 30)])
def test_retry_after_is_whole_seconds_and_at_least_one(delay_s: float, seconds: int) -> None:
    assert retry_after(delay_s) == b"Retry-After: %d\r\n" % seconds
    answer = refusal(Overloaded("full", retry_after_s=delay_s), write=False)
    assert b"Retry-After: %d\r\n" % seconds in answer.headers


def test_the_table_has_every_status_that_changed_nothing() -> None:
    succeeded = {Status.CREATED, Status.CHANGED, Status.UNCHANGED, Status.DELETED}
    of_transactions = {Status.SUCCEEDED, Status.FAILED, Status.ABORTED}  # has another's reason
    of_locks = {Status.GRANTED, Status.QUEUED}
    of_refills = {Status.WON, Status.LOST}
    assert set(REFUSED) == set(Status) - succeeded - of_transactions - of_locks - of_refills
    assert all(400 <= status < 500 or status == 507 for status, _ in REFUSED.values())


def test_the_last_resort_hides_the_mistake_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = answer_error(ZeroDivisionError("secret"), write=True)
    body = orjson.loads(answer.body)
    assert answer.status == 500
    assert body["definite"] is False
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    (record,) = caplog.records
    assert record.reference == body["reference"]  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


def test_rendering() -> None:
    answer = Answer(201, b"A: b\r\n", b"body")
    head = b"HTTP/1.1 201 Created\r\nDate: now\r\nA: b\r\nContent-Length: 4\r\n\r\n"
    assert render(answer, DATE) == head + b"body"
    assert render(answer, DATE, bare=True) == head
    closed = head.replace(b"A: b", b"Connection: close\r\nA: b")
    assert render(answer, DATE, close=True) == closed + b"body"
    assert b"\r\nConnection: close\r\n" in closing(head)
    assert closing(head).replace(b"Connection: close\r\n", b"") == head
    assert render(Answer(304, b"A: b\r\n"), DATE) == (
        b"HTTP/1.1 304 Not Modified\r\nDate: now\r\nA: b\r\n\r\n"
    )


def test_a_problem_may_say_more() -> None:
    answer = problem(412, "precondition failed", "no", True, b"X: y\r\n", revision=3)
    assert orjson.loads(answer.body) == {
        "type": "urn:raftcache:precondition-failed",
        "title": "precondition failed",
        "status": 412,
        "detail": "no",
        "revision": 3,
        "definite": True,
    }
    assert answer.headers.endswith(b"X: y\r\n")
