"""Clients that write counters all the time, and keep book of what they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from chaos.tally import Increments, Puts
from chaos.waiting import Trouble
from raftcache.client import RaftcacheClient, Written
from raftcache.errors import BadRequest, Refused, Unknown

PAUSE_S: Final = 0.02
"""Between two writes of a writer: all together stay below what the cluster remembers of
idempotency keys (2**18 in ten minutes), however long the run."""

PATIENT_S: Final = 10.0
"""Sits out a failover within one call."""

HASTY_S: Final = 0.25
"""Gives up during a failover, so that refusals and unknown outcomes are seen too."""

RESOLVE_ATTEMPTS: Final = 6
"""Of PATIENT_S each: well within the ten minutes that idempotency keys are remembered."""


class Writers:
    """Some put increasing numbers, some increment; half of them patient, half hasty.

    Use it with `async with`; the writers run from `start` to `stop`.
    """

    def __init__(self, urls: list[str], prefix: str, pairs: int = 3) -> None:
        self.puts = {f"{prefix}put:{i}": Puts() for i in range(pairs)}
        self.increments = {f"{prefix}incr:{i}": Increments() for i in range(pairs)}
        self.acknowledged_at: list[float] = []
        """time.monotonic of every acknowledgement, in order."""
        self._unresolved: list[tuple[str, str]] = []  # (counter, Idempotency-Key)
        self._patient = RaftcacheClient(urls, timeout_s=PATIENT_S)
        self._hasty = RaftcacheClient(urls, timeout_s=HASTY_S)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Writers:
        await self._patient.__aenter__()
        await self._hasty.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hasty.__aexit__(None, None, None)
        await self._patient.__aexit__(None, None, None)

    def start(self) -> None:
        for i, key in enumerate(self.puts):
            self._run(self._put_on(self._client(i), key))
        for i, key in enumerate(self.increments):
            self._run(self._increment_on(self._client(i), key))

    async def stop(self) -> None:
        """Finish what is under way, and find out what became of everything unknown."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        for key, token in self._unresolved:
            written = await self._resolve(
                lambda: self._patient.incr(key.encode(), idempotency_key=token)  # noqa: B023
            )
            self._counted(self.increments[key], written)

    def check(self) -> None:
        """Raises what a writer ended with, if one did."""
        for task in self._tasks:
            if task.done() and not self._stopping:
                task.result()

    @property
    def acknowledged(self) -> int:
        return len(self.acknowledged_at)

    def _client(self, i: int) -> RaftcacheClient:
        return self._hasty if i % 2 else self._patient

    def _run(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _put_on(self, client: RaftcacheClient, key: str) -> None:
        """An unknown put is repeated until it is known: it must not come after a later one."""
        history, number = self.puts[key], 0
        while not self._stopping:
            number += 1
            token, value = f"{key}:{number}", str(number).encode()
            try:
                await client.put(key.encode(), value, idempotency_key=token)
            except BadRequest:
                raise
            except Refused:
                history.refused += 1
            except Unknown:
                history.unknown += 1
                await self._resolve(
                    lambda: self._patient.put(key.encode(), value, idempotency_key=token)  # noqa: B023
                )
                self._put_counted(history, number)
            else:
                self._put_counted(history, number)
            await asyncio.sleep(PAUSE_S)

    async def _increment_on(self, client: RaftcacheClient, key: str) -> None:
        """Unknown increments are left for the end: their order does not matter."""
        history, attempt = self.increments[key], 0
        while not self._stopping:
            attempt += 1
            token = f"{key}:{attempt}"
            try:
                self._counted(history, await client.incr(key.encode(), idempotency_key=token))
            except BadRequest:
                raise
            except Refused:
                history.refused += 1
            except Unknown:
                history.unknown += 1
                self._unresolved.append((key, token))
            await asyncio.sleep(PAUSE_S)

    async def _resolve(self, again: Callable[[], Awaitable[Written]]) -> Written:
        """Repeat a write with its Idempotency-Key until it is known to have happened."""
        for _ in range(RESOLVE_ATTEMPTS):
            try:
                return await again()
            except BadRequest:
                raise
            except (Refused, Unknown):  # a refusal is of this attempt: the first is still unknown
                await asyncio.sleep(PAUSE_S)
        raise Trouble("the outcome of a write could not be found out")

    def _put_counted(self, history: Puts, number: int) -> None:
        history.acknowledged.append(number)
        self.acknowledged_at.append(time.monotonic())

    def _counted(self, history: Increments, written: Written) -> None:
        history.numbers.append(written.number)
        self.acknowledged_at.append(time.monotonic())
