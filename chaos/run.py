"""One run: load and faults, then healing, waiting, final reads, and judgement."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Struct

from chaos.cluster import OwnCluster
from chaos.faults import FAULTS, Fault, Field
from chaos.history import Anomaly, History, Operation
from chaos.links import Network
from chaos.nemesis import Nemesis, Struck
from chaos.networks import NetworkName, choose, made
from chaos.waiting import Trouble, differing, not_these, settled, side_by_side
from chaos.workloads import WORKLOADS, Workload
from chaos.workloads.base import PATIENT_S, Client, Stage
from raftcache.client import Consistency, RaftcacheClient

CALM_S: Final = 2.0
"""Load goes on for so long before the first fault and after the last one."""

PROGRESS_S: Final = 0.5


CLIENTS: Final = 12
"""Unless somebody says how many."""


class Plan(Struct, frozen=True, kw_only=True):
    """What to do.

    clients: they take the workloads in turns, so those must not be more.
    rate: operations a second that all clients together try to do.
    endpoints: a cluster that runs already; None to start one.
    network: of the nodes, see networks.choose.
    options: of every node, beside those of the faults.
    reads, and all after it: see workloads.base.Stage.
    """

    seed: int
    time_s: float
    workloads: tuple[str, ...]
    faults: tuple[str, ...] = ()
    nodes: int = 3
    clients: int = CLIENTS
    rate: float = 300.0
    endpoints: tuple[str, ...] | None = None
    network: NetworkName = "auto"
    options: tuple[str, ...] = ()
    reads: Consistency = "linearizable"
    fresh_tokens: bool = False
    wall_deadlines: bool = False
    late_holders: bool = False
    blind_transfers: bool = False
    popped_jobs: bool = False


class Result(Struct, frozen=True):
    """What came of it.

    problems: of the cluster as a whole: it did not recover, a node ended, states differ.
    skipped: a sentence for each fault that this machine or its network cannot have.
    network: a sentence on what the links between the nodes are.
    judged_s: what judging took, in seconds.
    """

    plan: Plan
    operations: list[Operation]
    struck: list[Struck]
    anomalies: list[Anomaly]
    problems: list[str]
    skipped: list[str]
    network: str
    judged_s: float

    @property
    def holds(self) -> bool:
        return not self.anomalies and not self.problems


Show = Callable[[float, History, Sequence[str]], None]
"""Called now and then: seconds since the begin, the history so far, what is broken just now."""


def judge(names: Sequence[str], operations: Sequence[Operation]) -> list[Anomaly]:
    """Every workload's judge on its own operations."""
    found: list[Anomaly] = []
    for name in names:
        own = [op for op in operations if op.key.startswith(f"{name}:")]
        found += WORKLOADS[name].judge(own)
    return found


async def run(plan: Plan, folder: Path, show: Show) -> Result:
    """Everything; whatever it started is stopped when it returns."""
    name: NetworkName = "proxy"
    sentence = "links as they are"
    if plan.endpoints is None:
        name, sentence = choose(plan.network, [FAULTS[fault] for fault in plan.faults])
    faults, skipped = _possible(plan.faults, name)
    history, problems = History(), list[str]()
    async with AsyncExitStack() as stack:
        arena = await _enter(plan, name, faults, folder, stack)
        nemesis = arena.nemesis(faults, history)
        await settled(arena.client, arena.names)
        doors = await arena.doors()
        if not doors and any(name.startswith("resp-") for name in plan.workloads):
            raise Trouble("no node says where it serves Redis clients")
        load = _Load(plan, history, arena.client.endpoints, doors)
        await stack.enter_async_context(load)
        shower = asyncio.create_task(_showing(show, history, nemesis))
        stack.callback(shower.cancel)
        try:
            await _play(plan, load, nemesis, arena)
        except Trouble as e:
            problems.append(str(e))
        problems += arena.deaths()
    began_s = time.monotonic()
    anomalies = await asyncio.to_thread(judge, plan.workloads, history.operations)
    return Result(
        plan,
        history.operations,
        nemesis.struck if nemesis else [],
        anomalies,
        problems,
        skipped,
        sentence,
        time.monotonic() - began_s,
    )


def _possible(names: Sequence[str], network: NetworkName) -> tuple[list[Fault], list[str]]:
    faults, skipped = [], []
    for name in names:
        why = FAULTS[name].missing()
        if FAULTS[name].delays and network == "namespaces":
            why = "packets cannot be delayed between network namespaces; a proxy can do it"
        if why is None:
            faults.append(FAULTS[name])
        else:
            skipped.append(f"{name} is left out: {why}")
    return faults, skipped


@dataclass(frozen=True)
class _Arena:
    """The cluster under test; of one that ran already, only what a client knows.

    client: its endpoints are all places that nodes may ever have, some of them empty for a while.
    """

    client: RaftcacheClient
    field: Field | None = None

    @property
    def names(self) -> list[str] | None:
        """Of the nodes there are just now; None for all endpoints."""
        return None if self.field is None else self.field.names

    @property
    def urls(self) -> Collection[str]:
        """Of the same."""
        return self.client.endpoints if self.field is None else self.field.cluster.urls.values()

    async def doors(self) -> dict[str, str]:
        """Where the nodes of these URLs serve Redis clients."""
        if self.field is not None:
            return {place.url: place.resp for place in self.field.cluster.places.values()}
        known = (await self.client.members()).members
        return {f"http://{member.http}": member.resp for member in known if member.resp}

    def nemesis(self, faults: Sequence[Fault], history: History) -> Nemesis | None:
        return None if self.field is None else Nemesis(self.field, faults, history.now_ns)

    def deaths(self) -> list[str]:
        """Of processes that ended by themselves."""
        if self.field is None:
            return []
        for name in self.field.names:
            self.field.cluster.look_after(name)
        return self.field.cluster.deaths


