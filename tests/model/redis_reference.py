"""Sets and sorted sets as plain Python has them: the reference for their rows."""

from __future__ import annotations

import math
from typing import Any

from tests.model.plain_python import Args, Reference, Wrong


def _in_order(scores: dict[bytes, float]) -> list[tuple[bytes, float]]:
    return sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))


def _cut(items: list[Any], first: bytes, last: bytes) -> list[Any]:
    """Places from one to another, both in it, as far as there are any."""
    start, stop = (int(end) + len(items) if int(end) < 0 else int(end) for end in (first, last))
    return [item for place, item in enumerate(items) if start <= place <= stop]


class RedisReference(Reference["bytes | set[bytes] | dict[bytes, float]"]):
    """Sets and sorted sets."""

    def _set(self, args: Args) -> str:
        self.keys[args[0]] = args[1]
        return "OK"

    def _del(self, args: Args) -> int:
        return int(self.keys.pop(args[0], None) is not None)

    # Sets.

    def _sadd(self, args: Args) -> int:
        held, count = self._held(args[0], set), 0
        for member in args[1:]:
            count += member not in held
            held.add(self._fit(member))
        return count

    def _srem(self, args: Args) -> int:
        held = self._held(args[0], set)
        gone = held & set(args[1:])
        held -= gone
        return len(gone)

    def _smove(self, args: Args) -> int:
        source = self._held(args[0], set)
        if not source:
            return 0
        target = self._held(args[1], set)
        if args[2] not in source:
            return 0
        source.remove(args[2])
        target.add(args[2])
        return 1

    def _stored(self, key: bytes, held: Any) -> int:
        self.keys[key] = held
        return len(held)

    def _sinterstore(self, args: Args) -> int:
        return self._stored(args[0], set.intersection(*self._sets(args[1:])))

    def _sunionstore(self, args: Args) -> int:
        return self._stored(args[0], set.union(*self._sets(args[1:])))

    def _sdiffstore(self, args: Args) -> int:
        return self._stored(args[0], set.difference(*self._sets(args[1:])))

    def _sets(self, keys: Args) -> list[set[bytes]]:
        return [set(self._held(key, set)) for key in keys]

    # Sorted sets.

    def _zadd(self, args: Args) -> int:
        held, count = self._held(args[0], dict), 0
        for score, member in zip(args[1::2], args[2::2], strict=True):
            count += member not in held
            held[self._fit(member)] = float(score)
        return count

    def _zincrby(self, args: Args) -> float:
        held = self._held(args[0], dict)
        score: float = held.get(args[2], 0.0) + float(args[1])
        if math.isnan(score):
            raise Wrong
        held[self._fit(args[2])] = score
        return score

    def _zrem(self, args: Args) -> int:
        held = self._held(args[0], dict)
        return sum([held.pop(member, None) is not None for member in args[1:]])

    def _zscore(self, args: Args) -> float | None:
        score: float | None = self._held(args[0], dict).get(args[1])
        return score

    def _zrank(self, args: Args) -> int | None:
        members = [member for member, _ in _in_order(self._held(args[0], dict))]
        return members.index(args[1]) if args[1] in members else None

    def _zrange(self, args: Args) -> list[bytes]:
        return [member for member, _ in _cut(_in_order(self._held(args[0], dict)), *args[1:])]

    def _zrevrange(self, args: Args) -> list[bytes]:
        pairs = _in_order(self._held(args[0], dict))[::-1]
        return [member for member, _ in _cut(pairs, *args[1:])]

    def _within(self, args: Args) -> dict[bytes, float]:
        low, high = float(args[1]), float(args[2])
        held = self._held(args[0], dict)
        return {member: score for member, score in held.items() if low <= score <= high}

    def _zrangebyscore(self, args: Args) -> list[bytes]:
        return [member for member, _ in _in_order(self._within(args))]

    def _zcount(self, args: Args) -> int:
        return len(self._within(args))

    def _zremrangebyscore(self, args: Args) -> int:
        return self._zrem([args[0], *self._within(args)])

    def _zremrangebyrank(self, args: Args) -> int:
        return self._zrem([args[0], *self._zrange(args)])

    def _zpopmin(self, args: Args) -> list[object]:
        pairs = _in_order(self._held(args[0], dict))[:1]
        self._zrem([args[0], *[member for member, _ in pairs]])
        return [each for pair in pairs for each in pair]

    def _zrangestore(self, args: Args) -> int:
        found = _cut(_in_order(self._held(args[1], dict)), *args[2:])
        return self._stored(args[0], dict(found))

    def _zunionstore(self, args: Args) -> int:
        sources = self._scored(args[2:])
        found: dict[bytes, float] = {}
        for source in sources:
            for member, score in source.items():
                total = found.get(member, 0.0) + score
                found[member] = 0.0 if math.isnan(total) else total
        return self._stored(args[0], found)

    def _zdiffstore(self, args: Args) -> int:
        first, *others = self._scored(args[2:])
        gone = {member for other in others for member in other}
        return self._stored(args[0], {m: score for m, score in first.items() if m not in gone})

    def _scored(self, keys: Args) -> list[dict[bytes, float]]:
        held = [self.keys.get(key, {}) for key in keys]
        if any(isinstance(each, bytes) for each in held):
            raise Wrong
        plain = [each if isinstance(each, dict) else dict.fromkeys(each, 1.0) for each in held]
        return [dict(each) for each in plain]
