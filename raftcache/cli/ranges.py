"""`range`: many keys at a time."""

from __future__ import annotations

from itertools import islice
from typing import Any, get_args

import click

from raftcache.cli.keys import Bytes, fields_of
from raftcache.cli.options import client_options, echo_json, open_client
from raftcache.client import Consistency, Entry, escaped
from raftcache.command.limits import PAGE_KEYS_DEFAULT


@click.command("range")
@click.option("--prefix", type=Bytes(), help="Only keys that begin so.")
@click.option("--start", type=Bytes(), help="Only this key and those after it.")
@click.option("--end", type=Bytes(), help="Only keys before this one.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--keys-only", is_flag=True, help="Without their values.")
@click.option("--count", is_flag=True, help="Only how many there are.")
@click.option(
    "--consistency",
    type=click.Choice(get_args(Consistency)),
    default="linearizable",
    show_default=True,
)
@client_options
def range_(
    prefix: bytes | None,
    start: bytes | None,
    end: bytes | None,
    limit: int | None,
    keys_only: bool,
    count: bool,
    consistency: Consistency,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """List keys in order, as they were at one revision: a line for each, key, tab, value.

    Keys are percent-encoded as in URLs, values escaped as in C; --json has a JSON object a line.
    """
    if prefix is not None and (start is not None or end is not None):
        raise click.UsageError("--prefix excludes --start and --end")
    if count and (limit is not None or keys_only):
        raise click.UsageError("--count excludes --limit and --keys-only")
    asked: dict[str, Any] = {"prefix": prefix, "start": start, "end": end}
    asked["consistency"] = consistency
    with open_client(endpoints, timeout_s) as client:
        if count:
            found = client.count(**asked)
            echo_json({"count": found}) if as_json else click.echo(found)
            return
        page_keys = min(limit or PAGE_KEYS_DEFAULT, PAGE_KEYS_DEFAULT)
        listing = client.range(**asked, keys_only=keys_only, page_keys=page_keys)
        for entry in islice(listing, limit):
            _print(entry, keys_only, as_json)


def _print(entry: Entry, keys_only: bool, as_json: bool) -> None:
    if as_json:
        fields = fields_of(entry)
        if keys_only:
            fields = {name: field for name, field in fields.items() if "value" not in name}
        echo_json(fields | {"key": escaped(entry.key)})
    elif keys_only:
        click.echo(escaped(entry.key))
    else:
        click.echo(f"{escaped(entry.key)}\t{shown_entry(entry)}")


def shown_entry(entry: Entry) -> str:
    """Its value on one line, or its type in brackets if it is no string."""
    return shown_value(entry.value) if entry.type == "string" else f"({entry.type})"


def shown_value(value: bytes) -> str:
    """On one line, without tabs."""
    text = value.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return text.replace("\n", "\\n").replace("\t", "\\t")
