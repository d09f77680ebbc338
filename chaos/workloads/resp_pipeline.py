"""Numbered pipelines: CLIENT IDEMPOTENCY, several INCR, and all of it again until it is answered.

What a pipeline has no answer to is sent again under its numbers, mostly through another node; so
each of its increments, and each transaction of them, is done exactly once. The judge is that of the
counters; answers of one pipeline are in its order, too.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from chaos.history import Anomaly, Operation, Outcome
from chaos.resp import Api, Work, worst
from chaos.workloads import counter
from chaos.workloads.base import FAILED_PAUSE_S, INSIST_S, Client, Stage
from raftcache.errors import Refused, Unknown

SIZES: Final = (1, 2, 5)
MULTI_CHANCE: Final = 0.3


class RespPipeline(counter.Counter):
    name = "resp-pipeline"
    about = "Redis: numbered pipelines, sent again until they are answered; exactly once"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._next: defaultdict[int, int] = defaultdict(lambda: 1)
        """The number of each client's next write."""

    async def _read(self, client: Client, key: str) -> None:
        work = client.redis.ask(lambda api: api.get(self.stage.real_key(key)))
        await client.attempt("read", key, None, _number(work), lambda number: number)

    async def _increment(self, client: Client, key: str) -> None:
        """Each increment of the pipeline is one operation of the history."""
        size, is_multi = client.dice.choice(SIZES), client.dice.random() < MULTI_CHANCE
        history, name = self.stage.history, client.unique()
        operations = [history.invoke(client.number, "incr", key, name) for _ in range(size)]
        numbers, maybe, why = await self._insist(client, key, size, is_multi)
        for place, operation in enumerate(operations):
            if numbers is not None:
                history.complete(operation, Outcome.OK, [numbers[place]])
            else:
                history.complete(operation, Outcome.UNKNOWN if maybe else Outcome.FAIL, error=why)

    async def _insist(
        self, client: Client, key: str, size: int, is_multi: bool
    ) -> tuple[list[int] | None, bool, str]:
        """The answers; or None, whether it may have happened, and why there are none."""
        maybe, number = False, self._take(client, 1 if is_multi else size)
        deadline_ns = self.stage.history.now_ns() + int(INSIST_S * 1e9)
        while True:
            try:
                send = _sender(self._id(client), number, self.stage.real_key(key), size, is_multi)
                return await client.redis.ask(send), False, ""
            except (Refused, Unknown) as e:
                # Of a pipeline, a part may have been done where another one was refused.
                maybe = maybe or isinstance(e, Unknown) or size > 1
                if not maybe or self.stage.history.now_ns() > deadline_ns:
                    return None, maybe, e.detail
            await asyncio.sleep(FAILED_PAUSE_S)
            if self.stage.fresh_tokens:
                number = self._take(client, size)

    def _take(self, client: Client, count: int) -> int:
        """The first of so many numbers."""
        self._next[client.number] += count
        return self._next[client.number] - count

    def _id(self, client: Client) -> str:
        return f"{self.stage.prefix}{client.number}"

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return [*counter.Counter.judge(operations), *_in_order(operations)]


def _sender(id: str, number: int, real: bytes, size: int, is_multi: bool) -> Work[list[int]]:
    """Sends one pipeline."""

    async def send(api: Api) -> list[int]:
        async with api.pipeline(transaction=False) as pipe:
            pipe.execute_command("CLIENT IDEMPOTENCY", id, number)
            if is_multi:
                pipe.execute_command("MULTI")
            for _ in range(size):
                pipe.execute_command("INCR", real)
            if is_multi:
                pipe.execute_command("EXEC")
            answers = await pipe.execute(raise_on_error=False)
        if (error := worst(answers)) is not None:
            raise error
        return [int(number) for number in (answers[-1] if is_multi else answers[1:])]

    return send


async def _number(work: Awaitable[str | None]) -> int:
    return int(await work or 0)


def _in_order(operations: Sequence[Operation]) -> Iterator[Anomaly]:
    """A pipeline is done in its order."""
    pipelines: defaultdict[str, list[Operation]] = defaultdict(list)
    for op in operations:
        if op.kind == "incr" and op.ok:
            pipelines[op.argument].append(op)
    for ops in pipelines.values():
        if any(a.result >= b.result for a, b in pairwise(ops)):
            yield Anomaly(ops[0].key, "a pipeline was not done in its order", tuple(ops))
