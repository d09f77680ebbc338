"""Reads and writes of keys, with their promises; front doors call this and nothing below it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct

from raftcache.command.words import Command, Item, Reply
from raftcache.errors import RaftcacheError

Outcome: TypeAlias = Reply | RaftcacheError
"""Committed (a Reply), refused (an error with definite=True), or unknown (errors.Unknown)."""


class Level(StrEnum):
    """How fresh a read is."""

    LINEARIZABLE = "linearizable"
    LEASE = "lease"
    STALE = "stale"


class Want(Struct, frozen=True):
    """The freshness a reader asks for; max_staleness_ms only with STALE, None for no bound."""

    level: Level = Level.LINEARIZABLE
    max_staleness_ms: int | None = None


class Kv(Protocol):
    """Shape of the service, for front doors and their tests."""

    def write(self, command: Command, done: Callable[[Outcome], None]) -> None:
        """Replicate one command; done is called exactly once, later or at once, on the loop."""
        ...

    def read(
        self, key: bytes, want: Want, done: Callable[[Item | None | RaftcacheError], None]
    ) -> None:
        """The key at the asked freshness; done is called exactly once, later or at once."""
        ...

    def now_ms(self) -> int:
        """This node's estimate of cluster time, for showing how long a key has left."""
        ...
