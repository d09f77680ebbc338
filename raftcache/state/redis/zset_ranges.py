"""Sorted sets: ranges by rank, by score and by the members' bytes.

However a range is told, it is ranks [start, stop) of one sorted set before anything is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from raftcache.command.values import Pairs, Value
from raftcache.state import notes
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer, strtod
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.zset_rows import Pair, SortedSet, pack_score

_NO_SCORE: Final = "ERR min or max is not a float"
_NO_MEMBER: Final = "ERR min or max not valid string range item"
_LIMIT_BY_RANK: Final = (
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
)
_SCORES_BY_LEX: Final = "ERR syntax error, WITHSCORES not supported in combination with BYLEX"

_REV, _BYSCORE, _BYLEX = b"REV", b"BYSCORE", b"BYLEX"

_PLACE_SIZE_BYTES: Final = 8


class Range(Protocol):
    """A range of any sorted set."""

    def ranks(self, found: SortedSet, reverse: bool, skip: int) -> tuple[int, int]:
        """The first, and the one behind the last; without those that are skipped where a walk
        begins: at the highest in reverse."""


def _skipped(start: int, stop: int, reverse: bool, skip: int) -> tuple[int, int]:
    """What is left of a range; a walk that skips fewer than none never ends, so nothing is."""
    if not 0 <= skip < stop - start:
        return 0, 0
    return (start, stop - skip) if reverse else (start + skip, stop)


class RankRange(Struct, frozen=True):
    """From one rank to another, both in it; negative ones count from the end.

    In reverse, ranks count from the highest score.
    """

    first: int
    last: int

    def ranks(self, found: SortedSet, reverse: bool, skip: int) -> tuple[int, int]:
        count = found.count
        start = max(self.first + count if self.first < 0 else self.first, 0)
        stop = min((self.last + count if self.last < 0 else self.last) + 1, count)
        if reverse:
            start, stop = count - stop, count - start
        return _skipped(start, stop, reverse, skip)


class ScoreRange(Struct, frozen=True):
    """Between two scores; the same in reverse."""

    low: float
    is_low_open: bool
    high: float
    is_high_open: bool

    def ranks(self, found: SortedSet, reverse: bool, skip: int) -> tuple[int, int]:
        start = found.rank_at(_edge(self.low, behind=self.is_low_open))
        stop = found.rank_at(_edge(self.high, behind=not self.is_high_open))
        return _skipped(start, stop, reverse, skip)


def _edge(score: float, *, behind: bool) -> bytes:
    """What is before the members with this score, or behind them."""
    packed = pack_score(score)
    return (int.from_bytes(packed, "big") + behind).to_bytes(_PLACE_SIZE_BYTES, "big")


class Edge(Struct, frozen=True):
    """An end of a range of members: before all (-1), behind all (1), or at one (0)."""

    beyond: int
    member: bytes = b""
    is_open: bool = False

    def is_below(self, member: bytes) -> bool:
        """Whether a member is in a range that begins here."""
        if self.beyond:
            return self.beyond < 0
        return self.member < member if self.is_open else self.member <= member

    def is_above(self, member: bytes) -> bool:
        """Whether a member is in a range that ends here."""
        if self.beyond:
            return self.beyond > 0
        return member < self.member if self.is_open else member <= self.member

    @property
    def _order(self) -> tuple[int, bytes]:
        return self.beyond, self.member

    def can_end(self, other: Edge) -> bool:
        """Whether any member can be between this edge and another one."""
        if self._order == other._order:
            return not (self.beyond or self.is_open or other.is_open)
        return self._order < other._order


class LexRange(Struct, frozen=True):
    """Between two members, of a sorted set in which all have the same score.

    If they have not, it is as in Redis while a sorted set is small: from the end where the walk
    begins, the first member that is not beyond the range, and on to the first that is.
    """

    low: Edge
    high: Edge

    def ranks(self, found: SortedSet, reverse: bool, skip: int) -> tuple[int, int]:
        count = found.count
        if not count or not self.low.can_end(self.high):
            return 0, 0
        (first, low_score), (last, high_score) = found.at(0), found.at(count - 1)
        if not (self.low.is_below(last) and self.high.is_above(first)):
            return 0, 0
        if low_score == high_score:
            packed = pack_score(low_score)
            start = self._rank(found, packed, self.low, behind=self.low.is_open)
            stop = self._rank(found, packed, self.high, behind=not self.high.is_open)
            return _skipped(start, stop, reverse, skip)
        members = found.members(0, count)
        if not reverse:
            return _walk(members, self.low.is_below, self.high.is_above, skip)
        start, stop = _walk(members[::-1], self.high.is_above, self.low.is_below, skip)
        return count - stop, count - start

    def _rank(self, found: SortedSet, packed: bytes, edge: Edge, *, behind: bool) -> int:
        if edge.beyond:
            return 0 if edge.beyond < 0 else found.count
        return found.rank_at(packed + edge.member + b"\0" * behind)


def _walk(
    members: Sequence[bytes],
    has_begun: Callable[[bytes], bool],
    goes_on: Callable[[bytes], bool],
    skip: int,
) -> tuple[int, int]:
    places = range(len(members))
    start = next((place for place in places if has_begun(members[place])), len(members))
    if skip < 0 or not all(map(goes_on, members[start : start + 1])):
        return 0, 0
    start = min(start + skip, len(members))
    stop = next((place for place in places[start:] if not goes_on(members[place])), len(members))
    return start, stop


# How they are told.


def _by_rank(first: bytes, last: bytes) -> Range:
    return RankRange(integer(first), integer(last))


def _by_score(low: bytes, high: bytes) -> Range:
    return ScoreRange(*_score(low), *_score(high))


def _score(text: bytes) -> tuple[float, bool]:
    """Read as a C string by strtod, so that nothing at all is 0, and the rest after a NUL too."""
    is_open = text.startswith(b"(")
    text = text[is_open:].partition(b"\0")[0]
    score = strtod(text.lstrip(b" \t\n\v\f\r")) if text else 0.0
    if score is None:
        raise Refuse(_NO_SCORE)
    return score, is_open


def _by_lex(low: bytes, high: bytes) -> Range:
    return LexRange(_edge_of(low), _edge_of(high))


def _edge_of(text: bytes) -> Edge:
    if text[:1] in (b"(", b"["):
        return Edge(0, text[1:], text.startswith(b"("))
    match text.partition(b"\0")[0]:
        case b"-":
            return Edge(-1)
        case b"+":
            return Edge(1)
    raise Refuse(_NO_MEMBER)


class _Asked(Struct):
    """The options of a range."""

    by: bytes = b""
    reverse: bool = False
    with_scores: bool = False
    offset: int = 0
    limit: int = -1

    def take(self, start: int, stop: int) -> tuple[int, int]:
        """What the limit leaves of a range."""
        if not 0 <= self.limit < stop - start:
            return start, stop
        return (stop - self.limit, stop) if self.reverse else (start, start + self.limit)


def _read(options: Sequence[bytes], asked: _Asked, *, is_fixed: bool, stores: bool) -> _Asked:
    """Options behind the range. is_fixed: the command's name says by what, and in which order."""
    rest = list(reversed(options))
    while rest:
        option = rest.pop().upper()
        if option == b"WITHSCORES" and not stores:
            asked.with_scores = True
        elif option == b"LIMIT" and len(rest) >= 2:
            asked.offset, asked.limit = integer(rest.pop()), integer(rest.pop())
        elif option == _REV and not (is_fixed or asked.reverse):
            asked.reverse = True
        elif option in (_BYSCORE, _BYLEX) and not (is_fixed or asked.by):
            asked.by = option
        else:
            raise Refuse(SYNTAX)
    if asked.limit != -1 and not asked.by:
        raise Refuse(_LIMIT_BY_RANK)
    if asked.with_scores and asked.by == _BYLEX:
        raise Refuse(_SCORES_BY_LEX)
    return asked


