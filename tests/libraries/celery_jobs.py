"""Celery, broker and results: a worker does what is asked, once it is due, and what follows."""

from __future__ import annotations

from typing import Any, Final

from celery import Celery, chain, chord, group

from tests.libraries.places import PATIENCE_S, url, worker

is_program = __name__ == "__main__"
app: Final = Celery("jobs", broker=url(0 if is_program else 1), backend=url(2))
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)


@app.task(name="double")
def double(number: int) -> int:
    return 2 * number


@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="stubborn", bind=True)
def stubborn(self: Any) -> int:
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)


@app.task(name="failing")
def failing() -> None:
    raise ValueError("as it should")


def answer(asked: Any) -> Any:
    return asked.get(timeout=PATIENCE_S)


def ask() -> None:
    asked = [double.delay(number) for number in range(30)]
    assert list(map(answer, asked)) == [2 * number for number in range(30)]
    assert answer(group(double.s(n) for n in range(5))()) == [0, 2, 4, 6, 8]
    assert answer(chain(double.s(1), double.s(), double.s())()) == 8
    assert answer(chord(map(double.s, range(10)))(total.s())) == 90
    assert answer(stubborn.delay()) == 1
    assert answer(double.apply_async((7,), countdown=0.5)) == 14
    failed = failing.delay()
    failed.get(timeout=PATIENCE_S, propagate=False)
    assert failed.failed()


if __name__ == "__main__":
    options = ("--pool", "threads", "--concurrency", "2", "--without-mingle", "--without-gossip")
    with worker("celery", "-A", "tests.libraries.celery_jobs", "worker", *options):
        ask()
