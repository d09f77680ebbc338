"""`demo`: a cluster of processes on this machine, to look at, to use, or to be checked."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from raftcache.cli import exits
from raftcache.cli.local import (
    NODES_MAX,
    LocalCluster,
    LocalNode,
    anywhere,
    planned,
    refuse_another,
)
from raftcache.cli.once import CheckFailed, run_once, start
from raftcache.cli.show import Show
from raftcache.client import RaftcacheClient
from raftcache.errors import RaftcacheError

FOLDER: Final = Path("./.raftcache")
BASE_HTTP: Final = 7400
BASE_RAFT: Final = 7500
BASE_RESP: Final = 6400
LOOK_S: Final = 1.0
"""Between two looks at the cluster. A node that ended stays down for one, so that it shows."""


@click.command()
@click.option("--once", is_flag=True, help="Check writes, a failover and a recovery, then stop.")
@click.option("--nodes", "size", type=click.IntRange(1, NODES_MAX), default=3, show_default=True)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data and logs; default ./.raftcache, with --once a temporary folder.",
)
@click.option(
    "--base-http",
    type=int,
    help=f"Node i serves HTTP at this port plus i; default {BASE_HTTP}, with --once free ports.",
)
@click.option(
    "--base-raft",
    type=int,
    help=f"Node i serves its peers at this port plus i; default {BASE_RAFT}, as above.",
)
@click.option(
    "--base-resp",
    type=int,
    help=f"Node i serves Redis clients at this port plus i; default {BASE_RESP}, as above.",
)
@click.option("--no-restart", is_flag=True, help="Leave a node that ended down.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.pass_context
def demo(
    ctx: click.Context,
    once: bool,
    size: int,
    folder: Path | None,
    base_http: int | None,
    base_raft: int | None,
    base_resp: int | None,
    no_restart: bool,
    as_json: bool,
) -> None:
    """Run a cluster on this machine until Ctrl-C; a node that dies is started again.

    DIR/demo.json holds the process ids while it runs.
    """
    show = Show(as_json)
    with _folder(folder, once) as path:
        nodes = _nodes(path, size, (base_http, base_raft, base_resp), free=once)
        refuse_another(path, nodes)
        work = _checked(path, nodes, show) if once else _stay(path, nodes, show, not no_restart)
        try:
            finished = asyncio.run(_until_signal(work))
        except CheckFailed:
            ctx.exit(exits.NOT_SO)
    if once and not finished:
        ctx.exit(exits.NOT_SO)


@contextmanager
def _folder(chosen: Path | None, once: bool) -> Iterator[Path]:
    """The one asked for, which stays, or a temporary one for --once."""
    if once and chosen is None:
        with TemporaryDirectory(prefix="raftcache-demo-") as path:
            yield Path(path)
    else:
        folder = chosen or FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _nodes(
    path: Path, size: int, bases: tuple[int | None, int | None, int | None], *, free: bool
) -> list[LocalNode]:
    if free and bases == (None, None, None):
        return anywhere(path, size)
    http, raft, resp = bases
    return planned(path, size, http or BASE_HTTP, raft or BASE_RAFT, resp or BASE_RESP)


async def _until_signal(work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; False if Ctrl-C or a request to end came first, and it has cleaned up."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


async def _checked(path: Path, nodes: list[LocalNode], show: Show) -> None:
    with LocalCluster(path, nodes) as cluster:
        try:
            await run_once(cluster, show.step)
        except (CheckFailed, RaftcacheError) as e:
            show.failure(str(e), cluster.log_tails())
            raise CheckFailed from e


async def _stay(path: Path, nodes: list[LocalNode], show: Show, restarts: bool) -> None:
    """Show the cluster until this task is cancelled; start again what ended."""
    with LocalCluster(path, nodes) as cluster:
        try:
            await start(cluster, show.step)
        except CheckFailed as e:
            show.failure(str(e), cluster.log_tails())
            raise
        show.introduce(cluster)
        noticed: set[str] = set()
        async with RaftcacheClient(cluster.urls) as client:
            while True:
                show.status(await client.statuses())
                for name, code in cluster.ended().items():
                    if name not in noticed:
                        noticed.add(name)
                        show.note(f"{name} ended with {code}; its log is {cluster.nodes[name].log}")
                    elif restarts:
                        noticed.remove(name)
                        show.note(f"{name} is started again")
                        cluster.start(name)
                await asyncio.sleep(LOOK_S)
