"""`status`: asks every endpoint itself, and prints what each one says."""

from __future__ import annotations

import time
from typing import Final

import click

from raftcache.cli import table
from raftcache.cli.options import Duration, client_options, echo_json, open_client
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
    with open_client(endpoints, timeout_s) as client:
        statuses = client.statuses(min(timeout_s, ANSWER_TIMEOUT_S))
        try:
            while watch:
                if not as_json:
                    click.clear()
                _print(statuses, as_json)
                time.sleep(interval)
                statuses = client.statuses(min(timeout_s, ANSWER_TIMEOUT_S))
        except KeyboardInterrupt:
            return
    _print(statuses, as_json)
    if all(isinstance(said, RaftcacheError) for said in statuses.values()):
        raise Refused("no node answered")


def _print(statuses: table.Statuses, as_json: bool) -> None:
    if as_json:
        echo_json(table.as_fields(statuses))
    else:
        click.echo(table.render(statuses))
