"""Times to live: a key is never gone early by cluster time, and never comes back from the dead.

Cluster time is watched through a key that lives for a day: what is left of it is a clock that
every node shows. Cluster time may stand still while no majority is alive, and jump ahead when a
whole cluster starts again (the wall clock seeds it then); it never runs faster than the leader's
monotonic clock otherwise. So a key may be gone when its time has passed on the client's clock, plus
what cluster time gained on it meanwhile.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.waiting import POLL_S
from chaos.workloads import wallclock
from chaos.workloads.base import Client, Stage, Workload, of_each
from raftcache.client import Written

CLOCK: Final = "ttl:clock"
CLOCK_TTL_MS: Final = 24 * 3600 * 1000
TTLS_MS: Final = (500, 1000, 2000, 4000)

WATCHED_S: Final = 10.0
"""How long keys are read after their time: none may come back."""

ROUNDING_MS: Final = 3
"""Cluster time is in whole milliseconds, and so is what a node shows of it."""

GAIN_SLACK_MS: Final = 1000
"""Added where cluster time gained: nodes that have not heard of it yet show less."""

GONE_AFTER_S: Final = 10.0
"""On a healthy cluster everything is gone so long after the load ended."""


class TimeToLive(Workload):
    name = "ttl"
    about = "keys with deadlines; never gone early by cluster time, never back from the dead"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._recent: deque[tuple[str, int]] = deque()  # key, and until when it is read

    async def begin(self, client: Client) -> None:
        await client.api.put(self.stage.real_key(CLOCK), b"tick", ttl_ms=CLOCK_TTL_MS)

    async def act(self, client: Client) -> None:
        chance, now_ns = client.dice.random(), self.stage.history.now_ns()
        while self._recent and self._recent[0][1] < now_ns:
            self._recent.popleft()
        if chance < 0.15:
            await self._read(client, CLOCK)
        elif chance < 0.3 or not self._recent:
            await self._put(client)
        else:
            await self._read(client, client.dice.choice(self._recent)[0])

    async def finish(self, readers: Sequence[Client]) -> None:
        """One more look at the clock, then wait until everything is gone."""
        await self._read(readers[0], CLOCK)
        deadline_ns = self.stage.history.now_ns() + int(GONE_AFTER_S * 1e9)
        for key, _ in self._recent:
            while await self._left_ms(readers[0], key) is not None:
                if self.stage.history.now_ns() > deadline_ns:
                    break
                await asyncio.sleep(POLL_S)
            for reader in readers:
                await self._read(reader, key, "final")
        await self._read(readers[0], CLOCK)

    async def _put(self, client: Client) -> None:
        ttl_ms = client.dice.choice(TTLS_MS)
        key = f"{self.name}:{client.unique()}"
        until_ns = self.stage.history.now_ns() + int((ttl_ms / 1000 + WATCHED_S) * 1e9)
        self._recent.append((key, until_ns))
        await client.attempt("put", key, ttl_ms, self._written(client, key, ttl_ms), _revision)

    async def _read(self, client: Client, key: str, kind: str = "read") -> None:
        await client.attempt(kind, key, None, self._left_ms(client, key), lambda left: left)

    async def _written(self, client: Client, key: str, ttl_ms: int) -> Written:
        real = self.stage.real_key(key)
        if self.stage.wall_deadlines:
            return await wallclock.put(client, real, ttl_ms)
        return await client.api.put(real, b"x", ttl_ms=ttl_ms)

    async def _left_ms(self, client: Client, key: str) -> int | None:
        """What the key has left; None if it is not there."""
        real = self.stage.real_key(key)
        if self.stage.wall_deadlines and key != CLOCK:
            return await wallclock.left_ms(client, real)
        found = await client.api.get(real)
        return None if found is None else found.ttl_ms

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        keys = by_key(operations)
        clock = ClusterClock(keys.pop(CLOCK, []))
        return of_each(keys, partial(_judge_key, clock=clock))


def _revision(written: Written) -> int:
    return written.revision


# --- the verdict --------------------------------------------------------------------------------


class ClusterClock:
    """What the reads of the clock key say."""

    def __init__(self, reads: Sequence[Operation]) -> None:
        readings = [op for op in reads if op.ok and op.result is not None]
        self._by_end = sorted(readings, key=lambda op: op.completed_ns or 0)
        self._by_begin = sorted(readings, key=lambda op: op.invoked_ns)
        self._ends = [op.completed_ns or 0 for op in self._by_end]
        self._begins = [op.invoked_ns for op in self._by_begin]

    def gain_ms(self, begin_ns: int, end_ns: int) -> float | None:
        """At most so much cluster time gained on the client's clock between these moments.

        None if nobody looked before and after.
        """
        before = bisect_right(self._ends, begin_ns) - 1
        after = bisect_left(self._begins, end_ns)
        if before < 0 or after == len(self._begins):
            return None
        first, last = self._by_end[before], self._by_begin[after]
        real_ms = ((last.completed_ns or 0) - first.invoked_ns) / 1e6
        gained_ms = float(first.result - last.result) - real_ms
        return 0.0 if gained_ms <= ROUNDING_MS else gained_ms + GAIN_SLACK_MS


def _judge_key(key: str, operations: Sequence[Operation], clock: ClusterClock) -> Iterator[Anomaly]:
    put = next((op for op in operations if op.kind == "put"), None)
    if put is None:
        return
    reads = [op for op in operations if op.kind in ("read", "final") and op.ok]
    there = [op for op in reads if op.result is not None]
    for read in there:
        if put.outcome is Outcome.FAIL:
            yield Anomaly(key, "it was refused, and yet seen", (put, read))
        if not 0 <= read.result <= put.argument:
            yield Anomaly(key, f"it has {read.result} ms left of {put.argument}", (put, read))
        if read.kind == "final":
            yield Anomaly(key, "it was not removed long after its time", (put, read))
    yield from _early_or_back(key, put, reads, there, clock)


def _early_or_back(
    key: str,
    put: Operation,
    reads: Sequence[Operation],
    there: Sequence[Operation],
    clock: ClusterClock,
) -> Iterator[Anomaly]:
    """Of each read that did not find it, though it had been there before."""
    known = [put, *there] if put.ok else list(there)
    known_ns = min((op.completed_ns or 0 for op in known), default=None)
    if known_ns is None:
        return
    last = max(there, key=lambda op: op.invoked_ns, default=None)
    for read in reads:
        if read.result is not None or read.invoked_ns < known_ns:
            continue
        end_ns = read.completed_ns or 0
        if last is not None and last.invoked_ns > end_ns:
            yield Anomaly(key, "it came back from the dead", (put, read, last))
        gain_ms = clock.gain_ms(put.invoked_ns, end_ns)
        lived_ms = (end_ns - put.invoked_ns) / 1e6
        if gain_ms is not None and lived_ms + gain_ms < put.argument - ROUNDING_MS:
            sentence = f"it was gone after {lived_ms:.0f} of {put.argument} ms"
            yield Anomaly(key, sentence, (put, read))
