"""`get`, `set`, `delete` and the rest that work on one key. Keys and values are any bytes."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn, get_args

import click

from raftcache.cli import exits
from raftcache.cli.options import Duration, client_options, echo_json, open_client
from raftcache.client import NO_DEADLINE, Consistency, Entry, Found, Refill, Status, Written
from raftcache.config.text import show_duration


class Bytes(click.ParamType[bytes]):
    """An argument as the shell gave it, byte for byte."""

    name = "bytes"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        return value if isinstance(value, bytes) else os.fsencode(str(value))


key_argument = click.argument("key", type=Bytes())
value_argument = click.argument("value", type=Bytes())
if_revision_option = click.option(
    "--if-revision", type=click.IntRange(min=1), help="Only if the key is still at this revision."
)


@click.command()
@key_argument
@click.option(
    "--consistency",
    type=click.Choice(get_args(Consistency)),
    default="linearizable",
    show_default=True,
)
@click.option(
    "--vivify",
    type=Duration(),
    help="If the key is missing, ask for the right to refill it, for so long; stderr says who has"
    " it.",
)
@click.option("--early", type=Duration(), help="With --vivify: a key that ends so soon is stale.")
@click.option("--wait", type=Duration(), help="With --vivify: for another's refill.")
@client_options
def get(
    key: bytes,
    consistency: Consistency,
    vivify: float | None,
    early: float | None,
    wait: float | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write a key's value to stdout, byte for byte."""
    if vivify is not None:
        if consistency != "linearizable":
            raise click.UsageError("--vivify goes with --consistency linearizable")
        with open_client(endpoints, timeout_s) as client:
            _print_refill(
                client.get_or_refill(
                    key,
                    refill_ms=_ms(vivify),
                    early_ms=_ms(early or 0.0),
                    wait_ms=_ms(wait or 0.0),
                ),
                as_json,
            )
        return
    if early is not None or wait is not None:
        raise click.UsageError("--early and --wait go with --vivify")
    with open_client(endpoints, timeout_s) as client:
        found = client.get(key, consistency=consistency)
    if found is None:
        _missing(as_json)
    if as_json:
        echo_json(fields_of(found))
    else:
        click.echo(found.value, nl=False)


