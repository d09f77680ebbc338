"""Orders of eviction. Pure: no clock, no dice, no Raft; keys in, victims out.

Each holds every key, and costs about KEY_COST_BYTES of memory for it (measured; the key itself is
the keyspace's). `take` gives up a key for good: who does not evict it after all adds it again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Final, Protocol


class Policy(Protocol):
    """Shape of an order of eviction."""

    @property
    def KEY_COST_BYTES(self) -> int: ...

    def __len__(self) -> int: ...

    def __contains__(self, key: bytes) -> bool: ...

    def add(self, key: bytes) -> None:
        """The key was written; if it is new, it has not been read yet."""
        ...

    def access(self, key: bytes, count: int = 1) -> None:
        """The key was read; one that is not held is ignored."""
        ...

    def remove(self, key: bytes) -> None:
        """The key is gone; one that is not held is ignored."""
        ...

    def take(self) -> bytes | None:
        """The next victim, which is not held any more; None if no key is held."""
        ...


class Lru:
    """Least recently used first."""

    KEY_COST_BYTES: ClassVar[int] = 112

    def __init__(self) -> None:
        self._order: OrderedDict[bytes, None] = OrderedDict()  # the victim first

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, key: bytes) -> bool:
        return key in self._order

    def add(self, key: bytes) -> None:
        self._order[key] = None
        self._order.move_to_end(key)

    def access(self, key: bytes, count: int = 1) -> None:
        if key in self._order:
            self._order.move_to_end(key)

    def remove(self, key: bytes) -> None:
        self._order.pop(key, None)

    def take(self) -> bytes | None:
        return self._order.popitem(last=False)[0] if self._order else None


class Sieve:
    """SIEVE: Zhang, Yang, Yue, Vigfusson, Rashmi: SIEVE is Simpler than LRU (NSDI 2024).

    A queue in the order of arrival, a mark on what was read, and a hand that goes from the oldest
    to the newest: it takes a mark off and leaves the key where it is, or evicts one without. The
    queue is in two parts, what the hand has passed and what it has not, so that it is always at
    the end of one and the head of the other.
    """

    KEY_COST_BYTES: ClassVar[int] = 112

    def __init__(self) -> None:
        self._passed: OrderedDict[bytes, bool] = OrderedDict()  # key -> marked; the oldest first
        self._ahead: OrderedDict[bytes, bool] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passed) + len(self._ahead)

    def __contains__(self, key: bytes) -> bool:
        return key in self._ahead or key in self._passed

    def add(self, key: bytes) -> None:
        if key in self:
            self.access(key)
            return
        self._turn_if_at_the_end()
        self._ahead[key] = False

    def access(self, key: bytes, count: int = 1) -> None:
        if key in self._ahead:
            self._ahead[key] = True
        elif key in self._passed:
            self._passed[key] = True

    def remove(self, key: bytes) -> None:
        if self._ahead.pop(key, None) is None:
            self._passed.pop(key, None)

    def take(self) -> bytes | None:
        for _ in range(2 * len(self) + 1):  # at worst a whole round takes marks off
            self._turn_if_at_the_end()
            if not self._ahead:
                return None
            key, marked = self._ahead.popitem(last=False)
            if not marked:
                return key
            self._passed[key] = False
        raise AssertionError("a round left no key unmarked")

    def _turn_if_at_the_end(self) -> None:
        if not self._ahead:
            self._ahead, self._passed = self._passed, self._ahead


class Lfu:
    """Least frequently used first; the least recent of equals.

    Counts are halved whenever AGE_READS reads a key have come, so that what was popular once does
    not stay for ever (as in TinyLFU: Einziger, Friedman, Manes, 2017). They are kept as levels, the
    logarithm of a count: from one to the next it takes twice as many reads as to the one before,
    and to halve all counts is to raise the floor, on which new keys stand.
    """

    KEY_COST_BYTES: ClassVar[int] = 176
    AGE_READS: ClassVar[int] = 10
    LEVELS_MAX: ClassVar[int] = 16
    """Above the floor: 65,000 reads between two halvings."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}  # level, and in the lowest bits reads since it was met
        self._levels: dict[int, OrderedDict[bytes, None]] = {}  # the least recent first
        self._floor = self._lowest = 0  # no key is below the lowest
        self._reads = 0  # since the floor was raised

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, key: bytes) -> bool:
        return key in self._counts

    def add(self, key: bytes) -> None:
        if key in self._counts:
            self.access(key)
        else:
            self._put(key, self._floor, 0)
            self._age(1)

    def access(self, key: bytes, count: int = 1) -> None:
        before = self._counts.get(key)
        if before is None:
            return
        old = before >> _READS_BITS
        level = max(old, self._floor)
        reads = count + (before & _READS_MASK if level == old else 0)
        while reads >= 1 << (level - self._floor) and level < self._floor + self.LEVELS_MAX:
            reads -= 1 << (level - self._floor)
            level += 1
        reads = min(reads, _READS_MASK)
        if level == old:
            self._counts[key] = level << _READS_BITS | reads
            self._levels[level].move_to_end(key)
        else:
            self._leave(key, old)
            self._put(key, level, reads)
        self._age(count)

    def remove(self, key: bytes) -> None:
        count = self._counts.pop(key, None)
        if count is not None:
            self._leave(key, count >> _READS_BITS)

    def take(self) -> bytes | None:
        if not self._counts:
            return None
        while self._lowest not in self._levels:
            self._lowest += 1
        key = next(iter(self._levels[self._lowest]))
        self.remove(key)
        return key

    def _age(self, reads: int) -> None:
        self._reads += reads
        if self._reads >= self.AGE_READS * len(self._counts):
            self._floor, self._reads = self._floor + 1, 0

    def _put(self, key: bytes, level: int, reads: int) -> None:
        self._counts[key] = level << _READS_BITS | reads
        peers = self._levels.get(level)
        if peers is None:
            peers = self._levels[level] = OrderedDict()
            self._lowest = min(self._lowest, level)
        peers[key] = None

    def _leave(self, key: bytes, level: int) -> None:
        peers = self._levels[level]
        del peers[key]
        if not peers:
            del self._levels[level]


_READS_BITS: Final = 20
_READS_MASK: Final = (1 << _READS_BITS) - 1

assert 1 << Lfu.LEVELS_MAX < _READS_MASK
