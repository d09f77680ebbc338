"""Work that is added to operations, and must be noticed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from raftcache.raft.replica import Replica
from raftcache.state.machine import Machine

_apply, _read_index = Machine.apply, Replica.read_index


def _looks_at_every_byte(self: Machine, now_ms: int, batch: bytes) -> Any:
    """A checksum of the batch, in Python."""
    sum(byte & 1 for byte in batch)
    return _apply(self, now_ms, batch)


_asked: list[object] = []


def _forgets_nothing(self: Replica, ready: Callable[[int | None], None]) -> None:
    """Every read stays in memory."""
    _asked.append([ready])
    _read_index(self, ready)


CONTROLS: Final[dict[str, Callable[[], AbstractContextManager[Any]]]] = {
    "dear-writes": lambda: mock.patch.object(Machine, "apply", _looks_at_every_byte),
    "leaking-reads": lambda: mock.patch.object(Replica, "read_index", _forgets_nothing),
}
