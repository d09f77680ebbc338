"""A dictionary spread over parts, and what it does for keys and rows: the same, in short steps."""

from __future__ import annotations

import random
import sys
import tracemalloc
from bisect import bisect_left

import pytest

from raftcache.state import items, keyspace, rows, spread
from raftcache.state.keyspace import Keyspace
from raftcache.state.rows import Rows
from raftcache.state.spread import MOVED_PER_NAME, PARTS, SLOTS, Spread


def name_of(i: int) -> bytes:
    """16 bytes."""
    return b"key:%012d" % i


@pytest.fixture
def few_together(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many names a plain dictionary holds at most, here."""
    count = 64
    monkeypatch.setattr(keyspace, "TOGETHER_MAX", count)
    monkeypatch.setattr(rows, "TOGETHER_MAX", count)
    return count


def test_it_answers_as_the_dictionary_would() -> None:
    dice = random.Random(5)
    model = {name_of(i): b"%d" % i for i in range(2000)}
    tested = Spread(dict(model))
    for step in range(20_000):
        name = name_of(dice.randrange(3000))
        held = name in model
        if dice.random() < 0.4 and held:
            del model[name], tested[name]
        elif dice.random() < 0.3:
            model[name] = tested[name] = b"%d" % step
        assert tested.get(name) == model.get(name)
        if name in model:
            assert tested[name] == model[name]
    assert not tested._rest, "everything has moved by now"
    absent = next(name_of(i) for i in range(3000) if name_of(i) not in model)
    with pytest.raises(KeyError):
        tested[absent]
    with pytest.raises(KeyError):
        del tested[absent]


def test_few_of_its_parts_grow_at_a_time() -> None:
    """Those of one third grow while a fifth of the names come; none twice while they double."""
    tested, names, grown = Spread({}), 1 << 20, list[int]()
    sizes = {id(part): sys.getsizeof(part) for part in tested._slots}
    assert len(sizes) == PARTS
    for i in range(names):
        name = name_of(i)
        tested[name] = b""
        part = tested._slots[hash(name) % SLOTS]
        if sys.getsizeof(part) != sizes[id(part)]:
            sizes[id(part)] = sys.getsizeof(part)
            grown.append(i)
    late = [i for i in grown if i >= names // 2]
    assert PARTS / 2 < len(late) < PARTS * 3 / 2
    at_once = max(bisect_left(late, i + names // 64) - at for at, i in enumerate(late))
    assert at_once < PARTS // 4


def test_a_step_moves_few_names_and_none_is_lost_meanwhile() -> None:
    names = [name_of(i) for i in range(100)]
    tested = Spread(dict.fromkeys(names, b"old"))
    for i, name in enumerate(names):
        before = len(tested._rest)
        tested[name] = b"new"
        assert before - len(tested._rest) <= MOVED_PER_NAME + 1
        assert [tested[n] for n in names] == [b"new"] * (i + 1) + [b"old"] * (99 - i)
    assert not tested._rest


def test_the_table_of_what_has_moved_is_freed() -> None:
    tested = Spread(dict.fromkeys(map(name_of, range(1000)), b""))
    for i in range(1000, 1000 + 1000 // MOVED_PER_NAME):
        tested[name_of(i)] = b""
    assert sys.getsizeof(tested._rest) == sys.getsizeof({})


def test_a_part_that_is_emptied_frees_its_table() -> None:
    """To free those of four million names at once took 9 ms."""
    tested, names = Spread({}), [name_of(i) for i in range(10_000)]
    for name in names:
        tested[name] = b""
    for name in names:
        del tested[name]
        part = tested._slots[hash(name) % SLOTS]
        assert part or sys.getsizeof(part) == sys.getsizeof({})
    assert set(map(sys.getsizeof, tested._slots)) == {sys.getsizeof({})}


def test_keys_become_many_while_they_are_walked(few_together: int) -> None:
    def packed(i: int) -> bytes:
        """Younger than the walk if it is negative."""
        return items.pack(1 if i >= 0 else 2, 1, 0, 1, b"", b"%d" % i)

    kept, count = Keyspace(), 4 * few_together
    for i in range(few_together):
        kept.put_plain(name_of(2 * i), packed(i), kept.packed(name_of(2 * i)))
    walk = kept.begin_pass(1)
    first = walk.take(10, 1 << 20)
    for i in range(count):
        kept.put_plain(name_of(i), packed(-i - 1), kept.packed(name_of(i)))
    kept.remove(name_of(100), items.read_header(packed(-101)))
    assert type(kept._items) is Spread
    seen = first
    while not walk.done:
        seen += walk.take(10, 1 << 20)
    kept.end_pass()
    assert seen == [(name_of(2 * i), packed(i)) for i in range(few_together)]
    fresh = Keyspace()
    for i in range(count):
        if i != 100:
            fresh.put(name_of(i), packed(-i - 1), 0, None)
    assert (kept.digest, kept.size_bytes, len(kept)) == (fresh.digest, fresh.size_bytes, count - 1)
    assert list(kept.span(b"", b"")) == list(fresh.span(b"", b""))
    assert kept.find(name_of(100)) is None
    while kept.shed(50):
        assert len(kept) > 0
    assert len(kept) == 0


def test_rows_become_many(few_together: int) -> None:
    kept, count = Rows(), 4 * few_together
    walk = kept.begin_pass()
    for i in range(count):
        assert kept.put(name_of(i), b"") is None
        assert kept.put(name_of(i), b"%d" % i) == b""
    assert type(kept._items) is Spread
    while not walk.done:
        assert walk.take(100, 1 << 20) == []
    kept.end_pass()
    assert [kept.get(name_of(i)) for i in range(count)] == [b"%d" % i for i in range(count)]
    assert kept.remove(name_of(3)) == b"3"
    assert kept.remove(name_of(3)) is None
    assert len(kept) == count - 1
    while kept.shed(50):
        assert len(kept) > 0
    assert len(kept) == 0


def test_many_collections_are_gone() -> None:
    """No list of them becomes long: to take the first of a million from one moved all others."""
    kept, count = Rows(), 10_000
    for i in range(1, count + 1):
        kept.put(rows.prefix_of(i) + b"field", b"value")
        kept.discard(i)
    assert max(map(len, kept.gone._lists)) <= 2000
    kept.restore(5000)
    kept.free(10)
    assert len(kept) == count - 5, "a collection counts as much as its one row"
    assert (kept.gone[0], len(kept.gone)) == (6, count - 6)
    while kept.gone:
        kept.free()
    assert list(kept.names(0, 2)) == [rows.prefix_of(5000) + b"field"]


@pytest.mark.parametrize(
    ("together_max", "size_bytes_max"),
    [(spread.TOGETHER_MAX, 220), (2000, 240)],
    ids=["together", "spread"],
)
def test_a_key_takes_no_more_memory_than_it_should(
    together_max: int, size_bytes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """49 and 131 for 16 bytes of key and 64 of value; the rest is dictionary and order."""
    monkeypatch.setattr(keyspace, "TOGETHER_MAX", together_max)
    count = 20_000
    tracemalloc.start()
    try:
        kept = Keyspace()
        for i in range(count):
            packed = items.pack_next(None, i + 1, b"", bytes(64))
            assert packed is not None
            kept.put_plain(name_of(i), packed, None)
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 180 < size_bytes / count < size_bytes_max
