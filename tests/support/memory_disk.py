"""A disk in memory that forgets what was not synced, and fails when told to.

What a crash may leave is as bad as the model of a disk allows: of the sectors (512 bytes) written
since the last sync any subset, of the names changed since the last sync_folder any subset. After a
failed sync the data can still be read, but counts as clean: another sync does not bring it to the
disk (Linux: "fsyncgate"). Deterministic: all chance comes from the dice given to crash().
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

SECTOR_SIZE_BYTES = 512

Hook = Callable[[str, str], None]
"""Called with (operation, path) before each of: create, open, read, write, sync, replace, remove,
sync_folder. It may raise OSError; or anything else, to stop the program there."""


class _Content:
    """The bytes of one file, as read and as on the disk."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self.path = path  # its last name
        self.seen = bytearray(size_bytes)
        self.durable = bytearray()
        self.dirty: dict[int, None] = {}  # sectors, in the order written

    def write(self, offset_bytes: int, data: bytes) -> None:
        end = offset_bytes + len(data)
        self.seen.extend(bytes(max(0, end - len(self.seen))))
        self.seen[offset_bytes:end] = data
        first, last = offset_bytes // SECTOR_SIZE_BYTES, -(-end // SECTOR_SIZE_BYTES)
        self.dirty.update(dict.fromkeys(range(first, last)))

    def sync(self) -> None:
        self._grow(len(self.seen))
        for sector in self.dirty:
            self._keep(sector)
        self.dirty.clear()

    def crash(self, rng: random.Random) -> None:
        if rng.random() < 0.5:  # the size is metadata of its own
            self._grow(len(self.seen))
        for sector in self.dirty:
            if rng.random() < 0.5:
                self._keep(sector)
        self.dirty.clear()
        self.seen = bytearray(self.durable)

    def _keep(self, sector: int) -> None:
        start = sector * SECTOR_SIZE_BYTES
        data = self.seen[start : start + SECTOR_SIZE_BYTES]
        self._grow(start + len(data))
        self.durable[start : start + len(data)] = data

    def _grow(self, size_bytes: int) -> None:
        self.durable.extend(bytes(max(0, size_bytes - len(self.durable))))


