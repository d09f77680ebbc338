"""`watch`: changes as they happen, printed, or given to a command one by one."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import Any, Final, get_args

import click

from raftcache.cli.keys import Bytes, fields_of
from raftcache.cli.options import (
    client_options,
    echo_json,
    open_async_client,
    run_until_interrupted,
)
from raftcache.cli.ranges import shown_entry
from raftcache.client import Change, ChangeKind, Changes, Entry, escaped

VARIABLE_SIZE_BYTES_MAX: Final = 64 << 10
"""A larger value is on stdin only: Linux lets one variable have 128 KiB."""


@click.command()
@click.argument("key", type=Bytes(), required=False)
@click.option("--prefix", type=Bytes(), help="Keys that begin so.")
@click.option("--start", type=Bytes(), help="This key and those after it.")
@click.option("--end", type=Bytes(), help="Keys before this one.")
@click.option("--since", type=click.IntRange(min=0), help="What came after this revision too.")
@click.option("--events", help="Only these, of put, delete, expire and evict; separated by commas.")
@click.option("--prev", is_flag=True, help="With what the keys held before; needs --json.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many revisions.")
@click.option("--exec", "command", metavar="COMMAND", help="Run by the shell for each change.")
@client_options
def watch(
    key: bytes | None,
    prefix: bytes | None,
    start: bytes | None,
    end: bytes | None,
    since: int | None,
    events: str | None,
    prev: bool,
    limit: int | None,
    command: str | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Print the changes of KEY, or of a prefix or range, or of all keys, until Ctrl-C.

    A line for each: revision, what happened, key and value, with tabs between; keys are
    percent-encoded as in URLs, values escaped as in C. --json has an object for each revision. When
    a node fails, the watch goes on at another one, with no gap and no repetition.

    COMMAND finds RAFTCACHE_EVENT, RAFTCACHE_REVISION, RAFTCACHE_KEY and RAFTCACHE_VALUE in its
    environment, those two also with _BASE64 for bytes that a variable cannot hold, and the value
    on stdin. One command runs at a time; one that fails is reported, and the watch goes on.
    """
    if key is not None and not prefix == start == end is None:
        raise click.UsageError("KEY excludes --prefix, --start and --end")
    if prefix is not None and (start is not None or end is not None):
        raise click.UsageError("--prefix excludes --start and --end")
    if prev and not as_json:
        raise click.UsageError("--prev needs --json")
    kinds = _kinds(events)

    async def follow() -> None:
        async with open_async_client(endpoints, timeout_s) as client:
            asked = client.watch(
                key=key,
                prefix=prefix,
                start=start,
                end=end,
                since=since,
                events=kinds,
                previous=prev,
            )
            shown = 0
            async with asked as changes:
                while limit is None or shown < limit:
                    _show(await anext(changes), command, as_json)
                    shown += 1

    run_until_interrupted(follow())


def _kinds(text: str | None) -> list[ChangeKind] | None:
    if text is None:
        return None
    known: dict[str, ChangeKind] = {kind: kind for kind in get_args(ChangeKind)}
    if unknown := [name for name in text.split(",") if name not in known]:
        raise click.UsageError(f"--events {unknown[0]!r} is none of {', '.join(known)}")
    return [known[name] for name in text.split(",")]


def _show(changes: Changes, command: str | None, as_json: bool) -> None:
    if command is not None:
        for change in changes.changes:
            _run(command, changes.revision, change)
    elif as_json:
        fields = [_fields(change) for change in changes.changes]
        lacks = {"lacks_previous": True} if changes.lacks_previous else {}
        echo_json({"revision": changes.revision, "changes": fields} | lacks)
    else:
        for change in changes.changes:
            cells = [str(changes.revision), change.kind, escaped(change.key)]
            if change.entry is not None:
                cells.append(shown_entry(change.entry))
            click.echo("\t".join(cells))


def _fields(change: Change) -> dict[str, Any]:
    fields: dict[str, Any] = {"event": change.kind, "key": escaped(change.key)}
    if change.entry is not None:
        fields = _entry_fields(change.entry) | fields
    if change.previous is not None:
        fields["previous"] = _entry_fields(change.previous)
    return fields


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return fields_of(entry) | {"key": escaped(entry.key)}


def _run(command: str, revision: int, change: Change) -> None:
    value = b"" if change.entry is None else change.entry.value
    environ = os.environb | {
        b"RAFTCACHE_EVENT": change.kind.encode(),
        b"RAFTCACHE_REVISION": b"%d" % revision,
        **_variables(b"KEY", change.key),
        **_variables(b"VALUE", value),
    }
    done = subprocess.run(command, shell=True, input=value, env=environ, check=False)
    if done.returncode != 0:
        what = f"revision {revision}, {change.kind} {escaped(change.key)}"
        click.echo(f"raftcache: {what}: the command ended with {done.returncode}", err=True)


def _variables(name: bytes, data: bytes) -> dict[bytes, bytes]:
    if len(data) > VARIABLE_SIZE_BYTES_MAX:
        return {}
    variables = {b"RAFTCACHE_%b_BASE64" % name: base64.b64encode(data)}
    if b"\0" not in data:
        variables[b"RAFTCACHE_" + name] = data
    return variables
