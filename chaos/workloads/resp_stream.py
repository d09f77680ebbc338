"""Streams behind the Redis protocol: XADD of unique values, and XREAD from where one was last.

The order of a stream is that of its ids, and the last look has all of it: so each add that was
acknowledged is there once, under its id, and ids rise with time; and each reader has seen what is
there behind where he was, without a gap, up to all that was acknowledged before he asked.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.resp import Api
from chaos.workloads.base import Client, Stage, Workload, of_each

KEYS: Final = 4
READS: Final = 0.4
AT_ONCE: Final = 50
"""Entries that a reader is given at most."""
WAITS_MS: Final = (None, 1, 200)
"""How long a reader waits for something, if there is nothing; None: not at all."""
BEGIN: Final = "0-0"
NOTHING: Final = (0, 0)
FIELD: Final = "value"

Id: TypeAlias = tuple[int, int]
Entry: TypeAlias = tuple[str, str]
"""An id, and what was added under it."""


class RespStream(Workload):
    name = "resp-stream"
    about = "Redis: XADD and XREAD; nothing lost, in order, and readers have no gaps"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._read_to: dict[tuple[int, str], str] = {}

    async def act(self, client: Client) -> None:
        key = f"{self.name}:{client.dice.randrange(KEYS)}"
        if client.dice.random() < READS:
            await self._read(client, key)
        else:
            await self._add(client, key)

    async def finish(self, readers: Sequence[Client]) -> None:
        for number in range(KEYS):
            for reader in readers:
                await self._read_all(reader, f"{self.name}:{number}")

    async def _add(self, client: Client, key: str) -> None:
        value, real = client.unique(), self.stage.real_key(key)

        async def add(api: Api) -> str:
            return str(await api.xadd(real, {FIELD: value}))

        done = await client.attempt("add", key, value, client.redis.ask(add), lambda id: id)
        if done is None and self.stage.fresh_tokens:
            await client.attempt("add", key, value, client.redis.ask(add), lambda id: id)

    async def _read(self, client: Client, key: str) -> None:
        last = self._read_to.get((client.number, key), BEGIN)
        real, wait_ms = self.stage.real_key(key), client.dice.choice(WAITS_MS)

        async def read(api: Api) -> list[Entry]:
            found = await api.xread({real: last}, count=AT_ONCE, block=wait_ms)
            return entries_of(found)

        seen = await client.attempt("read", key, last, client.redis.ask(read), lambda found: found)
        if seen:
            self._read_to[client.number, key] = seen[-1][0]

    async def _read_all(self, reader: Client, key: str) -> None:
        real = self.stage.real_key(key)

        async def read(api: Api) -> list[Entry]:
            return [(id, fields[FIELD]) for id, fields in await api.xrange(real)]

        await reader.attempt("final", key, None, reader.redis.ask(read), lambda found: found)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return of_each(by_key(operations), _judge_key)


def entries_of(found: Api) -> list[Entry]:
    """Of the one stream that was asked for, as either protocol has them."""
    if not found:
        return []
    [entries] = found.values() if isinstance(found, dict) else [found[0][1]]
    entries = entries[0] if isinstance(found, dict) else entries
    return [(id, fields[FIELD]) for id, fields in entries]


def order_of(id: str) -> Id:
    ms, _, number = id.partition("-")
    return int(ms), int(number)


# --- the verdict --------------------------------------------------------------------------------


def _judge_key(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    finals = [op for op in operations if op.kind == "final" and op.ok]
    adds = [op for op in operations if op.kind == "add"]
    for other in finals[1:]:
        if other.result != finals[0].result:
            yield Anomaly(key, "two nodes have not the same stream", (finals[0], other))
    for final in finals[:1]:
        yield from _adds(key, adds, final)
        told = _Told(adds)
        yield from _in_time(key, adds, told)
        begun_ns = {op.argument: op.invoked_ns for op in adds}
        for op in operations:
            if op.kind == "read" and op.ok:
                yield from _read(key, op, begun_ns, told, final)


def _adds(key: str, adds: Sequence[Operation], final: Operation) -> Iterator[Anomaly]:
    """What was added is there, once and under its id, and nothing else is."""
    there: dict[str, list[str]] = {}
    for id, value in final.result:
        there.setdefault(value, []).append(id)
    for op in adds:
        ids = there.pop(op.argument, [])
        if len(ids) > 1:
            yield Anomaly(key, f"{op.argument} is there {len(ids)} times", (op, final))
        elif op.ok and ids != [op.result]:
            yield Anomaly(key, "an add was acknowledged, and is lost", (op, final))
        elif op.outcome is Outcome.FAIL and ids:
            yield Anomaly(key, "an add was refused, and yet done", (op, final))
    for value in sorted(there):
        yield Anomaly(key, f"{value!r} is there, and nobody added it", (final,))


class _Told:
    """The highest id that anybody had been told, by time."""

    def __init__(self, adds: Sequence[Operation]) -> None:
        by_end = sorted((op for op in adds if op.ok), key=lambda op: op.completed_ns or 0)
        self._ends = [op.completed_ns or 0 for op in by_end]
        self._ids = list(accumulate((order_of(op.result) for op in by_end), max))

    def before(self, at_ns: int) -> Id:
        count = bisect_left(self._ends, at_ns)
        return self._ids[count - 1] if count else NOTHING


def _in_time(key: str, adds: Sequence[Operation], told: _Told) -> Iterator[Anomaly]:
    """Who begins when another one is done has the higher id."""
    for op in adds:
        if op.ok and told.before(op.invoked_ns) > order_of(op.result):
            yield Anomaly(key, "an id is below one that was told before", (op,))


def _read(
    key: str, op: Operation, begun_ns: Mapping[str, int], told: _Told, final: Operation
) -> Iterator[Anomaly]:
    """It saw what is there from its place on, without a gap, and all that had to be."""
    ids = [order_of(id) for id, _ in final.result]
    begin = bisect_right(ids, order_of(op.argument))
    seen, due = list(op.result), bisect_right(ids, told.before(op.invoked_ns)) - begin
    if list(map(tuple, seen)) != list(map(tuple, final.result[begin : begin + len(seen)])):
        yield Anomaly(key, "a reader has seen another stream", (op, final))
    elif len(seen) < min(AT_ONCE, due):
        yield Anomaly(key, "a reader has not seen what was acknowledged before", (op, final))
    elif any(begun_ns[value] > (op.completed_ns or 0) for _, value in seen):
        yield Anomaly(key, "a reader has seen an entry before it was added", (op, final))
