"""A queue behind the Redis protocol: RPUSH, LMOVE to a list of one's own, LREM when it is done.

Redis' pattern of a reliable queue. Jobs are unique. A client that does not know what became of its
LMOVE or LREM looks at its own list and goes on with what is there. So no job may be lost, whatever
the answers that were; none may come to two clients, nor come back; and they come in the order in
which they were pushed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chaos.history import Anomaly, Operation, Outcome
from chaos.resp import Api, Work
from chaos.workloads.base import Client, Stage, Workload

TODO: Final = "resp-queue:todo"
DOING: Final = "resp-queue:doing"
PUSH_CHANCE: Final = 0.45
WAIT_CHANCE: Final = 0.5
WAIT_S: Final = 0.1
"""For a job to come, at times."""
LOOK_CHANCE: Final = 0.1
"""That a client looks at its list though it knows what is there."""
FORGET_CHANCE: Final = 0.02
"""That it dies with what it has taken: who begins anew in its place looks at its list."""


class RespQueue(Workload):
    name = "resp-queue"
    about = "Redis: RPUSH, LMOVE, LREM; no job lost, none twice, in order"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._unsure: set[int] = set()
        """Clients that do not know what is in their lists."""
        self._owners: set[int] = set()

    async def act(self, client: Client) -> None:
        number = client.number
        if number in self._unsure or client.dice.random() < LOOK_CHANCE:
            await self._resume(client)
        elif client.dice.random() < PUSH_CHANCE:
            job = client.unique()
            real = self.stage.real_key(TODO)
            await self._do(client, "push", job, lambda api: api.rpush(real, job))
        else:
            await self._take(client)

    def _own(self, number: int) -> bytes:
        return self.stage.real_key(f"{DOING}:{number}")

    async def _do(
        self, client: Client, kind: str, argument: str | None, work: Work[Any]
    ) -> list[Any] | None:
        """What it answered, in a list; None if it did not."""
        asked = client.redis.answer(work)
        return await client.attempt(kind, TODO, argument, asked, lambda found: found[0])

    def _taking(self, client: Client) -> Work[Any]:
        todo, own = self.stage.real_key(TODO), self._own(client.number)
        if self.stage.popped_jobs:
            return lambda api: api.lpop(todo)
        if client.dice.random() < WAIT_CHANCE:
            return lambda api: api.blmove(todo, own, WAIT_S, "LEFT", "RIGHT")
        return lambda api: api.lmove(todo, own, "LEFT", "RIGHT")

    async def _take(self, client: Client) -> None:
        """The next job, and do it."""
        self._owners.add(client.number)
        self._unsure.add(client.number)
        taken = await self._do(client, "take", None, self._taking(client))
        if taken is not None and client.dice.random() >= FORGET_CHANCE:
            self._unsure.discard(client.number)
            if taken[0] is not None:
                await self._finish(client, taken[0])

    async def _finish(self, client: Client, job: str) -> None:
        own = self._own(client.number)
        self._unsure.add(client.number)
        if await self._do(client, "done", job, lambda api: api.lrem(own, 1, job)) is not None:
            self._unsure.discard(client.number)

    async def _resume(self, client: Client) -> None:
        """After it is not known what became of something: what is mine is what is in my list."""
        own = self._own(client.number)
        seen = await self._do(client, "look", None, lambda api: api.lrange(own, 0, -1))
        if seen is not None:
            self._unsure.discard(client.number)
            for job in seen[0]:
                await self._finish(client, job)

    async def finish(self, readers: Sequence[Client]) -> None:
        """All lists, through each node, as they are at one moment."""
        names = {"todo": self.stage.real_key(TODO)}
        names |= {str(number): self._own(number) for number in sorted(self._owners)}

        async def lists(api: Api) -> dict[str, list[str]]:
            async with api.pipeline(transaction=True) as pipe:
                for real in names.values():
                    pipe.lrange(real, 0, -1)
                return dict(zip(names, await pipe.execute(), strict=True))

        for reader in readers:
            await self._do(reader, "final", None, lists)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        pushes = {op.argument: op for op in operations if op.kind == "push"}
        finals = [op for op in operations if op.kind == "final" and op.ok]
        takes = {op.result: op for op in operations if op.kind == "take" and op.ok and op.result}
        found = [*_owners(operations, pushes), *_removals(operations), *_order(takes, pushes)]
        for final in finals:
            found += _final(final, pushes, operations)
        return found


# --- the verdict --------------------------------------------------------------------------------


def _seen(op: Operation) -> list[str]:
    """The jobs that an operation showed its client as its own."""
    if not op.ok or op.kind not in ("take", "look"):
        return []
    jobs = op.result if op.kind == "look" else [op.result]
    return [job for job in jobs if job is not None]


def _owners(operations: Sequence[Operation], pushes: Mapping[str, Operation]) -> Iterator[Anomaly]:
    """Each job comes to one client, once, and was pushed."""
    first: dict[str, Operation] = {}
    taken: dict[str, Operation] = {}
    for op in operations:
        for job in _seen(op):
            push = pushes.get(job)
            if push is None or push.outcome is Outcome.FAIL:
                sentence = f"{job!r} was refused, and yet seen" if push else f"{job!r} is nobody's"
                yield Anomaly(TODO, sentence, (*((push,) if push else ()), op))
            earlier = first.setdefault(job, op)
            if earlier.process != op.process:
                yield Anomaly(TODO, f"{job!r} came to two clients", (earlier, op))
            if op.kind == "take" and taken.setdefault(job, op) is not op:
                yield Anomaly(TODO, f"{job!r} was taken twice", (taken[job], op))


def _removals(operations: Sequence[Operation]) -> Iterator[Anomaly]:
    """Each job is removed once, and does not come back."""
    removed: dict[str, Operation] = {}
    for op in operations:
        if op.kind == "done" and op.ok and op.result:
            if op.argument in removed:
                pair = removed[op.argument], op
                yield Anomaly(TODO, f"{op.argument!r} was removed twice", pair)
            removed[op.argument] = op
    for op in operations:
        for job in _seen(op):
            done = removed.get(job)
            if done is not None and op.invoked_ns > (done.completed_ns or 0):
                yield Anomaly(TODO, f"{job!r} was removed, and came back", (done, op))


def _order(takes: Mapping[str, Operation], pushes: Mapping[str, Operation]) -> Iterator[Anomaly]:
    """Of two jobs, one after the other in time, the second is not taken first."""
    pairs = [(take, pushes[job]) for job, take in takes.items() if job in pushes]
    by_begin = sorted(pairs, key=lambda pair: pair[0].invoked_ns)
    by_end = sorted(pairs, key=lambda pair: pair[0].completed_ns or 0)
    at, latest = 0, None
    for take, push in by_begin:
        while at < len(by_end) and (by_end[at][0].completed_ns or 0) < take.invoked_ns:
            if latest is None or by_end[at][1].invoked_ns > latest[1].invoked_ns:
                latest = by_end[at]
            at += 1
        if latest is not None and push.ok and (push.completed_ns or 0) < latest[1].invoked_ns:
            sentence = (
                f"{push.argument!r} was pushed before {latest[1].argument!r}, and taken after"
            )
            yield Anomaly(TODO, sentence, (push, latest[1], latest[0], take))


def _final(
    final: Operation, pushes: Mapping[str, Operation], operations: Sequence[Operation]
) -> Iterator[Anomaly]:
    there = [job for jobs in final.result.values() for job in jobs]
    tried = {op.argument for op in operations if op.kind == "done"}
    gone = {op.argument: op for op in operations if op.kind == "done" and op.ok and op.result}
    for job in sorted({job for job in there if there.count(job) > 1}):
        yield Anomaly(TODO, f"{job!r} is there twice", (final,))
    left = set(there)
    for job in sorted(left & set(gone)):
        yield Anomaly(TODO, f"{job!r} was removed, and is there", (gone[job], final))
    for job, push in pushes.items():
        if push.ok and job not in left and job not in tried:
            yield Anomaly(TODO, f"{job!r} was acknowledged, and is lost", (push, final))
        if push.outcome is Outcome.FAIL and job in left:
            yield Anomaly(TODO, f"{job!r} was refused, and is there", (push, final))
