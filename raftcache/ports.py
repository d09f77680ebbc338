"""The shapes of what a node is given: time, chance, disk, threads and the state machine.

Rooms take these as parameters, so that the same code runs under a simulator. The real ones are in
`system.py`, handed out by `node.py` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Time, as one node sees it."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never moves back, nor stands while others go on."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970; may jump. Only seeds a cold start."""
        ...


class Dice(Protocol):
    """Chance: election timeouts, back-off jitter, cluster ids."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def token(self, size_bytes: int) -> bytes:
        """Random bytes."""
        ...


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """What asyncio's event loop offers, as far as consensus needs it."""

    def call_soon(self, callback: Callable[..., object], *args: object) -> object:
        """Call it after the calls already waiting; never from within this call."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call it in `delay` seconds."""
        ...


class File(Protocol):
    """One open file. Blocking; used from one thread at a time."""

    def size_bytes(self) -> int: ...

    def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Up to size_bytes from offset; fewer only at the end of the file."""
        ...

    def write_at(self, offset_bytes: int, data: bytes) -> None:
        """All of data, or OSError. Not durable until sync() returns."""
        ...

    def sync(self) -> None:
        """fdatasync: on return, what was written before is on stable storage."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """The files of one data directory; paths are relative to it, with '/'. Blocking."""

    def free_size_bytes(self) -> int:
        """How much more may be written, as far as anybody can know."""
        ...

    def make_folder(self, path: str) -> None:
        """Create the folder, and its parents, durably; no error if it exists."""
        ...

    def names(self, folder: str) -> list[str]:
        """The sorted names in a folder; empty if there is no such folder."""
        ...

    def exists(self, path: str) -> bool: ...

    def open(self, path: str) -> File:
        """An existing file, for reading and writing; FileNotFoundError."""
        ...

    def create(self, path: str, size_bytes: int = 0) -> File:
        """A new file of zeros with its space allocated; replaces an older one of that name.

        Durable (as a name) only after sync_folder.
        """
        ...

    def replace(self, source: str, target: str) -> None:
        """Rename, atomically; durable only after sync_folder of the target's folder."""
        ...

    def remove(self, path: str) -> None: ...

    def sync_folder(self, folder: str) -> None:
        """fsync of the folder: on return, names made, replaced or removed in it are durable."""
        ...


class Lane(Protocol):
    """One worker that does blocking work in the order given, away from the event loop."""

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Run work on the lane; then done(result, None) or done(None, error) on the loop."""
        ...


class Loader(Protocol):
    """Builds a second state beside the one in use, from the slices of an image."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the image, split anywhere; bounded work. Raises Corrupt."""
        ...

    def install(self) -> None:
        """Put the loaded state in place of the old one; only after every byte was fed."""
        ...


class StateMachine(Protocol):
    """What is replicated: pure, total and deterministic. Same entries, same bytes."""

    def apply(self, now_ms: int, batch: bytes) -> Sequence[object]:
        """Apply one batch of commands at a cluster time; one reply for each command, in order.

        Domain refusals are replies. Raises Corrupt only for bytes that are no batch: then
        nothing was applied and the node must stop.
        """
        ...

    def dump(self) -> Iterator[bytes]:
        """The canonical image as of this call, in slices of bounded work and size.

        The caller may apply further entries between two slices: the image does not change.
        Only one dump at a time; closing the iterator ends it.
        """
        ...

    def loader(self) -> Loader: ...

    @property
    def now_ms(self) -> int:
        """The cluster time of the last entry applied."""
        ...

    @property
    def revision(self) -> int:
        """Writes applied since the state began."""
        ...

    @property
    def digest(self) -> int:
        """64 bits over the whole state; equal states have equal digests."""
        ...
