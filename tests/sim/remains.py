"""The disk of a node of a cluster that has ended, as the commands find it and leave it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from random import Random

from raftcache.cluster import recovery
from raftcache.command.limits import REVISION_BUMP
from raftcache.raft.assembly import restore
from raftcache.raft.datadir import cluster_id_of, read_identity
from raftcache.raft.entries import Position
from raftcache.raft.log import Log
from raftcache.state.machine import Machine
from tests.sim.member import Member
from tests.sim.watched import Durable
from tests.support.memory_disk import MemoryDisk


def identified(disk: MemoryDisk, addresses: dict[str, str]) -> str:
    """As a node that is started with this list works it out, and finds it on its disk."""
    identity = read_identity(disk)
    assert identity is not None
    return cluster_id_of(addresses, identity.origin)


def last_of(log: Log) -> Position:
    return Position(log.last_index, log[-1].term)


def settled(member: Member, accounts: Sequence[Durable]) -> Log:
    """What a node would find on its disk: what one of these accounts says, the latest that fits."""
    restored = restore(copy.deepcopy(member.disk), Machine(), member.storage)
    found = restored.log, restored.applied_index
    fitting = [account for account in accounts if account.fits(*found)]
    assert fitting, "recovery lost, or invented, durable entries or votes"
    member.durable = copy.deepcopy(fitting[-1])
    member.durable.recovered(*found)
    return restored.log


def recover_data(addresses: dict[str, str], member_id: str, disk: MemoryDisk) -> None:
    """As the command does."""
    recovery.recover(disk, recovery.plan(disk, REVISION_BUMP), addresses, member_id)


def crash(disk: MemoryDisk, chance: Random) -> None:
    """The machine, or the process alone."""
    if chance.random() < 0.5:
        disk.crash(chance)
    else:
        disk.kill()
