"""`lease`: granted, kept alive, revoked, listed and shown."""

from __future__ import annotations

from typing import Any

import click

from raftcache.cli.options import Duration, client_options, echo_json, open_client
from raftcache.client import Grant, LeaseState, escaped
from raftcache.config.text import show_duration

lease_argument = click.argument("lease_id", metavar="LEASE", type=click.IntRange(min=1))


@click.group()
def lease() -> None:
    """Keys that go together: `set --lease`."""


@lease.command()
@click.argument("ttl", type=Duration())
@client_options
def grant(ttl: float, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Begin a lease, and print its id."""
    with open_client(endpoints, timeout_s) as client:
        _print(client.grant_lease(round(ttl * 1000)), as_json)


@lease.command()
@lease_argument
@client_options
def keepalive(lease_id: int, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Give a lease its whole time again."""
    with open_client(endpoints, timeout_s) as client:
        _print(client.keep_lease(lease_id), as_json)


@lease.command()
@lease_argument
@client_options
def revoke(lease_id: int, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """End a lease, and print how many keys went with it."""
    with open_client(endpoints, timeout_s) as client:
        deleted = client.revoke_lease(lease_id)
    if as_json:
        echo_json({"lease": lease_id, "deleted": deleted})
    else:
        click.echo(f"{deleted}")


@lease.command("list")
@client_options
def list_(endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Print all leases: id, what is left, how many keys."""
    with open_client(endpoints, timeout_s) as client:
        for state in client.leases():
            if as_json:
                echo_json(_fields(state))
            else:
                click.echo(_line(state))


@lease.command()
@lease_argument
@client_options
def show(lease_id: int, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Print a lease, and its first keys as they stand in a URL."""
    with open_client(endpoints, timeout_s) as client:
        state = client.lease_state(lease_id)
    if as_json:
        echo_json(_fields(state) | {"keys": [escaped(key) for key in state.keys]})
        return
    click.echo(_line(state))
    for key in state.keys:
        click.echo(escaped(key))


def _print(granted: Grant, as_json: bool) -> None:
    if as_json:
        echo_json({"lease": granted.token, "ttl_ms": granted.ttl_ms})
    else:
        click.echo(f"{granted.token}")


def _fields(state: LeaseState) -> dict[str, Any]:
    names = ("id", "ttl_ms", "granted_ttl_ms", "key_count")
    return {name: getattr(state, name) for name in names}


def _line(state: LeaseState) -> str:
    left, granted = (show_duration(ms / 1000) for ms in (state.ttl_ms, state.granted_ttl_ms))
    return f"{state.id}  {left} of {granted}  {state.key_count} keys"