def _find(store: Store, args: Sequence[bytes], asked: _Asked) -> tuple[SortedSet, int, int]:
    """The sorted set and the ranks that are asked for. args: key, and both ends."""
    key, first, last = args[:3]
    if asked.reverse and asked.by:
        first, last = last, first
    told = {_BYSCORE: _by_score, _BYLEX: _by_lex}.get(asked.by, _by_rank)(first, last)
    found = store.collection(SortedSet, key)
    if not asked.by:
        return found, *told.ranks(found, asked.reverse, 0)
    return found, *asked.take(*told.ranks(found, asked.reverse, asked.offset))


# Commands that answer members.


def _range(store: Store, args: tuple[bytes, ...], asked: _Asked, *, is_fixed: bool = True) -> Value:
    asked = _read(args[3:], asked, is_fixed=is_fixed, stores=False)
    found, start, stop = _find(store, args, asked)
    if asked.with_scores:
        return Pairs(list(found.pairs(start, stop, reverse=asked.reverse)))
    return found.members(start, stop, reverse=asked.reverse)


def _zrange(store: Store, args: tuple[bytes, ...]) -> Value:
    return _range(store, args, _Asked(), is_fixed=False)


def _zrevrange(store: Store, args: tuple[bytes, ...]) -> Value:
    return _range(store, args, _Asked(reverse=True))


