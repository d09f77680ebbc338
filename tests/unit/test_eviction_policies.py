"""Orders of eviction, told step by step, and against plain and slow ones."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftcache.config import Eviction
from raftcache.service.eviction.policies import Lfu, Lru, Policy, Sieve
from raftcache.service.eviction.shares import policy_of

HOLDING = [Eviction.ALLKEYS_LRU, Eviction.ALLKEYS_LFU, Eviction.ALLKEYS_SIEVE]


def made(eviction: Eviction) -> Policy:
    policy = policy_of(eviction)
    assert policy is not None
    return policy


def victims(policy: Policy | Plain) -> list[bytes]:
    return list(iter(policy.take, None))


def filled(policy: Policy, keys: bytes) -> Policy:
    for key in keys:
        policy.add(bytes([key]))
    return policy


def test_some_settings_need_no_order_of_their_own() -> None:
    assert policy_of(Eviction.NOEVICTION) is None
    assert policy_of(Eviction.VOLATILE_TTL) is None


@pytest.mark.parametrize("eviction", HOLDING)
def test_without_reads_the_oldest_goes_first(eviction: Eviction) -> None:
    assert victims(filled(made(eviction), b"abc")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("eviction", HOLDING)
def test_unknown_keys_are_ignored_and_an_empty_order_has_no_victim(eviction: Eviction) -> None:
    policy = made(eviction)
    policy.access(b"x")
    policy.remove(b"x")
    assert len(policy) == 0
    assert policy.take() is None


@pytest.mark.parametrize("eviction", HOLDING)
def test_what_is_read_outlives_what_is_not(eviction: Eviction) -> None:
    policy = filled(made(eviction), b"abcd")
    policy.access(b"a")
    policy.add(b"b")  # written again
    assert set(victims(policy)[:2]) == {b"c", b"d"}


def test_lru_goes_by_the_last_use() -> None:
    policy = filled(Lru(), b"abc")
    policy.access(b"a", 100)
    policy.access(b"b")
    assert victims(policy) == [b"c", b"a", b"b"]


def test_sieve_leaves_what_it_spares_where_it_is() -> None:
    """The example of the paper's figure 1, in small: survivors keep their places."""
    policy = filled(Sieve(), b"abcd")
    policy.access(b"a")
    policy.access(b"c")
    assert policy.take() == b"b", "a was spared, and lost its mark"
    policy.add(b"e")
    assert policy.take() == b"d", "c was spared"
    policy.access(b"a")
    assert policy.take() == b"e"
    assert victims(policy) == [b"c", b"a"], "the hand began anew, and a was read since"


def test_lfu_goes_by_how_often() -> None:
    policy = filled(Lfu(), b"abcd")
    policy.access(b"a", 50)
    policy.access(b"b", 3)
    policy.access(b"c")
    assert victims(policy) == [b"d", b"c", b"b", b"a"]


def test_lfu_lets_old_fame_fade() -> None:
    policy = filled(Lfu(), b"ab")
    policy.access(b"a", 100)
    for number in count():  # what is read now and then passes what was read much, once
        policy.access(b"b")
        if number % 10 == 0:
            policy.add(b"n%d" % number)
            if policy.take() == b"a":
                break
        assert number < 2000, "fame of the past stays for ever"
    assert b"b" in policy


def test_lfu_counts_no_further_than_it_must() -> None:
    policy = filled(Lfu(), b"ab")
    policy.access(b"a", 10**12)
    policy.access(b"b", 10**6)
    assert victims(policy) == [b"a", b"b"], "equals, and b was used last"


class Plain:
    """Sieve as the paper's pseudocode has it, on a list."""

    def __init__(self) -> None:
        self.queue: list[bytes] = []  # the newest first
        self.marked: set[bytes] = set()
        self.hand: bytes | None = None

    def add(self, key: bytes) -> None:
        if key in self.queue:
            self.access(key)
        else:
            self.queue.insert(0, key)

    def access(self, key: bytes) -> None:
        if key in self.queue:
            self.marked.add(key)

    def newer(self, key: bytes) -> bytes | None:
        place = self.queue.index(key)
        return self.queue[place - 1] if place else None

    def remove(self, key: bytes) -> None:
        if key in self.queue:
            if self.hand == key:
                self.hand = self.newer(key)
            self.queue.remove(key)
            self.marked.discard(key)

    def take(self) -> bytes | None:
        if not self.queue:
            return None
        at = self.hand or self.queue[-1]
        while at in self.marked:
            self.marked.remove(at)
            at = self.newer(at) or self.queue[-1]
        self.hand = self.newer(at)
        self.queue.remove(at)
        return at


keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "add", "access", "remove"]), keys),
        st.tuples(st.just("take"), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=1000, deadline=None)
@given(steps)
@example([("add", b"a"), ("add", b"b"), ("access", b"a"), ("take", None), ("add", b"c")])
def test_sieve_does_what_the_paper_says(steps: list[tuple[str, bytes | None]]) -> None:
    sieve, plain = Sieve(), Plain()
    for step, key in steps:
        if step == "take":
            assert sieve.take() == plain.take()
        else:
            getattr(sieve, step)(key)
            getattr(plain, step)(key)
        assert len(sieve) == len(plain.queue)
    assert victims(sieve) == victims(plain)


@pytest.mark.parametrize("eviction", HOLDING)
@given(steps=steps)
def test_it_holds_exactly_what_was_added_and_not_taken(
    eviction: Eviction, steps: list[tuple[str, bytes | None]]
) -> None:
    policy, held = made(eviction), set[bytes]()
    for step, key in steps:
        if step == "take":
            victim = policy.take()
            assert (victim is None) == (not held)
            held.discard(victim or b"")
        else:
            getattr(policy, step)(key)
            assert key is not None
            held = held | {key} if step == "add" else held - {key} if step == "remove" else held
        assert len(policy) == len(held)
        assert all(key in policy for key in held)
