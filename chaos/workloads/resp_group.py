"""A group of consumers behind the Redis protocol: XADD, XREADGROUP, XACK.

Values are unique, and each client is a consumer of its own. One that does not know what became of
its XREADGROUP or XACK reads again what is pending under its name, and goes on with that. So none
may be lost, whatever the answers that were: each is still to be given, pending, or acknowledged;
none may come to two consumers, nor twice as a new one; and none that was acknowledged comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from chaos.history import Anomaly, Operation, Outcome
from chaos.resp import Api, Work
from chaos.workloads.base import Client, Stage, Workload
from chaos.workloads.resp_stream import entries_of, order_of

STREAM: Final = "resp-group:work"
GROUP: Final = "crew"
FIELD: Final = "value"
ADD_CHANCE: Final = 0.4
LOOK_CHANCE: Final = 0.1
"""That a consumer reads again what is pending, though it knows what is."""
FORGET_CHANCE: Final = 0.05
"""That it dies with what it was given: who begins anew under its name reads it again."""
WAITS_MS: Final = (None, 1, 200)
AT_ONCE: Final = 3
ALL: Final = 1_000_000


class RespGroup(Workload):
    name = "resp-group"
    about = "Redis: XADD, XREADGROUP, XACK; each value given once, none lost, none comes back"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._unsure: set[int] = set()
        """Consumers that do not know what is pending under their names."""
        self._is_made = False

    async def act(self, client: Client) -> None:
        if not self._is_made:
            await self._make(client)
        elif client.number in self._unsure or client.dice.random() < LOOK_CHANCE:
            await self._look(client)
        elif client.dice.random() < ADD_CHANCE:
            value, real = client.unique(), self.stage.real_key(STREAM)
            await self._do(client, "add", value, lambda api: api.xadd(real, {FIELD: value}))
        else:
            await self._take(client)

    async def _do(
        self, client: Client, kind: str, argument: object, work: Work[Any]
    ) -> list[Any] | None:
        """What it answered, in a list; None if it did not."""
        asked = client.redis.answer(work)
        return await client.attempt(kind, STREAM, argument, asked, lambda found: found[0])

    async def _make(self, client: Client) -> None:
        real = self.stage.real_key(STREAM)

        async def make(api: Api) -> bool:
            try:
                await api.xgroup_create(real, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            return True

        self._is_made |= await self._do(client, "make", None, make) is not None

    def _reading(self, client: Client, behind: str) -> Work[list[tuple[str, str]]]:
        real, wait_ms = self.stage.real_key(STREAM), client.dice.choice(WAITS_MS)
        is_new = behind == ">"

        async def read(api: Api) -> list[tuple[str, str]]:
            found = await api.xreadgroup(
                GROUP,
                f"c{client.number}",
                {real: behind},
                count=AT_ONCE if is_new else ALL,
                block=wait_ms if is_new else None,
                noack=is_new and self.stage.popped_jobs,
            )
            return entries_of(found)

        return read

    async def _take(self, client: Client) -> None:
        self._unsure.add(client.number)
        taken = await self._do(client, "take", None, self._reading(client, ">"))
        if taken is not None and client.dice.random() >= FORGET_CHANCE:
            self._unsure.discard(client.number)
            await self._acknowledge(client, taken[0])

    async def _look(self, client: Client) -> None:
        seen = await self._do(client, "look", None, self._reading(client, "0"))
        if seen is not None:
            self._unsure.discard(client.number)
            await self._acknowledge(client, seen[0])

    async def _acknowledge(self, client: Client, entries: Sequence[tuple[str, str]]) -> None:
        """All of them, in one call."""
        if not entries:
            return
        real, ids = self.stage.real_key(STREAM), [id for id, _ in entries]
        values = [value for _, value in entries]
        if await self._do(client, "done", values, lambda api: api.xack(real, GROUP, *ids)) is None:
            self._unsure.add(client.number)

    async def finish(self, readers: Sequence[Client]) -> None:
        """What is there, pending, and given, through each node, at one moment."""
        real = self.stage.real_key(STREAM)

        async def whole(api: Api) -> dict[str, Any]:
            async with api.pipeline(transaction=True) as pipe:
                pipe.xrange(real)
                pipe.xpending_range(real, GROUP, "-", "+", ALL)
                pipe.xinfo_groups(real)
                entries, pending, [group] = await pipe.execute()
            return {
                "entries": [(id, fields[FIELD]) for id, fields in entries],
                "pending": [each["message_id"] for each in pending],
                "last": group["last-delivered-id"],
            }

        for reader in readers:
            await self._do(reader, "final", None, whole)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        adds = {op.argument: op for op in operations if op.kind == "add"}
        finals = [op for op in operations if op.kind == "final" and op.ok]
        found = [*_owners(operations, adds), *_returns(operations)]
        for other in finals[1:]:
            if other.result != finals[0].result:
                sentence = "two nodes have not the same group"
                found.append(Anomaly(STREAM, sentence, (finals[0], other)))
        for final in finals[:1]:
            found += _final(final, adds, operations)
        return found


# --- the verdict --------------------------------------------------------------------------------


def _seen(op: Operation) -> list[str]:
    """The values that an operation showed its consumer as its own."""
    is_shown = op.ok and op.kind in ("take", "look")
    return [value for _, value in op.result] if is_shown else []


def _owners(operations: Sequence[Operation], adds: Mapping[str, Operation]) -> Iterator[Anomaly]:
    """Each value comes to one consumer, once as a new one, and was added."""
    first: dict[str, Operation] = {}
    taken: dict[str, Operation] = {}
    for op in operations:
        for value in _seen(op):
            add = adds.get(value)
            if add is None or add.outcome is Outcome.FAIL:
                what = "was refused, and yet given" if add else "is nobody's"
                yield Anomaly(STREAM, f"{value!r} {what}", (*((add,) if add else ()), op))
            earlier = first.setdefault(value, op)
            if earlier.process != op.process:
                yield Anomaly(STREAM, f"{value!r} came to two consumers", (earlier, op))
            if op.kind == "take" and taken.setdefault(value, op) is not op:
                yield Anomaly(STREAM, f"{value!r} was given twice", (taken[value], op))


def _returns(operations: Sequence[Operation]) -> Iterator[Anomaly]:
    """What was acknowledged is not told again to who asks after that."""
    done = {value: op for op in operations if op.kind == "done" and op.ok for value in op.argument}
    for op in operations:
        for value in _seen(op):
            before = done.get(value)
            if before is not None and op.invoked_ns > (before.completed_ns or 0):
                yield Anomaly(STREAM, f"{value!r} was acknowledged, and came back", (before, op))


def _final(
    final: Operation, adds: Mapping[str, Operation], operations: Sequence[Operation]
) -> Iterator[Anomaly]:
    ids = {value: id for id, value in final.result["entries"]}
    pending, last = set(final.result["pending"]), order_of(final.result["last"])
    tried = {value for op in operations if op.kind == "done" for value in op.argument}
    done = {value: op for op in operations if op.kind == "done" and op.ok for value in op.argument}
    for value, add in adds.items():
        id = ids.get(value)
        if add.outcome is Outcome.FAIL and id is not None:
            yield Anomaly(STREAM, f"{value!r} was refused, and is there", (add, final))
        if add.ok and id != add.result:
            yield Anomaly(STREAM, f"{value!r} was added, and is not there", (add, final))
        elif id is not None and not (id in pending or order_of(id) > last or value in tried):
            yield Anomaly(STREAM, f"{value!r} was given to nobody, and is lost", (add, final))
        if id in pending and value in done:
            yield Anomaly(
                STREAM, f"{value!r} was acknowledged, and is pending", (done[value], final)
            )
