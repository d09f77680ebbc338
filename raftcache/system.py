"""The real world: clock, dice, disk, thread, log lines. Only `node.py` and the client import it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import queue
import random
import resource
import secrets
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

T = TypeVar("T")

FREED_SIZE_BYTES: Final = 4 << 20
"""At once, of a file that is removed."""


STEADY_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On Linux the other one stands still while a machine is suspended. What a node was promised before
that, a lease for instance, would seem to hold when it has long been led by another one."""


class SystemClock:
    """The machine's clocks."""

    monotonic_s = staticmethod(partial(time.clock_gettime, STEADY_CLOCK))

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemDice:
    """The machine's chance; `token` is fit for secrets, `random` is not."""

    random = staticmethod(random.random)
    token = staticmethod(secrets.token_bytes)


class SystemFile:
    """One open file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def size_bytes(self) -> int:
        return os.fstat(self._fd).st_size

    def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        return os.pread(self._fd, size_bytes, offset_bytes)

    def write_at(self, offset_bytes: int, data: bytes) -> None:
        written = os.pwrite(self._fd, data, offset_bytes)
        while written < len(data):  # for instance when the disk fills up
            rest = memoryview(data)[written:]
            written += os.pwrite(self._fd, rest, offset_bytes + written)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class SystemDisk:
    """Files below one folder of the machine's file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def free_size_bytes(self) -> int:
        seen = os.statvfs(self._root)
        return seen.f_bavail * seen.f_frsize

    def make_folder(self, path: str) -> None:
        folder = self._root / path
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        for p in reversed(missing):
            p.mkdir(exist_ok=True)
            _sync_folder(p.parent)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._root / folder))
        except FileNotFoundError:
            return []

    def exists(self, path: str) -> bool:
        return (self._root / path).exists()

    def open(self, path: str) -> SystemFile:
        return SystemFile(os.open(self._root / path, os.O_RDWR | os.O_CLOEXEC))

    def create(self, path: str, size_bytes: int = 0) -> SystemFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(self._root / path, flags, 0o600)
        try:
            if size_bytes:
                os.posix_fallocate(fd, 0, size_bytes)
        except OSError:
            os.close(fd)
            raise
        return SystemFile(fd)

    def replace(self, source: str, target: str) -> None:
        os.replace(self._root / source, self._root / target)

    def remove(self, path: str) -> None:
        fd = os.open(self._root / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.remove(self._root / path)
            if _is_mine_alone(fd):
                _free_in_pieces(fd)
        finally:
            os.close(fd)

    def sync_folder(self, folder: str) -> None:
        _sync_folder(self._root / folder)


def _is_mine_alone(fd: int) -> bool:
    """Nobody else can reach the file: it has no name left, and is open nowhere else."""
    if os.fstat(fd).st_nlink:
        return False
    try:  # Linux grants it for a file that is open only once; elsewhere there is no such question
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except (AttributeError, OSError):
        return False
    return True


def _free_in_pieces(fd: int) -> None:
    """Free a large file's blocks piece by piece.

    Freed at once, ext4 keeps every fdatasync on the disk waiting for it: 25 ms for 64 MiB, and with
    pieces 1 ms.
    """
    for left_bytes in range(os.fstat(fd).st_size - FREED_SIZE_BYTES, 0, -FREED_SIZE_BYTES):
        os.ftruncate(fd, left_bytes)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class ThreadLane:
    """A thread that runs work in order and reports on the event loop it was made on."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Callable[..., None]] | None]
        self._work = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        self._work.put((work, done))

    def close(self) -> None:
        """Finish what was submitted, then end the thread; blocks until it has ended."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            work, done = job
            result, error = None, None
            try:
                result = work()
            except Exception as e:  # the caller on the loop decides what an error means
                error = e
            try:
                self._loop.call_soon_threadsafe(done, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell


def open_files_max(wanted: int) -> int:
    """How many files this process may have open; as many as wanted, if it may allow itself that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted:  # -1 stands for no limit
        allowed = wanted if hard < 0 else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    return sys.maxsize if soft < 0 else soft


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def give_memory_back() -> None:
    """Let glibc return to the system what was freed inside its heap; other C libraries do so alone.

    A few milliseconds for the log of a restart, more where many small pieces are free.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Lines(logging.Formatter):
    """One event, one line: what happened, then its fields; as JSON or for people."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in record.__dict__.items() if k not in _STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if self._as_json:
            head = {"time": at, "level": record.levelname.lower(), "logger": record.name}
            event = head | {"event": record.getMessage()} | fields
            return orjson.dumps(event, default=str).decode()
        said = "".join(f" {k}={v}" for k, v in fields.items())
        return f"{at} {record.levelname:<7} {record.getMessage()}{said}"


def configure_logging(as_json: bool, level: str) -> None:
    """Send this process's log to standard error, one line per event."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(as_json))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
