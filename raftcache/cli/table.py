"""The status of a cluster, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from raftcache.client import Member, NodeStatus
from raftcache.errors import RaftcacheError

HEADINGS: Final = (
    "NODE",
    "ROLE",
    "TERM",
    "COMMITTED",
    "APPLIED",
    "LAG",
    "REVISION",
    "MEMORY",
    "DIGEST",
    "HTTP",
    "RAFT",
)

Statuses = Mapping[str, NodeStatus | RaftcacheError]


def render(statuses: Statuses) -> str:
    """One row for each endpoint asked, and for each member that no endpoint is.

    An endpoint that did not answer says why; of the others the leader tells what it knows. A node
    that is out of the cluster says so below.
    """
    rows = [_row(endpoint, said, statuses) for endpoint, said in statuses.items()]
    out = [
        f"{said.node} at {endpoint.removeprefix('http://')} is out of the cluster: {said.expelled}"
        for endpoint, said in statuses.items()
        if isinstance(said, NodeStatus) and said.expelled
    ]
    return "\n".join((aligned([HEADINGS, *rows, *_rows_of_others(statuses)]), *out))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lines of cells below each other; rows shorter than the first are as they are."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[i]) for row in full) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )


def as_fields(statuses: Statuses) -> dict[str, Any]:
    """By endpoint: what a node says about itself, or `error`."""
    return {
        endpoint: {"error": str(said)}
        if isinstance(said, RaftcacheError)
        else msgspec.to_builtins(said)
        for endpoint, said in statuses.items()
    }


def leader_of(statuses: Statuses) -> NodeStatus | None:
    """The node that says it leads, in the highest term if an older one has not noticed yet."""
    leaders = [s for s in statuses.values() if isinstance(s, NodeStatus) and s.role == "leader"]
    return max(leaders, key=lambda s: s.term, default=None)


def _row(endpoint: str, said: NodeStatus | RaftcacheError, statuses: Statuses) -> Sequence[str]:
    if isinstance(said, RaftcacheError):
        return ("?", str(said))
    member = next((m for m in said.members if m.name == said.node), None)
    return (
        said.node,
        "out" if said.expelled else said.role,
        str(said.term),
        str(said.commit_index),
        str(said.applied_index),
        _lag(said, statuses),
        str(said.revision),
        _memory(said),
        str(said.digest),
        endpoint.removeprefix("http://"),
        member.raft if member else "?",
    )


def _rows_of_others(statuses: Statuses) -> list[Sequence[str]]:
    """Members that were not asked themselves, learners above all; nobody knows their state."""
    leader = leader_of(statuses)
    if leader is None:
        return []
    asked = {said.node for said in statuses.values() if isinstance(said, NodeStatus)}
    rows: list[Sequence[str]] = []
    for m in leader.members:
        if m.name not in asked and f"http://{m.http}" not in statuses:
            kind, lag = "voter" if m.voter else "learner", "?" if m.lag is None else str(m.lag)
            unknown = "?", "?", "?"
            rows.append((m.name, kind, *unknown, lag, *unknown, m.http or "?", m.raft))
    return rows


def _memory(said: NodeStatus) -> str:
    """What it counts in MiB, of its limit if it has one."""
    memory = said.memory
    if memory is None:
        return "?"
    used = f"{memory.size_bytes / (1 << 20):.1f}"
    limit = memory.size_bytes_max
    return f"{used}MiB" if limit is None else f"{used}/{limit / (1 << 20):g}MiB"


def _lag(said: NodeStatus, statuses: Statuses) -> str:
    """Entries that this node has not stored yet, by what the leader knows of it."""
    leader = leader_of(statuses)
    member: Member | None = None
    if leader is not None:
        member = next((m for m in leader.members if m.name == said.node), None)
    return "?" if member is None or member.lag is None else str(member.lag)
