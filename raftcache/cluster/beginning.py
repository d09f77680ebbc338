"""How a new cluster begins with the state of an old one: with a snapshot of it, and nothing else.

What only the old cluster had is lost, and its writes had revisions. The new one never gives those
again: its revision is raised by more than can have been lost, before anything is written. So no
ETag, token or lease of what was lost fits anything, and every token that is granted from now on
is above all of them. No entry of the log says so (docs/decisions/0010-lost-revisions.md).
"""

from __future__ import annotations

from typing import Final

from raftcache.command.limits import REVISION_BUMPED_MAX
from raftcache.errors import BadConfig
from raftcache.ports import Disk
from raftcache.raft import members
from raftcache.raft.entries import Block, Position
from raftcache.raft.members import Configuration
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine

SEGMENT_SIZE_BYTES: Final = 1 << 20
"""Of a segment made here; the node goes on with its own size."""


def bumped(revision: int, by: int) -> int:
    """The revision that a new cluster begins at; BadConfig if that leads too high, or back."""
    room = max(0, REVISION_BUMPED_MAX - revision)
    if not 0 <= by <= room:
        raise BadConfig(
            f"the revision is {revision}, and may be raised by 0 to {room}, not by {by}:"
            f" --bump-revision must not lead above {REVISION_BUMPED_MAX}"
        )
    return revision + by


def begin(disk: Disk, machine: Machine, at: Position, cluster: str, first: Configuration) -> None:
    """Make this state what a node begins with, and its log empty behind it; durable on return.

    at: where its log goes on, behind all entries that the state includes. cluster: its id. first:
    its members. A crash leaves what was there before, or the new state, whose snapshot counts more
    than a log that does not hold its position. Needs room for that snapshot beside the older one.
    """
    meta = SnapshotMeta(
        index=at.index,
        term=at.term,
        cluster_id=cluster,
        now_ms=machine.now_ms,
        revision=machine.revision,
        digest=machine.digest,
        members=members.to_builtins(first),
    )
    wal, _ = Wal.open(disk, SEGMENT_SIZE_BYTES, sync=True)
    try:
        store = SnapshotStore(disk)
        _write(store, meta, machine)
        wal.write(Block(at.term, None, True, at, []))  # now that there is something to follow
        wal.remove_dropped()
        store.prune()
    finally:
        wal.close()


def _write(store: SnapshotStore, meta: SnapshotMeta, machine: Machine) -> None:
    writer = store.writer(meta)
    try:
        for part in machine.dump():
            writer.write(part)
        writer.finish()
    finally:
        writer.abort()
