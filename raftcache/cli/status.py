"""`status`: asks every endpoint itself, and prints what each one says."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from raftcache.cli import table
from raftcache.cli.options import (
    Duration,
    client_options,
    echo_json,
    open_async_client,
    open_client,
    run_until_interrupted,
)
from raftcache.errors import RaftcacheError, Refused

ANSWER_TIMEOUT_S: Final = 2.0
"""A node that takes longer to say how it is, is not well."""


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--interval", type=Duration(), default="1s", show_default=True, help="With --watch.")
@client_options
def status(
    watch: bool, interval: float, endpoints: str | None, timeout_s: float, as_json: bool
) -> None:
    """Show who leads, terms, indexes, lag and digest of every node.

    Exits with 3 if no node answered.
    """
    if watch:
        run_until_interrupted(_watch(endpoints, timeout_s, interval, as_json))
        return
    with open_client(endpoints, timeout_s) as client:
        statuses = client.statuses(min(timeout_s, ANSWER_TIMEOUT_S))
    _print(statuses, as_json)
    if all(isinstance(said, RaftcacheError) for said in statuses.values()):
        raise Refused("no node answered")


async def _watch(endpoints: str | None, timeout_s: float, interval_s: float, as_json: bool) -> None:
    async with open_async_client(endpoints, timeout_s) as client:
        while True:
            statuses = await client.statuses(min(timeout_s, ANSWER_TIMEOUT_S))
            if not as_json:
                click.clear()
            _print(statuses, as_json)
            await asyncio.sleep(interval_s)


def _print(statuses: table.Statuses, as_json: bool) -> None:
    if as_json:
        echo_json(table.as_fields(statuses))
    else:
        click.echo(table.render(statuses))
