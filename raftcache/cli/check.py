"""`check`: do all replicas hold the same state? Asks each one for its digest at one index."""

from __future__ import annotations

from typing import Final

import click

from raftcache.cli import exits
from raftcache.cli.options import client_options, echo_json, open_client
from raftcache.client import Digest, NodeStatus, SyncClient
from raftcache.errors import RaftcacheError, Refused

ATTEMPTS: Final = 5
"""Under heavy load a node may have forgotten the index by the time it is asked."""

STATUS_TIMEOUT_S: Final = 2.0

Digests = dict[str, Digest | RaftcacheError]


@click.command()
@client_options
def check(endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Compare the states of all replicas, at the same index.

    Exits with 1 if a replica differs or is fenced, with 3 if one could not be asked. The cluster
    also checks itself, every --check-period.
    """
    with open_client(endpoints, timeout_s) as client:
        said = client.statuses(min(timeout_s, STATUS_TIMEOUT_S))
        urls = _everywhere(said)
        with SyncClient(list(urls), timeout_s=timeout_s) as everyone:
            index, digests, fenced = _compare(everyone, min(timeout_s, STATUS_TIMEOUT_S))
    equal = len({d.digest for d in digests.values() if isinstance(d, Digest)}) == 1
    silent = [url for url, d in digests.items() if not isinstance(d, Digest) and url not in fenced]
    rows = {url: _row(urls[url], d, fenced.get(url)) for url, d in digests.items()}
    if as_json:
        ok = equal and not fenced and not silent
        echo_json({"ok": ok, "equal": equal, "index": index, "replicas": rows})
    else:
        click.echo(f"index {index}: the states {'are equal' if equal else 'DIFFER'}")
        for url, row in rows.items():
            click.echo(f"{row['node'].ljust(8)}  {row['digest'] or row['why']}  {url}")
    if not equal or fenced:
        raise click.exceptions.Exit(exits.NOT_SO)
    if silent:
        raise Refused(f"not all replicas answered: {', '.join(silent)}")


def _everywhere(said: dict[str, NodeStatus | RaftcacheError]) -> dict[str, str]:
    """URL -> name of every member that any node knows; and of whoever answered."""
    statuses = {url: s for url, s in said.items() if isinstance(s, NodeStatus)}
    if not statuses:
        raise Refused("no node answered")
    urls = {url: status.node for url, status in statuses.items()}
    names = set(urls.values())
    for status in statuses.values():
        for member in status.members:
            if member.name not in names:
                names.add(member.name)
                urls[f"http://{member.http}" if member.http else f"http://{member.name}"] = (
                    member.name
                )
    return urls


def _compare(client: SyncClient, timeout_s: float) -> tuple[int, Digests, dict[str, str]]:
    """The index, every endpoint's digest at it, and who is fenced and why."""
    for attempt in range(1, ATTEMPTS + 1):
        statuses = client.statuses(timeout_s)
        known = {url: s for url, s in statuses.items() if isinstance(s, NodeStatus)}
        fenced = {url: s.fenced for url, s in known.items() if s.fenced}
        indexes = [s.applied_index for url, s in known.items() if url not in fenced]
        if not indexes:
            raise Refused("no node answered that is not fenced")
        index = max(indexes)
        digests = client.digests(index)
        forgotten = [d for d in digests.values() if isinstance(d, RaftcacheError)]
        if not any("remember" in str(d) for d in forgotten) or attempt == ATTEMPTS:
            break
    return index, digests, fenced


def _row(name: str, said: Digest | RaftcacheError, fenced: str | None) -> dict[str, str]:
    if isinstance(said, Digest):
        return {"node": name, "digest": said.digest, "why": ""}
    return {"node": name, "digest": "", "why": f"fenced: {fenced}" if fenced else str(said)}
