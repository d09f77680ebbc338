"""Keys of whatever type: whether they are there, and that they no longer are."""

from __future__ import annotations

from itertools import chain
from typing import Final

from raftcache.command.limits import RANGE_KEYS_MAX
from raftcache.command.replies import Status
from raftcache.command.values import Value
from raftcache.command.words import DeleteRange
from raftcache.state.items import read_header
from raftcache.state.notes import GENERIC
from raftcache.state.redis.parsing import SYNTAX, Refuse
from raftcache.state.redis.store import Handler, Store
from raftcache.state.transactions import delete_range

TOO_MANY_OVERDUE: Final = "TRYAGAIN so many keys are overdue at once that they hide the others"


def _del(store: Store, args: tuple[bytes, ...]) -> Value:
    count = 0
    for key in args:
        if store.remove(key):
            store.notify(GENERIC, b"del", key)
            count += 1
    return count


def _exists(store: Store, args: tuple[bytes, ...]) -> Value:
    return sum([store.find(key) is not None for key in args])


def _type(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.type_of(args[0])


def _dbsize(store: Store, _: tuple[bytes, ...]) -> Value:
    keyspace = store.state.keyspace
    gone = keyspace.gone(store.state.now_ms, RANGE_KEYS_MAX + 1)
    if len(gone) > RANGE_KEYS_MAX:
        raise Refuse(TOO_MANY_OVERDUE)
    return len(keyspace) - len(gone)


def _randomkey(store: Store, _: tuple[bytes, ...]) -> Value:
    """Each with the same chance, but for those behind overdue ones."""
    keyspace, now_ms = store.state.keyspace, store.state.now_ms
    if not len(keyspace):
        return None
    start = keyspace.key_from(b"", store.below(len(keyspace)), b"")
    for place, (key, packed) in enumerate(
        chain(keyspace.span(start, b""), keyspace.span(b"", start))
    ):
        if not keyspace.is_overdue(read_header(packed), now_ms):
            return key
        if place == RANGE_KEYS_MAX:
            raise Refuse(TOO_MANY_OVERDUE)
    return None


def check_flush(args: tuple[bytes, ...]) -> None:
    """Refuse what no FLUSHALL or FLUSHDB takes. ASYNC and SYNC are the same here."""
    if len(args) > 1 or (args and args[0].upper() not in (b"ASYNC", b"SYNC")):
        raise Refuse(SYNTAX)


def _flush(store: Store, args: tuple[bytes, ...]) -> Value:
    check_flush(args)
    reply, _ = delete_range(store.changes, DeleteRange(b"", b""), RANGE_KEYS_MAX)
    if reply.status is Status.TOO_MANY_KEYS:
        raise Refuse(
            f"ERR a transaction removes at most {RANGE_KEYS_MAX} keys: flush outside of MULTI"
        )
    return "OK"


CALLS: Final[dict[bytes, Handler]] = {
    b"DBSIZE": _dbsize,
    b"DEL": _del,
    b"EXISTS": _exists,
    b"FLUSHALL": _flush,
    b"FLUSHDB": _flush,
    b"RANDOMKEY": _randomkey,
    b"TOUCH": _exists,
    b"TYPE": _type,
    b"UNLINK": _del,
}

LONE: Final[frozenset[bytes]] = frozenset((b"EXISTS", b"TOUCH", b"TYPE"))
"""See execute.LONE."""
