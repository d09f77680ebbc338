"""`export` and `import`: the keys of a running cluster as JSON lines, out and in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import click

from raftcache.cli.files import bar, whole_file
from raftcache.cli.keys import Bytes
from raftcache.cli.lines import Line, is_left_out, load, only_strings_option, written
from raftcache.cli.options import client_options, echo_json, open_client
from raftcache.client import Entry, SyncClient
from raftcache.command.limits import PAGE_KEYS_DEFAULT
from raftcache.errors import Compacted, Refused

STDOUT: Final = Path("-")
PAGE_KEYS: Final = PAGE_KEYS_DEFAULT


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--prefix", type=Bytes(), help="Only keys that begin so.")
@click.option("--start", type=Bytes(), help="Only this key and those after it.")
@click.option("--end", type=Bytes(), help="Only keys before this one.")
@click.option("--force", is_flag=True, help="Replace FILE if there is one.")
@only_strings_option
@client_options
def export_(
    file: Path,
    prefix: bytes | None,
    start: bytes | None,
    end: bytes | None,
    force: bool,
    strings: bool,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write the keys of a running cluster to FILE (- for stdout) as JSON lines.

    All of them as they were at one revision, while writes go on. FILE appears when it is whole. If
    so much is written meanwhile that the cluster forgets that revision, nothing appears: try a
    part, or `snapshot save` and `snapshot export`.
    """
    asked = {"prefix": prefix, "start": start, "end": end}
    with open_client(endpoints, timeout_s) as client:
        if file == STDOUT:
            _write_all(client, asked, sys.stdout.buffer.write, strings, shows=False)
            return
        with whole_file(file, force) as target:
            count, revision = _write_all(client, asked, target.write, strings, shows=not as_json)
    if as_json:
        echo_json({"exported": count, "revision": revision})
    else:
        click.echo(f"{count} keys exported, as they were at revision {revision}")


def _write_all(
    client: SyncClient,
    asked: dict[str, Any],
    write: Callable[[bytes], object],
    strings: bool,
    *,
    shows: bool,
) -> tuple[int, int]:
    """How many they were, and at which revision."""
    done, after = 0, None
    with bar("Exporting", client.count(**asked) if shows else 0, shows) as advance:
        while True:
            try:
                page = client.page(**asked, after=after, limit=PAGE_KEYS)
            except Compacted as e:
                raise Refused(f"too much was written meanwhile: {e.detail}") from None
            for entry in page.entries:
                if not is_left_out(entry.key, entry.type, strings):
                    write(written(_line(entry)).encode())
                    done += 1
            advance(len(page.entries))
            if (after := page.after) is None:
                return done, page.revision


def _line(entry: Entry) -> Line:
    return Line(entry.key, entry.value, entry.content_type, entry.ttl_ms)


@click.command("import")
@click.argument("file", type=click.File("rb"))
@client_options
def import_(file: IO[bytes], endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Put the keys in FILE (- for stdin), JSON lines as `export` writes them, into a cluster.

    Keys that are there are replaced; times to live begin anew with what they had left. If it breaks
    off, import the same FILE again.
    """
    with open_client(endpoints, timeout_s) as client:
        count = load(client, file, shows=not as_json)
    echo_json({"imported": count}) if as_json else click.echo(f"{count} keys imported")


TRANSFER_COMMANDS: Final = (export_, import_)
