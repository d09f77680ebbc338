"""What every workload is made of: clients that keep book, and a judge of the book alone."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Final, TypeVar

from chaos.history import Anomaly, History, Operation, Outcome
from chaos.resp import Door
from raftcache.client import Consistency, RaftcacheClient
from raftcache.errors import BadRequest, RaftcacheError, Refused, Unknown

PATIENT_S: Final = 10.0
"""Sits out a failover within one call."""

INSIST_S: Final = 60.0
"""For a write that is repeated until it is known: well within what idempotency keys are kept."""

FAILED_PAUSE_S: Final = 0.05
"""After an operation that did not succeed: a dead node refuses a thousand times a second."""

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """What the clients of one run share.

    doors: where the nodes of these URLs serve Redis clients, host:port.
    prefix: of every key, so that a cluster can be used twice.
    pause_s: mean time between two operations of a client.
    reads: the level of reads that are judged as linearizable; another one than that is a control.
    """

    history: History
    urls: Sequence[str]
    doors: Mapping[str, str]
    prefix: str
    seed: int
    pause_s: float
    reads: Consistency = "linearizable"
    fresh_tokens: bool = False
    """A control: a retry gets a new Idempotency-Key, as a careless client would do it."""
    wall_deadlines: bool = False
    """A control: see workloads.wallclock."""
    late_holders: bool = False
    """A control: holders of locks notice the end of their time to live late."""
    blind_transfers: bool = False
    """A control: transfers write what follows from a look, whatever has changed since."""
    popped_jobs: bool = False
    """A control: jobs are popped from their queue, not moved to a list of who does them."""

    def real_key(self, key: str) -> bytes:
        """As the cluster has it; histories have it without the prefix."""
        return (self.prefix + key).encode()


class Client:
    """One process of a history; use it with `async with`.

    Of three, one knows a single node and stays with it, and two know all of them; some are patient
    and some hasty, so that all kinds of outcomes are seen.
    """

    def __init__(
        self, stage: Stage, number: int, only: str | None = None, timeout_s: float | None = None
    ) -> None:
        """only: the one URL to use; timeout_s: instead of the one drawn."""
        self.stage, self.number = stage, number
        self.dice = random.Random(f"{stage.seed}/client/{number}")
        first = number % len(stage.urls)
        urls = [*stage.urls[first:], *stage.urls[:first]]
        if only is not None or number % 3 == 0:
            urls = [only or urls[0]]
        drawn_s = self.dice.choice((0.3, 0.7, 1.5, 3.0))
        timeout_s = drawn_s if timeout_s is None else timeout_s
        self.api = RaftcacheClient(urls, timeout_s=timeout_s)
        self.other = RaftcacheClient([stage.urls[first - 1]], timeout_s=timeout_s)
        """Through another node, for requests that are sent twice at the same time."""
        doors = [stage.doors[url] for url in urls if url in stage.doors]
        doors = doors or list(stage.doors.values())  # a URL may be another name for a node
        self.redis = Door(doors, timeout_s, self.dice.choice((2, 3)), stage.reads)
        self._count = 0

    async def __aenter__(self) -> Client:
        await self.api.__aenter__()
        await self.other.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.redis.aclose()
        await self.other.__aexit__(kind, error, trace)
        await self.api.__aexit__(kind, error, trace)

    def unique(self) -> str:
        """A value that nobody else writes in this run."""
        self._count += 1
        return f"{self.number}.{self._count}"

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.expovariate(1 / self.stage.pause_s))

    async def attempt(
        self,
        kind: str,
        key: str,
        argument: object,
        work: Awaitable[T],
        show: Callable[[T], object],
    ) -> T | None:
        """Do it and note it: what it gave, or None if it failed or its outcome is unknown.

        show: what of the result belongs into the history.
        """
        operation = self.stage.history.invoke(self.number, kind, key, argument)
        return await self.settle(operation, work, show)

    async def settle(
        self, operation: Operation, work: Awaitable[T], show: Callable[[T], object]
    ) -> T | None:
        """The second half of `attempt`."""
        complete = self.stage.history.complete
        try:
            result = await work
        except (Refused, Unknown) as e:
            if is_mistake(e):
                raise
            outcome = Outcome.FAIL if isinstance(e, Refused) else Outcome.UNKNOWN
            complete(operation, outcome, error=e.detail)
            await asyncio.sleep(FAILED_PAUSE_S)
            return None
        complete(operation, Outcome.OK, show(result))
        return result

    async def insist(
        self,
        kind: str,
        key: str,
        argument: object,
        work: Callable[[str], Awaitable[T]],
        show: Callable[[T], object],
    ) -> T | None:
        """A write, again and again with one Idempotency-Key until it is known what became of it.

        One operation of the history. work: makes one attempt with the Idempotency-Key it is given.
        """
        history, maybe = self.stage.history, False
        operation = history.invoke(self.number, kind, key, argument)
        token = self.unique()
        deadline_ns = operation.invoked_ns + int(INSIST_S * 1e9)
        while True:
            try:
                result = await work(f"{self.stage.prefix}{token}")
            except (Refused, Unknown) as e:
                if is_mistake(e):
                    raise
                maybe = maybe or isinstance(e, Unknown)
                if not maybe or history.now_ns() > deadline_ns:
                    outcome = Outcome.UNKNOWN if maybe else Outcome.FAIL
                    history.complete(operation, outcome, error=e.detail)
                    return None
                await asyncio.sleep(FAILED_PAUSE_S)
                token = self.unique() if self.stage.fresh_tokens else token
            else:
                history.complete(operation, Outcome.OK, show(result))
                return result


def is_mistake(error: RaftcacheError) -> bool:
    """Whether the request itself was wrong: then the workload is, or the server."""
    return isinstance(error, BadRequest)


class Workload(ABC):
    """A load and its judge. Its keys begin with its name and a colon."""

    name: ClassVar[str]
    about: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def begin(self, client: Client) -> None:  # noqa: B027 - most need nothing
        """Before the faults; the client is patient."""

    @abstractmethod
    async def act(self, client: Client) -> None:
        """One operation, sometimes a few that belong together; called again and again."""

    @abstractmethod
    async def finish(self, readers: Sequence[Client]) -> None:
        """After the faults: read what is there, through each node; one patient client for each."""

    @staticmethod
    @abstractmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        """Of the operations of this workload, by time of invocation. Pure."""


def of_each(
    keys: Mapping[str, list[Operation]], judge: Callable[[str, list[Operation]], Iterable[Anomaly]]
) -> list[Anomaly]:
    """What is wrong with any of the keys."""
    return [anomaly for key, of_key in keys.items() for anomaly in judge(key, of_key)]
