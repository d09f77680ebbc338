"""Snapshots on disk: written, received, verified, loaded, sent, pruned.

`snapshots/<index>-<term>.snap`; snapshot_format.py says what is in one. A file is written under a
temporary name and gets its own only when it is whole and synced; so one that does not verify was
damaged later, and the node must not go on without it: the log before it is gone.

Blocking; runs on a lane of its own, not the log's. Any method may raise OSError; a failed snapshot
loses nothing and can be tried again, as the log is only cut after finish() has returned.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Final

from raftcache.errors import Corrupt
from raftcache.ports import Disk, File, StateMachine
from raftcache.raft.datadir import OWN_SNAPSHOT, RECEIVED_SNAPSHOT, REJOIN, SNAPSHOTS_FOLDER
from raftcache.raft.snapshot_format import SnapshotEncoder, SnapshotMeta, SnapshotReader, name_of

__all__ = ["RawReader", "Receiver", "SnapshotMeta", "SnapshotStore", "SnapshotWriter"]

SYNC_EVERY_BYTES: Final = 4 << 20
"""Sync a snapshot this often while it grows, so that no fdatasync of the log waits behind a huge
flush: 4 MiB is tens of milliseconds on a slow disk."""

_READ_SIZE_BYTES: Final = 256 << 10
_NAME: Final = re.compile(r"[0-9]{16}-[0-9]{16}\.snap")


class _GrowingFile:
    """A file that is written from start to end under a temporary name."""

    def __init__(self, disk: Disk, temporary: str, spared_size_bytes: int = 0) -> None:
        """spared_size_bytes: of the room on the disk, what this file must leave to others."""
        self._disk, self._temporary = disk, temporary
        self._spared_size_bytes = spared_size_bytes
        self._file: File | None = disk.create(temporary)
        self.size_bytes = 0
        self._synced_bytes = 0

    def append(self, data: bytes) -> None:
        assert self._file is not None, "finished or aborted"
        spared = self._spared_size_bytes
        if spared and self._disk.free_size_bytes() < spared + len(data):
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: what is left is for the log")
        self._file.write_at(self.size_bytes, data)
        self.size_bytes += len(data)
        if self.size_bytes - self._synced_bytes >= SYNC_EVERY_BYTES:
            self._file.sync()
            self._synced_bytes = self.size_bytes

    def publish(self, name: str) -> None:
        """On return the file is durable under its own name."""
        assert self._file is not None, "finished or aborted"
        self._file.sync()
        self._close()
        self._disk.replace(self._temporary, f"{SNAPSHOTS_FOLDER}/{name}")
        self._disk.sync_folder(SNAPSHOTS_FOLDER)

    def abort(self) -> None:
        """Leave nothing behind; nothing to do once published."""
        self._close()
        if self._disk.exists(self._temporary):
            self._disk.remove(self._temporary)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class SnapshotWriter:
    """Writes a snapshot of this node's own state. After any error: abort()."""

    def __init__(
        self, disk: Disk, temporary: str, meta: SnapshotMeta, spared_size_bytes: int
    ) -> None:
        """Use SnapshotStore.writer."""
        self.meta = meta
        self._encoder = SnapshotEncoder()
        head = self._encoder.begin(meta)
        self._file = _GrowingFile(disk, temporary, spared_size_bytes)
        try:
            self._file.append(head)
        except BaseException:  # nobody has this writer, to abort it
            self.abort()
            raise

    def write(self, data: bytes) -> None:
        """The next slice of the image, of any size; buffered."""
        self._file.append(self._encoder.add(data))

    def finish(self) -> None:
        """The image is whole. On return it is durable, under its name."""
        self._file.append(self._encoder.end())
        self._file.publish(self.meta.name)

    def abort(self) -> None:
        """Give up, and remove what was written; nothing to do after finish()."""
        self._file.abort()


class Receiver:
    """Writes the file of a snapshot that the leader sends. After any error: abort()."""

    def __init__(self, disk: Disk, temporary: str, name: str) -> None:
        """Use SnapshotStore.receive."""
        self._name = name
        self._file = _GrowingFile(disk, temporary)
        self._reader = SnapshotReader(f"{SNAPSHOTS_FOLDER}/{name}, as received")

    @property
    def size_bytes(self) -> int:
        """How much has come; the offset of the next bytes."""
        return self._file.size_bytes

    def write(self, data: bytes) -> list[bytes]:
        """The next raw bytes of the file; returns the verified parts of the image in them.

        Raises Corrupt if they are damaged.
        """
        parts = self._reader.feed(data)
        self._file.append(data)
        return parts

    def finish(self) -> SnapshotMeta:
        """All bytes came. On return the snapshot is durable, under its name.

        Raises Corrupt if it is not whole, or not the one announced; then nothing changed.
        """
        meta = self._reader.end()
        if meta.name != self._name:
            raise Corrupt(f"{SNAPSHOTS_FOLDER}/{self._name}, as received", 0, f"is {meta.name}")
        self._file.publish(meta.name)
        return meta

    def abort(self) -> None:
        """Give up, and remove what came; nothing to do after finish()."""
        self._file.abort()


