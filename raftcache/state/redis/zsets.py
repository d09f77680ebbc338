"""Sorted sets: commands on members, and those that take from an end or at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import NIL_ARRAY, Pairs, Value
from raftcache.state import notes
from raftcache.state.redis.parsing import (
    SYNTAX,
    Refuse,
    at_least,
    count_to_draw,
    double,
    timeout_ms,
)
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.zset_rows import Pair, SortedSet

_NAN: Final = "ERR resulting score is not a number (NaN)"

_NX, _XX, _GT, _LT, _CH, _INCR = b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"
_ADD_OPTIONS: Final = frozenset((_NX, _XX, _GT, _LT, _CH, _INCR))


# Scores.


def zadd(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args, set())


def _zincrby(store: Store, args: tuple[bytes, ...]) -> Value:
    return _add(store, args, {_INCR})


def _add(store: Store, args: tuple[bytes, ...], options: set[bytes]) -> Value:
    place = 1
    while place < len(args) and (option := args[place].upper()) in _ADD_OPTIONS:
        options.add(option)
        place += 1
    texts, members = args[place::2], args[place + 1 :: 2]
    if not texts or len(texts) != len(members):
        raise Refuse(SYNTAX)
    _check_options(options, len(members))
    scores = [double(text) for text in texts]
    found = store.collection(SortedSet, args[0])
    added = changed = 0
    new: float | None = None
    for member, score in zip(members, scores, strict=True):
        old = found.score(member)
        new = _new_score(old, score, options)
        if new is not None:
            found.put(member, new)
            added += old is None
            changed += old is not None and new != old
    if added or changed:
        store.notify(notes.ZSET, b"zincr" if _INCR in options else b"zadd", args[0])
    if _INCR in options:
        return new
    return added + changed if _CH in options else added


def _check_options(options: set[bytes], count: int) -> None:
    if {_NX, _XX} <= options:
        raise Refuse("ERR XX and NX options at the same time are not compatible")
    if len(options & {_NX, _GT, _LT}) > 1:
        raise Refuse("ERR GT, LT, and/or NX options at the same time are not compatible")
    if _INCR in options and count > 1:
        raise Refuse("ERR INCR option supports a single increment-element pair")


def _new_score(old: float | None, score: float, options: set[bytes]) -> float | None:
    """What a member gets; None if the options leave it as it is."""
    if old is None:
        return None if _XX in options else score
    if _NX in options:
        return None
    if _INCR in options:
        score += old
        if math.isnan(score):
            raise Refuse(_NAN)
    if (_LT in options and score >= old) or (_GT in options and score <= old):
        return None
    return score


def _zrem(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(SortedSet, args[0])
    removed = sum([found.discard(member) for member in args[1:]])
    if removed:
        store.notify(notes.ZSET, b"zrem", args[0])
    return removed


def _zcard(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.collection(SortedSet, args[0]).count


def _zscore(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.collection(SortedSet, args[0]).score(args[1])


def _zmscore(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(SortedSet, args[0])
    return [found.score(member) for member in args[1:]]


def _zrank(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.collection(SortedSet, args[0]).rank(args[1])


def _zrevrank(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(SortedSet, args[0])
    rank = found.rank(args[1])
    return None if rank is None else found.count - 1 - rank


# From an end.


def _take(found: SortedSet, is_max: bool, count: int) -> list[Pair]:
    """Remove so many from an end; the one at the very end is the first."""
    size = found.count
    if is_max:
        taken = found.remove_ranks(max(size - count, 0), size)[::-1]
    else:
        taken = found.remove_ranks(0, min(count, size))
    if taken:
        found.store.notify(notes.ZSET, b"zpopmax" if is_max else b"zpopmin", found.key)
    return taken


def _first(store: Store, keys: Sequence[bytes]) -> SortedSet | None:
    """Of the first key that has any; those behind it may be of whatever type."""
    for key in keys:
        found = store.collection(SortedSet, key)
        if found.exists:
            return found
    return None


def _zpop(store: Store, args: tuple[bytes, ...], is_max: bool) -> Value:
    if len(args) > 2:
        raise Refuse(SYNTAX)
    count = at_least(args[1], 0) if len(args) == 2 else None
    found = store.collection(SortedSet, args[0])
    taken = _take(found, is_max, 1 if count is None else count)
    if count is None:
        return [each for pair in taken for each in pair]
    return Pairs(list(taken))


def _zpopmin(store: Store, args: tuple[bytes, ...]) -> Value:
    return _zpop(store, args, is_max=False)


def _zpopmax(store: Store, args: tuple[bytes, ...]) -> Value:
    return _zpop(store, args, is_max=True)


def _bzpop(store: Store, args: tuple[bytes, ...], is_max: bool) -> Value:
    """Whoever waits for it waits elsewhere."""
    timeout_ms(args[-1])
    found = _first(store, args[:-1])
    if found is None:
        return NIL_ARRAY
    ((member, score),) = _take(found, is_max, 1)
    return [found.key, member, score]


def _bzpopmin(store: Store, args: tuple[bytes, ...]) -> Value:
    return _bzpop(store, args, is_max=False)


def _bzpopmax(store: Store, args: tuple[bytes, ...]) -> Value:
    return _bzpop(store, args, is_max=True)


def _zmpop(store: Store, args: tuple[bytes, ...]) -> Value:
    keys, is_max, count = read_mpop(args)
    return _mpop(store, keys, is_max, count)


def _bzmpop(store: Store, args: tuple[bytes, ...]) -> Value:
    keys, is_max, count = read_mpop(args[1:])
    timeout_ms(args[0])
    return _mpop(store, keys, is_max, count)


def read_mpop(args: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bool, int]:
    """The keys, the end, and how many."""
    numkeys = at_least(args[0], 1, "ERR numkeys should be greater than 0")
    keys, options = args[1 : 1 + numkeys], args[1 + numkeys :]
    if not options or (end := options[0].upper()) not in (b"MIN", b"MAX"):
        raise Refuse(SYNTAX)
    if len(options) == 1:
        return keys, end == b"MAX", 1
    if len(options) == 2 or options[1].upper() != b"COUNT":
        raise Refuse(SYNTAX)
    count = at_least(options[2], 1, "ERR count should be greater than 0")
    if len(options) > 3:
        raise Refuse(SYNTAX)
    return keys, end == b"MAX", count


def _mpop(store: Store, keys: Sequence[bytes], is_max: bool, count: int) -> Value:
    found = _first(store, keys)
    if found is None:
        return NIL_ARRAY
    return [found.key, [list(pair) for pair in _take(found, is_max, count)]]


# Chance.


def _zrandmember(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) == 1:
        found = store.collection(SortedSet, args[0])
        return found.at(store.below(found.count))[0] if found.exists else None
    count, with_scores = _read_draw(args[1:])
    found = store.collection(SortedSet, args[0])
    drawn = store.draw(count, found.count) if found.exists else []
    pairs = [found.at(rank) for rank in drawn]
    return Pairs(list(pairs)) if with_scores else [member for member, _ in pairs]


def _read_draw(args: tuple[bytes, ...]) -> tuple[int, bool]:
    """How many, and whether with scores."""
    count = count_to_draw(args[0])
    if len(args) == 1:
        return count, False
    if len(args) > 2 or args[1].upper() != b"WITHSCORES":
        raise Refuse(SYNTAX)
    if abs(count) > INTEGER_MAX // 2:
        raise Refuse("ERR value is out of range")
    return count, True


CALLS: Final[dict[bytes, Handler]] = {
    b"BZMPOP": _bzmpop,
    b"BZPOPMAX": _bzpopmax,
    b"BZPOPMIN": _bzpopmin,
    b"ZADD": zadd,
    b"ZCARD": _zcard,
    b"ZINCRBY": _zincrby,
    b"ZMPOP": _zmpop,
    b"ZMSCORE": _zmscore,
    b"ZPOPMAX": _zpopmax,
    b"ZPOPMIN": _zpopmin,
    b"ZRANDMEMBER": _zrandmember,
    b"ZRANK": _zrank,
    b"ZREM": _zrem,
    b"ZREVRANK": _zrevrank,
    b"ZSCORE": _zscore,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