def _zrangebyscore(store: Store, args: tuple[bytes, ...]) -> Value:
    return _range(store, args, _Asked(_BYSCORE))


def _zrevrangebyscore(store: Store, args: tuple[bytes, ...]) -> Value:
    return _range(store, args, _Asked(_BYSCORE, reverse=True))


def _zrangebylex(store: Store, args: tuple[bytes, ...]) -> Value:
    return _range(store, args, _Asked(_BYLEX))


def _zrevrangebylex(store: Store, args: tuple[bytes, ...]) -> Value:
    return _range(store, args, _Asked(_BYLEX, reverse=True))


def _zrangestore(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(args[4:], _Asked(), is_fixed=False, stores=True)
    found, start, stop = _find(store, args[1:], asked)
    return store_pairs(store, args[0], found.pairs(start, stop), b"zrangestore")


def store_pairs(store: Store, key: bytes, pairs: Sequence[Pair], event: bytes) -> int:
    """Give the key a sorted set of these, whatever it held; none of them, and the key is gone."""
    if not pairs:
        if store.remove(key):
            store.notify(notes.GENERIC, b"del", key)
        return 0
    made = store.replacement(SortedSet, key)
    for member, score in pairs:
        made.put(member, score)
    store.notify(notes.ZSET, event, key)
    return made.count


# Commands that count, or remove.


def _count(store: Store, args: tuple[bytes, ...], by: bytes) -> Value:
    _, start, stop = _find(store, args, _Asked(by))
    return stop - start


def _zcount(store: Store, args: tuple[bytes, ...]) -> Value:
    return _count(store, args, _BYSCORE)


def _zlexcount(store: Store, args: tuple[bytes, ...]) -> Value:
    return _count(store, args, _BYLEX)


def _remove(store: Store, args: tuple[bytes, ...], by: bytes, event: bytes) -> Value:
    found, start, stop = _find(store, args, _Asked(by))
    removed = found.remove_ranks(start, stop)
    if removed:
        store.notify(notes.ZSET, event, args[0])
    return len(removed)


def _zremrangebyrank(store: Store, args: tuple[bytes, ...]) -> Value:
    return _remove(store, args, b"", b"zremrangebyrank")


def _zremrangebyscore(store: Store, args: tuple[bytes, ...]) -> Value:
    return _remove(store, args, _BYSCORE, b"zremrangebyscore")


def _zremrangebylex(store: Store, args: tuple[bytes, ...]) -> Value:
    return _remove(store, args, _BYLEX, b"zremrangebylex")


CALLS: Final[dict[bytes, Handler]] = {
    b"ZCOUNT": _zcount,
    b"ZLEXCOUNT": _zlexcount,
    b"ZRANGE": _zrange,
    b"ZRANGEBYLEX": _zrangebylex,
    b"ZRANGEBYSCORE": _zrangebyscore,
    b"ZRANGESTORE": _zrangestore,
    b"ZREMRANGEBYLEX": _zremrangebylex,
    b"ZREMRANGEBYRANK": _zremrangebyrank,
    b"ZREMRANGEBYSCORE": _zremrangebyscore,
    b"ZREVRANGE": _zrevrange,
    b"ZREVRANGEBYLEX": _zrevrangebylex,
    b"ZREVRANGEBYSCORE": _zrevrangebyscore,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
