"""A rate limiter: so many calls in a window, for each caller, whichever process asks.

    python docs/examples/rate_limiter.py alice

Why it is correct. One transaction looks whether the caller's window is open, and counts in it or
opens it: it is one command of the log, so no two processes can open two windows or be given the
same number. A window ends by its time to live, which the log decides, so it needs no clock of
ours and ends for everybody at once. A try that has to be repeated, for its node died, carries its
idempotency key and is counted once. When the outcome stays unknown the call is refused: it may
have been counted, so nobody ever gets more than the limit.

What it is not: a caller who is early in one window and late in the one before may make twice the
limit within one window's length. Where that matters, use shorter windows.
"""

from __future__ import annotations

import sys

from raftcache.client import SyncClient, Txn
from raftcache.errors import Unknown


class RateLimiter:
    """limit calls in window_ms, from the first one on."""

    def __init__(self, client: SyncClient, limit: int, window_ms: int) -> None:
        self._client, self._limit, self._window_ms = client, limit, window_ms

    def allows(self, caller: bytes) -> bool:
        """Whether the caller may go on; counts the call."""
        key = b"rate/" + caller
        count = Txn().when(key, "exists", "=", True)
        count.then.incr(key)  # which keeps the time to live as it is
        count.otherwise.put(key, b"1", ttl_ms=self._window_ms)
        try:
            done = self._client.txn(count)
        except Unknown:
            return False
        used = done.results[0].number if done.succeeded else 1
        return used is not None and used <= self._limit


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with SyncClient() as client:
        limiter = RateLimiter(client, limit=5, window_ms=10_000)
        for number in range(1, 9):
            print(number, "yes" if limiter.allows(sys.argv[1].encode()) else "no")


if __name__ == "__main__":
    main()
