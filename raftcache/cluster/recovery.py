"""When the majority is lost for good: one node's data becomes a new cluster of that node alone.

Deliberate, and never by itself: what only the lost members had is lost. Everything in this node's
log counts from then on, acknowledged or not, also what was refused where this node did not hear of
it. The new cluster has an id of its own, and the node a new one in it, so that whoever of the old
one comes back is refused, and has to join with nothing. Its revisions are above those of whatever
was lost (beginning.py).

What was committed keeps its revisions. What only may have been is the last few entries of the log:
all that were under way at once. Where it was not, others may have done other writes under its
revisions, and acknowledged them; so it is done above all of these. Nobody can tell: who wrote any
of it knew nothing of the rest, for a leader appends to its log when everything that was ever
acknowledged is committed for it, and each block of the log says what is.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from raftcache.cluster.beginning import begin, bumped
from raftcache.command import versions
from raftcache.errors import BadConfig
from raftcache.ports import Disk
from raftcache.raft import members
from raftcache.raft.datadir import Identity, cluster_id_of, write_identity
from raftcache.raft.entries import Position
from raftcache.raft.inspection import remember
from raftcache.raft.members import NOBODY, Configuration, Member
from raftcache.state.machine import Machine


@dataclass(frozen=True, slots=True)
class Plan:
    """What recovery will make of a directory; nothing was changed yet."""

    identity: Identity
    last: Position
    """The last entry this node has."""
    committed_index: int
    """Up to here all were committed, for certain."""
    term: int
    """The highest it heard of."""
    machine: Machine
    """What the new cluster begins with."""
    bump: int
    """What its revision is raised by, below everything that may not have been committed."""
    lost: tuple[str, ...]
    """Members that will be no more."""
    configuration: Configuration
    """Before."""

    @property
    def revision(self) -> int:
        """That of the node, before."""
        return self.machine.revision - self.bump


def plan(disk: Disk, bump: int) -> Plan:
    """Read a stopped node's data, and raise its revision by more than the lost writes had.

    Raises BadConfig if there is none, or it may not be raised by so much; Corrupt if it is damaged.
    """
    machine = Machine()

    def raise_revision() -> None:
        bumped(machine.revision, bump)
        machine.raise_revision(bump)

    found = remember(disk, machine, raise_revision)
    if found.identity is None:
        raise BadConfig("the data directory is empty: there is nothing to recover")
    before = found.configuration or NOBODY
    lost = tuple(m.name for m in before.members if m.name != found.identity.node)
    return Plan(
        found.identity, found.last, found.committed_index, found.term, machine, bump, lost, before
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
    """Carry the plan out, once, for this node at its Raft address; durable on return.

    A crash half way leaves a node that finds no majority: plan and recover it again, which may
    raise the revision again. Raises BadConfig, and changes nothing, where check() does.
    """
    old = plan.identity
    check(plan, addresses)
    origin = f"recovered from {old.cluster_id} at {plan.last.index}.{plan.term}, {member_id}"
    new = Identity(
        cluster_id_of(addresses, origin), old.node, old.incarnation, member_id, origin=origin
    )
    write_identity(disk, new)  # first: with the old cluster's id this node must not lead alone
    me = Member(old.node, member_id, addresses[old.node], "", True)
    at = Position(plan.last.index + 1, plan.term + 1)
    begin(disk, plan.machine, at, new.cluster_id, _configuration(plan, me))
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
