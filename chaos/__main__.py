"""Run a load against a cluster, break the cluster, and judge what clients were told.

Exits with 0 if every promise held, 1 if one was broken, 2 if it could not be tried.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from chaos import history, report
from chaos.cluster import scratch_folder
from chaos.controls import CONTROLS, broken
from chaos.faults import FAULTS
from chaos.history import History
from chaos.networks import NETWORKS, NetworkName
from chaos.run import CALM_S, CLIENTS, Plan, Show, judge, run
from chaos.waiting import Trouble, until_signal
from chaos.workloads import WORKLOADS
from raftcache.client import endpoints_from
from raftcache.errors import RaftcacheError

BAR_WIDTH: Final = 24
LINE_S: Final = 10.0
"""Between two lines of progress where there is no terminal."""

EXIT_HELD: Final = 0
EXIT_BROKEN: Final = 1
EXIT_NOT_TRIED: Final = 2


class Names(click.ParamType[tuple[str, ...]]):
    """Some of a table's names, with commas; `all`; or `none` where that makes sense."""

    name = "names"

    def __init__(self, table: Sequence[str], none: bool = False) -> None:
        self._table, self._none = tuple(table), none

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        if value == "all":
            return self._table
        if value == "none" and self._none:
            return ()
        names = tuple(dict.fromkeys(str(value).split(",")))
        for name in names:
            if name not in self._table:
                self.fail(f"{name!r} is none of {', '.join(self._table)}, all", param, ctx)
        return names


@click.command(help=__doc__)
@click.option("--workload", "workloads", type=Names(tuple(WORKLOADS)), default="register")
@click.option("--faults", type=Names(tuple(FAULTS), none=True), default="kill,pause,partition")
@click.option("--time", "time_s", type=click.FloatRange(0, 7200), default=60, help="Seconds.")
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=int, help="Of the faults and the load; printed in any case.")
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option(
    "--clients",
    type=click.IntRange(1, 1000),
    help="One for each workload at least; 12, or so many.",
)
@click.option("--rate", type=click.FloatRange(1), default=300, help="Operations a second.")
@click.option("--endpoints", help="A running cluster, without faults; otherwise one is started.")
@click.option("--network", type=click.Choice(NETWORKS), default="auto", show_default=True)
@click.option(
    "--control", "controls", type=Names(tuple(CONTROLS)), help="Break promises on purpose."
)
@click.option("--judge", "again", type=click.Path(exists=True, path_type=Path), hidden=True)
@click.option("--list", "listing", is_flag=True, help="Show all workloads, faults and controls.")
def main(
    workloads: tuple[str, ...],
    faults: tuple[str, ...],
    time_s: float,
    folder: Path | None,
    seed: int | None,
    nodes: int,
    clients: int | None,
    rate: float,
    endpoints: str | None,
    network: NetworkName,
    controls: tuple[str, ...] | None,
    again: Path | None,
    listing: bool,
) -> None:
    if listing:
        _list()
        return
    if again is not None:
        _judge_again(again, workloads)
        return
    plan = Plan(
        seed=secrets.randbelow(2**32) if seed is None else seed,
        time_s=time_s,
        workloads=workloads,
        faults=faults,
        nodes=nodes,
        clients=clients or max(CLIENTS, len(workloads)),
        rate=rate,
        endpoints=tuple(endpoints_from(endpoints, {})) if endpoints else None,
        network=network,
    )
    if controls is not None:
        plan = broken(plan, controls)
    if plan.clients < len(plan.workloads):
        raise click.UsageError(f"{len(plan.workloads)} workloads need as many --clients at least")
    if plan.endpoints is not None and plan.faults:
        raise click.UsageError("faults need a cluster of its own: say --faults none")
    sys.exit(_run(plan, folder))


def _run(plan: Plan, folder: Path | None) -> int:
    _say(f"seed {plan.seed}")
    try:
        with scratch_folder(_say) as data:
            result = asyncio.run(until_signal(run(plan, data, _shower(plan))))
            where = folder or Path(f"chaos-{plan.seed}")
            verdict = report.save(result, where)
            for log in data.glob("*/node.log"):
                shutil.copy(log, where / f"{log.parent.name}.log")
    except (Trouble, RaftcacheError) as e:
        _say(f"FAILED: {e}")
        return EXIT_NOT_TRIED
    except asyncio.CancelledError:
        _say("stopped")
        return EXIT_NOT_TRIED
    click.echo(f"{report.summary(verdict)}\nreport: {where / 'report.html'}")
    return EXIT_HELD if result.holds else EXIT_BROKEN


def _judge_again(path: Path, workloads: tuple[str, ...]) -> None:
    """A history as it was written."""
    try:
        operations = history.read(path)
    except msgspec.MsgspecError as e:
        raise click.UsageError(f"{path} is no history: {e}") from None
    anomalies = judge(workloads, operations)
    for anomaly in anomalies:
        click.echo(f"{anomaly.key}: {anomaly.sentence}")
        for operation in anomaly.evidence:
            click.echo(f"    {operation}")
    sys.exit(EXIT_BROKEN if anomalies else EXIT_HELD)


def _list() -> None:
    about = {name: workload.about for name, workload in WORKLOADS.items()}
    about_faults = {name: fault.about for name, fault in FAULTS.items()}
    about_controls = {name: control.about for name, control in CONTROLS.items()}
    tables = {"workloads": about, "faults": about_faults, "controls": about_controls}
    for title, table in tables.items():
        click.echo(f"{title}:")
        for name, text in table.items():
            click.echo(f"  {name:13} {text}")


def _shower(plan: Plan) -> Show:
    """A bar that is drawn again and again on a terminal, and a line now and then elsewhere."""
    whole_s, bar, shown = plan.time_s + 2 * CALM_S, sys.stderr.isatty(), 0.0

    def show(at_s: float, so_far: History, active: Sequence[str]) -> None:
        nonlocal shown
        if not bar and at_s < shown + LINE_S:
            return
        shown = at_s
        counts = Counter(str(op.outcome) for op in so_far.operations if op.completed_ns)
        full = min(BAR_WIDTH, round(BAR_WIDTH * at_s / whole_s))
        said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        line = f"[{'#' * full:{BAR_WIDTH}}] {at_s:3.0f} s  {said}  {'; '.join(active)}"
        click.echo(f"\r\033[K{line[:150]}" if bar else line, nl=not bar, err=True)

    return show


def _say(text: str) -> None:
    click.echo(("\r\033[K" if sys.stderr.isatty() else "") + text, err=True)


if __name__ == "__main__":
    main()
