"""How long nobody's write is acknowledged after the leader is gone, as clients see it.

A write is due every 5 ms, at the nodes in turn, and never waits for those before: so the time is
the cluster's, not that of a client whose timeout has to pass. A client that is refused a connection
asks the next node at once. The same clients for every system.

The kernel closes the connections of a process that is killed, so that the others may know at once.
One that stands still (SIGSTOP), as one whose machine is gone, only falls silent.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from chaos.tally import longest_gap_s
from scripts.measuring import plots
from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks, Wire, request
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.systems.base import HOST, Cluster, Node
from scripts.measuring.systems.etcd import Etcd
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.tables import markdown

TIMES: Final = {signal.SIGKILL: 50, signal.SIGSTOP: 10}
PERIOD_S: Final = 0.005
ATTEMPT_S: Final = 3.0
"""After which a client gives up on one write: longer than an outage."""
PATIENCE_S: Final = 60.0
RESUMED: Final = 10
"""So many writes that were due after the kill: then it is over."""
SEED: Final = 7

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]
KINDS: Final[tuple[tuple[type[Cluster], Wire], ...]] = ((Raftcache, "http"), (Etcd, "etcd"))


class Clients:
    """Light writes, from `run` to `stop`; `acknowledged_at` are moments of time.monotonic."""

    def __init__(self, ports: Sequence[int], made: Callable[[int], bytes]) -> None:
        self.acknowledged_at: list[float] = []
        self.failed = 0
        self._ports, self._made = ports, made
        self._idle: dict[int, list[Link]] = defaultdict(list)
        self.due_at: list[float] = []
        """Of the writes that were acknowledged, beside `acknowledged_at`."""
        self._stopped = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        first_s, number = loop.time(), 0
        async with asyncio.TaskGroup() as writes:
            while not self._stopped:
                due_s = first_s + number * PERIOD_S
                await asyncio.sleep(due_s - loop.time())
                writes.create_task(self._write(number, due_s))
                number += 1
        for links in self._idle.values():
            for _, writer in links:
                writer.close()

    def stop(self) -> None:
        self._stopped = True

    def resumed(self, since_s: float) -> bool:
        """Whether enough writes that were due since then have been acknowledged."""
        return sum(due_s > since_s for due_s in self.due_at[-10 * RESUMED :]) >= RESUMED

    async def _write(self, number: int, due_s: float) -> None:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                is_good = await self._ask(number)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            is_good = False
        if is_good:
            self.acknowledged_at.append(time.monotonic())
            self.due_at.append(due_s)
        else:
            self.failed += 1

    async def _ask(self, number: int) -> bool:
        """Whether it was acknowledged. A link that fails is not used again."""
        port, link = await self._link(number)
        link[1].write(self._made(number))
        try:
            head = await link[0].readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            await link[0].readexactly(int(length[1]) if length else 0)
        except BaseException:
            link[1].close()
            raise
        self._idle[port].append(link)
        return head[9:10] == b"2"

    async def _link(self, number: int) -> tuple[int, Link]:
        """To the node whose turn it is, or the next one that takes connections."""
        for turn in range(len(self._ports)):
            port = self._ports[(number + turn) % len(self._ports)]
            if idle := self._idle[port]:
                return port, idle.pop()
            try:
                return port, await asyncio.open_connection(HOST, port)
            except ConnectionRefusedError:
                continue
        raise ConnectionRefusedError("by all nodes")


# -- one outage after the other --------------------------------------------------------------------


async def until(look: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(look):
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{what}: not in {PATIENCE_S:g} s")
        await asyncio.sleep(0.02)


def strike(system: Cluster, node: Node, number: signal.Signals) -> None:
    """It does not answer any more."""
    if number is signal.SIGKILL:
        system.kill_node(node.name)
    else:
        os.kill(node.pid, number)


def heal(system: Cluster, node: Node, number: signal.Signals) -> None:
    """It will answer again."""
    if number is signal.SIGKILL:
        system.start_node(node.name)
    else:
        os.kill(node.pid, signal.SIGCONT)


async def outage_s(system: Cluster, clients: Clients, number: signal.Signals) -> float:
    """Strikes whoever leads, and heals it when writes go on; returns when all is well."""
    leader = await asyncio.to_thread(system.find_leader)
    struck_s = time.monotonic()
    await asyncio.to_thread(strike, system, leader, number)
    try:
        await until(lambda: clients.resumed(struck_s), f"writes after {number.name}")
    finally:
        await asyncio.to_thread(heal, system, leader, number)
    await until(lambda: all(system.serves(node) for node in system.nodes), "all nodes again")
    return longest_gap_s(clients.acknowledged_at, struck_s, time.monotonic())


async def outages_s(
    system: Cluster, asks: Asks, number: signal.Signals, times: int, lab: Lab
) -> tuple[list[float], int]:
    """Of so many signals; and how many writes failed in all of them."""
    clients = Clients(
        [node.ports["http"] for node in system.nodes], lambda n: request(asks, n % asks.keys)
    )
    dice, gaps_s = random.Random(SEED), []
    running = asyncio.create_task(clients.run())
    try:
        for turn in range(1, times + 1):
            await asyncio.sleep(dice.uniform(0.3, 1.0))  # some load on a healthy cluster
            gaps_s.append(await outage_s(system, clients, number))
            lab.say(f"{system.name} {turn}/{times}: {gaps_s[-1] * 1000:.0f} ms without writes")
    finally:
        clients.stop()
        await running
    return gaps_s, clients.failed


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each system."""
    number = signal.Signals[cell.options["signal"]]
    times = max(2, round(TIMES[number] * lab.scale))
    rows: list[Row] = []
    for kind, wire in KINDS:
        if not lab.has(kind):
            continue
        with lab.own(kind(lab.folder / f"{cell.name}-{kind.name}")) as system:
            asks = Asks(wire, "PUT", keys=1000)
            gaps_s, failed = asyncio.run(outages_s(system, asks, number, times, lab))
        gaps_ms = [gap_s * 1000 for gap_s in gaps_s]
        rows.append(
            {
                "system": kind.name,
                **cell.options,
                "times": times,
                "median_ms": statistics.median(gaps_ms),
                "worst_ms": max(gaps_ms),
                "gaps_ms": [round(ms) for ms in gaps_ms],
                "failed": failed,
            }
        )
    return rows


