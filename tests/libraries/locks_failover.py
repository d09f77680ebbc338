"""redis-py's Lock while leaders come and go: at most one has it, until the input ends.

Says how often it was had, once a turn. Clients find the leader as those of Sentinel.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Final

from redis import RedisError, Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ClusterDownError, ConnectionError, TimeoutError
from redis.retry import Retry

from raftcache.cli.local import HOST
from tests.libraries.places import ports

CLIENTS: Final = 3
LEASE_S: Final = 2.0
"""For this long nobody has it, if its holder does not learn that it got it."""


class Turns:
    def __init__(self) -> None:
        self._inside = threading.Lock()
        self._ends = False
        self._count = 0

    def take(self, client: Any) -> None:
        while not self._ends:
            lock = client.lock("lock", timeout=LEASE_S, sleep=0.005)
            try:
                lock.acquire()
            except RedisError:
                continue  # it may be had, and ends by itself
            assert self._inside.acquire(blocking=False), "two have it"
            self._count += 1
            print(self._count, flush=True)
            self._inside.release()
            try:
                lock.release()
            except RedisError:
                continue  # as above

    def end(self) -> None:
        self._ends = True


def leader() -> Any:
    """A client of whoever leads."""
    sentinel: Any = Sentinel([(HOST, port) for port in ports()])  # type: ignore[no-untyped-call]
    errors = [ConnectionError, TimeoutError, ClusterDownError]
    patience: Any = Retry(ExponentialBackoff(cap=0.2, base=0.01), 3)
    return sentinel.master_for("raftcache", retry=patience, retry_on_error=errors)


def main() -> None:
    turns = Turns()
    failed: list[threading.ExceptHookArgs] = []
    threading.excepthook = failed.append
    threads = [threading.Thread(target=turns.take, args=(leader(),)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    turns.end()
    for thread in threads:
        thread.join()
    sys.exit(f"{failed[0].exc_value!r}" if failed else None)


if __name__ == "__main__":
    main()
