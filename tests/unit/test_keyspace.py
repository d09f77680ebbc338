"""The keys' indexes, digest and passes."""

from __future__ import annotations

import random

import pytest

from raftcache.command.replies import Item
from raftcache.state import items
from raftcache.state.keyspace import Keyspace
from raftcache.state.passes import Pass


def put(
    keyspace: Keyspace, key: bytes, value: bytes, deadline_ms: int = 0, revision: int = 1
) -> None:
    packed = items.pack(revision, 1, deadline_ms, 1, b"", value)
    keyspace.put(key, packed, deadline_ms, keyspace.find(key))


def put_later(keyspace: Keyspace, key: bytes, value: bytes) -> None:
    """At a revision after that of the passes."""
    put(keyspace, key, value, revision=2)


def remove(keyspace: Keyspace, key: bytes) -> None:
    stored = keyspace.find(key)
    assert stored is not None
    keyspace.remove(key, stored)


def taken(walk: Pass, keys_max: int = 1) -> list[bytes]:
    """The values the pass meets from here to its end."""
    values = []
    while not walk.done:
        for _, packed in walk.take(keys_max, 1 << 20):
            values.append(items.read_header(packed).value)
    return values


@pytest.fixture
def keyspace() -> Keyspace:
    """Keys b, d, f with the values B, D, F."""
    keyspace = Keyspace()
    for key in (b"f", b"b", b"d"):
        put(keyspace, key, key.upper())
    return keyspace


def test_an_item_reads_as_it_was_packed() -> None:
    packed = items.pack(9, 2, 1000, 3, b"text/plain", b"value")
    assert items.read(packed, 999) == Item(b"value", "text/plain", 2, 9, 3, 1000)
    assert items.read(packed, 1000) is None
    stored = items.read_header(packed)
    assert (stored.content_type, stored.value, stored.value_size_bytes) == (
        b"text/plain",
        b"value",
        5,
    )
    assert items.fault(packed, 9) is None


@pytest.mark.parametrize(
    ("packed", "about"),
    [
        (b"short", "an item of 5 bytes"),
        (bytes(items.PACKED_SIZE_BYTES_MAX + 1), "an item of"),
        (items.pack(10, 2, 0, 1, b"", b""), "changed at 10 in a store at 9"),
        (items.pack(2, 3, 0, 1, b"", b""), "created at revision 3 and changed at 2"),
        (items.pack(2, 0, 0, 1, b"", b""), "created at revision 0"),
        (items.pack(2, 2, 0, 0, b"", b""), "version 0"),
        (items.pack(3, 2, 0, 3, b"", b""), "version 3"),
        (items.pack(3, 2, 0, 2, b"\xff", b""), "a content type or value"),
        (items.pack(3, 2, 0, 2, b"abc", b"")[:-1], "a content type or value"),
        (items.pack(3, 2, 0, 2, b"", b"")[:-2] + b"\x08\x00", "a value of kind 8"),
        (items.pack(3, 2, 0, 2, b"", bytes(23), kind=items.SET), "a collection that is not"),
        (items.pack(3, 2, 0, 2, b"", b"")[:-2] + b"\x02\x00", "lease 0"),
    ],
)
def test_what_can_be_no_item_is_told(packed: bytes, about: str) -> None:
    why = items.fault(packed, 9)
    assert why is not None
    assert about in why
    assert not items.is_sound_plain(packed, 9)


@pytest.mark.parametrize(
    ("packed", "is_plain"),
    [
        (items.pack(9, 2, 0, 3, b"", b"value"), True),
        (items.pack(9, 2, 0, 8, b"", b""), True),
        (items.pack(9, 2, 7, 3, b"", b"value"), False),
        (items.pack(9, 2, 0, 3, b"", b"value", lease=7), False),
        (items.pack(9, 2, 0, 3, b"text/plain", b"value"), False),
        (items.pack(9, 2, 0, 3, b"", bytes(items.DESCRIPTOR_SIZE_BYTES), kind=items.SET), False),
    ],
)
def test_a_sound_plain_item_is_seen_at_once(packed: bytes, is_plain: bool) -> None:
    assert items.fault(packed, 9) is None
    assert items.is_sound_plain(packed, 9) == is_plain


def test_deadlines_come_in_order_of_time_then_key(keyspace: Keyspace) -> None:
    for key, deadline_ms in ((b"b", 20), (b"a", 30), (b"d", 20), (b"\xff", 19), (b"f", 40)):
        put(keyspace, key, b"", deadline_ms)
    assert keyspace.next_deadline_ms() == 19
    assert keyspace.overdue(18, 10) == []
    assert keyspace.overdue(20, 10) == [b"\xff", b"b", b"d"]
    assert keyspace.overdue(30, 10) == [b"\xff", b"b", b"d", b"a"]
    assert keyspace.overdue(30, 2) == [b"\xff", b"b"]


