"""dramatiq: a worker does what is asked, again if it fails, and one at a time under a mutex."""

from __future__ import annotations

from typing import Any, Final

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend as Limits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.libraries.places import PATIENCE_S, url, worker

is_program = __name__ == "__main__"
NAME: Final = "tests.libraries.dramatiq_jobs"

broker: Final = RedisBroker(url=url(0 if is_program else 1))
broker.add_middleware(Results(backend=RedisBackend(url=url(2))))
dramatiq.set_broker(broker)
mutex: Final = ConcurrentRateLimiter(Limits(url=url(2)), "mutex", limit=1)
AGAIN: Final[dict[str, Any]] = {"min_backoff": 10, "max_backoff": 50, "max_retries": 1000}


@dramatiq.actor(store_results=True)
def double(number: int) -> int:
    return 2 * number


@dramatiq.actor(store_results=True, **AGAIN)
def stubborn() -> int:
    tries = int(broker.client.incr("tries"))
    if tries < 3:
        raise ValueError("not yet")
    return tries


@dramatiq.actor(store_results=True, **AGAIN)
def lonely() -> int:
    """How many are at it."""
    with mutex.acquire():
        here = int(broker.client.incr("here"))
        broker.client.decr("here")
        return here


def answers(*asked: dramatiq.Message[Any]) -> list[Any]:
    return [each.get_result(block=True, timeout=1000 * PATIENCE_S) for each in asked]


def ask() -> None:
    assert answers(*map(double.send, range(30))) == [2 * number for number in range(30)]
    assert answers(double.send_with_options(args=(4,), delay=300)) == [8]
    piped = dramatiq.pipeline([double.message(1), double.message(), double.message()]).run()
    assert piped.get_result(block=True, timeout=1000 * PATIENCE_S) == 8
    assert answers(stubborn.send()) == [3]
    assert answers(*(lonely.send() for _ in range(6))) == [1] * 6


if __name__ == "__main__":
    with worker("dramatiq", NAME, "--processes", "1", "--threads", "3"):
        ask()
