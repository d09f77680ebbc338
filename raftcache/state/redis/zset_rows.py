"""Sorted sets: two rows for each member, one to find its score, and one in the order of scores.

    m MEMBER -> SCORE         s SCORE MEMBER -> nothing

A score is 8 bytes that sort as doubles do, so ranks are places among the second rows.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Final

from raftcache.state.items import ZSET
from raftcache.state.redis.collection import Collection

_BY_MEMBER: Final = b"m"
_BY_SCORE: Final = b"s"
_MEMBER_AT: Final = 9
"""In the name of a row by score."""

_DOUBLE: Final = struct.Struct(">d")
_BITS: Final = struct.Struct(">Q")
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1

Pair = tuple[bytes, float]
"""A member and its score."""


def pack_score(score: float) -> bytes:
    """Bytes that sort as scores do; -0.0 is 0.0."""
    (bits,) = _BITS.unpack(_DOUBLE.pack(score + 0.0))
    return _BITS.pack(bits ^ _ALL if bits & _SIGN else bits | _SIGN)


def unpack_score(packed: bytes) -> float:
    (bits,) = _BITS.unpack(packed)
    score: float = _DOUBLE.unpack(_BITS.pack(bits ^ _SIGN if bits & _SIGN else bits ^ _ALL))[0]
    return score


class SortedSet(Collection):
    """Members with scores, in the order of the scores and, where they are equal, of their bytes.

    Ranks count from 0, from the lowest score.
    """

    KIND: ClassVar[int] = ZSET
    LEAD_SIZE_BYTES: ClassVar[int] = _MEMBER_AT

    def score(self, member: bytes) -> float | None:
        packed = self._get(_BY_MEMBER + member)
        return None if packed is None else unpack_score(packed)

    def put(self, member: bytes, score: float) -> None:
        """Give a member, new or not, this score, which is a number."""
        assert score == score
        packed, name = pack_score(score), _BY_MEMBER + member
        old = self._get(name)
        if old == packed:
            return
        self._put(name, packed)
        if old is None:
            self.count += 1
        else:
            self._remove(_BY_SCORE + old + member, is_second=True)
        self._put(_BY_SCORE + packed + member, b"", is_second=True)

    def discard(self, member: bytes) -> bool:
        """Whether it was there."""
        packed = self._remove(_BY_MEMBER + member)
        if packed is None:
            return False
        self._remove(_BY_SCORE + packed + member, is_second=True)
        self.count -= 1
        return True

    def rank(self, member: bytes) -> int | None:
        packed = self._get(_BY_MEMBER + member)
        return None if packed is None else self.rank_at(packed + member)

    def rank_at(self, packed: bytes) -> int:
        """How many members are below a packed score, or one and a member."""
        return self._place(_BY_SCORE + packed) - self.count if self.count else 0

    def at(self, rank: int) -> Pair:
        name = self._name_at(self.count + rank)
        self.store.count_answer(len(name))
        return name[_MEMBER_AT:], unpack_score(name[1:_MEMBER_AT])

    def pairs(self, start: int, stop: int, *, reverse: bool = False) -> list[Pair]:
        """Members with ranks in [start, stop), and their scores."""
        names = self._names(self.count + start, self.count + stop, reverse=reverse)
        return [(name[_MEMBER_AT:], unpack_score(name[1:_MEMBER_AT])) for name in names]

    def members(self, start: int, stop: int, *, reverse: bool = False) -> list[bytes]:
        """Members with ranks in [start, stop)."""
        names = self._names(self.count + start, self.count + stop, reverse=reverse)
        return [name[_MEMBER_AT:] for name in names]

    def remove_ranks(self, start: int, stop: int) -> list[Pair]:
        """Remove those with ranks in [start, stop); what they were."""
        removed = self.pairs(start, stop)
        for member, _ in removed:
            self.discard(member)
        return removed
