"""Options that several commands share."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import click

from raftcache.client import RaftcacheClient, SyncClient, endpoints_from
from raftcache.config.text import parse_duration_s

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """`250ms`, `30s`, `5m`, `1h`, as seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration_s(str(value))
        except ValueError as e:
            self.fail(f"{value!r} {e}", param, ctx)


def client_options(command: F) -> F:
    """--endpoints, --timeout and --json; the command gets `endpoints`, `timeout_s`, `as_json`."""
    return _options(command, "10s")


def operator_options(command: F) -> F:
    """As client_options, for calls that wait for a cluster to do something."""
    return _options(command, "60s")


def _options(command: F, timeout: str) -> F:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--timeout",
            "timeout_s",
            type=Duration(),
            default=timeout,
            show_default=True,
            help="For the whole call, with all of its attempts.",
        ),
        click.option(
            "--endpoints",
            metavar="URL,URL,...",
            help="Nodes to ask; RAFTCACHE_ENDPOINTS, or the nodes of `raftcache demo`.",
        ),
    ):
        command = option(command)
    return command


def open_client(endpoints: str | None, timeout_s: float) -> SyncClient:
    """To be opened with `with`."""
    return SyncClient(endpoints_from(endpoints, os.environ), timeout_s=timeout_s)


def open_async_client(endpoints: str | None, timeout_s: float) -> RaftcacheClient:
    """As open_client, with `async with`."""
    return RaftcacheClient(endpoints_from(endpoints, os.environ), timeout_s=timeout_s)


def run_until_interrupted(main: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, or until Ctrl-C, which is how a command that has no end is ended.

    In one run of one loop: asyncio turns the signal into a cancellation there. Between the runs of
    a SyncClient it is an exception at any place whatever, and some of these cannot bear one.
    """
    try:
        asyncio.run(main)
    except KeyboardInterrupt:
        return


def echo_json(fields: Mapping[str, Any]) -> None:
    """One line."""
    click.echo(json.dumps(fields))
