"""Orders of eviction for many keys: what is exact, what is about so, and that no step is long."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from raftcache.config import Eviction
from raftcache.service.eviction import shares
from raftcache.service.eviction.policies import Lfu, Lru, Policy, Sieve
from raftcache.service.eviction.shares import Shares, policy_of
from raftcache.state.spread import PARTS

APART_MIN = 1000
TOGETHER_MAX = 4 * APART_MIN
MANY = 2 * TOGETHER_MAX


def name_of(i: int) -> bytes:
    return b"key:%012d" % i


@pytest.fixture(autouse=True)
def few_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "TOGETHER_MAX", TOGETHER_MAX)
    monkeypatch.setattr(shares, "APART_MIN", APART_MIN)


def filled(make: Callable[[], Policy], count: int) -> Shares:
    policy = Shares(make)
    for i in range(count):
        policy.add(name_of(i))
    return policy


def sizes(policy: Shares) -> list[int]:
    """Of the shares."""
    return [len(share) for share in dict.fromkeys(policy._slots)]


def test_the_first_keys_are_in_one_exact_order() -> None:
    policy = filled(Lru, TOGETHER_MAX)
    for i in range(0, TOGETHER_MAX, 2):
        policy.access(name_of(i))
    assert not policy._slots
    order = [*range(1, TOGETHER_MAX, 2), *range(0, TOGETHER_MAX, 2)]
    assert list(iter(policy.take, None)) == [name_of(i) for i in order]


@pytest.mark.parametrize("make", [Lru, Lfu, Sieve])
def test_later_keys_are_in_shares_of_few(make: Callable[[], Policy]) -> None:
    policy = filled(make, MANY)
    assert len(policy._together) == TOGETHER_MAX
    assert sum(sizes(policy)) == MANY - TOGETHER_MAX
    assert max(sizes(policy)) < 5 * (MANY - TOGETHER_MAX) / PARTS
    assert len(policy) == MANY
    policy.add(name_of(1))
    policy.add(name_of(MANY - 1))
    assert len(policy) == MANY, "they were there"


def test_one_victim_costs_no_look_at_all_keys() -> None:
    policy = filled(Sieve, MANY)
    for i in range(TOGETHER_MAX, MANY):
        policy.access(name_of(i))
    policy._due = 0
    assert policy.take() is not None
    marked = sum(
        sum((*share._ahead.values(), *share._passed.values()))
        for share in dict.fromkeys(policy._slots)
        if isinstance(share, Sieve)
    )
    assert marked >= MANY - TOGETHER_MAX - max(sizes(policy)) - 1, "only one share lost its marks"


def test_the_oldest_go_first_but_for_some_percent() -> None:
    count = 100 * PARTS
    policy, dice = filled(Lru, count), random.Random(4)
    used = [name_of(i) for i in range(count)]
    dice.shuffle(used)
    for key in used:
        policy.access(key)
    rank = {key: i for i, key in enumerate(used)}
    victims = [rank[policy.take() or b""] for _ in range(count // 4)]
    early = sum(victim < count // 4 for victim in victims)
    assert early > 0.8 * len(victims), "shares of 100 keys: those of a million have 2,400"
    assert max(victims) < count * 3 // 4


@pytest.mark.parametrize("eviction", [Eviction.ALLKEYS_LRU, Eviction.ALLKEYS_LFU])
def test_it_holds_what_was_added_and_not_taken(eviction: Eviction) -> None:
    policy, held, dice = policy_of(eviction), set[bytes](), random.Random(5)
    assert isinstance(policy, Shares)
    for target in (MANY, TOGETHER_MAX // 4, MANY // 2, 0):
        while len(held) != target:
            key = name_of(dice.randrange(2 * MANY))
            if len(held) < target:
                policy.add(key)
                held.add(key)
            elif dice.random() < 0.5:
                policy.remove(key)
                held.discard(key)
            else:
                victim = policy.take()
                assert victim is not None
                held.remove(victim)
            assert (key in policy) == (key in held)
            assert len(policy) == len(held)
    assert policy.take() is None


def test_few_keys_are_put_together_again() -> None:
    policy = filled(Lru, MANY)
    while policy._slots:
        assert policy.take() is not None
    assert APART_MIN // 2 < len(policy) < TOGETHER_MAX
    left = len(policy)
    for i in range(TOGETHER_MAX - left):
        policy.add(b"new %d" % i)
    assert not policy._slots, "nothing parts them before there are many again"
    assert len(policy) == TOGETHER_MAX


def test_at_the_limit_they_do_not_part_and_join_all_the_time() -> None:
    policy = filled(Lru, TOGETHER_MAX)
    parted = 0
    for i in range(TOGETHER_MAX, 2 * TOGETHER_MAX):
        before = bool(policy._slots)
        policy.add(name_of(i))
        parted += bool(policy._slots) and not before
        assert policy.take() is not None
    assert parted == 1
