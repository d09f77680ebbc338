"""limits: whatever the strategy, so many of all clients' calls pass, and no more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from limits import parse
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES, RateLimiter

from tests.libraries.places import url

CLIENTS: Final = 3
LIMIT: Final = 20


HOURLY: Final = parse(f"{LIMIT}/hour")


def passes(strategy: str, limiter: RateLimiter) -> int:
    """How many of one client's calls do."""
    return sum(limiter.hit(HOURLY, strategy) for _ in range(LIMIT))


def check(strategy: str) -> None:
    limiters = [STRATEGIES[strategy](storage_from_string(url(n))) for n in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        passed = sum(pool.map(partial(passes, strategy), limiters))
    assert passed == LIMIT, (strategy, passed)
    limiter = limiters[0]
    assert not limiter.test(HOURLY, strategy)
    assert limiter.get_window_stats(HOURLY, strategy).remaining == 0
    limiter.clear(HOURLY, strategy)
    assert limiter.test(HOURLY, strategy)


if __name__ == "__main__":
    for name in STRATEGIES:
        check(name)
