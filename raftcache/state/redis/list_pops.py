"""Lists: the commands that take elements away, and those that hand them on.

Those that may wait do not do so here: they answer as in a transaction, at once. Waiting is the
service's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from raftcache.command.values import NIL_ARRAY, Value
from raftcache.state import notes
from raftcache.state.redis.list_rows import List
from raftcache.state.redis.parsing import SYNTAX, Refuse, at_least, timeout_ms
from raftcache.state.redis.store import Handler, Store

_ENDS: Final = {b"LEFT": True, b"RIGHT": False}


def _is_left(text: bytes) -> bool:
    left = _ENDS.get(text.upper())
    if left is None:
        raise Refuse(SYNTAX)
    return left


def _take(store: Store, found: List, count: int, *, left: bool) -> list[bytes]:
    values = found.pop(count, left=left)
    store.notify(notes.LIST, b"lpop" if left else b"rpop", found.key)
    return values


def _pop(store: Store, args: tuple[bytes, ...], *, left: bool) -> Value:
    if len(args) > 2:
        raise Refuse(f"ERR wrong number of arguments for '{'lpop' if left else 'rpop'}' command")
    count = at_least(args[1], 0) if len(args) == 2 else None
    found = store.collection(List, args[0])
    if not found.exists:
        return None if count is None else NIL_ARRAY
    if count is None:
        return _take(store, found, 1, left=left)[0]
    return _take(store, found, count, left=left) if count else []


# From the first of several keys.


def _first(store: Store, keys: Sequence[bytes]) -> List | None:
    """The first list that is there; refuses a key of another type before it."""
    return next((each for key in keys if (each := store.collection(List, key)).exists), None)


def _pop_first(store: Store, args: tuple[bytes, ...], *, left: bool) -> Value:
    """BLPOP and BRPOP."""
    timeout_ms(args[-1])
    found = _first(store, args[:-1])
    return NIL_ARRAY if found is None else [found.key, *_take(store, found, 1, left=left)]


def read_mpop(args: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bool, int]:
    """The keys of LMPOP, whether it takes from the left, and how many."""
    numkeys = at_least(args[0], 1, "ERR numkeys should be greater than 0")
    keys, rest = args[1 : 1 + numkeys], args[1 + numkeys :]
    if not rest:
        raise Refuse(SYNTAX)
    left, count = _is_left(rest[0]), 1
    if len(rest) > 1:
        if len(rest) < 3 or rest[1].upper() != b"COUNT":
            raise Refuse(SYNTAX)
        count = at_least(rest[2], 1, "ERR count should be greater than 0")
        if len(rest) > 3:
            raise Refuse(SYNTAX)
    return keys, left, count


def _lmpop(store: Store, args: tuple[bytes, ...]) -> Value:
    keys, left, count = read_mpop(args)
    found = _first(store, keys)
    return NIL_ARRAY if found is None else [found.key, _take(store, found, count, left=left)]


def _blmpop(store: Store, args: tuple[bytes, ...]) -> Value:
    read_mpop(args[1:])  # is refused before the timeout
    timeout_ms(args[0])
    return _lmpop(store, args[1:])


# From one to another.


def read_ends(args: tuple[bytes, ...]) -> tuple[bool, bool]:
    """Whether LMOVE takes from the left, and whether it puts there."""
    return _is_left(args[2]), _is_left(args[3])


def _move(store: Store, args: tuple[bytes, ...], *, from_left: bool, to_left: bool) -> Value:
    source = store.collection(List, args[0])
    if not source.exists:
        return None
    target = store.collection(List, args[1])
    values = source.pop(1, left=from_left)
    target.push(values, left=to_left)
    store.notify(notes.LIST, b"lpush" if to_left else b"rpush", target.key)
    store.notify(notes.LIST, b"lpop" if from_left else b"rpop", source.key)
    return values[0]


def _lmove(store: Store, args: tuple[bytes, ...]) -> Value:
    from_left, to_left = read_ends(args)
    return _move(store, args, from_left=from_left, to_left=to_left)


def _blmove(store: Store, args: tuple[bytes, ...]) -> Value:
    from_left, to_left = read_ends(args)
    timeout_ms(args[4])
    return _move(store, args, from_left=from_left, to_left=to_left)


def _rpoplpush(store: Store, args: tuple[bytes, ...]) -> Value:
    return _move(store, args, from_left=False, to_left=True)


def _brpoplpush(store: Store, args: tuple[bytes, ...]) -> Value:
    timeout_ms(args[2])
    return _rpoplpush(store, args)


CALLS: Final[dict[bytes, Handler]] = {
    b"BLMOVE": _blmove,
    b"BLMPOP": _blmpop,
    b"BLPOP": partial(_pop_first, left=True),
    b"BRPOP": partial(_pop_first, left=False),
    b"BRPOPLPUSH": _brpoplpush,
    b"LMOVE": _lmove,
    b"LMPOP": _lmpop,
    b"LPOP": partial(_pop, left=True),
    b"RPOP": partial(_pop, left=False),
    b"RPOPLPUSH": _rpoplpush,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
