"""`wal`: looks at what a node has on disk, and changes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from raftcache.cli import exits
from raftcache.cli.options import echo_json
from raftcache.cli.places import existing_data_dir_option
from raftcache.errors import BadConfig, Corrupt, RaftcacheError

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def wal() -> None:
    """Look at a node's log on disk; safe beside a running node.

    Nothing is written or locked. While the node runs, the end of its log may look torn: it is
    being written.
    """


@wal.command()
@existing_data_dir_option
@click.option("--entries", "with_entries", is_flag=True, help="Every entry, a line each.")
@_json
def inspect(data_dir: Path, with_entries: bool, as_json: bool) -> None:
    """Show segments, terms, vote and, if asked, entries; as far as they can be read."""
    from raftcache.node import disk_of
    from raftcache.raft import inspection
    from raftcache.raft.datadir import read_identity

    disk = disk_of(data_dir)
    with contextlib.suppress(Corrupt):  # the log can be shown all the same
        if read_identity(disk) is None:
            raise _nothing(data_dir)
    report = inspection.read_log(disk)
    entries = report.recovered.entries if with_entries else []
    lines = [
        {"index": e.index, "term": e.term, "size_bytes": len(e.command)}
        | {"holds": inspection.describe(e)}
        for e in entries
    ]
    fields = _fields(report)
    if as_json:
        echo_json(fields | ({"entries": lines} if with_entries else {}))
        return
    for segment in fields.pop("segments"):
        click.echo("  ".join(f"{name} {value}" for name, value in segment.items()))
    for name, value in fields.items():
        click.echo(f"{name}: {value}")
    for line in lines:
        click.echo(f"{line['index']}  term {line['term']}  {line['size_bytes']} B  {line['holds']}")


@wal.command()
@existing_data_dir_option
@_json
def verify(data_dir: Path, as_json: bool) -> None:
    """Read everything as the node would when it starts: identity, snapshot, log, and every entry.

    Exits with 1 if the node would refuse it; the message names file and offset.
    """
    from raftcache.node import disk_of
    from raftcache.raft import inspection
    from raftcache.raft.datadir import REJOIN, refuse_fenced
    from raftcache.state.machine import Machine

    machine, disk = Machine(), disk_of(data_dir)
    try:
        refuse_fenced(disk)
        found = inspection.remember(disk, machine)
    except RaftcacheError as e:
        why = e.detail
        if isinstance(e, Corrupt) and REJOIN not in why:
            why = f"{why}; {REJOIN}"
        if as_json:
            where = {"file": e.path, "offset": e.offset_bytes} if isinstance(e, Corrupt) else {}
            echo_json({"ok": False, **where, "why": why})
        else:
            click.echo(f"raftcache: {e.title}: {why}", err=True)
        raise click.exceptions.Exit(exits.NOT_SO) from None
    if found.identity is None:
        raise _nothing(data_dir)
    fields: dict[str, Any] = {
        "ok": True,
        "node": found.identity.node,
        "cluster_id": found.identity.cluster_id,
        "last_index": found.last.index,
        "committed_index": found.committed_index,
        "term": found.term,
        "revision": machine.revision,
        "keys": machine.count,
        "digest": f"{machine.digest:016x}",
    }
    if as_json:
        echo_json(fields)
    else:
        for name, value in fields.items():
            click.echo(f"{name}: {value}")


def _nothing(data_dir: Path) -> BadConfig:
    return BadConfig(f"{data_dir} holds no data of a node")


def _fields(report: Any) -> dict[str, Any]:  # noqa: ANN401 - a LogReport; its room is slow to load
    log, damage = report.recovered, report.damage
    return {
        "segments": [
            {
                "file": s.path,
                "size_bytes": s.size_bytes,
                "used_bytes": s.used_bytes,
                "blocks": s.blocks,
                "first_index": s.first_index,
                "last_index": s.last_index,
                "terms": list(s.terms),
                "torn_bytes": s.torn_bytes,
            }
            for s in report.segments
        ],
        "term": log.term,
        "voted_for": log.voted_for,
        "base_index": log.base.index,
        "last_index": report.last_index,
        "committed_index": log.committed_index,
        "torn_bytes": log.torn_bytes,
        "damage": None if damage is None else damage.detail,
    }