def tables(rows: Sequence[Row]) -> str:
    return markdown(
        ("to the leader", "system", "times", "median ms", "worst ms", "writes that failed"),
        [
            (r["signal"], r["system"], str(r["times"]))
            + (f"{r['median_ms']:.0f}", f"{r['worst_ms']:.0f}", str(r["failed"]))
            for r in rows
        ],
    )


def plots_of(rows: Sequence[Row]) -> dict[str, plots.Figure]:
    """All outages in order: how many of them took no longer."""
    signals = list(dict.fromkeys(row["signal"] for row in rows))
    figure, axes = plots.panels("Time without an acknowledged write", signals)
    for axis, name in zip(axes, signals, strict=True):
        for row in (row for row in rows if row["signal"] == name):
            gaps_ms, system = sorted(row["gaps_ms"]), row["system"]
            shares = [i * 100 / len(gaps_ms) for i in range(len(gaps_ms) + 1)]
            colour = plots.colour(system)
            axis.step([0, *gaps_ms], shares, where="post", color=colour, label=system)
        axis.set_xlim(left=0)
        axis.set_ylim(0, 100)
        axis.set_xlabel("ms")
        axis.set_ylabel("% of the times")
        axis.legend(frameon=False, fontsize=9)
    return {"outages": figure}


SECTION = Section(
    name="failover",
    title="Failover",
    intro=__doc__,
    cells=tuple(
        Cell(
            name=name,
            systems=(),
            measure=measure,
            is_quick=name == "failover",
            starts=("raftcache", "etcd"),
            options={"signal": number.name},
        )
        for name, number in (("failover", signal.SIGKILL), ("failover-paused", signal.SIGSTOP))
    ),
    tables=tables,
    plots=plots_of,
)