class MemoryFile:
    """An open file; useless once its disk crashed."""

    def __init__(self, disk: MemoryDisk, content: _Content) -> None:
        self._disk, self._content = disk, content
        self._life = disk.lives
        self._is_open = True
        disk.open_files += 1

    def size_bytes(self) -> int:
        return len(self._content.seen)

    def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        self._check("read")
        return bytes(self._content.seen[offset_bytes : offset_bytes + size_bytes])

    def write_at(self, offset_bytes: int, data: bytes) -> None:
        try:
            self._check("write")
            self._disk.take(offset_bytes + len(data) - self.size_bytes(), self._content.path)
        except OSError:
            self._content.write(offset_bytes, data[: len(data) // 2])
            raise
        self._content.write(offset_bytes, data)

    def sync(self) -> None:
        try:
            self._check("sync")
        except OSError:
            self._content.dirty.clear()
            raise
        self._content.sync()

    def close(self) -> None:
        assert self._is_open, f"{self._content.path} is closed twice"
        self._is_open = False
        self._disk.open_files -= 1

    def _check(self, operation: str) -> None:
        assert self._is_open, f"{operation} of {self._content.path}, which is closed"
        assert self._life == self._disk.lives, (
            f"{operation} of {self._content.path} by a dead process"
        )
        self._disk.before(operation, self._content.path)


class MemoryDisk:
    """A ports.Disk. hook: None, or what is asked before every operation.

    size_bytes: of all files together. free: what it says that there is room for, at most.
    """

    def __init__(self, size_bytes: int = 0) -> None:
        """size_bytes: 0 if it has no end."""
        self.hook: Hook | None = None
        self.size_bytes = size_bytes
        self.lives = 1
        self.open_files = 0
        self.free = 1 << 60
        self.others_size_bytes = 0
        """Of the files of others on it."""
        self._folders: dict[str, None] = {"": None}
        self._seen: dict[str, _Content] = {}
        self._durable: dict[str, _Content] = {}
        self._changes: list[dict[str, _Content | None]] = []  # of names, not yet synced

    # What a ports.Disk does.

    def free_size_bytes(self) -> int:
        if not self.size_bytes:
            return self.free
        used = sum(len(content.seen) for content in self._seen.values())
        return max(0, min(self.free, self.size_bytes - self.others_size_bytes - used))

    def fill(self, free_size_bytes: int) -> None:
        """Others leave it only so much room for now."""
        self.others_size_bytes = 0
        self.others_size_bytes = max(0, self.free_size_bytes() - free_size_bytes)

    def make_folder(self, path: str) -> None:
        parts = path.split("/")
        self._folders.update({"/".join(parts[:i]): None for i in range(1, len(parts) + 1)})

    def names(self, folder: str) -> list[str]:
        return sorted(_name(path) for path in self._seen if _folder(path) == folder)

    def exists(self, path: str) -> bool:
        return path in self._seen

    def open(self, path: str) -> MemoryFile:
        self.before("open", path)
        return MemoryFile(self, self._content(path))

    def create(self, path: str, size_bytes: int = 0) -> MemoryFile:
        self.before("create", path)
        if _folder(path) not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self.take(size_bytes, path)
        content = _Content(path, size_bytes)
        self._change({path: content})
        return MemoryFile(self, content)

    def replace(self, source: str, target: str) -> None:
        self.before("replace", target)
        self._change({source: None, target: self._content(source)})

    def remove(self, path: str) -> None:
        self.before("remove", path)
        self._content(path)
        self._change({path: None})

    def sync_folder(self, folder: str) -> None:
        self.before("sync_folder", folder)
        for change in [c for c in self._changes if _folder(next(iter(c))) == folder]:
            _apply(change, self._durable)
            self._changes.remove(change)

    # What a test does.

    def crash(self, rng: random.Random) -> None:
        """The power fails: open files are gone, and so is any part of what was not synced."""
        self.lives += 1
        self.open_files = 0
        self.hook = None
        for change in self._changes:
            if rng.random() < 0.5:
                _apply(change, self._durable)
        self._changes.clear()
        for content in self._durable.values():
            content.crash(rng)
        self._seen = dict(self._durable)

    def kill(self) -> None:
        """The process dies, the machine goes on: files are closed, nothing is lost, or durable."""
        self.lives += 1
        self.open_files = 0
        self.hook = None

    def fail(self, operation: str, number: int, path: str = "") -> None:
        """From now on this operation, on paths with this in them, fails with this errno."""

        def hook(asked: str, at: str) -> None:
            if asked == operation and path in at:
                raise OSError(number, os.strerror(number), at)

        self.hook = hook

    def read(self, path: str) -> bytes:
        """The content of a file, as a process sees it."""
        return bytes(self._content(path).seen)

    def put(self, path: str, data: bytes) -> None:
        """Make a durable file of this content, or replace one: damage, or a copy."""
        self.make_folder(_folder(path))
        content = _Content(path, 0)
        content.write(0, data)
        content.sync()
        self._seen[path] = self._durable[path] = content

    def take(self, more_bytes: int, path: str) -> None:
        """A file becomes larger, if there is room."""
        if self.size_bytes and more_bytes > max(0, self.free_size_bytes()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def before(self, operation: str, path: str) -> None:
        if self.hook is not None:
            self.hook(operation, path)

    def _content(self, path: str) -> _Content:
        try:
            return self._seen[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def _change(self, change: dict[str, _Content | None]) -> None:
        _apply(change, self._seen)
        self._changes.append(change)


def _apply(change: dict[str, _Content | None], names: dict[str, _Content]) -> None:
    for path, content in change.items():
        if content is None:
            names.pop(path, None)
        else:
            names[path], content.path = content, path


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
