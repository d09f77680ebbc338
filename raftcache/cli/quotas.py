"""`quota`: how many keys and bytes there may be below a prefix."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from raftcache.cli import exits, table
from raftcache.cli.keys import Bytes
from raftcache.cli.options import client_options, echo_json, open_client
from raftcache.client import Quota, escaped
from raftcache.config.text import parse_size_bytes, show_size

prefix_argument = click.argument("prefix", type=Bytes())


class Size(click.ParamType[int]):
    """`512`, `64KiB`, `64MiB`, `1GiB`, as bytes."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size_bytes(str(value))
        except ValueError as e:
            self.fail(f"{value!r} {e}", param, ctx)


@click.group()
def quota() -> None:
    """How many keys and bytes there may be below a prefix; "" is the prefix of all keys."""


@quota.command("list")
@client_options
def list_(endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Show all quotas, and what counts for them."""
    with open_client(endpoints, timeout_s) as client:
        quotas = client.quotas()
    if as_json:
        echo_json({"quotas": [asdict(each) | {"prefix": _shown(each)} for each in quotas]})
        return
    rows = [
        (
            _shown(each) or '""',
            _of(str(each.keys), None if each.keys_max is None else str(each.keys_max)),
            _of(
                show_size(each.size_bytes),
                None if each.size_bytes_max is None else show_size(each.size_bytes_max),
            ),
            "counting" if each.counting else "",
        )
        for each in quotas
    ]
    click.echo(table.aligned([("PREFIX", "KEYS", "SIZE", ""), *rows]))


@quota.command("set")
@prefix_argument
@click.option("--keys", type=click.IntRange(min=0), help="At most so many keys.")
@click.option("--size", type=Size(), help="At most so many bytes, of keys and values as stored.")
@client_options
def set_(
    prefix: bytes,
    keys: int | None,
    size: int | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Limit a prefix; what is not given is not limited."""
    if keys is None and size is None:
        raise click.UsageError("--keys or --size must say what is limited")
    with open_client(endpoints, timeout_s) as client:
        client.set_quota(prefix, keys_max=keys, size_bytes_max=size)
    if as_json:
        echo_json({"keys_max": keys, "size_bytes_max": size})


@quota.command()
@prefix_argument
@client_options
@click.pass_context
def delete(
    ctx: click.Context, /, prefix: bytes, endpoints: str | None, timeout_s: float, as_json: bool
) -> None:
    """Take the limits from a prefix; exits with 1 if it had none."""
    with open_client(endpoints, timeout_s) as client:
        deleted = client.delete_quota(prefix)
    if as_json:
        echo_json({"deleted": int(deleted)})
    if not deleted:
        ctx.exit(exits.NOT_SO)


def _shown(each: Quota) -> str:
    return escaped(each.prefix) if each.prefix else ""


def _of(used: str, limit: str | None) -> str:
    return used if limit is None else f"{used}/{limit}"