async def _enter(
    plan: Plan,
    network: NetworkName,
    faults: Sequence[Fault],
    folder: Path,
    stack: AsyncExitStack,
) -> _Arena:
    """Everything it starts is stopped by the stack."""
    if plan.endpoints is not None:
        client = RaftcacheClient(plan.endpoints, timeout_s=PATIENT_S)
        return _Arena(await stack.enter_async_context(client))
    cluster, links = await _start(plan, network, faults, folder, stack)
    urls = [place.url for place in cluster.places.values()]
    client = await stack.enter_async_context(RaftcacheClient(urls, timeout_s=PATIENT_S))
    return _Arena(client, Field(cluster, links, client, random.Random(f"{plan.seed}/nemesis")))


async def _start(
    plan: Plan,
    network_name: NetworkName,
    faults: Sequence[Fault],
    folder: Path,
    stack: AsyncExitStack,
) -> tuple[OwnCluster, Network]:
    options = [option for fault in faults for option in fault.options]
    spares = max((fault.spares for fault in faults), default=0)
    network = made(network_name, plan.nodes + spares, plan.seed)
    await stack.enter_async_context(network)
    options += plan.options
    cluster = OwnCluster(folder, network.places, size=plan.nodes, options=options)
    for fault in faults:
        stack.enter_context(fault.prepare(cluster))
    # Not on this loop: nodes that stop hand over, through the network that lives on it.
    await asyncio.to_thread(cluster.__enter__)
    stack.push_async_callback(asyncio.to_thread, cluster.__exit__)
    return cluster, network


async def _play(plan: Plan, load: _Load, nemesis: Nemesis | None, arena: _Arena) -> None:
    """Faults -> heal -> wait -> final reads."""
    await load.start()
    await asyncio.sleep(CALM_S)
    if nemesis is None:
        await asyncio.sleep(plan.time_s)
    else:
        await nemesis.run(plan.time_s)
    attendant = asyncio.create_task(_keep_running(arena.field.cluster)) if arena.field else None
    try:
        states = await settled(arena.client, arena.names)
    finally:
        if attendant is not None:
            attendant.cancel()
    if arena.names is not None and (strangers := not_these(states, arena.names)):
        raise Trouble(strangers)
    await asyncio.sleep(CALM_S)
    ends = await load.stop()
    await load.finish(arena.urls)
    if difference := differing(await side_by_side(arena.client, arena.names)):
        ends.append(difference)
    if ends:
        raise Trouble("; ".join(ends))


async def _keep_running(cluster: OwnCluster) -> None:
    """Start what does not run; a fault may have left a node that was still on its way down."""
    while True:
        for name in cluster.names:
            if not cluster.is_running(name):
                cluster.start(name)
        await asyncio.sleep(1.0)


class _Load:
    """Every workload's clients; use it with `async with`."""

    def __init__(
        self, plan: Plan, history: History, urls: Sequence[str], doors: Mapping[str, str]
    ) -> None:
        """doors: of Redis clients, by these URLs."""
        # A seed may be run twice on one cluster: keys must differ.
        prefix = f"chaos:{random.SystemRandom().randrange(2**32):08x}:"
        pause_s = plan.clients / plan.rate
        stage = Stage(
            history,
            urls,
            doors,
            prefix,
            plan.seed,
            pause_s,
            plan.reads,
            plan.fresh_tokens,
            plan.wall_deadlines,
            plan.late_holders,
            plan.blind_transfers,
            plan.popped_jobs,
        )
        self._workloads: list[Workload] = [WORKLOADS[name](stage) for name in plan.workloads]
        self._clients = [Client(stage, number) for number in range(plan.clients)]
        self._readers = {
            url: Client(stage, plan.clients + i, url, PATIENT_S) for i, url in enumerate(urls)
        }
        self._stack = AsyncExitStack()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> _Load:
        for client in (*self._clients, *self._readers.values()):
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def start(self) -> None:
        for workload in self._workloads:
            await workload.begin(next(iter(self._readers.values())))
        self._tasks = [asyncio.create_task(self._go_on(client)) for client in self._clients]

    async def stop(self) -> list[str]:
        """Let everyone finish what they are at; a sentence for each who ended before."""
        self._stopping = True
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        return [
            f"client {client.number} met what it does not know: {end!r}"
            for client, end in zip(self._clients, ends, strict=True)
            if end is not None
        ]

    async def finish(self, urls: Collection[str]) -> None:
        """The final reads, through these nodes."""
        readers = [reader for url, reader in self._readers.items() if url in urls]
        for workload in self._workloads:
            await workload.finish(readers)

    async def _go_on(self, client: Client) -> None:
        """Each client has one workload; they take turns."""
        workload = self._workloads[client.number % len(self._workloads)]
        while not self._stopping:
            await workload.act(client)
            await client.pause()


async def _showing(show: Show, history: History, nemesis: Nemesis | None) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            show(history.now_ns() / 1e9, history, nemesis.active if nemesis else [])
            await asyncio.sleep(PROGRESS_S)
