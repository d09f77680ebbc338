"""Locks: tokens rise, two are never held at once, no hold is cut short, nobody waits for ever.

A client asks for a lock with one Idempotency-Key until it knows what became of it, keeps it alive a
few times, and releases it, or lets it run out. By its own clock it surely holds the lock from when
it had the token until it asked for the release, or until the time to live has passed since it sent
the last request that was answered well; less what cluster time gained meanwhile (see ttl).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.workloads.base import Client, Workload, of_each
from chaos.workloads.ttl import CLOCK_TTL_MS, ROUNDING_MS, ClusterClock
from raftcache.client import Found
from raftcache.errors import LockHeld, LockLost

CLOCK: Final = "lock:clock"
LOCKS: Final = 2
TTLS_MS: Final = (500, 1000, 2000, 4000)
WAITS_MS: Final = (0, 200, 2000)
DELAYS_MS: Final = (0, 0, 500)

FINAL_WAIT_MS: Final = 30_000
"""On a healthy cluster everyone has had it so long after the load ended: places that nobody waits
at are gone after ten seconds."""

FINAL_TTL_MS: Final = 10_000

LATE: Final = 3
"""So many times its time to live is what a holder believes to have who is late on purpose."""


class Locking(Workload):
    name = "lock"
    about = "locks held, kept and lost; tokens rise, never two holders, nobody waits for ever"

    async def begin(self, client: Client) -> None:
        await client.api.put(self.stage.real_key(CLOCK), b"tick", ttl_ms=CLOCK_TTL_MS)
        await self._look(client)

    async def act(self, client: Client) -> None:
        dice = client.dice
        if dice.random() < 0.3:
            await self._look(client)
            return
        key, ttl_ms = f"{self.name}:{dice.randrange(LOCKS)}", dice.choice(TTLS_MS)
        wait_ms, delay_ms = dice.choice(WAITS_MS), dice.choice(DELAYS_MS)
        token = await self._acquire(client, key, ttl_ms, wait_ms, delay_ms)
        for _ in range(dice.randrange(4)):
            if token is None:
                return
            await asyncio.sleep(ttl_ms / 1000 * dice.random() / 2)
            if not await self._do(client, "keep", key, token):
                return
        if token is not None and dice.random() < 0.8:
            await self._do(client, "release", key, token)

    async def finish(self, readers: Sequence[Client]) -> None:
        """Every node gives every lock to who asks for it."""
        for key in [f"{self.name}:{lock}" for lock in range(LOCKS)]:
            for reader in readers:
                token = await self._acquire(reader, key, FINAL_TTL_MS, FINAL_WAIT_MS, 0, "final")
                if token is not None:
                    await self._do(reader, "release", key, token)
        await self._look(readers[0])

    async def _look(self, client: Client) -> None:
        work = client.api.get(self.stage.real_key(CLOCK))
        await client.attempt("read", CLOCK, None, work, _left_ms)

    async def _acquire(
        self,
        client: Client,
        key: str,
        ttl_ms: int,
        wait_ms: int,
        delay_ms: int,
        kind: str = "acquire",
    ) -> int | None:
        """The token; None if somebody else holds it, or it is not known."""
        name = self.stage.real_key(key)

        async def work(once: str) -> int | None:
            try:
                grant = await client.api.acquire(
                    name, ttl_ms, wait_ms=wait_ms, delay_ms=delay_ms, idempotency_key=once
                )
            except LockHeld:
                return None
            return grant.token

        believed_ms = ttl_ms * LATE if self.stage.late_holders else ttl_ms
        return await client.insist(kind, key, [believed_ms, wait_ms], work, lambda token: token)

    async def _do(self, client: Client, kind: str, key: str, token: int) -> bool | None:
        """Keep or release it: whether the token still held it; None if that is not known."""
        name = self.stage.real_key(key)

        async def work() -> bool:
            try:
                if kind == "keep":
                    await client.api.keep_lock(name, token)
                else:
                    await client.api.release(name, token)
            except LockLost:
                return False
            return True

        return await client.attempt(kind, key, token, work(), lambda held: held)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        keys = by_key(operations)
        clock = ClusterClock(keys.pop(CLOCK, []))
        return of_each(keys, partial(_judge_lock, clock=clock))


def _left_ms(found: Found | None) -> int | None:
    return None if found is None else found.ttl_ms


# --- the verdict --------------------------------------------------------------------------------


class Hold(NamedTuple):
    """A token, and all that was done with it; end_ns: until when it surely held the lock."""

    acquired: Operation
    later: tuple[Operation, ...]
    end_ns: float

    @property
    def token(self) -> int:
        token: int = self.acquired.result
        return token

    @property
    def begin_ns(self) -> int:
        return self.acquired.completed_ns or 0


def _judge_lock(
    key: str, operations: Sequence[Operation], clock: ClusterClock
) -> Iterator[Anomaly]:
    acquired = [op for op in operations if op.kind in ("acquire", "final") and op.ok]
    for op in acquired:
        if op.kind == "final" and op.result is None:
            yield Anomaly(
                key, f"it was not granted within {FINAL_WAIT_MS} ms after the load", (op,)
            )
    holds = [_hold(op, operations, clock) for op in acquired if op.result is not None]
    yield from _tokens(key, holds)
    yield from _overlaps(key, holds)
    for hold in holds:
        yield from _cut_short(key, hold, clock)


def _hold(acquired: Operation, operations: Sequence[Operation], clock: ClusterClock) -> Hold:
    later = tuple(
        op for op in operations if op.kind in ("keep", "release") and op.argument == acquired.result
    )
    released_ns = min((op.invoked_ns for op in later if op.kind == "release"), default=None)
    alive = [acquired, *(op for op in later if op.kind == "keep" and op.ok and op.result)]
    end_ns = max(_sure_until_ns(op, acquired, clock) for op in alive)
    return Hold(acquired, later, end_ns if released_ns is None else min(end_ns, released_ns))


def _sure_until_ns(alive: Operation, acquired: Operation, clock: ClusterClock) -> float:
    """A time to live after the request was sent, less what cluster time gained."""
    ttl_ns = float(acquired.argument[0]) * 1e6
    gain_ms = clock.gain_ms(alive.invoked_ns, int(alive.invoked_ns + ttl_ns))
    if gain_ms is None:
        return 0.0
    return alive.invoked_ns + ttl_ns - (gain_ms + ROUNDING_MS) * 1e6


def _tokens(key: str, holds: Sequence[Hold]) -> Iterator[Anomaly]:
    """Each was given once, and to whoever asked later a higher one."""
    by_token: dict[int, Hold] = {}
    for hold in holds:
        if other := by_token.get(hold.token):
            sentence = f"token {hold.token} was given twice"
            yield Anomaly(key, sentence, (other.acquired, hold.acquired))
        by_token[hold.token] = hold
    highest: Hold | None = None  # of those that were known by then
    known = sorted(holds, key=lambda hold: hold.begin_ns)
    at = 0
    for hold in sorted(holds, key=lambda hold: hold.acquired.invoked_ns):
        while known[at].begin_ns < hold.acquired.invoked_ns:
            if highest is None or known[at].token > highest.token:
                highest = known[at]
            at += 1
        if highest is not None and hold.token < highest.token:
            sentence = f"token {hold.token} was asked for after {highest.token} was known"
            yield Anomaly(key, sentence, (highest.acquired, hold.acquired))


def _overlaps(key: str, holds: Sequence[Hold]) -> Iterator[Anomaly]:
    """A higher token was granted later, and at the latest when it was answered."""
    last: Hold | None = None
    for hold in sorted(holds, key=lambda hold: hold.token):
        if last is not None and hold.begin_ns < last.end_ns:
            sentence = f"tokens {last.token} and {hold.token} were held at the same time"
            yield Anomaly(key, sentence, (last.acquired, *last.later, hold.acquired, *hold.later))
        if last is None or hold.end_ns > last.end_ns:
            last = hold


def _cut_short(key: str, hold: Hold, clock: ClusterClock) -> Iterator[Anomaly]:
    """It was told that it is lost, before its time was over and without a release."""
    alive, released = hold.acquired, False
    for op in hold.later:
        if op.ok and op.result is False and not released:
            end_ns = _sure_until_ns(alive, hold.acquired, clock)
            if op.completed_ns is not None and op.completed_ns < end_ns:
                sentence = f"token {hold.token} was lost before its time was over"
                yield Anomaly(key, sentence, (hold.acquired, alive, op))
        released = released or (op.kind == "release" and op.outcome is not Outcome.FAIL)
        if op.kind == "keep" and op.ok and op.result:
            alive = op