@click.command("set")
@key_argument
@value_argument
@click.option("--ttl", type=Duration(), help="After which the key goes: 250ms, 30s, 5m, 1h.")
@click.option("--lease", type=click.IntRange(min=1), help="A lease with which the key goes.")
@click.option("--if-absent", is_flag=True, help="Only if there is no such key.")
@if_revision_option
@click.option("--vivify", type=click.IntRange(min=1), help="The token that `get --vivify` won.")
@client_options
def set_(
    key: bytes,
    value: bytes,
    ttl: float | None,
    lease: int | None,
    if_absent: bool,
    if_revision: int | None,
    vivify: int | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Set a key; VALUE - is read from stdin."""
    if ttl is not None and lease is not None:
        raise click.UsageError("--ttl and --lease exclude each other")
    if if_absent and if_revision is not None:
        raise click.UsageError("--if-absent and --if-revision exclude each other")
    if vivify is not None and (if_absent or if_revision is not None or lease is not None):
        raise click.UsageError("--vivify excludes --lease, --if-absent and --if-revision")
    ttl_ms = None if ttl is None else _ms(ttl)
    with open_client(endpoints, timeout_s) as client:
        if vivify is not None:
            _print(client.refill(key, _or_stdin(value), vivify, ttl_ms=ttl_ms), as_json)
            return
        written = client.put(
            key,
            _or_stdin(value),
            ttl_ms=ttl_ms,
            lease=lease,
            only_if_absent=if_absent,
            only_if_revision=if_revision,
        )
    _print(written, as_json)


@click.command()
@click.argument("key", type=Bytes(), required=False)
@if_revision_option
@click.option("--prefix", type=Bytes(), help="All keys that begin so, instead of one.")
@click.option("--start", type=Bytes(), help="This key and all those after it.")
@click.option("--end", type=Bytes(), help="All keys before this one.")
@click.option("--all", "everything", is_flag=True, help="All keys there are.")
@client_options
def delete(
    key: bytes | None,
    if_revision: int | None,
    prefix: bytes | None,
    start: bytes | None,
    end: bytes | None,
    everything: bool,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Remove a key, or a range of keys at once."""
    of_range = everything or not (prefix is None and start is None and end is None)
    if (key is not None) == of_range:
        raise click.UsageError("give KEY, or a range: --prefix, --start and --end, or --all")
    if of_range and if_revision is not None:
        raise click.UsageError("--if-revision goes with one key")
    with open_client(endpoints, timeout_s) as client:
        if key is not None:
            _print(client.delete(key, only_if_revision=if_revision), as_json)
            return
        written = client.delete_range(prefix=prefix, start=start, end=end, everything=everything)
    _print(written, as_json, f"{written.number} deleted, revision {written.revision}")


@click.command()
@key_argument
@click.option("--by", type=int, default=1, show_default=True)
@client_options
def incr(key: bytes, by: int, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Add to a counter, and print what it is now."""
    with open_client(endpoints, timeout_s) as client:
        written = client.incr(key, by)
    _print(written, as_json, str(written.number))


@click.command()
@key_argument
@value_argument
@client_options
def append(
    key: bytes, value: bytes, endpoints: str | None, timeout_s: float, as_json: bool
) -> None:
    """Add bytes at a value's end, and print its new size; VALUE - is read from stdin."""
    with open_client(endpoints, timeout_s) as client:
        written = client.append(key, _or_stdin(value))
    _print(written, as_json, str(written.number))


@click.command()
@key_argument
@click.argument("ttl", type=Duration())
@client_options
def expire(key: bytes, ttl: float, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Give a key a deadline, TTL from now."""
    with open_client(endpoints, timeout_s) as client:
        written = client.expire(key, _ms(ttl))
    _print(written, as_json)


@click.command()
@key_argument
@client_options
def persist(key: bytes, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Take a key's deadline away."""
    with open_client(endpoints, timeout_s) as client:
        written = client.persist(key)
    _print(written, as_json)


@click.command()
@key_argument
@client_options
def touch(key: bytes, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Note a use of a key, for what is evicted first."""
    with open_client(endpoints, timeout_s) as client:
        written = client.touch(key)
    _print(written, as_json)


@click.command()
@key_argument
@client_options
def ttl(key: bytes, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Print how long a key has left, or `none` if it stays."""
    with open_client(endpoints, timeout_s) as client:
        left_ms = client.ttl(key)
    if left_ms is None:
        _missing(as_json)
    stays = left_ms == NO_DEADLINE
    if as_json:
        echo_json({"ttl_ms": None if stays else left_ms})
    else:
        click.echo("none" if stays else show_duration(left_ms / 1000))


KEY_COMMANDS: Final = (get, set_, delete, incr, append, expire, persist, touch, ttl)


def _or_stdin(argument: bytes) -> bytes:
    return sys.stdin.buffer.read() if argument == b"-" else argument


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def fields_of(found: Found | Entry) -> dict[str, Any]:
    """For JSON, which has no bytes: `value` is null where it is no text."""
    try:
        text = found.value.decode()
    except UnicodeDecodeError:
        text = None
    encoded = base64.b64encode(found.value).decode()
    kept = {f: getattr(found, f) for f in found.__struct_fields__ if f not in ("key", "value")}
    return {"value": text, "value_base64": encoded} | kept


def _print(written: Written, as_json: bool, text: str | None = None) -> None:
    """What became of a write; exits with 1 if it changed nothing."""
    word = written.status.name.lower()
    if as_json:
        fields = {f: getattr(written, f) for f in written.__struct_fields__}
        echo_json(fields | {"status": word})
    elif written.status is Status.MISSING:
        click.echo("no such key", err=True)
    elif written.status is Status.PRECONDITION:
        now = f"it is at revision {written.revision}" if written.revision else "there is none"
        click.echo(f"the condition does not hold: {now}", err=True)
    else:
        click.echo(text if text is not None else f"{word}, revision {written.revision}")
    if not written.applied:
        raise click.exceptions.Exit(exits.NOT_SO)


def _print_refill(seen: Refill, as_json: bool) -> None:
    """What a read that may refill was told; exits with 1 if there is no value, as a plain one."""
    fields = {"vivify": seen.role, "token": seen.token or None}
    if seen.won and not as_json:
        click.echo(f"won, token {seen.token}", err=True)
    elif seen.role == "lost" and not as_json:
        click.echo("lost: somebody else is to refill it", err=True)
    if seen.found is None:
        _missing(as_json, fields)
    if as_json:
        echo_json(fields_of(seen.found) | fields)
    else:
        click.echo(seen.found.value, nl=False)


def _missing(as_json: bool, fields: Mapping[str, Any] | None = None) -> NoReturn:
    if as_json:
        echo_json({"status": "missing", **(fields or {})})
    else:
        click.echo("no such key", err=True)
    raise click.exceptions.Exit(exits.NOT_SO)
