"""RQ: workers at two nodes do what is asked at a third; results are kept in streams."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Final

import redis
from rq import Callback, Queue, Retry, Worker
from rq.exceptions import DuplicateJobError
from rq.job import Job

from raftcache.cli.local import HOST
from tests.libraries.places import PATIENCE_S, port, url, worker

HERE: Final = "tests.libraries.rq_jobs"
"""What workers know this module by."""
JOBS: Final = 8
DONE: Final = "rq: done"
TRIES: Final = "rq: tries"


def client() -> redis.Redis:
    return redis.Redis(HOST, port(0))


def double(number: int) -> int:
    return 2 * number


def fail() -> None:
    raise ValueError("as it should")


def stubborn() -> int:
    tries = int(client().incr(TRIES))
    if tries < 2:
        raise ValueError("not yet")
    return tries


def tell(job: Job, connection: redis.Redis, result: object) -> None:
    connection.incr(DONE)


def ended(job: Job, status: str) -> Job:
    """The job, once it has ended so."""
    until(lambda: job.get_status() == status)
    return job


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.02)


def ask(queue: Queue) -> None:
    jobs = [queue.enqueue(f"{HERE}.double", number) for number in range(JOBS)]
    last = queue.enqueue(f"{HERE}.double", 50, depends_on=jobs)
    failing = queue.enqueue(f"{HERE}.fail")
    again = queue.enqueue(f"{HERE}.stubborn", retry=Retry(max=3))
    late = queue.enqueue_in(timedelta(seconds=0.2), f"{HERE}.double", 5)
    told = queue.enqueue(f"{HERE}.double", 1, on_success=Callback(f"{HERE}.tell"))
    assert [ended(job, "finished").return_value() for job in jobs] == [*range(0, 2 * JOBS, 2)]
    assert ended(last, "finished").return_value() == 100
    result = ended(failing, "failed").latest_result()
    assert result is not None
    assert "as it should" in str(result.exc_string)
    assert ended(again, "finished").return_value() == 2
    assert ended(late, "finished").return_value() == 10
    assert ended(told, "finished").return_value() == 2
    until(lambda: client().get(DONE) == b"1")
    assert len(Worker.all(connection=queue.connection)) == 2


def ask_for_one_only(queue: Queue) -> None:
    """Nobody is at work any more."""
    queue.enqueue(f"{HERE}.double", 2, job_id="only", unique=True)
    try:
        queue.enqueue(f"{HERE}.double", 2, job_id="only", unique=True)
    except DuplicateJobError:
        queue.empty()
        assert queue.count == 0
        return
    raise AssertionError("it is there twice")


if __name__ == "__main__":
    queue = Queue(connection=client())
    with ExitStack() as workers:
        for number in (1, 2):
            command = ("rq.cli", "worker", "--with-scheduler", "--quiet", "-u", url(number))
            workers.enter_context(worker(*command))
        ask(queue)
    ask_for_one_only(queue)