class RawReader:
    """The bytes of a stored snapshot's file, for sending; usable even after it was pruned."""

    def __init__(self, meta: SnapshotMeta, file: File) -> None:
        """Use SnapshotStore.open_newest."""
        self.meta = meta
        self.size_bytes: Final = file.size_bytes()
        self._file = file

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Bytes at an offset; fewer only at the end of the file."""
        return self._file.read_at(offset_bytes, size_bytes)

    def close(self) -> None:
        """Release the file; a pruned one takes up disk space until then."""
        self._file.close()


class SnapshotStore:
    """The snapshots of one node.

    A damaged one is Corrupt, with what to do; an older one is never taken instead, since the log
    between the two may be gone.
    """

    def __init__(self, disk: Disk) -> None:
        """Make the folder if need be; remove what was unfinished when the last process ended."""
        self._disk = disk
        disk.make_folder(SNAPSHOTS_FOLDER)
        self._remove([n for n in disk.names(SNAPSHOTS_FOLDER) if n.endswith(".tmp")])

    @classmethod
    def reading(cls, disk: Disk) -> SnapshotStore:
        """For a look at another process's snapshots: changes nothing, and must not be asked to."""
        store = cls.__new__(cls)
        store._disk = disk
        return store

    def newest(self) -> SnapshotMeta | None:
        """What the newest snapshot is of, or None; only its head is verified."""
        raw = self.open_newest()
        if raw is None:
            return None
        raw.close()
        return raw.meta

    def open_newest(self) -> RawReader | None:
        """The newest snapshot, for sending; to be closed. Only its head is verified."""
        names = self._names()
        if not names:
            return None
        path = f"{SNAPSHOTS_FOLDER}/{names[-1]}"
        file = self._disk.open(path)
        try:
            return RawReader(_read_meta(path, names[-1], file), file)
        except BaseException:
            file.close()
            raise

    def image(self, raw: RawReader) -> Iterator[bytes]:
        """The image in a stored snapshot, in verified parts.

        May raise Corrupt after the last part too: only then is the whole known to be right.
        """
        reader = SnapshotReader(f"{SNAPSHOTS_FOLDER}/{raw.meta.name}")
        try:
            for offset_bytes in range(0, raw.size_bytes, _READ_SIZE_BYTES):
                yield from reader.feed(raw.read(offset_bytes, _READ_SIZE_BYTES))
            reader.end()
        except Corrupt as e:
            raise Corrupt(e.path, e.offset_bytes, f"{e.why}; {REJOIN}") from e

    def load_newest(self, machine: StateMachine) -> SnapshotMeta | None:
        """Put the newest snapshot's state in place, all of it verified before; None if none is."""
        raw = self.open_newest()
        if raw is None:
            return None
        try:
            loader = machine.loader()
            for part in self.image(raw):
                loader.feed(part)
            loader.install()
        finally:
            raw.close()
        return raw.meta

    def writer(self, meta: SnapshotMeta, spared_size_bytes: int = 0) -> SnapshotWriter:
        """Begin a snapshot of this node's own state, which leaves so much free; one at a time."""
        return SnapshotWriter(self._disk, OWN_SNAPSHOT, meta, spared_size_bytes)

    def receive(self, index: int, term: int) -> Receiver:
        """Begin to receive the snapshot of this index and term; one at a time."""
        return Receiver(self._disk, RECEIVED_SNAPSHOT, name_of(index, term))

    def prune(self) -> None:
        """Remove all snapshots but the newest."""
        self._remove(self._names()[:-1])

    def discard_all(self) -> None:
        """Remove all snapshots, for a node that begins with nothing at each start."""
        self._remove(self._names())

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self._disk.remove(f"{SNAPSHOTS_FOLDER}/{name}")
        self._disk.sync_folder(SNAPSHOTS_FOLDER)

    def _names(self) -> list[str]:
        """Complete snapshots, the newest last."""
        names = self._disk.names(SNAPSHOTS_FOLDER)
        return [name for name in names if _NAME.fullmatch(name)]


def _read_meta(path: str, name: str, file: File) -> SnapshotMeta:
    reader = SnapshotReader(path)
    offset_bytes = 0
    try:
        while reader.meta is None and (data := file.read_at(offset_bytes, _READ_SIZE_BYTES)):
            reader.feed(data)
            offset_bytes += len(data)
        meta = reader.meta or reader.end()
        if meta.name != name:
            raise Corrupt(path, 0, f"this is {meta.name}")
    except Corrupt as e:
        raise Corrupt(e.path, e.offset_bytes, f"{e.why}; {REJOIN}") from e
    return meta
