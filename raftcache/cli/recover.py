"""`recover` and `rebuild`: the two ways out for a node, when its cluster or its data is lost."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import click

from raftcache.cli import exits
from raftcache.cli.options import Duration, echo_json
from raftcache.cli.places import MEMBERS, Parsed, bump_option, existing_data_dir_option
from raftcache.client import SyncClient
from raftcache.config.text import parse_name, parse_url
from raftcache.errors import BadConfig, Corrupt, NotFound

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_yes = click.option("--yes", is_flag=True, help="Do it; without, only say what would be done.")


@click.command()
@existing_data_dir_option
@click.option(
    "--members", type=MEMBERS, required=True, help="Who goes on: this node alone, n1=host:port."
)
@bump_option
@_yes
@_json
def recover(data_dir: Path, members: dict[str, Any], bump: int, yes: bool, as_json: bool) -> None:
    """Make a stopped node's data a cluster of that node alone, when the majority is lost for good.

    \b
    What may be lost: every write that is not on this node's disk.
    What may appear:  writes on its disk that were never acknowledged, or refused since.

    Take the surviving node with the highest term and, among those, the highest last index. The new
    cluster has an id of its own. The others join it with empty directories (serve --join);
    whoever of the old cluster comes back with its data is refused.

    Its revision is raised by --bump-revision, and what changed before is forgotten: watches and
    listings that began before are told so (410). What is above committed_index may not have been
    acknowledged by anybody; it has the new, higher revisions.
    """
    from raftcache.cluster import recovery
    from raftcache.node import stopped
    from raftcache.raft.datadir import refuse_fenced

    addresses = {name: str(address) for name, address in members.items()}
    with stopped(data_dir) as disk:
        refuse_fenced(disk)
        plan = recovery.plan(disk, bump)
        recovery.check(plan, addresses)
        fields: dict[str, Any] = {
            "node": plan.identity.node,
            "old_cluster_id": plan.identity.cluster_id,
            "last_index": plan.last.index,
            "last_term": plan.last.term,
            "committed_index": plan.committed_index,
            "term": plan.term,
            "revision": plan.revision,
            "new_revision": plan.machine.revision,
            "keys": plan.machine.count,
            "lost_members": list(plan.lost),
        }
        if yes:
            new = recovery.recover(disk, plan, addresses, secrets.token_hex(8))
            fields["cluster_id"] = new.cluster_id
    if as_json:
        echo_json({"done": yes} | fields)
    else:
        for name, value in fields.items():
            click.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
        if not yes:
            click.echo(
                f"\nNothing was changed. With --yes the data above becomes a new cluster of"
                f" {plan.identity.node} alone; what only the lost members had is lost for good."
            )
    if not yes:
        raise click.exceptions.Exit(exits.NOT_SO)


@click.command()
@existing_data_dir_option
@click.option(
    "--from",
    "source",
    type=Parsed("url", parse_url),
    required=True,
    help="The URL of a healthy node of the cluster.",
)
@click.option("--name", type=Parsed("name", parse_name), help="Where the data cannot tell.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="10s",
    show_default=True,
    help="For what the others are asked first.",
)
@_json
def rebuild(data_dir: Path, source: str, name: str | None, timeout_s: float, as_json: bool) -> None:
    """Give a stopped node its data anew from the others: one that was fenced, or is damaged.

    Removes its data and makes it a learner under its own name and addresses. Then start it as
    usual; when it has caught up, `raftcache member promote NAME` lets it vote again.
    """
    from raftcache.cluster.joining import TIMEOUT_S, join
    from raftcache.node import stopped
    from raftcache.raft.datadir import Identity, read_identity, wipe, write_identity
    from raftcache.raft.members import Member

    with stopped(data_dir) as disk:
        try:
            stored = read_identity(disk)
        except Corrupt:
            stored = None
        name = name or (stored.node if stored is not None else None)
        if name is None:
            raise BadConfig("the data directory does not tell whose it is: say so with --name")
        if stored is not None and name != stored.node:
            raise BadConfig(f"the data directory belongs to {stored.node}, not to {name}")
        with SyncClient([source], timeout_s=timeout_s) as client:
            status = client.cluster()
        known = next((m for m in status.members if m.name == name), None)
        if known is None:
            raise NotFound(f"{source} knows no member {name}: let it join with serve --join")
        if stored is not None and status.cluster_id != stored.cluster_id:
            raise BadConfig(
                f"the data directory belongs to cluster {stored.cluster_id},"
                f" {source} to {status.cluster_id}"
            )
        myself = Member(name, secrets.token_hex(8), known.raft, known.http or "", False)
        click.echo(f"asking {source} to let {name} begin anew, for up to {TIMEOUT_S:g} s", err=True)
        cluster_id, _ = asyncio.run(join(source, myself))  # from here on the old data is no member
        wipe(disk)
        write_identity(disk, Identity(cluster_id, name, 0, myself.id, joined=True))
    if as_json:
        echo_json({"node": name, "cluster_id": cluster_id, "member_id": myself.id})
    else:
        click.echo(f"{name} is a learner without data now: start it, and it gets the others' data.")
        click.echo(f"Then: raftcache member promote {name}")
