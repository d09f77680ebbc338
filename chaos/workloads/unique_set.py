"""Sets of unique elements: whatever was added is there in the end, once, and in its place.

An element is added by appending it to a value, so the value is the order in which they came. That
decides everything: each read must have seen a beginning of it, with every element whose addition
was done before the read began, and none that was begun after the read was answered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final
from zlib import crc32

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.workloads.base import Client, Stage, Workload, of_each
from raftcache.client import Found

KEYS: Final = 3

CHAPTER_S: Final = 20
"""Afterwards other keys are used, so that values stay small."""


class UniqueSet(Workload):
    name = "set"
    about = "unique elements appended to values; none lost, none twice, none out of order"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._keys: dict[str, None] = {}

    async def act(self, client: Client) -> None:
        chapter = self.stage.history.now_ns() // (CHAPTER_S * 10**9)
        key = f"{self.name}:{chapter}.{client.dice.randrange(KEYS)}"
        self._keys[key] = None
        real = self.stage.real_key(key)
        if client.dice.random() < 0.3:
            await client.attempt("read", key, None, client.api.get(real), _sum)
        else:
            element = f"{client.unique()};"
            work = client.api.append(real, element.encode())
            await client.attempt("add", key, element, work, lambda w: w.number)

    async def finish(self, readers: Sequence[Client]) -> None:
        for key in self._keys:
            for reader in readers:
                work = reader.api.get(self.stage.real_key(key))
                await reader.attempt("final", key, None, work, _text)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return of_each(by_key(operations), _judge_key)


def _text(found: Found | None) -> str:
    return "" if found is None else found.value.decode()


def _sum(found: Found | None) -> list[int]:
    """Size and checksum: enough to tell whether it is a beginning of the final value."""
    value = b"" if found is None else found.value
    return [len(value), crc32(value)]


# --- the verdict --------------------------------------------------------------------------------


def _judge_key(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    finals = [op for op in operations if op.kind == "final" and op.ok]
    texts = {op.result for op in finals}
    if len(texts) > 1:
        yield Anomaly(key, "nodes do not agree on the final value", tuple(finals))
    if not finals:
        return
    final: str = finals[0].result
    adds = [op for op in operations if op.kind == "add"]
    yield from _elements(key, final, adds)
    yield from _order(key, [op for op in adds if op.ok])
    yield from _reads(key, final, adds, [op for op in operations if op.kind == "read" and op.ok])


def _elements(key: str, final: str, adds: Sequence[Operation]) -> Iterator[Anomaly]:
    """Every acknowledged element is where its answer said, and nothing is there that may not be."""
    parts = [part + ";" for part in final.split(";")[:-1]]
    times: dict[str, int] = {}
    for part in parts:
        times[part] = times.get(part, 0) + 1
    for add in adds:
        element: str = add.argument
        count = times.pop(element, 0)
        if count > 1:
            yield Anomaly(key, f"{element!r} is there {count} times", (add,))
        elif count and add.outcome is Outcome.FAIL:
            yield Anomaly(key, f"{element!r} was refused, and yet is there", (add,))
        elif not count and add.ok:
            yield Anomaly(key, f"{element!r} was acknowledged, and is lost", (add,))
        elif add.ok and final[add.result - len(element) : add.result] != element:
            yield Anomaly(key, f"{element!r} is not where its answer said", (add,))
    for element in times:
        yield Anomaly(key, f"{element!r} is there, and nobody added it")


def _order(key: str, adds: Sequence[Operation]) -> Iterator[Anomaly]:
    """What was done before another one began comes before it."""
    latest: Operation | None = None  # of those that come later in the value, the first to complete
    for add in sorted(adds, key=lambda op: op.result, reverse=True):
        if latest is not None and (latest.completed_ns or 0) < add.invoked_ns:
            yield Anomaly(key, "two elements are in the wrong order", (latest, add))
        if latest is None or (add.completed_ns or 0) < (latest.completed_ns or 0):
            latest = add


def _reads(
    key: str, final: str, adds: Sequence[Operation], reads: Sequence[Operation]
) -> Iterator[Anomaly]:
    value = final.encode()
    done = sorted((op.completed_ns or 0, op.result, i) for i, op in enumerate(adds) if op.ok)
    ends = [end for end, _, _ in done]
    sizes = list(accumulate((size for _, size, _ in done), max))
    begun = {op.argument: op for op in adds}
    for read in reads:
        size, check = read.result
        if crc32(value[:size]) != check or size > len(value):
            yield Anomaly(key, "a read saw what is no beginning of the final value", (read,))
            continue
        before = bisect_right(ends, read.invoked_ns - 1)
        if before and size < sizes[before - 1]:
            missed = next(adds[i] for _, s, i in done[:before] if s > size)
            yield Anomaly(key, "a read missed what was done before it began", (missed, read))
        last = begun.get(value[:size].decode()[:-1].rpartition(";")[2] + ";")
        if last is not None and last.invoked_ns > (read.completed_ns or 0):
            yield Anomaly(key, "a read saw what was begun after it", (read, last))
