"""Kill the leader again and again under load: nothing acknowledged is lost, nothing done twice.

    \b
    python -m chaos.kill_leader [--kills 10] [--seed N] [--json]     starts a cluster of its own
    python -m chaos.kill_leader --demo ./.raftcache                  uses a running `raftcache demo`

Exits with 0 if every promise held, 1 if one was broken or the cluster did not recover.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from chaos.cluster import Cluster, DemoCluster, OwnCluster, scratch_folder
from chaos.outage import chosen, conclude, final_verdict, or_failed, outage, progress
from chaos.places import local, names_of
from chaos.tally import Increments, Puts, Verdict
from chaos.waiting import (
    differing,
    settled,
    side_by_side,
    until_signal,
)
from chaos.writers import PATIENT_S, Writers
from raftcache.client import NodeStatus, RaftcacheClient


@dataclass(frozen=True)
class Report:
    """What was done and seen; times without writes in milliseconds, one for each kill."""

    seed: int
    nodes: int
    kills: int
    without_writes_ms: list[int]
    without_writes_median_ms: int
    without_writes_worst_ms: int
    acknowledged: int
    refused: int
    unknown_resolved: int
    lost: int
    duplicates: int
    digest: str
    applied_index: int
    problems: list[str]

    def text(self) -> str:
        """For people."""
        lines = [
            f"seed {self.seed}, {self.nodes} nodes, leader killed {self.kills} times",
            f"time without writes: median {self.without_writes_median_ms} ms, "
            f"worst {self.without_writes_worst_ms} ms",
            f"acknowledged writes checked: {self.acknowledged} on every node "
            f"(refused {self.refused}, unknown and resolved {self.unknown_resolved})",
            f"lost: {self.lost}",
            f"duplicates: {self.duplicates}",
            f"digest of all states at index {self.applied_index}: {self.digest}",
            *self.problems,
        ]
        return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--kills", type=click.IntRange(1), default=10, show_default=True)
@click.option("--nodes", type=click.IntRange(3, 9), default=3, show_default=True)
@click.option("--seed", type=int, help="Of the pauses between kills; printed in any case.")
@click.option(
    "--demo",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of a running `raftcache demo`; it restarts what is killed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def main(kills: int, nodes: int, seed: int | None, demo: Path | None, as_json: bool) -> None:
    seed = chosen(seed)
    with or_failed(), _cluster(demo, nodes) as cluster:
        conclude(asyncio.run(until_signal(run(cluster, kills, seed))), as_json)


async def run(cluster: Cluster, kills: int, seed: int) -> Report:
    """The whole of it: write, kill, heal, and judge."""
    dice = random.Random(seed)
    prefix = f"chaos:{secrets.token_hex(4)}:"  # a seed may be run twice on one cluster
    urls = list(cluster.urls.values())
    gaps: list[float] = []
    async with RaftcacheClient(urls, timeout_s=PATIENT_S) as client, Writers(urls, prefix) as load:
        await settled(client)
        load.start()
        for number in range(1, kills + 1):
            await asyncio.sleep(dice.uniform(0.3, 1.0))  # some load on a healthy cluster
            name, gap_s = await outage(client, [load], dice, lambda name: _killed(cluster, name))
            shown_ms = round(gap_s * 1000)
            progress(f"{number}/{kills}: {name} killed, {shown_ms} ms without writes, back again")
            gaps.append(gap_s)
        await load.stop()
        await settled(client)
        verdict = await final_verdict(cluster.urls, load)
        states = await side_by_side(client)
        report = _report(seed, gaps, load, verdict, states)
        if not report.problems:
            await _tidy(client, load)
    return report


@asynccontextmanager
async def _killed(cluster: Cluster, name: str) -> AsyncIterator[None]:
    cluster.kill(name)
    yield
    await cluster.revive(name)


async def _tidy(client: RaftcacheClient, load: Writers) -> None:
    """Leave no keys behind in somebody's cluster; after a failure they are evidence."""
    for key in (*load.puts, *load.increments):
        await client.delete(key.encode())


def _report(
    seed: int,
    gaps: list[float],
    load: Writers,
    verdict: Verdict,
    states: dict[str, NodeStatus],
) -> Report:
    problems = list(verdict.sentences)
    if difference := differing(states):
        problems.append(difference)
    histories: list[Puts | Increments] = [*load.puts.values(), *load.increments.values()]
    gaps_ms = [round(gap * 1000) for gap in gaps]
    return Report(
        seed=seed,
        nodes=len(states),
        kills=len(gaps),
        without_writes_ms=gaps_ms,
        without_writes_median_ms=round(statistics.median(gaps_ms)),
        without_writes_worst_ms=max(gaps_ms),
        acknowledged=load.acknowledged,
        refused=sum(h.refused for h in histories),
        unknown_resolved=sum(h.unknown for h in histories),
        lost=verdict.lost,
        duplicates=verdict.duplicates,
        digest=" ".join(sorted({str(status.digest) for status in states.values()})),
        applied_index=next(iter(states.values())).applied_index,
        problems=problems,
    )


@contextmanager
def _cluster(demo: Path | None, nodes: int) -> Iterator[Cluster]:
    """The demo's, or one of its own, whose folder stays if something goes wrong."""
    if demo is not None:
        yield DemoCluster(demo)
        return
    with scratch_folder(progress) as folder, OwnCluster(folder, local(names_of(nodes))) as cluster:
        yield cluster


if __name__ == "__main__":
    main()
