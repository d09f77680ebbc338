"""The near cache's memory, one rule at a time: what an event, an answer or a moment changes."""

from __future__ import annotations

from raftcache.client import Change, Changes, Entry
from raftcache.client.near_memory import ENTRY_SIZE_BYTES, NOTES_MAX, NearMemory


def entry(revision: int, ttl_ms: int | None = None) -> Entry:
    return Entry(b"k", b"%d" % revision, "", revision, 1, 1, ttl_ms)


def put(revision: int, ttl_ms: int | None = None) -> Changes:
    return Changes(revision, (Change("put", b"k", entry(revision, ttl_ms)),))


def gone(revision: int, kind: str = "delete") -> Changes:
    return Changes(revision, (Change(kind, b"k"),))


def memory(size_bytes_max: int = 1 << 20) -> NearMemory:
    made = NearMemory(size_bytes_max, staleness_s_max=10.0)
    made.restart(0, 0.0)
    return made


def filled(made: NearMemory, revision: int, as_of: int, ttl_ms: int | None = None) -> None:
    made.expect(b"k")
    made.fill(b"k", entry(revision, ttl_ms), as_of, 0.0)


def value(made: NearMemory, now_s: float = 1.0, at_least: int = 0) -> bytes | None:
    found = made.lookup(b"k", now_s, at_least)
    return found.entry.value if found and found.entry else None


def test_an_event_of_what_is_not_remembered_is_not_remembered() -> None:
    made = memory()
    made.apply(put(5))
    assert (made.statistics.keys, made.revision) == (0, 5)


def test_an_event_older_than_what_was_read_changes_nothing() -> None:
    made = memory()
    filled(made, 7, as_of=8)
    made.apply(put(6))
    assert value(made) == b"7"
    made.apply(put(7))
    made.apply(put(9))
    assert value(made) == b"9"


def test_an_answer_older_than_an_event_does_not_overwrite_it() -> None:
    for kind in ("delete", "expire", "evict"):
        made = memory()
        made.expect(b"k")
        made.apply(gone(9, kind))
        assert made.fill(b"k", entry(5), 8, 0.0).entry is None
        found = made.lookup(b"k", 1.0)
        assert found is not None
        assert (found.entry, found.as_of) == (None, 9)
    made = memory()
    filled(made, 9, as_of=9)
    made.expect(b"k")
    made.apply(put(12))
    assert made.fill(b"k", None, 11, 0.0).as_of == 12
    assert value(made) == b"12"
    filled(made, 11, as_of=11)  # one that was asked elsewhere
    assert value(made) == b"12"


def test_an_answer_from_before_a_gap_is_not_remembered() -> None:
    made = memory()
    made.expect(b"k")
    made.restart(50, 0.0)
    assert made.fill(b"k", entry(5), 49, 0.0).as_of == 49
    assert made.lookup(b"k", 1.0) is None
    filled(made, 5, as_of=50)
    assert value(made) == b"5"


def test_it_answers_while_it_is_fresh() -> None:
    made = memory()
    filled(made, 5, as_of=5)
    assert value(made, 10.0) == b"5"
    assert value(made, 10.1) is None
    made.confirm(4.0, 0)  # the store is where the watch is
    assert value(made, 14.0) == b"5"
    made.confirm(8.0, 7)
    made.confirm(9.0, 8)
    assert value(made, 14.1) is None, "what was acknowledged up to 7 is not known yet"
    made.apply(put(6))
    assert made.fresh_s == 4.0, "that an event came lately says nothing: it may have waited"
    made.apply(Changes(7, ()))
    assert made.fresh_s == 8.0
    assert value(made, 18.0) == b"6"
    assert value(made, 18.1) is None
    made.confirm(3.0, 7)
    assert made.fresh_s == 8.0


def test_notes_are_bounded_and_apart() -> None:
    made = memory()
    for i in range(10 * NOTES_MAX):
        made.confirm(i / 10, 100 + i)
    assert len(made._notes) == NOTES_MAX
    made.apply(Changes(100, ()))
    assert made.fresh_s == 0.0
    made.apply(Changes(110, ()))
    assert made.fresh_s == 0.9


def test_at_least() -> None:
    made = memory()
    filled(made, 5, as_of=8)
    assert value(made, at_least=8) == b"5"
    assert value(made, at_least=9) is None
    made.apply(Changes(9, ()))
    assert value(made, at_least=9) == b"5"


def test_nothing_outlives_its_time() -> None:
    made = memory()
    filled(made, 5, as_of=5, ttl_ms=3000)
    found = made.lookup(b"k", 1.0)
    assert found is not None
    shown = found.shown(1.0)
    assert shown is not None
    assert shown.ttl_ms == 2000
    assert value(made, 2.9) == b"5"
    assert value(made, 3.0) is None
    made.apply(Changes(5, ()))
    made.confirm(4.0, 5)
    made.apply(put(6, ttl_ms=500))
    assert value(made, 4.4) == b"6"
    assert value(made, 4.5) is None
    # However long it was on its way, or lay here unread: it came after 4.0.
    made.apply(put(7, ttl_ms=3000))
    assert value(made, 6.9) == b"7"
    assert value(made, 7.0) is None


def test_the_least_recently_used_go() -> None:
    made = memory(2 * ENTRY_SIZE_BYTES + 10)
    for key in (b"a", b"b"):
        made.expect(key)
        made.fill(key, None, 1, 0.0)
    made.lookup(b"a", 1.0)
    made.expect(b"c")
    made.fill(b"c", None, 1, 0.0)
    assert [made.lookup(key, 1.0) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    big = Entry(b"c", bytes(3 * ENTRY_SIZE_BYTES), "", 2, 1, 1, None)
    made.apply(Changes(2, (Change("put", b"c", big),)))
    assert made.lookup(b"c", 1.0) is None, "what is too large for all of it is not kept"
    assert made.lookup(b"a", 1.0) is not None
    statistics = made.statistics
    assert (statistics.keys, statistics.size_bytes) == (1, ENTRY_SIZE_BYTES + 1)
    assert (statistics.hits, statistics.misses) == (4, 2)
