"""Messages: they pass through the log as changes do, and every node tells who listens there."""

from __future__ import annotations

from typing import Final

from raftcache.command.values import Value
from raftcache.state.notes import Message
from raftcache.state.redis.store import Handler, Store


def _publish(store: Store, args: tuple[bytes, ...]) -> Value:
    store.tell(Message(args[0], args[1]))
    return 0  # who listens, each node knows only of itself


def _spublish(store: Store, args: tuple[bytes, ...]) -> Value:
    store.tell(Message(args[0], args[1], is_sharded=True))
    return 0


CALLS: Final[dict[bytes, Handler]] = {b"PUBLISH": _publish, b"SPUBLISH": _spublish}

LONE: Final = frozenset(CALLS)
"""See execute.LONE: they change nothing at all."""
