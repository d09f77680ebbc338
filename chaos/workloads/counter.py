"""Counters: each increment happens exactly once, however often it is sent.

An increment whose outcome is unknown is sent again with its Idempotency-Key until it is known, and
one in five is sent through two nodes at the same time. Every answer shows the counter's new value,
so the answers of all increments are the numbers from 1 on, each of them once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.linearizability import Call, Undecided, first_inexplicable
from chaos.workloads.base import Client, Workload, of_each
from raftcache.client import Found, Written
from raftcache.errors import RaftcacheError

KEYS: Final = 3
TWICE_CHANCE: Final = 0.2


class Counter(Workload):
    name = "counter"
    about = "increments with retries under one Idempotency-Key; exactly once"

    async def act(self, client: Client) -> None:
        key = f"{self.name}:{client.dice.randrange(KEYS)}"
        if client.dice.random() < 0.3:
            await self._read(client, key)
        else:
            await self._increment(client, key)

    async def finish(self, readers: Sequence[Client]) -> None:
        for key in range(KEYS):
            for reader in readers:
                await self._read(reader, f"{self.name}:{key}")

    async def _read(self, client: Client, key: str) -> None:
        await client.attempt("read", key, None, client.api.get(self.stage.real_key(key)), _number)

    async def _increment(self, client: Client, key: str) -> None:
        real = self.stage.real_key(key)
        twice = client.dice.random() < TWICE_CHANCE

        async def work(token: str) -> list[Written]:
            calls = [client.api.incr(real, idempotency_key=token)]
            if twice and not self.stage.fresh_tokens:
                calls.append(client.other.incr(real, idempotency_key=token))
            got = await asyncio.gather(*calls, return_exceptions=True)
            return _answered(got)

        await client.insist("incr", key, 1, work, lambda w: sorted({one.number for one in w}))

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return of_each(by_key(operations), _judge_key)


def _answered(got: Sequence[Written | BaseException]) -> list[Written]:
    """What was answered, if anything was; otherwise the error that leaves most open."""
    answers = [one for one in got if isinstance(one, Written)]
    if answers:
        return answers
    errors = [one for one in got if isinstance(one, BaseException)]
    for error in errors:
        if not isinstance(error, RaftcacheError):
            raise error
    raise min(errors, key=lambda e: getattr(e, "definite", False))


def _number(found: Found | None) -> int:
    return 0 if found is None else int(found.value)


# --- the verdict --------------------------------------------------------------------------------


class Word(NamedTuple):
    """An increment, or a read. number: the value after it, None if it is not known."""

    operation: Operation
    number: int | None


def step(count: int, word: Word) -> int | None:
    """See linearizability.Step."""
    after = count + 1 if word.operation.kind == "incr" else count
    return after if word.number in (None, after) else None


def _judge_key(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    first: dict[int, Operation] = {}
    for operation in operations:
        if operation.kind != "incr" or not operation.ok:
            continue
        if len(operation.result) > 1:
            yield Anomaly(key, f"one increment was answered {operation.result}", (operation,))
        earlier = first.setdefault(operation.result[0], operation)
        if earlier is not operation:
            sentence = f"two increments were answered {operation.result[0]}: one of them is lost"
            yield Anomaly(key, sentence, (earlier, operation))
    yield from _order(key, operations)


def _order(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    calls: list[Call[Word]] = []
    for operation in operations:
        if operation.outcome is Outcome.FAIL or (operation.kind == "read" and not operation.ok):
            continue
        number = None
        if operation.ok:
            number = operation.result if operation.kind == "read" else operation.result[0]
        end_ns = operation.completed_ns if operation.ok else None
        changes = operation.kind == "incr"
        calls.append(Call(Word(operation, number), operation.invoked_ns, end_ns, changes))
    try:
        last = first_inexplicable(calls, 0, step)
    except Undecided as e:
        yield Anomaly(key, f"could not be judged: {e}")
        return
    if last is not None:
        yield Anomaly(key, _sentence(last, calls), (last.word.operation,))


def _sentence(last: Call[Word], calls: Sequence[Call[Word]]) -> str:
    word, end_ns = last.word, last.completed_ns or 0
    increments = [call for call in calls if call.word.operation.kind == "incr"]
    ends_ns = [call.completed_ns for call in increments if call.completed_ns is not None]
    done = sum(at_ns < last.invoked_ns for at_ns in ends_ns)
    begun = sum(call.invoked_ns <= end_ns for call in increments)
    return (
        f"no order explains that {word.operation.kind} was answered {word.number}: "
        f"{done} increments were done before it began, {begun} were begun before it was answered"
    )
