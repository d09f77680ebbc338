"""Who holds copies of keys is told when these change: when, of what, and when of everything."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from raftcache.command.words import Delete, Evict, Put, Tick
from raftcache.service import lateness, tracking
from raftcache.service.lateness import Vigil
from raftcache.service.tracking import Tracker, Tracking
from raftcache.state.machine import Machine
from tests.support.watching import FakeReplica, HandLoop
from tests.unit.test_machine import at, do
from tests.unit.test_redis_core import calls, copy


class Cache:
    """A Sink; told: what it was told, each time."""

    def __init__(self) -> None:
        self.told: list[list[bytes] | None] = []
        self.cut = ""
        self.fails = False

    def invalidate(self, keys: list[bytes] | None) -> None:
        if self.fails:
            raise RuntimeError("on purpose")
        self.told.append(keys)

    def cut_off(self, why: str) -> None:
        self.cut = why

    def take(self) -> list[list[bytes] | None]:
        told, self.told = self.told, []
        return told


class Bench:
    def __init__(self) -> None:
        self.machine, self.loop = Machine(), HandLoop()
        self.hub = Tracking(self.machine, self.loop)
        self.hub.start()

    def open(self, prefixes: Iterable[bytes] | None = None) -> tuple[Cache, Tracker]:
        cache = Cache()
        return cache, self.hub.open(cache, prefixes)

    def read(self, tracker: Tracker, *keys: bytes) -> None:
        self.hub.reading(tracker, keys)
        self.hub.has_read(tracker)

    def run(self) -> int:
        return self.loop.run()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_key_that_was_shown_is_told_once(bench: Bench) -> None:
    cache, tracker = bench.open()
    bench.read(tracker, b"a", b"b")
    at(bench.machine, 1000, Put(b"a", b"1"), Put(b"c", b"1"), Put(b"a", b"2"))
    bench.run()
    assert cache.take() == [[b"a"]]
    do(bench.machine, Put(b"a", b"3"))
    bench.run()
    assert cache.take() == []
    bench.read(tracker, b"a")
    at(bench.machine, 1000, Put(b"a", b"4"), Delete(b"b"), Put(b"b", b"1"))
    bench.run()
    assert cache.take() == [[b"a", b"b"]]
    assert bench.hub.gauges() == {
        "trackers": 1,
        "tracked_keys": 0,
        "invalidations": 3,
        "invalidated_early": 0,
    }


def test_each_way_in_which_a_key_changes(bench: Bench) -> None:
    cache, tracker = bench.open()
    at(bench.machine, 1000, Put(b"e", b"1"), Put(b"x", b"1", ttl_ms=5), Put(b"s", b"1"))
    bench.run()
    bench.read(tracker, b"e", b"x", b"s", b"n")
    do(bench.machine, Evict(((b"e", 1),)))
    bench.run()
    assert cache.take() == [[b"e"]]
    at(bench.machine, 1005, Tick())
    bench.run()
    assert cache.take() == [[b"x"]]
    calls(bench.machine, "APPEND s 1", "SADD n m")
    bench.run()
    assert cache.take() == [[b"s", b"n"]]
    bench.read(tracker, b"n")
    calls(bench.machine, "SADD n m2")
    bench.run()
    assert cache.take() == [[b"n"]]


def test_what_changed_before_it_was_shown_is_not_told(bench: Bench) -> None:
    _, first = bench.open()
    do(bench.machine, Put(b"a", b"1"))
    bench.run()
    cache, tracker = bench.open()
    bench.read(tracker, b"a")
    bench.read(first, b"a")
    bench.run()
    assert cache.take() == []


def test_what_nobody_listened_to_is_skipped(bench: Bench) -> None:
    do(bench.machine, Put(b"a", b"1"))
    cache, tracker = bench.open()
    bench.read(tracker, b"a")
    assert bench.run() == 0
    assert cache.take() == []


@pytest.mark.parametrize("prefixes", [None, [b""]])
def test_a_change_during_a_read_is_told_after_the_answer(
    bench: Bench, prefixes: list[bytes] | None
) -> None:
    """For it may show what was before; even if the change was looked at long ago."""
    cache, tracker = bench.open(prefixes)
    bench.hub.reading(tracker, [b"a"])
    do(bench.machine, Put(b"a", b"1"))
    bench.run()
    assert cache.take() == []
    bench.hub.has_read(tracker)
    bench.run()
    assert cache.take() == [[b"a"]]
    do(bench.machine, Put(b"a", b"2"))
    bench.run()
    assert cache.take() == ([] if prefixes is None else [[b"a"]])


def test_a_change_that_is_looked_at_after_the_answer(bench: Bench) -> None:
    cache, tracker = bench.open()
    bench.hub.reading(tracker, [b"a"])
    do(bench.machine, Put(b"a", b"1"))
    bench.hub.has_read(tracker)
    bench.run()
    assert cache.take() == [[b"a"]]


def test_prefixes_are_told_of_all_their_keys(bench: Bench) -> None:
    users, _ = bench.open([b"user:", b"group:"])
    every, _ = bench.open([b""])
    at(bench.machine, 1000, Put(b"user:1", b""), Put(b"x", b""), Put(b"group:1", b""))
    at(bench.machine, 1000, Put(b"user:1", b""))
    bench.run()
    assert [sorted(told or []) for told in users.take()] == [[b"group:1", b"user:1"]]
    assert every.take() == [[b"user:1", b"x", b"group:1"]]
    assert bench.hub.gauges()["tracked_keys"] == 0


def test_own_writes_are_not_told_to_who_does_not_want_it(bench: Bench) -> None:
    for prefixes in (None, [b""]):
        cache, tracker = bench.open(prefixes)
        bench.read(tracker, b"a", b"b")
        before = bench.machine.revision
        at(bench.machine, 1000, Put(b"a", b"1"), Put(b"b", b"1"))
        bench.hub.wrote(tracker, before + 1, before + 1)
        bench.run()
        assert cache.take() == [[b"b"]]
        at(bench.machine, 1000, Put(b"a", b"1"))  # still tracked
        bench.run()
        assert cache.take() == [[b"a"]]
        for revision in range(100):
            bench.hub.wrote(tracker, revision, revision)
        assert len(tracker.own) < 100
        bench.hub.close(tracker)


def test_what_expires_between_own_writes_is_told(bench: Bench) -> None:
    cache, tracker = bench.open()
    at(bench.machine, 1000, Put(b"a", b"1", ttl_ms=5))
    bench.run()
    bench.read(tracker, b"a")
    at(bench.machine, 1005, Put(b"b", b"1"))
    bench.hub.wrote(tracker, 2, 3)
    bench.run()
    assert cache.take() == [[b"a"]]


def test_who_has_gone_is_told_nothing(bench: Bench) -> None:
    cache, tracker = bench.open()
    other, another = bench.open([b"a"])
    bench.read(tracker, b"a", b"b")
    do(bench.machine, Put(b"a", b"1"))
    for each in (tracker, another, tracker):
        bench.hub.close(each)
    bench.hub.has_read(tracker)
    bench.run()
    assert (cache.take(), other.take()) == ([], [])
    assert bench.hub.gauges()["tracked_keys"] == bench.hub.gauges()["trackers"] == 0


def test_who_was_cut_off_and_reads_on_for_a_moment_leaves_nothing_behind(bench: Bench) -> None:
    """Its connection ends in a later turn of the loop than it was told to."""
    _, tracker = bench.open()
    bench.hub.cut_off_all("on purpose")
    bench.read(tracker, b"a", b"b")
    bench.hub.close(tracker)
    assert bench.hub.gauges()["tracked_keys"] == 0
    assert not bench.hub._tracked


def test_a_flush_makes_everything_invalid(bench: Bench) -> None:
    cache, tracker = bench.open()
    broad, _ = bench.open([b"x"])
    at(bench.machine, 1000, Put(b"a", b"1"), Put(b"b", b"1"))
    bench.run()
    bench.read(tracker, b"a", b"b", b"nothing")
    calls(bench.machine, "FLUSHALL")
    bench.run()
    assert (cache.take(), broad.take()) == ([None], [None])
    assert bench.hub.gauges()["tracked_keys"] == 0


def test_a_loaded_image_makes_everything_invalid(bench: Bench) -> None:
    cache, tracker = bench.open()
    bench.read(tracker, b"a")
    bench.hub.reading(tracker, [b"b"])
    loader = bench.machine.loader()
    for piece in copy(bench.machine).dump():
        loader.feed(piece)
    loader.install()
    bench.run()
    assert cache.take() == [None]
    bench.hub.has_read(tracker)
    bench.run()
    assert cache.take() == [None]
    bench.read(tracker, b"a")
    do(bench.machine, Put(b"a", b"1"))
    bench.run()
    assert cache.take() == [[b"a"]]


def test_a_history_that_has_forgotten_makes_everything_invalid(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 10)
    cache, tracker = bench.open()
    bench.read(tracker, b"a")
    at(bench.machine, 1000, *[Put(b"k%d" % number, b"") for number in range(20)])
    bench.run()
    assert cache.take() == [None]


def test_when_too_many_keys_are_tracked_the_oldest_are_told_early(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "TRACKED_KEYS_MAX", 3)
    cache, tracker = bench.open()
    other, another = bench.open()
    bench.read(tracker, b"a")
    bench.read(another, b"a", b"b")
    bench.read(tracker, b"c")
    bench.run()
    assert (cache.take(), other.take()) == ([[b"a"]], [[b"a"]])
    bench.read(tracker, *[b"k%d" % number for number in range(9)])
    bench.run()
    assert bench.hub.gauges()["tracked_keys"] == 3
    told = cache.take()
    assert len({key for keys in told for key in keys or ()}) == 7


def test_many_changes_take_many_turns(bench: Bench) -> None:
    cache, _ = bench.open([b""])
    keys = [str(number).encode() for number in range(4 * tracking.EVENTS_PER_TURN)]
    at(bench.machine, 1000, *[Put(key, b"") for key in keys])
    assert bench.run() >= 3
    assert [key for told in cache.take() for key in told or ()] == keys


def test_one_that_fails_costs_the_others_nothing(bench: Bench) -> None:
    bad, _ = bench.open([b""])
    good, _ = bench.open([b""])
    bad.fails = True
    do(bench.machine, Put(b"a", b"1"))
    bench.run()
    assert bad.cut
    assert good.take() == [[b"a"]]
    assert bench.hub.gauges()["trackers"] == 1


def test_a_node_that_lags_cuts_everybody_off(bench: Bench) -> None:
    replica = FakeReplica()
    vigil = Vigil(replica, bench.loop, [bench.hub.cut_off_all])
    vigil.start()
    cache, tracker = bench.open()
    bench.read(tracker, b"a")
    replica.state_age_s = lateness.LATE_S_MAX + 1
    bench.loop.beat()
    assert "6 s old" in cache.cut
    assert bench.hub.gauges()["tracked_keys"] == 0
    vigil.stop()


def test_it_stops(bench: Bench) -> None:
    cache, tracker = bench.open()
    bench.read(tracker, b"a")
    bench.hub.stop()
    do(bench.machine, Put(b"a", b"1"))
    calls(bench.machine, "FLUSHALL")
    assert bench.run() == 0
    assert cache.take() == []
