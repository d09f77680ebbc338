"""Backups as files: verified, and made into the data of a new cluster. Blocking; no node runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from raftcache.cluster.beginning import begin, bumped
from raftcache.errors import BadConfig, Corrupt
from raftcache.ports import Disk
from raftcache.raft import members
from raftcache.raft.datadir import Identity, cluster_id_of, write_identity
from raftcache.raft.entries import Position
from raftcache.raft.snapshot_format import SnapshotMeta, SnapshotReader
from raftcache.state.machine import Machine

READ_SIZE_BYTES: Final = 256 << 10

Progress = Callable[[int], None]
"""Called with the number of bytes that were just read."""


def image_of(path: Path, reader: SnapshotReader, on_progress: Progress) -> Iterator[bytes]:
    """The image in a backup, in verified parts; reader.meta is known from the first one on.

    Raises Corrupt with the offset, also after the last part: only then is the whole known to be
    right.
    """
    with path.open("rb") as file:
        while data := file.read(READ_SIZE_BYTES):
            yield from reader.feed(data)
            on_progress(len(data))
    reader.end()


def verify(path: Path, on_progress: Progress = lambda _: None) -> tuple[SnapshotMeta, Machine]:
    """Read all of a backup, as a restored node would; what it is of, and its state.

    Raises Corrupt with the offset if anything is missing or was changed.
    """
    machine, reader = Machine(), SnapshotReader(str(path))
    loader = machine.loader()
    try:
        for part in image_of(path, reader, on_progress):
            loader.feed(part)
        loader.install()
    except Corrupt as error:
        if error.path == str(path):
            raise
        raise Corrupt(str(path), 0, f"the {error.path} in it, {error.detail}") from error
    meta = reader.end()
    for what, stated, found in (
        ("revision", meta.revision, machine.revision),
        ("digest", meta.digest, machine.digest),
        ("cluster time", meta.now_ms, machine.now_ms),
    ):
        if stated != found:
            raise Corrupt(str(path), 0, f"its head states {what} {stated}, the state has {found}")
    return meta, machine


def origin_of(meta: SnapshotMeta, bump: int) -> str:
    """Names what a restored cluster begins with."""
    backup = f"backup of {meta.cluster_id} at {meta.index}.{meta.term}, {meta.digest:016x}"
    return f"{backup}, revision raised by {bump}" if bump else backup


def restore(
    path: Path,
    disk: Disk,
    node: str,
    addresses: Mapping[str, object],
    member_id: str,
    bump: int,
) -> tuple[Identity, int]:
    """Make a verified backup the data of one member of a new cluster.

    addresses: name -> Raft address of all its members; each is to be restored from the same file
    with the same list, and its revision raised by the same bump. Then all come to the same cluster
    id, which nobody else has. Returns who it is now, and at which revision. Raises BadConfig, and
    changes nothing, if this is no member, the directory holds anything, or the bump is too high.
    """
    if node not in addresses:
        raise BadConfig(f"{node} is not among the members: {', '.join(addresses)}")
    holds = [name for name in disk.names("") if name != "lock"]
    if holds:
        raise BadConfig(f"the data directory must be empty, and holds {', '.join(holds[:5])}")
    meta, machine = verify(path)
    revision = bumped(meta.revision, bump)
    machine.raise_revision(bump)
    first = members.bootstrap({name: str(address) for name, address in addresses.items()})
    origin = origin_of(meta, bump)
    identity = Identity(cluster_id_of(addresses, origin), node, 0, member_id, origin=origin)
    begin(disk, machine, Position(meta.index, meta.term), identity.cluster_id, first)
    write_identity(disk, identity)  # last: until then the directory is refused
    return identity, revision