def test_a_deadline_moves_with_its_key(keyspace: Keyspace) -> None:
    put(keyspace, b"b", b"", 20)
    put(keyspace, b"b", b"", 10)
    assert keyspace.overdue(100, 10) == [b"b"]
    assert keyspace.next_deadline_ms() == 10
    put(keyspace, b"b", b"", 30)
    assert keyspace.next_deadline_ms() == 30
    put(keyspace, b"b", b"")
    assert keyspace.next_deadline_ms() is None
    put(keyspace, b"b", b"", 20)
    remove(keyspace, b"b")
    assert keyspace.next_deadline_ms() is None


def test_digest_and_size_depend_only_on_what_is_held() -> None:
    dice = random.Random(7)
    keys = [b"%d" % i for i in range(8)]
    wandering = Keyspace()
    for _ in range(300):
        key = dice.choice(keys)
        if wandering.find(key) is not None and dice.random() < 0.3:
            remove(wandering, key)
        else:
            put(wandering, key, dice.randbytes(dice.randrange(4)), dice.randrange(3))
    direct = Keyspace()
    for key in reversed(keys):
        if (stored := wandering.find(key)) is not None:
            direct.put(key, stored.packed, stored.deadline_ms, None)
    assert 0 < len(direct) < 8, "the seed must leave some keys and not all"
    assert (direct.digest, direct.size_bytes) == (wandering.digest, wandering.size_bytes)
    assert direct.overdue(9, 99) == wandering.overdue(9, 99)
    for key in keys:
        if wandering.find(key) is not None:
            remove(wandering, key)
    assert (wandering.digest, wandering.size_bytes, len(wandering)) == (0, 0, 0)


def test_a_digest_tells_key_from_value() -> None:
    one, two = Keyspace(), Keyspace()
    put(one, b"ab", b"c")
    put(two, b"a", b"bc")
    assert one.digest != two.digest


def test_a_pass_meets_the_keys_in_order(keyspace: Keyspace) -> None:
    assert taken(keyspace.begin_pass(1)) == [b"B", b"D", b"F"]


def test_a_pass_shows_the_past(keyspace: Keyspace) -> None:
    walk = keyspace.begin_pass(1)
    put_later(keyspace, b"a", b"new")
    put_later(keyspace, b"b", b"changed")
    put_later(keyspace, b"b", b"changed again")
    remove(keyspace, b"d")
    put_later(keyspace, b"d", b"made again")
    remove(keyspace, b"f")
    put_later(keyspace, b"g", b"new")
    assert taken(walk) == [b"B", b"D", b"F"]


def test_a_pass_shows_the_past_while_it_is_under_way(keyspace: Keyspace) -> None:
    walk = keyspace.begin_pass(1)
    assert [key for key, _ in walk.take(2, 1 << 20)] == [b"b", b"d"]
    put_later(keyspace, b"b", b"passed already")
    remove(keyspace, b"d")
    put_later(keyspace, b"c", b"new, and behind")
    put_later(keyspace, b"e", b"new, and ahead")
    put_later(keyspace, b"f", b"changed")
    assert taken(walk) == [b"F"]
    keyspace.end_pass()
    assert taken(keyspace.begin_pass(2)) == [b"passed already", b"new, and behind"] + [
        b"new, and ahead",
        b"changed",
    ]


def test_a_pass_takes_what_it_is_asked_for(keyspace: Keyspace) -> None:
    walk = keyspace.begin_pass(1)
    assert len(walk.take(10, 1)) == 1, "the first item may pass the size, no other one"
    assert len(walk.take(2, 1 << 20)) == 2
    assert walk.done


def test_a_pass_over_younger_keys_takes_bounded_steps() -> None:
    keyspace = Keyspace()
    put(keyspace, b"99", b"")
    walk = keyspace.begin_pass(1)
    for i in range(10):
        put_later(keyspace, b"%d" % i, b"")
    steps = [len(walk.take(4, 1 << 20)) for _ in range(3)]
    assert (steps, walk.done) == ([0, 0, 1], True)


def test_a_pass_forgets_what_it_has_passed(keyspace: Keyspace) -> None:
    walk = keyspace.begin_pass(1)
    for key in (b"b", b"d", b"f"):
        put_later(keyspace, key, b"changed")
    taken(walk)
    put_later(keyspace, b"d", b"changed when it was passed")
    assert not walk._kept


def test_there_is_one_pass_at_a_time(keyspace: Keyspace) -> None:
    keyspace.begin_pass(1)
    with pytest.raises(AssertionError):
        keyspace.begin_pass(1)
    keyspace.end_pass()
    keyspace.begin_pass(1)


def test_a_replaced_keyspace_is_freed_by_and_by(keyspace: Keyspace) -> None:
    put(keyspace, b"b", b"", 20)
    walk = keyspace.begin_pass(1)
    assert keyspace.shed(2), "a pass still reads it"
    assert len(taken(walk)) == 3
    keyspace.end_pass()
    assert keyspace.shed(2)
    assert len(keyspace) == 1
    assert not keyspace.shed(2)
