"""`snapshot`: backups of a cluster, and new clusters from them; keys as JSON lines for people."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import IO, Any

import click

from raftcache.cli import exits
from raftcache.cli.files import bar, whole_file
from raftcache.cli.lines import Line, is_left_out, only_strings_option, written
from raftcache.cli.options import client_options, echo_json, open_client
from raftcache.cli.places import bump_option, data_dir_option, members_option, name_option
from raftcache.cli.transfer import import_
from raftcache.client import SyncClient
from raftcache.command.replies import Collection
from raftcache.errors import BadRequest, Corrupt

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_existing = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
    try:
        with whole_file(file, force) as target:
            with open_client(endpoints, timeout_s) as client:
                _download(client, target, shows=not as_json)
            fields = _verified(Path(target.name), shows=not as_json)
    except Corrupt as e:
        raise Corrupt(f"{file}, as received", e.offset_bytes, e.why) from e
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
@bump_option
@_json
def restore(
    file: Path, data_dir: Path, name: str, members: dict[str, Any], bump: int, as_json: bool
) -> None:
    """Make FILE the data of one member of a new cluster.

    Do so once for each member, with the same FILE, the same --cluster and the same
    --bump-revision; then start them all with that --cluster. The new cluster has an id of its own:
    members of the old one cannot mix in, nor who was restored otherwise.
    """
    from raftcache.cluster import backup_file
    from raftcache.node import stopped

    if data_dir.exists() and any(p.name != "lock" for p in data_dir.iterdir()):
        raise BadRequest(f"{data_dir} is not empty: a backup is restored to a new directory")
    with stopped(data_dir) as disk:
        new_id = secrets.token_hex(8)
        identity, revision = backup_file.restore(file, disk, name, members, new_id, bump)
    fields = {"data_dir": str(data_dir), "node": name, "cluster_id": identity.cluster_id}
    _print({**fields, "new_revision": revision}, as_json)


@snapshot.command("export")
@_existing
@click.option("--output", type=click.File("w"), default="-", help="Instead of standard output.")
@only_strings_option
def export_(file: Path, output: IO[str], strings: bool) -> None:
    """Write the keys in FILE as JSON lines.

    Keys and values that are text as `key` and `value`, others as `key_base64` and `value_base64`;
    `ttl_ms` is what was left when the backup was taken, of a lease too: leases are not exported.
    """
    from raftcache.cluster import backup_file

    meta, machine = backup_file.verify(file)
    for key, item in machine.items():
        type_name = item.type if isinstance(item, Collection) else "string"
        if is_left_out(key, type_name, strings):
            continue
        ttl_ms = item.deadline_ms - meta.now_ms if item.deadline_ms else None
        output.write(written(Line(key, item.value, item.content_type, ttl_ms)))


snapshot.add_command(import_)


def _download(client: SyncClient, target: IO[bytes], shows: bool) -> None:
    with bar("Saving", 0, shows) as advance:

        def take(piece: bytes, size_bytes: int) -> None:
            target.write(piece)
            advance(len(piece), size_bytes)

        client.backup(take)
    target.flush()


def _verified(file: Path, shows: bool) -> dict[str, Any]:
    """What a backup is of; raises Corrupt."""
    from raftcache.cluster import backup_file

    size_bytes = file.stat().st_size
    with bar("Verifying", size_bytes, shows) as advance:
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
