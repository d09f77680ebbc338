"""One outage: the leader is struck under load, and the time without writes is taken."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import click

from chaos.tally import Verdict, judge, longest_gap_s
from chaos.waiting import leader_now, settled, until
from chaos.writers import PATIENT_S, Writers
from raftcache.client import RaftcacheClient

Strike = Callable[[str], AbstractAsyncContextManager[None]]
"""What is done to the node of this name; healed at its end."""


async def outage(
    client: RaftcacheClient, loads: Sequence[Writers], dice: random.Random, strike: Strike
) -> tuple[str, float]:
    """Strikes whoever leads, waits until writes go on, heals, and waits until all is well.

    Returns who it was, and the longest time in which nobody's write was acknowledged, in seconds.
    """

    def acknowledged() -> int:
        return sum(load.acknowledged for load in loads)

    async def writes_go_on() -> bool:
        for load in loads:
            load.check()
        return acknowledged() >= before + 10

    name = await until(lambda: leader_now(client), "no node leads")
    struck_at = time.monotonic()
    async with strike(name):
        before = acknowledged()
        await until(writes_go_on, f"no writes after {name} was struck")
        await asyncio.sleep(dice.uniform(0.0, 0.5))
    await settled(client)
    moments = sorted(moment for load in loads for moment in load.acknowledged_at)
    return name, longest_gap_s(moments, struck_at, time.monotonic())


async def final_verdict(urls: Mapping[str, str], load: Writers) -> Verdict:
    """Read every key through every node, linearizable, and judge; when the load has stopped."""
    final: dict[str, dict[str, int]] = {}
    for name, url in urls.items():
        async with RaftcacheClient([url], timeout_s=PATIENT_S) as client:
            found = {key: await client.get(key.encode()) for key in (*load.puts, *load.increments)}
        final[name] = {key: int(f.value) if f else 0 for key, f in found.items()}
    return judge(load.puts, load.increments, final)


def progress(text: str) -> None:
    """One line on stderr."""
    click.echo(text, err=True)
