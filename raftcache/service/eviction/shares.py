"""An order of eviction for many keys, in shares, so that none of its steps is long.

One order of all keys grows in steps of 50 ms at 700,000 keys and 500 at 2,800,000, and at worst
takes the marks off all of them for one victim. So later keys go to shares, each by its hash, each
in an order of its own, and victims are taken from them in turn. A share is a sample: its oldest key
is about the oldest of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raftcache.config import Eviction
from raftcache.service.eviction.policies import Lfu, Lru, Policy, Sieve
from raftcache.state.spread import PARTS, SLOTS, TOGETHER_MAX, slots_of

APART_MIN: Final = 16 * PARTS
"""Keys in shares; fewer are no samples, and are put together again, in a step of some 10 ms."""


class Shares:
    """A Policy whose first keys are together, in exactly the order of the one that `make` makes."""

    def __init__(self, make: Callable[[], Policy]) -> None:
        self._make = make
        self._together = make()
        self.KEY_COST_BYTES: int = self._together.KEY_COST_BYTES
        self._slots: list[Policy] = []  # as in a Spread; none before there are many keys
        self._apart = self._turn = self._due = 0

    def __len__(self) -> int:
        return len(self._together) + self._apart

    def __contains__(self, key: bytes) -> bool:
        return key in self._of(key)

    def _of(self, key: bytes) -> Policy:
        """Where it is, or would be."""
        if not self._slots or key in self._together:
            return self._together
        return self._slots[hash(key) % SLOTS]

    def add(self, key: bytes) -> None:
        policy = self._of(key)
        if policy is not self._together:
            before = len(policy)
            policy.add(key)
            self._apart += len(policy) - before
        elif len(policy) < TOGETHER_MAX or key in policy:
            policy.add(key)
        else:
            self._slots = slots_of([self._make() for _ in range(PARTS)])
            self.add(key)

    def access(self, key: bytes, count: int = 1) -> None:
        self._of(key).access(key, count)

    def remove(self, key: bytes) -> None:
        policy = self._of(key)
        before = len(policy)
        policy.remove(key)
        if policy is not self._together:
            self._apart -= before - len(policy)
            self._join_if_few()

    def take(self) -> bytes | None:
        self._due += len(self._together)
        if not self._apart or self._due >= len(self):  # as often as it has keys among all
            self._due = 0 if not self._apart else self._due - len(self)
            return self._together.take()
        while not self._slots[self._turn]:
            self._turn = (self._turn + 1) % SLOTS
        key = self._slots[self._turn].take()
        self._turn = (self._turn + 1) % SLOTS
        self._apart -= 1
        self._join_if_few()
        return key

    def _join_if_few(self) -> None:
        """When many keys have become few: the order among shares is lost."""
        room = TOGETHER_MAX - len(self._together)
        if self._apart < APART_MIN and room >= 2 * APART_MIN:  # else they part again at once
            for policy in dict.fromkeys(self._slots):
                for key in iter(policy.take, None):
                    self._together.add(key)
            self._slots, self._apart, self._turn = [], 0, 0


def policy_of(eviction: Eviction) -> Policy | None:
    """The order that a setting stands for; None if it needs no memory of what was used."""
    match eviction:
        case Eviction.ALLKEYS_LRU:
            return Shares(Lru)
        case Eviction.ALLKEYS_LFU:
            return Shares(Lfu)
        case Eviction.ALLKEYS_SIEVE:
            return Shares(Sieve)
        case Eviction.NOEVICTION | Eviction.VOLATILE_TTL:
            return None
