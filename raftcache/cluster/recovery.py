"""When the majority is lost for good: one node's data becomes a new cluster of that node alone.

Deliberate, and never by itself: what only the lost members had is lost. Everything in this node's
log counts from then on, acknowledged or not, also what was refused where this node did not hear of
it. The new cluster has an id of its own, and the node a new one in it, so that whoever of the old
one comes back is refused, and has to join with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from raftcache.command import versions
from raftcache.errors import BadConfig
from raftcache.ports import Disk
from raftcache.raft import members
from raftcache.raft.datadir import Identity, cluster_id_of, write_identity
from raftcache.raft.entries import Block, Entry, Position
from raftcache.raft.inspection import remember
from raftcache.raft.members import NOBODY, Configuration, Member
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine

SEGMENT_SIZE_BYTES: Final = 1 << 20
"""Of a segment made here; the node goes on with its own size."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What recovery will make of a directory; nothing was changed yet."""

    identity: Identity
    last: Position
    """The last entry this node has."""
    term: int
    """The highest it heard of."""
    revision: int
    keys: int
    lost: tuple[str, ...]
    """Members that will be no more."""
    configuration: Configuration
    """Before."""


def plan(disk: Disk) -> Plan:
    """Read a stopped node's data; BadConfig if there is none, Corrupt if it is damaged."""
    machine = Machine()
    found = remember(disk, machine)
    if found.identity is None:
        raise BadConfig("the data directory is empty: there is nothing to recover")
    before = found.configuration or NOBODY
    me = found.identity.node
    lost = tuple(m.name for m in before.members if m.name != me)
    return Plan(
        found.identity, found.last, found.term, machine.revision, machine.count, lost, before
    )


def check(plan: Plan, addresses: dict[str, str]) -> None:
    """Raise BadConfig unless the members are this node alone: only its data is at hand."""
    node = plan.identity.node
    if set(addresses) != {node}:
        raise BadConfig(
            f"this is the data of {node}: recover it as the only member,"
            f" --members {node}=HOST:PORT, and let the others join it with empty directories"
        )


def recover(disk: Disk, plan: Plan, addresses: dict[str, str], member_id: str) -> Identity:
    """Carry the plan out for this node at its Raft address; durable on return.

    A crash half way leaves a node that finds no majority: recover it again. Raises BadConfig if
    the members are not this node alone.
    """
    old = plan.identity
    check(plan, addresses)
    origin = f"recovered from {old.cluster_id} at {plan.last.index}.{plan.term}, {member_id}"
    new = Identity(
        cluster_id_of(addresses, origin), old.node, old.incarnation, member_id, origin=origin
    )
    write_identity(disk, new)  # first: with the old cluster's id this node must not lead alone
    _append(
        disk, plan, _configuration(plan, Member(old.node, member_id, addresses[old.node], "", True))
    )
    return new


def _configuration(plan: Plan, me: Member) -> Configuration:
    ids = [m.id for m in plan.configuration.members if m.id]
    before = plan.configuration.get(me.name)
    me = replace(
        me,
        http="" if before is None else before.http,
        commands_version=versions.COMMANDS,
    )
    removed = (*plan.configuration.removed, *ids)[-members.REMOVED_REMEMBERED_MAX :]
    return Configuration(max(plan.configuration.version, 0) + 1, (me,), removed)


def _append(disk: Disk, plan: Plan, configuration: Configuration) -> None:
    """One entry in a new term: from it on this node is the only voter."""
    index, term = plan.last.index + 1, plan.term + 1
    entry = Entry(members.encode(configuration), index, term)
    wal, found = Wal.open(disk, SEGMENT_SIZE_BYTES, sync=True)
    try:
        ends = found.entries[-1] if found.entries else Entry(b"", *found.base)
        follows = (ends.index, ends.term) == plan.last
        wal.write(Block(term, None, not follows, plan.last, [entry]))
        wal.remove_dropped()
    finally:
        wal.close()
