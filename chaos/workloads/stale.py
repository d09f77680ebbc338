"""Stale reads within their bound: what they return was the current value at most so long ago.

Each key has one writer, whose values count up and who goes on only when it knows that the last one
is written; so it is known between which moments each value was the current one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.workloads.base import Client, Stage, Workload, of_each
from raftcache.client import Found

KEYS: Final = 3
BOUNDS_MS: Final = (100, 500, 2000)


class Stale(Workload):
    name = "stale"
    about = "stale reads with max_staleness; current at most so long ago"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._written: dict[str, int] = {}

    async def act(self, client: Client) -> None:
        dice = client.dice
        if client.number < KEYS and dice.random() < 0.5:
            await self._write(client, f"{self.name}:{client.number}")
        else:
            await self._read(client, f"{self.name}:{dice.randrange(KEYS)}", dice.choice(BOUNDS_MS))

    async def finish(self, readers: Sequence[Client]) -> None:
        for key in range(KEYS):
            for reader in readers:
                await self._read(reader, f"{self.name}:{key}", BOUNDS_MS[0])

    async def _write(self, client: Client, key: str) -> None:
        """The numbers of writes that were refused are not used again."""
        number = self._written[key] = self._written.get(key, 0) + 1
        real, value = self.stage.real_key(key), str(number).encode()
        await client.insist(
            "write",
            key,
            number,
            lambda token: client.api.put(real, value, idempotency_key=token),
            lambda written: written.revision,
        )

    async def _read(self, client: Client, key: str, bound_ms: int) -> None:
        work = client.api.get(
            self.stage.real_key(key), consistency="stale", max_staleness_ms=bound_ms
        )
        await client.attempt("read", key, bound_ms, work, _shown)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return of_each(by_key(operations), _judge_key)


def _shown(found: Found | None) -> list[object]:
    """Of a read: the number, 0 without one, and which node said so."""
    return [0, ""] if found is None else [int(found.value), found.served_by]


def _judge_key(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    writes = [op for op in operations if op.kind == "write"]
    refused = {op.argument for op in writes if op.outcome is Outcome.FAIL}
    happened = {op.argument: op for op in writes if op.outcome is not Outcome.FAIL}
    following: dict[int, Operation] = {}  # number -> the first acknowledged write above it
    above: Operation | None = None
    for number in range(len(writes), -1, -1):
        if above is not None:
            following[number] = above
        write = happened.get(number)
        above = write if write is not None and write.ok else above
    for read in operations:
        if read.kind != "read" or not read.ok:
            continue
        number, oldest_ns = read.result[0], read.invoked_ns - read.argument * 10**6
        if number in refused:
            yield Anomaly(key, f"{number} was refused, and yet seen", (read,))
        write, after = happened.get(number), following.get(number)
        if write is not None and write.invoked_ns > (read.completed_ns or 0):
            yield Anomaly(key, f"{number} was seen before it was written", (read, write))
        if after is not None and (after.completed_ns or 0) < oldest_ns:
            age_ms = (read.invoked_ns - (after.completed_ns or 0)) / 1e6
            sentence = (
                f"{number} was replaced {age_ms:.0f} ms ago; the bound was {read.argument} ms"
            )
            yield Anomaly(key, sentence, (after, read))
