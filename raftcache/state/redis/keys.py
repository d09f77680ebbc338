"""Keys of whatever type: whether they are there, and how long."""

from __future__ import annotations

from typing import Final

from raftcache.command.values import Value
from raftcache.state.redis.store import Handler, Store


def _del(store: Store, args: tuple[bytes, ...]) -> Value:
    return sum([store.remove(key) for key in args])


def _exists(store: Store, args: tuple[bytes, ...]) -> Value:
    return sum([store.find(key) is not None for key in args])


def _type(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.type_of(args[0])


CALLS: Final[dict[bytes, Handler]] = {
    b"DEL": _del,
    b"EXISTS": _exists,
    b"TYPE": _type,
    b"UNLINK": _del,
}

LONE: Final[frozenset[bytes]] = frozenset((b"EXISTS", b"TYPE"))
"""See execute.LONE."""
