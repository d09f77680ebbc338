"""Watches: ordered, unique, without a gap, the same at every node, and true to what was written.

Clients write unique values, sometimes two keys in one transaction; in between each watches for a
while, from where it was last, through whichever nodes it knows. So a watch of the history is an
interval of revisions and what happened in it. Where two of them overlap they must have seen the
same; and an acknowledged write is in each that covers its revision, once, with its value.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from chaos.history import Anomaly, Operation, Outcome
from chaos.workloads.base import PATIENT_S, Client, Stage, Workload
from raftcache.client import Changes, RaftcacheClient, Txn, Watch
from raftcache.errors import Compacted

KEYS: Final = 5
WATCHES: Final = 0.05
"""The part of what a client does that are watches: each takes a hundred times as long."""
SESSION_S: Final = 2.0
START_AFRESH: Final = 0.2
"""The part of the watches that begin now, and not where the client was last."""

Seen = list[tuple[int, list[list[str | None]]]]


class Watching(Workload):
    name = "watch"
    about = "watches that reconnect; ordered, unique, no gaps, the same everywhere, true to writes"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._since: dict[int, int | None] = {}
        self._first = 0

    async def begin(self, client: Client) -> None:
        self._first = (await client.api.put(self._real("begin"), b"")).revision

    async def act(self, client: Client) -> None:
        dice = client.dice
        if dice.random() < WATCHES:
            await self._watch_for(client, SESSION_S * dice.random())
        elif dice.random() < 0.2:
            await self._write_two(client)
        else:
            await self._write(client)

    async def finish(self, readers: Sequence[Client]) -> None:
        """Everything once more from each node, as far as it remembers."""
        last = (await readers[0].api.put(self._real("end"), b"")).revision
        for reader in readers:
            self._since[reader.number] = self._first
            await self._watch(reader, "final", self._until(last))

    def _real(self, key: str) -> bytes:
        return self.stage.real_key(f"{self.name}:{key}")

    async def _write(self, client: Client) -> None:
        key, value = f"{self.name}:{client.dice.randrange(KEYS)}", client.unique()
        real = self.stage.real_key(key)
        if client.dice.random() < 0.2:
            work = client.api.delete(real)
            shown = lambda written: written.revision if written.applied else 0  # noqa: E731
            await client.attempt("delete", key, [[key, None]], work, shown)
        else:
            put = client.api.put(real, value.encode())
            await client.attempt("put", key, [[key, value]], put, lambda w: w.revision)

    async def _write_two(self, client: Client) -> None:
        """One revision with two changes."""
        keys = [f"{self.name}:{key}" for key in client.dice.sample(range(KEYS), 2)]
        value, txn = client.unique(), Txn()
        for key in keys:
            txn.then.put(self.stage.real_key(key), value.encode())
        argument = [[key, value] for key in keys]
        await client.attempt("two", keys[0], argument, client.api.txn(txn), lambda d: d.revision)

    # Watching.

    async def _watch_for(self, client: Client, span_s: float) -> None:
        if client.dice.random() < START_AFRESH:
            self._since[client.number] = None

        async def take(watch: Watch, seen: Seen) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(span_s):
                    async for changes in watch:
                        seen.append(self._shown(changes))

        await self._watch(client, "watch", take)

    def _until(self, last: int) -> Any:  # noqa: ANN401 - a function like `take` above
        async def take(watch: Watch, seen: Seen) -> None:
            async with asyncio.timeout(PATIENT_S):
                while (watch.revision or 0) < last:
                    seen.append(self._shown(await anext(watch)))

        return take

    async def _watch(self, client: Client, kind: str, take: Any) -> None:  # noqa: ANN401
        since = self._since.get(client.number)
        work = self._session(client, since, take)
        result = await client.attempt(kind, f"{self.name}:", since, work, lambda r: r)
        if result is not None:
            self._since[client.number] = result.get("forgotten", result.get("to"))

    async def _session(self, client: Client, since: int | None, take: Any) -> dict[str, Any]:  # noqa: ANN401
        """From where to where, and what was seen; or since when it is remembered."""
        seen: Seen = []
        try:
            async with self._open(client.api, since) as watch:
                start = watch.revision
                await take(watch, seen)
                return {"from": start, "to": watch.revision, "seen": seen}
        except Compacted as e:  # history is bounded, and begins anew with a snapshot
            return {"forgotten": e.oldest_revision}

    @asynccontextmanager
    async def _open(self, api: RaftcacheClient, since: int | None) -> AsyncIterator[Watch]:
        async with api.watch(prefix=self._real(""), since=since, patience_s=PATIENT_S) as watch:
            yield watch

    def _shown(self, changes: Changes) -> tuple[int, list[list[str | None]]]:
        cut = len(self.stage.prefix.encode())
        return changes.revision, [
            [c.key[cut:].decode(), None if c.entry is None else c.entry.value.decode()]
            for c in changes.changes
        ]

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        watches = [
            op
            for op in operations
            if op.kind in ("watch", "final") and op.ok and "seen" in op.result
        ]
        writes = [op for op in operations if op.kind in ("put", "delete", "two")]
        book = _Book(watches)
        return [*book.anomalies, *_overlaps(watches, book), *_writes(writes, watches, book)]


# --- the verdict --------------------------------------------------------------------------------


class _Book:
    """What happened at each revision, by whoever saw it first."""

    def __init__(self, watches: Sequence[Operation]) -> None:
        self.changes: dict[int, tuple[list[list[str | None]], Operation]] = {}
        self.anomalies: list[Anomaly] = []
        for watch in watches:
            for sentence in self._read(watch):
                self.anomalies.append(Anomaly(watch.key, sentence, (watch,)))
        self.revisions = sorted(self.changes)

    def _read(self, watch: Operation) -> Iterator[str]:
        first, last = watch.result["from"], watch.result["to"]
        if watch.argument is not None and watch.argument != first:
            yield f"a watch since {watch.argument} began at {first}"
        before = first
        for revision, changes in watch.result["seen"]:
            if not before < revision <= last:
                yield f"revision {revision} came after {before}, in a watch up to {last}"
            before = max(before, revision)
            known, other = self.changes.setdefault(revision, (changes, watch))
            if known != changes:
                self.anomalies.append(
                    Anomaly(watch.key, f"two watches differ at {revision}", (other, watch))
                )


def _overlaps(watches: Sequence[Operation], book: _Book) -> Iterator[Anomaly]:
    """Each watch saw all that anyone saw in its interval."""
    for watch in watches:
        seen = {revision for revision, _ in watch.result["seen"]}
        low = bisect_right(book.revisions, watch.result["from"])
        high = bisect_right(book.revisions, watch.result["to"])
        for revision in book.revisions[low:high]:
            if revision not in seen:
                other = book.changes[revision][1]
                yield Anomaly(watch.key, f"a watch missed revision {revision}", (other, watch))


def _writes(
    writes: Sequence[Operation], watches: Sequence[Operation], book: _Book
) -> Iterator[Anomaly]:
    times: dict[str, int] = {}
    for changes, _ in book.changes.values():
        for value in {value for _, value in changes if value is not None}:
            times[value] = times.get(value, 0) + 1
    widest = sorted(watches, key=lambda w: w.result["from"] - w.result["to"])
    for write in writes:
        value = write.argument[0][1]
        if value is not None and times.get(value, 0) > 1:
            yield Anomaly(write.key, f"{value!r} was seen at two revisions", (write,))
        if value in times and write.outcome is Outcome.FAIL:
            yield Anomaly(write.key, f"{value!r} was refused, and yet seen", (write,))
        if write.ok and write.result:
            yield from _acknowledged(write, widest, book)
    yield from _order_in_time([w for w in writes if w.ok and w.result], watches)


def _acknowledged(write: Operation, watches: Sequence[Operation], book: _Book) -> Iterator[Anomaly]:
    """It is where its answer said, if any watch can know."""
    revision = write.result
    covers = (w for w in watches if w.result["from"] < revision <= w.result["to"])
    watch = next(covers, None)
    if watch is not None:
        changes = book.changes[revision][0] if revision in book.changes else []
        if sorted(changes, key=str) != sorted(write.argument, key=str):
            sentence = f"it was acknowledged at {revision}, where watches saw {changes}"
            yield Anomaly(write.key, sentence, (write, watch))


def _order_in_time(writes: Sequence[Operation], watches: Sequence[Operation]) -> Iterator[Anomaly]:
    """What was done before a watch from now is before it; no watch knows what was begun later."""
    latest: Operation | None = None
    moments = [(w.completed_ns or 0, 0, w) for w in writes]
    moments += [(w.invoked_ns, 1, w) for w in watches if w.argument is None]
    for _, is_watch, op in sorted(moments, key=lambda moment: moment[:2]):
        if not is_watch:
            latest = op if latest is None or op.result > latest.result else latest
        elif latest is not None and latest.result > op.result["from"]:
            yield Anomaly(op.key, "a watch from now began before it", (latest, op))
    furthest: Operation | None = None
    moments = [(w.completed_ns or 0, 0, w) for w in watches]
    moments += [(w.invoked_ns, 1, w) for w in writes]
    for _, is_write, op in sorted(moments, key=lambda moment: moment[:2]):
        if not is_write:
            furthest = max((op, furthest or op), key=lambda watch: watch.result["to"])
        elif furthest is not None and op.result <= furthest.result["to"]:
            yield Anomaly(op.key, "a watch knew what was begun later", (furthest, op))
