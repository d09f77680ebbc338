"""Walks over names while they change: what they keep, and in what steps."""

from __future__ import annotations

import gc
import random

import pytest
from sortedcontainers import SortedList

from raftcache.state import items, passes
from raftcache.state.keyspace import Keyspace
from raftcache.state.passes import LEAF_NAMES_MAX, Held, Pass
from raftcache.state.rows import Rows

COUNT = 20 * LEAF_NAMES_MAX


def name_of(i: int) -> bytes:
    return b"key:%012d" % i


def packed(revision: int, value: bytes = b"") -> bytes:
    return items.pack(revision, 1, 0, 1, b"", value)


def full(count: int) -> Keyspace:
    """So many keys, all of revision 1."""
    kept = Keyspace()
    for i in range(count):
        kept.put_plain(name_of(i), packed(1), None)
    return kept


def put(kept: Keyspace, i: int, revision: int) -> None:
    kept.put_plain(name_of(i), packed(revision), kept.packed(name_of(i)))


def orders() -> list[list[int]]:
    mixed = list(range(COUNT))
    random.Random(3).shuffle(mixed)
    return [list(range(COUNT)), list(range(COUNT))[::-1], mixed]


@pytest.mark.parametrize("order", orders(), ids=["rising", "falling", "mixed"])
def test_nothing_that_is_kept_becomes_large(order: list[int]) -> None:
    tested = Held()
    for i in order:
        tested.add(name_of(i), b"%d" % i)
        tested.add(name_of(i), b"too late")
    sizes = [len(leaf) for leaf in tested._leaves]
    assert sum(sizes) == COUNT
    assert max(sizes) <= LEAF_NAMES_MAX
    assert min(sizes) >= LEAF_NAMES_MAX // 2
    assert not any(map(gc.is_tracked, tested._leaves)), "the collector has nothing to walk over"


@pytest.mark.parametrize("order", orders(), ids=["rising", "falling", "mixed"])
def test_what_was_kept_is_freed_as_it_is_taken(order: list[int]) -> None:
    tested = Held()
    for i in order:
        tested.add(name_of(i), b"%d" % i)
    front = tested.front(700)
    assert 700 <= len(front) <= 700 + LEAF_NAMES_MAX
    assert front == set(map(name_of, range(len(front))))
    for i in range(COUNT):
        leaves = len(tested._leaves)
        assert tested
        assert tested.pop_first(name_of(i)) == b"%d" % i
        assert leaves - len(tested._leaves) <= 1
        assert sum(map(len, tested._leaves[:1])) > 0 or i == COUNT - 1
    assert not tested
    assert (len(tested._leaves), tested._firsts) == (1, [b""])
    assert tested.front(1) == set()


def test_what_changes_is_kept_until_it_is_passed() -> None:
    kept = full(COUNT)
    walk, seen = kept.begin_pass(1), []
    for i in range(COUNT):
        put(kept, i, 2 + i)
    assert sum(map(len, walk._kept._leaves)) == COUNT
    left = COUNT
    while not walk.done:
        seen += walk.take(500, 1 << 20)
        before, left = left, sum(map(len, walk._kept._leaves))
        assert before - left <= 500
    assert left == 0
    assert seen == [(name_of(i), packed(1)) for i in range(COUNT)]


def test_keys_that_are_younger_than_the_pass_are_not_kept() -> None:
    """However often they are written, come and go: their revision tells it."""
    kept = full(10)
    walk = kept.begin_pass(1)
    for revision in range(2, 6):
        for i in range(-5, 1000):
            if not 0 <= i < 10:
                put(kept, i, revision)
    stored = kept.find(name_of(500))
    assert stored is not None
    kept.remove(name_of(500), stored)
    put(kept, 500, 6)
    assert not walk._kept
    assert walk.take(100, 1 << 20) == [(name_of(i), packed(1)) for i in range(10)]


def test_a_key_that_was_there_is_kept_though_it_comes_anew() -> None:
    kept = full(3)
    walk = kept.begin_pass(1)
    for revision in (2, 4):
        stored = kept.find(name_of(1))
        assert stored is not None
        kept.remove(name_of(1), stored)
        put(kept, 1, revision + 1)
    assert walk.take(9, 1 << 20) == [(name_of(i), packed(1)) for i in range(3)]


def test_what_is_undone_is_as_it_was() -> None:
    """Then the key holds again what it held at the moment, with its revision."""
    kept = full(3)
    walk = kept.begin_pass(1)
    put(kept, 1, 2)
    kept.put_plain(name_of(1), packed(1), packed(2))
    stored = kept.find(name_of(1))
    assert stored is not None
    kept.remove(name_of(1), stored)
    assert walk.take(9, 1 << 20) == [(name_of(i), packed(1)) for i in range(3)]


def test_names_behind_the_last_one_do_not_hold_up_the_end() -> None:
    kept, other = full(10), Rows()
    other.put(b"a", b"1")
    walk, walk_rows = kept.begin_pass(1), other.begin_pass()
    for i in range(10, 5000):
        put(kept, i, 2)
        other.put(name_of(i), b"2")
    assert not walk_rows._kept
    assert len(walk.take(10, 1 << 20)) == 10
    assert walk.done
    assert walk_rows.take(1, 1 << 20) == [(b"a", b"1")]
    assert walk_rows.done


def test_nothing_was_there() -> None:
    kept = Keyspace()
    walk = kept.begin_pass(0)
    put(kept, 1, 1)
    assert walk.take(10, 1 << 20) == []
    assert walk.done


@pytest.mark.parametrize("seed", range(6))
def test_a_walk_shows_one_moment(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that say nothing of their age: those of rows."""
    monkeypatch.setattr(passes, "LEAF_NAMES_MAX", 4)
    dice = random.Random(seed)
    held = {name_of(dice.randrange(400)): b"%d" % i for i in range(200)}
    order, before = SortedList(held), dict(held)
    walk, seen = Pass(lambda: held, order, name_of(20), name_of(380)), []
    while not walk.done:
        for i in range(dice.randrange(60)):
            name = name_of(dice.randrange(400))
            walk.save(name, held.get(name))
            if name not in held:
                order.add(name)
                held[name] = b"new %d" % i
            elif dice.random() < 0.5:
                order.remove(name)
                del held[name]
            else:
                held[name] = b"again %d" % i
        seen += walk.take(dice.randrange(1, 30), dice.choice((1, 40, 1 << 20)))
    inside = {name: old for name, old in before.items() if name_of(20) <= name < name_of(380)}
    assert seen == sorted(inside.items())
    assert not walk._kept
