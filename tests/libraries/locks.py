"""redis-py's Lock: at most one client at a time has it, and one that lost it is told so."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import redis.asyncio
from redis import Redis
from redis.exceptions import LockNotOwnedError

from raftcache.cli.local import HOST
from tests.libraries.places import port

CLIENTS: Final = 3
TURNS: Final = 20


def count_up(number: int) -> None:
    """Reads, then writes: what a lock is for."""
    with Redis(HOST, port(number)) as client:
        for _ in range(TURNS):
            with client.lock("lock", timeout=30, sleep=0.005):
                client.set("count", int(client.get("count") or 0) + 1)


def in_threads() -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(count_up, range(CLIENTS)))
    with Redis(HOST, port(0)) as client:
        assert client.get("count") == b"%d" % (CLIENTS * TURNS)


async def count_up_async(number: int) -> None:
    async with redis.asyncio.Redis(host=HOST, port=port(number)) as client:
        for _ in range(TURNS):
            async with client.lock("lock", timeout=30, sleep=0.005):
                await client.set("async", int(await client.get("async") or 0) + 1)


async def in_tasks() -> None:
    await asyncio.gather(*map(count_up_async, range(CLIENTS)))
    async with redis.asyncio.Redis(host=HOST, port=port(0)) as client:
        assert await client.get("async") == b"%d" % (CLIENTS * TURNS)


def one_loses_it() -> None:
    with Redis(HOST, port(0)) as one, Redis(HOST, port(1)) as other:
        lost, taken = one.lock("lost", timeout=0.3), other.lock("lost", timeout=30)
        assert lost.acquire()
        assert not taken.acquire(blocking=False)
        assert lost.extend(0.1)
        assert lost.reacquire()
        assert taken.acquire(blocking_timeout=30)
        for late in (lambda: lost.extend(1), lost.reacquire, lost.release):
            assert is_refused(late)
        taken.release()
        assert not taken.locked()


def is_refused(call: Any) -> bool:
    try:
        call()
    except LockNotOwnedError:
        return True
    return False


if __name__ == "__main__":
    in_threads()
    asyncio.run(in_tasks())
    one_loses_it()
