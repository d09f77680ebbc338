"""How long there are no writes when the leader is killed, stands still, or is cut off.

    \b
    python -m chaos.outages [--times 10] [--nodes 3] [--seed N] [--json]

One fault at a time, on a cluster of its own. Writers write through every node all the time, so the
time is the cluster's, not a client's that waits for a silent node. Exits with 1 if a write was lost
or done twice, or the cluster did not recover.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from chaos.cluster import OwnCluster, scratch_folder
from chaos.faults.network import isolated
from chaos.links import Network
from chaos.networks import NETWORKS, NetworkName, choose, made
from chaos.outage import Strike, chosen, conclude, final_verdict, or_failed, outage, progress
from chaos.waiting import differing, settled, side_by_side, until_signal
from chaos.writers import PATIENT_S, Writers
from raftcache.client import RaftcacheClient


@dataclass
class Report:
    """Times without writes in milliseconds, by what was done to the leader."""

    seed: int
    nodes: int
    network: str
    without_writes_ms: dict[str, list[int]] = field(default_factory=dict)
    acknowledged: int = 0
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        lines = [f"seed {self.seed}, {self.nodes} nodes, {self.network}"]
        for fault, gaps_ms in self.without_writes_ms.items():
            median_ms, worst_ms = round(statistics.median(gaps_ms)), max(gaps_ms)
            lines.append(
                f"{fault}, {len(gaps_ms)} times: median {median_ms} ms, worst {worst_ms} ms"
            )
        lines.append(f"acknowledged writes checked on every node: {self.acknowledged}")
        return "\n".join([*lines, *self.problems])


@click.command(help=__doc__)
@click.option("--times", type=click.IntRange(1), default=10, show_default=True)
@click.option("--nodes", type=click.IntRange(3, 9), default=3, show_default=True)
@click.option("--seed", type=int, help="Of the pauses between faults; printed in any case.")
@click.option("--network", type=click.Choice(NETWORKS), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def main(times: int, nodes: int, seed: int | None, network: NetworkName, as_json: bool) -> None:
    seed = chosen(seed)
    with or_failed(), scratch_folder(progress) as folder:
        conclude(asyncio.run(until_signal(run(folder, times, nodes, seed, network))), as_json)


async def run(folder: Path, times: int, nodes: int, seed: int, network: NetworkName) -> Report:
    """All faults, one after the other; whatever it started is stopped when it returns."""
    name, sentence = choose(network, [])
    report, dice = Report(seed, nodes, sentence), random.Random(seed)
    async with AsyncExitStack() as stack:
        links = await stack.enter_async_context(made(name, nodes, seed))
        cluster = OwnCluster(folder, links.places)
        await asyncio.to_thread(cluster.__enter__)
        stack.push_async_callback(asyncio.to_thread, cluster.__exit__)
        urls = list(cluster.urls.values())
        client = await stack.enter_async_context(RaftcacheClient(urls, timeout_s=PATIENT_S))
        loads = [await stack.enter_async_context(Writers([url], f"{url}:", 2)) for url in urls]
        await settled(client)
        for load in loads:
            load.start()
        for fault, strike in strikes(cluster, links).items():
            gaps_ms = report.without_writes_ms[fault] = []
            for number in range(1, times + 1):
                await asyncio.sleep(dice.uniform(0.3, 1.0))  # some load on a healthy cluster
                whom, gap_s = await outage(client, loads, dice, strike)
                gaps_ms.append(round(gap_s * 1000))
                progress(f"{fault} {number}/{times}: {whom}, {gaps_ms[-1]} ms without writes")
        await _judge(report, cluster, client, loads)
    return report


def strikes(cluster: OwnCluster, network: Network) -> dict[str, Strike]:
    """What is measured, by name; the node of that name leads."""

    @asynccontextmanager
    async def killed(name: str) -> AsyncIterator[None]:
        cluster.kill(name)
        yield
        cluster.start(name)

    @asynccontextmanager
    async def paused(name: str) -> AsyncIterator[None]:
        cluster.send(name, signal.SIGSTOP)
        yield
        cluster.send(name, signal.SIGCONT)

    @asynccontextmanager
    async def cut_off(name: str) -> AsyncIterator[None]:
        async with network.cut(isolated(name, cluster.names)):
            yield

    return {"leader killed": killed, "leader paused": paused, "leader isolated": cut_off}


async def _judge(
    report: Report, cluster: OwnCluster, client: RaftcacheClient, loads: list[Writers]
) -> None:
    for load in loads:
        await load.stop()
    await settled(client)
    for load in loads:
        report.problems += (await final_verdict(cluster.urls, load)).sentences
    report.acknowledged = sum(load.acknowledged for load in loads)
    if difference := differing(await side_by_side(client)):
        report.problems.append(difference)
    for name in cluster.names:
        cluster.look_after(name)
    report.problems += cluster.deaths


if __name__ == "__main__":
    main()
