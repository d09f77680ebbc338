"""What one cluster leaves to the next: worked out from what the observer of the first one saw."""

from __future__ import annotations

from dataclasses import replace

from raftcache.command.calls import Calls
from raftcache.command.codec import decode
from raftcache.command.limits import REVISION_BUMP
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Command
from raftcache.raft.engine.base import REGULAR, STAMP_SIZE_BYTES
from raftcache.raft.entries import Position
from raftcache.raft.inspection import remember
from raftcache.raft.members import Configuration
from raftcache.state.machine import Machine
from tests.sim.checker import Checker, Heritage
from tests.sim.member import Member
from tests.sim.redis_heritage import Kept
from tests.sim.sessions import PREFIX
from tests.support.memory_disk import MemoryDisk


def left_at(
    last: Position, checker: Checker, certain_index: int | None = None
) -> tuple[Heritage, Machine]:
    """All up to an entry of the first cluster; and the state then.

    certain_index: the revision is raised behind this entry, and before any that follows it.
    """
    entries = checker.path_to(*last)
    machine, stamp_ms = Machine(), 0
    applied, done = {}, []
    for index, (_, command, _) in entries.items():
        if index - 1 == certain_index:
            machine.raise_revision(REVISION_BUMP)
        batch = command[1 + STAMP_SIZE_BYTES :]
        if command[:1] == REGULAR:
            stamp_ms = Member.stamp_ms_of(command)
            replies = machine.apply(stamp_ms, batch)
            done += [pair for pair in zip(decode(batch), replies, strict=True) if _once(*pair)]
        applied[index] = stamp_ms, batch, machine.digest
    if last.index == certain_index:
        machine.raise_revision(REVISION_BUMP)
    return Heritage(last.index, entries, applied, stamp_ms, done), machine


def raised(
    left: tuple[Heritage, Machine], at: Position, times: int = 1
) -> tuple[Heritage, Machine]:
    """The same, as a cluster begins with it at this position: its revision was raised so often."""
    heritage, machine = left
    machine.raise_revision(times * REVISION_BUMP)
    applied = heritage.applied | {at.index: (heritage.stamp_ms, b"", machine.digest)}
    return replace(heritage, index=at.index, applied=applied), machine


def members_on(disk: MemoryDisk) -> Configuration:
    """Of the cluster that begins with what is on this disk."""
    configuration = remember(disk, Machine()).configuration
    assert configuration is not None
    return configuration


def _once(command: Command, reply: Reply) -> bool:
    """Whether it was done the first time, for a session or as a numbered call, and remembered."""
    if isinstance(command, Calls):
        is_marked = command.once is not None and reply.status is not Status.UNCHANGED
    else:
        is_marked = bool(getattr(command, "key", b"").startswith(PREFIX))
    return is_marked and not reply.replayed


def kept_of_redis(heritage: Heritage, before: Checker) -> tuple[Kept, Kept]:
    """What Redis clients have of the cluster before: of that, what was committed, and all of it."""
    entries = heritage.entries
    committed = {i: entry for i, entry in entries.items() if before.has_committed(i, entry[0])}
    return Kept(committed), Kept(entries)
