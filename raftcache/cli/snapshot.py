"""`snapshot`: backups of a cluster, and new clusters from them; keys as JSON lines for people."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from raftcache.cli import exits
from raftcache.cli.options import client_options, echo_json, open_client
from raftcache.cli.places import data_dir_option, members_option, name_option
from raftcache.client import SyncClient
from raftcache.errors import BadRequest, Corrupt

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_existing = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

LINE_SIZE_BYTES_MAX: Final = 16 << 20
"""One key and its value, both in base64, with room to spare."""


@click.group()
def snapshot() -> None:
    """Back a cluster up, and make a new cluster of a backup."""


@snapshot.command()
@_file
@click.option("--force", is_flag=True, help="Replace FILE if there is one.")
@client_options
def save(file: Path, force: bool, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Save a consistent backup of a running cluster to FILE.

    It holds every write acknowledged before it was asked for. FILE appears when all of it has
    come and was verified.
    """
    if file.exists() and not force:
        raise BadRequest(f"{file} is there already: --force replaces it")
    partial = file.with_name(f"{file.name}.partial")
    try:
        with open_client(endpoints, timeout_s) as client, partial.open("wb") as target:
            _download(client, target, shows=not as_json)
        fields = _verified(partial, shows=not as_json)
        partial.replace(file)
        _sync_folder(file.parent)
    except Corrupt as e:
        raise Corrupt(f"{file}, as received", e.offset_bytes, e.why) from e
    finally:
        partial.unlink(missing_ok=True)
    _print({"file": str(file)} | fields, as_json)


@snapshot.command()
@_existing
@_json
def verify(file: Path, as_json: bool) -> None:
    """Read all of FILE, and say what it is a backup of.

    Exits with 1 if anything is missing from it or was changed, and names the offset.
    """
    try:
        fields = _verified(file, shows=not as_json)
    except Corrupt as e:
        if as_json:
            echo_json({"ok": False, "offset": e.offset_bytes, "why": e.why})
        else:
            click.echo(f"raftcache: {e.title}: {e.detail}", err=True)
        raise click.exceptions.Exit(exits.NOT_SO) from None
    _print({"ok": True} | fields, as_json)


@snapshot.command()
@_existing
@data_dir_option
@name_option
@members_option
@_json
def restore(file: Path, data_dir: Path, name: str, members: dict[str, Any], as_json: bool) -> None:
    """Make FILE the data of one member of a new cluster.

    Do so once for each member, with the same FILE and the same --cluster; then start them all with
    that --cluster. The new cluster has an id of its own: members of the old one cannot mix in.
    """
    from raftcache.cluster import backup_file
    from raftcache.node import stopped

    if data_dir.exists() and any(p.name != "lock" for p in data_dir.iterdir()):
        raise BadRequest(f"{data_dir} is not empty: a backup is restored to a new directory")
    with stopped(data_dir) as disk:
        identity = backup_file.restore(file, disk, name, members, secrets.token_hex(8))
    _print({"data_dir": str(data_dir), "node": name, "cluster_id": identity.cluster_id}, as_json)


@snapshot.command("export")
@_existing
@click.option("--output", type=click.File("w"), default="-", help="Instead of standard output.")
def export_(file: Path, output: IO[str]) -> None:
    """Write the keys in FILE as JSON lines.

    Keys and values that are text as `key` and `value`, others as `key_base64` and `value_base64`;
    `ttl_ms` is what was left when the backup was taken, of a lease too: leases are not exported.
    """
    from raftcache.cluster import backup_file

    meta, machine = backup_file.verify(file)
    for key, item in machine.items():
        fields = _text("key", key) | _text("value", item.value)
        if item.content_type:
            fields["content_type"] = item.content_type
        if item.deadline_ms:
            fields["ttl_ms"] = item.deadline_ms - meta.now_ms
        output.write(json.dumps(fields, ensure_ascii=False) + "\n")


@snapshot.command("import")
@click.argument("file", type=click.File("rb"))
@client_options
def import_(file: IO[bytes], endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Put the keys in FILE, JSON lines as `export` writes them, into a running cluster.

    Keys that are there are replaced; times to live begin anew with what they had left. If it breaks
    off, import the same FILE again.
    """
    imported = 0
    with (
        open_client(endpoints, timeout_s) as client,
        click.progressbar(
            _lines(file), label="Importing", file=sys.stderr, hidden=as_json, show_pos=True
        ) as lines,
    ):
        for number, line in enumerate(lines, 1):
            key, value, content_type, ttl_ms = _parsed(number, line)
            client.put(key, value, content_type=content_type, ttl_ms=ttl_ms)
            imported += 1
    _print({"imported": imported}, as_json)


def _download(client: SyncClient, target: IO[bytes], shows: bool) -> None:
    with _bar("Saving", 0, shows) as advance:

        def take(piece: bytes, size_bytes: int) -> None:
            target.write(piece)
            advance(len(piece), size_bytes)

        client.backup(take)
    target.flush()
    os.fsync(target.fileno())


def _sync_folder(folder: Path) -> None:
    """On return a file that was renamed in it has its new name for good."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _bar(label: str, size_bytes: int, shows: bool) -> Iterator[Callable[..., None]]:
    """advance(bytes, of how many), to be drawn on standard error."""
    with click.progressbar(
        length=size_bytes, label=label, file=sys.stderr, hidden=not shows
    ) as bar:

        def advance(by: int, of: int | None = None) -> None:
            if of is not None:
                bar.length = of
            bar.update(by)

        yield advance


def _verified(file: Path, shows: bool) -> dict[str, Any]:
    """What a backup is of; raises Corrupt."""
    from raftcache.cluster import backup_file

    size_bytes = file.stat().st_size
    with _bar("Verifying", size_bytes, shows) as advance:
        meta, machine = backup_file.verify(file, advance)
    return {
        "size_bytes": size_bytes,
        "cluster_id": meta.cluster_id,
        "index": meta.index,
        "term": meta.term,
        "revision": meta.revision,
        "keys": machine.count,
        "digest": f"{meta.digest:016x}",
    }


def _print(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(fields)
    else:
        width = max(map(len, fields))
        for name, value in fields.items():
            click.echo(f"{name.ljust(width)}  {value}")


def _text(name: str, data: bytes) -> dict[str, Any]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LINE_SIZE_BYTES_MAX + 1):
        if line.strip():
            yield line


def _parsed(number: int, line: bytes) -> tuple[bytes, bytes, str | None, int | None]:
    """Key, value, content type and time to live in one line; raises BadRequest."""
    try:
        if len(line) > LINE_SIZE_BYTES_MAX:
            raise ValueError(f"it has more than {LINE_SIZE_BYTES_MAX} bytes")
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise TypeError("it is no object")
        ttl_ms = fields.get("ttl_ms")
        if not (ttl_ms is None or type(ttl_ms) is int):
            raise ValueError("ttl_ms is no whole number")
        content_type = fields.get("content_type")
        if not (content_type is None or isinstance(content_type, str)):
            raise ValueError("content_type is no text")
        return _bytes(fields, "key"), _bytes(fields, "value"), content_type, ttl_ms
    except (ValueError, TypeError) as e:
        raise BadRequest(f"line {number} is not as `snapshot export` writes it: {e}") from None


def _bytes(fields: dict[str, Any], name: str) -> bytes:
    if isinstance(text := fields.get(name), str):
        return text.encode()
    if isinstance(encoded := fields.get(f"{name}_base64"), str):
        return base64.b64decode(encoded, validate=True)
    raise ValueError(f"it has neither {name} nor {name}_base64")
