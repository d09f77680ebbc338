"""One outage: the leader is struck under load, and the time without writes is taken."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import click

from chaos.tally import Verdict, judge, longest_gap_s
from chaos.waiting import Trouble, leader_now, settled, until
from chaos.writers import PATIENT_S, Writers
from raftcache.client import RaftcacheClient
from raftcache.errors import RaftcacheError

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


# What programs that strike and measure have in common.


class Report(Protocol):
    """Of a run, a dataclass; text has it for people."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def problems(self) -> Sequence[str]:
        """Sentences; none if every promise held."""
        ...

    def text(self) -> str: ...


def chosen(seed: int | None) -> int:
    """The seed, or one of chance; printed in any case."""
    seed = secrets.randbelow(2**32) if seed is None else seed
    progress(f"seed {seed}")
    return seed


def conclude(report: Report, as_json: bool) -> None:
    """Print it; Trouble if a promise was broken."""
    click.echo(json.dumps(asdict(report)) if as_json else report.text())
    if report.problems:
        raise Trouble("a promise was broken")


@contextmanager
def or_failed() -> Iterator[None]:
    """What goes wrong is said, and ends the program with 1."""
    try:
        yield
    except (Trouble, RaftcacheError) as e:
        progress(f"FAILED: {e}")
        sys.exit(1)
    except asyncio.CancelledError:
        progress("stopped")
        sys.exit(1)


def progress(text: str) -> None:
    """One line on stderr."""
    click.echo(text, err=True)
