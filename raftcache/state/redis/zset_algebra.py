"""Sorted sets: unions, intersections and differences; sets take part as if each score were 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from raftcache.command.values import Pairs, Value
from raftcache.state.items import SET
from raftcache.state.redis.parsing import SYNTAX, Refuse, at_least, double, integer
from raftcache.state.redis.sets import PIECE, Set
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.zset_ranges import store_pairs
from raftcache.state.redis.zset_rows import Pair, SortedSet

_Scores = dict[bytes, float]
_Aggregate = Callable[[float, float], float]


class _Input(Struct):
    """A key that takes part."""

    source: Set | SortedSet
    weight: float = 1.0

    @property
    def count(self) -> int:
        return self.source.count

    def pairs(self, start: int, stop: int) -> list[Pair]:
        stop = min(stop, self.count)
        if isinstance(self.source, SortedSet):
            return self.source.pairs(start, stop)
        return [(member, 1.0) for member in self.source.members(start, stop)]

    def score(self, member: bytes) -> float | None:
        if isinstance(self.source, SortedSet):
            return self.source.score(member)
        return 1.0 if self.source.has(member) else None


def _sum(one: float, other: float) -> float:
    """Of infinities that cancel each other: 0, as Redis has it."""
    total = one + other
    return 0.0 if math.isnan(total) else total


def _lower(one: float, other: float) -> float:
    return other if other < one else one


def _higher(one: float, other: float) -> float:
    return other if other > one else one


_AGGREGATES: Final[dict[bytes, _Aggregate]] = {b"SUM": _sum, b"MIN": _lower, b"MAX": _higher}


def _weighted(score: float, weight: float) -> float:
    product = score * weight
    return 0.0 if math.isnan(product) else product


class _Asked(Struct):
    """What a call asks for. limit: of ZINTERCARD, 0 for none."""

    inputs: list[_Input]
    aggregate: _Aggregate = _sum
    with_scores: bool = False
    limit: int = 0


def _read(
    store: Store,
    args: Sequence[bytes],
    name: str,
    *,
    weighs: bool = False,
    stores: bool = False,
    counts: bool = False,
) -> _Asked:
    """The number of keys, the keys, and the options that this kind of call has, in Redis' order."""
    numkeys = integer(args[0])
    if numkeys < 1:
        raise Refuse(f"ERR at least 1 input key is needed for '{name}' command")
    if numkeys > len(args) - 1:
        raise Refuse(SYNTAX)
    asked = _Asked([_open(store, key) for key in args[1 : 1 + numkeys]])
    rest = list(reversed(args[1 + numkeys :]))
    while rest:
        option = rest.pop().upper()
        if option == b"WEIGHTS" and weighs and len(rest) >= numkeys:
            for each in asked.inputs:
                each.weight = double(rest.pop(), "ERR weight value is not a float")
        elif option == b"AGGREGATE" and weighs and rest:
            aggregate = _AGGREGATES.get(rest.pop().upper())
            if aggregate is None:
                raise Refuse(SYNTAX)
            asked.aggregate = aggregate
        elif option == b"WITHSCORES" and not (stores or counts):
            asked.with_scores = True
        elif option == b"LIMIT" and counts and rest:
            asked.limit = at_least(rest.pop(), 0, "ERR LIMIT can't be negative")
        else:
            raise Refuse(SYNTAX)
    return asked


def _open(store: Store, key: bytes) -> _Input:
    found = store.find(key)
    is_set = found is not None and found.kind == SET
    return _Input(store.collection(Set, key) if is_set else store.collection(SortedSet, key))


def _by_size(inputs: Sequence[_Input]) -> list[_Input]:
    """The smallest first: so Redis adds the scores up, which doubles show."""
    return sorted(inputs, key=lambda each: each.count)


def _common(store: Store, asked: _Asked) -> Iterator[Pair]:
    """Pairs of the intersection; it looks at little more than what is taken from it."""
    smallest, *others = _by_size(asked.inputs)
    for start in range(0, smallest.count, PIECE):
        pairs = smallest.pairs(start, start + PIECE)
        found = {member: _weighted(score, smallest.weight) for member, score in pairs}
        for other in others:
            store.count_elements(len(found))
            found = _joined(found, other, asked.aggregate)
        yield from found.items()


def _joined(found: _Scores, other: _Input, aggregate: _Aggregate) -> _Scores:
    both = [(member, score, other.score(member)) for member, score in found.items()]
    return {
        member: aggregate(score, more * other.weight)
        for member, score, more in both
        if more is not None
    }


def _inter(store: Store, asked: _Asked) -> _Scores:
    return dict(_common(store, asked))


def _union(store: Store, asked: _Asked) -> _Scores:
    found: _Scores = {}
    for each in _by_size(asked.inputs):
        for member, score in each.pairs(0, each.count):
            weighted = _weighted(score, each.weight)
            old = found.get(member)
            found[member] = weighted if old is None else asked.aggregate(old, weighted)
    return found


def _diff(store: Store, asked: _Asked) -> _Scores:
    """Whichever is smaller is walked, what is left or what is taken from it."""
    first, *others = asked.inputs
    if any(other.source.key == first.source.key for other in others):
        return {}
    found = dict(first.pairs(0, first.count))
    for other in others:
        if other.count < len(found):
            for member, _ in other.pairs(0, other.count):
                found.pop(member, None)
        else:
            store.count_elements(len(found))
            found = {
                member: score for member, score in found.items() if other.score(member) is None
            }
    return found


_Combine = Callable[[Store, _Asked], _Scores]


def _in_order(scores: _Scores) -> list[Pair]:
    return sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))


def _answer(store: Store, asked: _Asked, combine: _Combine) -> Value:
    pairs = _in_order(combine(store, asked))
    return Pairs(list(pairs)) if asked.with_scores else [member for member, _ in pairs]


def _zinter(store: Store, args: tuple[bytes, ...]) -> Value:
    return _answer(store, _read(store, args, "zinter", weighs=True), _inter)


def _zunion(store: Store, args: tuple[bytes, ...]) -> Value:
    return _answer(store, _read(store, args, "zunion", weighs=True), _union)


def _zdiff(store: Store, args: tuple[bytes, ...]) -> Value:
    return _answer(store, _read(store, args, "zdiff"), _diff)


def _zinterstore(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(store, args[1:], "zinterstore", weighs=True, stores=True)
    return store_pairs(store, args[0], list(_inter(store, asked).items()), b"zinterstore")


def _zunionstore(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(store, args[1:], "zunionstore", weighs=True, stores=True)
    return store_pairs(store, args[0], list(_union(store, asked).items()), b"zunionstore")


def _zdiffstore(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(store, args[1:], "zdiffstore", stores=True)
    return store_pairs(store, args[0], list(_diff(store, asked).items()), b"zdiffstore")


def _zintercard(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(store, args, "zintercard", counts=True)
    return sum(1 for _ in islice(_common(store, asked), asked.limit or None))


CALLS: Final[dict[bytes, Handler]] = {
    b"ZDIFF": _zdiff,
    b"ZDIFFSTORE": _zdiffstore,
    b"ZINTER": _zinter,
    b"ZINTERCARD": _zintercard,
    b"ZINTERSTORE": _zinterstore,
    b"ZUNION": _zunion,
    b"ZUNIONSTORE": _zunionstore,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
