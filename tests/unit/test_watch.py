"""The hub: order, filters, catching up, what is forgotten, and who reads too slowly."""

from __future__ import annotations

import asyncio

import pytest

from raftcache.command.codec import batch, encode
from raftcache.command.leasing import LeaseGrant
from raftcache.command.ranges import end_of_prefix
from raftcache.command.words import (
    Append,
    Command,
    Delete,
    DeleteRange,
    Evict,
    LeasedPut,
    Put,
    Tick,
    Txn,
)
from raftcache.errors import BadRequest, Compacted, NotLeader, Overloaded, Unknown
from raftcache.service import watch
from raftcache.service.audience import KINDS, Audience, View
from raftcache.service.watch import PROGRESS_BEATS, STEPS_PER_TURN, WATCHED_RANGES_MAX
from raftcache.state.machine import Machine
from tests.support.watching import Bench, Notes


def puts(*keys: bytes) -> list[Command]:
    return [Put(key, b"v") for key in keys]


def batch_of(*keys: bytes) -> bytes:
    return batch([encode(command) for command in puts(*keys)])


def of_key(key: bytes) -> View:
    return View(key, key + b"\0")


def of_prefix(prefix: bytes) -> View:
    return View(prefix, end_of_prefix(prefix))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_changes_is_delivered_in_order_and_once(bench: Bench) -> None:
    notes = bench.watch()
    bench.apply(Put(b"a", b"1"), Put(b"b", b"2"))
    bench.apply(Delete(b"a"), Delete(b"missing"), Append(b"b", b"3", 100))
    bench.loop.run()
    assert notes.seen == [
        (1, "PUT", b"a", b"1"),
        (2, "PUT", b"b", b"2"),
        (3, "DELETE", b"a", None),
        (4, "PUT", b"b", b"23"),
    ]


def test_all_changes_of_a_revision_come_together(bench: Bench) -> None:
    notes = bench.watch()
    bench.apply(Txn(success=(Put(b"a", b"1"), Put(b"b", b"2"), Put(b"c", b"3"))))
    bench.apply(DeleteRange(b"a", b"c"))
    bench.loop.run()
    changed = [[change.key for change in delivery.changes] for delivery in notes.deliveries]
    assert changed == [[b"a", b"b", b"c"], [b"a", b"b"]]
    assert notes.revisions == [1, 2]


def test_each_is_shown_its_keys(bench: Bench) -> None:
    views = {
        "key": of_key(b"b"),
        "prefix": of_prefix(b"b"),
        "short": of_prefix(b""),
        "range": View(b"a", b"b\0\0"),
        "open": View(b"b", b""),
        "ff": of_prefix(b"\xff"),
    }
    notes = {name: bench.watch(view) for name, view in views.items()}
    keys = [b"a", b"b", b"b\0", b"ba", b"c", b"\xff", b"\xff\xff"]
    bench.apply(*puts(*keys))
    bench.loop.run()
    got = {name: [key for _, _, key, _ in noted.seen] for name, noted in notes.items()}
    assert got == {
        "key": [b"b"],
        "prefix": [b"b", b"b\0", b"ba"],
        "short": keys,
        "range": [b"a", b"b", b"b\0"],
        "open": keys[1:],
        "ff": [b"\xff", b"\xff\xff"],
    }


def test_filters_and_previous_values(bench: Bench) -> None:
    bench.apply(Put(b"a", b"1"), Put(b"short", b"s", ttl_ms=10))
    deletes = bench.watch(View(kinds=frozenset({KINDS["delete"]})))
    expiries = bench.watch(View(kinds=frozenset({KINDS["expire"]}), previous=True))
    previous = bench.watch(View(b"a", b"a\0", previous=True))
    plain = bench.watch(of_key(b"a"))
    bench.apply(Put(b"a", b"2"))
    bench.now_ms += 10
    bench.apply(Delete(b"a"))
    bench.loop.run()
    assert deletes.seen == [(5, "DELETE", b"a", None)]
    assert expiries.seen == [(4, "EXPIRE", b"short", None)]
    assert expiries.deliveries[0].changes[0].previous.value == b"s"  # type: ignore[union-attr]
    before = [d.changes[0].previous for d in previous.deliveries]
    assert [item.value for item in before if item] == [b"1", b"2"]
    assert [d.changes[0].previous for d in plain.deliveries] == [None, None]


def test_what_made_room_and_what_went_with_its_lease(bench: Bench) -> None:
    _, granted = bench.apply(Put(b"a", b"1"), LeaseGrant(1000))
    lease = granted.number
    bench.apply(LeasedPut(b"c", b"3", lease), LeasedPut(b"d", b"4", lease))
    gone = bench.watch(View(kinds=frozenset({KINDS["evict"], KINDS["expire"]})))
    bench.apply(Evict(((b"a", 1),)))
    bench.now_ms += 1000
    bench.apply(Tick())
    bench.loop.run()
    assert [(kind, key) for _, kind, key, _ in gone.seen] == [
        ("EVICT", b"a"),
        ("EXPIRE", b"c"),
        ("EXPIRE", b"d"),
    ]


def test_one_object_for_all_who_are_shown_the_same(bench: Bench) -> None:
    first, second = bench.watch(of_prefix(b"a")), bench.watch(of_prefix(b"a"))
    bench.apply(*puts(b"a"))
    bench.loop.run()
    assert first.deliveries[0] is second.deliveries[0]


# Where it begins.


def test_from_a_past_revision_and_on(bench: Bench) -> None:
    bench.apply(*puts(b"a", b"b", b"c"))
    notes = bench.watch(since=1)
    bench.apply(*puts(b"d"))
    bench.loop.run()
    bench.apply(*puts(b"e"))
    bench.loop.run()
    assert notes.revisions == [2, 3, 4, 5]
    assert bench.replica.asked == 0


def test_from_now_is_after_what_was_acknowledged_anywhere(bench: Bench) -> None:
    bench.apply(*puts(b"a"))
    bench.replica.before = lambda: bench.apply(*puts(b"b"))  # on its way here meanwhile
    watcher, notes = bench.watcher()
    assert watcher.after == 2
    bench.apply(*puts(b"c"))  # before its client is told that it watches
    watcher.resume()
    bench.loop.run()
    assert notes.revisions == [3]


def test_a_revision_that_this_node_has_not_seen_yet_is_waited_for(bench: Bench) -> None:
    bench.replica.before = lambda: bench.apply(*puts(b"a", b"b"))
    watcher, _ = bench.watcher(since=2)
    assert watcher.after == 2
    bench.replica.before = lambda: None
    with pytest.raises(BadRequest, match="since=9 has not been yet: the store is at revision 2"):
        bench.watch(since=9)


def test_nobody_confirms(bench: Bench) -> None:
    bench.replica.confirms = None
    for since in (None, 7):
        with pytest.raises(NotLeader):
            bench.watch(since=since)
    assert bench.hub.gauges()["watchers"] == 0


def test_forgotten_history_is_refused_with_the_oldest_revision(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 4)
    for _ in range(3):
        bench.apply(*puts(b"a", b"b"))
    oldest = bench.machine.history.first_revision
    assert oldest
    with pytest.raises(Compacted) as raised:
        bench.watch(since=oldest - 1)
    assert f"after revision {oldest - 1} is forgotten" in raised.value.detail
    assert raised.value.oldest_revision == oldest
    notes = bench.watch(since=oldest)
    bench.loop.run()
    assert notes.revisions == list(range(oldest + 1, 7))


# Who is behind.


def test_many_catch_up_together_and_none_misses_what_happens_meanwhile(bench: Bench) -> None:
    count = 3 * STEPS_PER_TURN
    for _ in range(count):
        bench.apply(*puts(b"a", b"b"))
    live = bench.watch()
    behind = {since: bench.watch(since=since) for since in (0, 1, count, 2 * count - 1)}
    while bench.loop.soon:
        bench.loop.turn()
        if bench.machine.revision < 2 * count + 50:
            bench.apply(*puts(b"c"))
    last = bench.machine.revision
    assert live.revisions == list(range(2 * count + 1, last + 1))
    for since, notes in behind.items():
        assert notes.revisions == list(range(since + 1, last + 1))
    assert bench.hub.gauges()["watchers_behind"] == 0


def test_more_than_a_cohort_catches_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "COHORT_MAX", 2)
    bench.apply(*puts(b"a", b"b", b"c"))
    everyone = [bench.watch(since=since) for since in (0, 1, 2, 0, 1)]
    bench.loop.run()
    assert [notes.revisions for notes in everyone] == [[1, 2, 3], [2, 3], [3], [1, 2, 3], [2, 3]]


def test_a_revision_in_the_middle_of_which_a_cohort_rests(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "STEPS_PER_TURN", 2)
    bench.apply(*puts(b"a"))
    everyone = [bench.watch(since=0) for _ in range(5)]
    bench.loop.run()
    assert [notes.revisions for notes in everyone] == [[1]] * 5


def test_work_is_bounded_in_each_turn(bench: Bench) -> None:
    everyone = [bench.watch(of_prefix(b"a")) for _ in range(3 * STEPS_PER_TURN)]
    bench.loop.run()
    bench.apply(*puts(b"a"))
    assert bench.loop.run() >= 3
    assert all(notes.revisions == [1] for notes in everyone)


def test_a_full_sink_is_put_aside_and_catches_up(bench: Bench) -> None:
    watcher, notes = bench.watcher()
    watcher.resume()
    other = bench.watch()
    bench.apply(*puts(b"a"))
    bench.loop.run()
    notes.is_full = True
    bench.apply(*puts(b"b", b"c"))
    bench.loop.run()
    assert (notes.revisions, other.revisions) == ([1], [1, 2, 3])
    notes.is_full = False
    watcher.resume()
    bench.apply(*puts(b"d"))
    bench.loop.run()
    assert notes.revisions == other.revisions == [1, 2, 3, 4]
    watcher.resume()  # told again, though nothing was full
    bench.loop.run()


def test_who_reads_too_slowly_is_cut_off_and_costs_nobody_anything(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BACKLOG_EVENTS_MAX", 10)
    slow, fast = bench.watch(), bench.watch()
    slow.is_full = True
    for _ in range(12):
        bench.apply(*puts(b"a"))
        bench.loop.run()
    assert isinstance(slow.error, Overloaded)
    assert "11 changes happened" in slow.error.detail
    assert slow.revisions == []
    assert fast.revisions == list(range(1, 13))
    assert bench.hub.gauges()["watchers_cut_off"] == 1


def test_a_slow_one_whose_next_changes_are_forgotten_is_told_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 4)
    watcher, notes = bench.watcher()
    watcher.resume()
    notes.is_full = True
    for _ in range(9):
        bench.apply(*puts(b"a"))
        bench.loop.run()
    notes.is_full = False
    watcher.resume()
    bench.loop.run()
    assert isinstance(notes.error, Compacted)
    assert "after revision 0 is" in notes.error.detail
    assert notes.error.oldest_revision == bench.machine.history.first_revision > 0


def test_a_loaded_image_ends_whoever_missed_something(bench: Bench) -> None:
    other = Machine()
    now_ms = bench.now_ms
    bench.apply(*puts(b"a", b"b"))
    behind = bench.watch(since=0)
    live = bench.watch()
    bench.loop.run()
    for _ in range(5):
        other.apply(now_ms, batch_of(b"a"))
    bench.install(other)
    bench.loop.run()
    for notes in (behind, live):
        assert isinstance(notes.error, Compacted)
        assert "after revision 2 is" in notes.error.detail
        assert notes.error.oldest_revision == 5
    again = bench.watch(since=5)
    bench.apply(*puts(b"c"))
    bench.loop.run()
    assert again.revisions == [6]


def test_an_image_of_what_was_seen_already_ends_nobody(bench: Bench) -> None:
    notes = bench.watch()
    bench.apply(*puts(b"a", b"b"))
    bench.loop.run()
    same = Machine()
    same.apply(bench.now_ms, batch_of(b"a", b"b"))
    bench.install(same)
    bench.loop.run()
    bench.apply(*puts(b"c"))
    bench.loop.run()
    assert notes.revisions == [1, 2, 3]


# Progress.


def test_who_is_given_nothing_is_told_how_far_it_is(bench: Bench) -> None:
    quiet, busy = bench.watch(of_key(b"q")), bench.watch(of_key(b"b"))
    for _ in range(PROGRESS_BEATS):
        bench.apply(*puts(b"b"))
        bench.loop.beat()
    assert quiet.reached == [PROGRESS_BEATS]
    assert busy.reached == []
    for _ in range(PROGRESS_BEATS + 1):
        bench.loop.beat()
    assert quiet.reached == [PROGRESS_BEATS] * 2
    assert busy.reached == [PROGRESS_BEATS]


def test_those_who_began_together_are_not_told_together_for_ever(bench: Bench) -> None:
    everyone = [bench.watch(of_key(b"q")) for _ in range(4 * PROGRESS_BEATS)]
    for _ in range(2 * PROGRESS_BEATS):
        before = sum(len(notes.reached) for notes in everyone)
        bench.loop.beat()
        told = sum(len(notes.reached) for notes in everyone) - before
        assert told <= 1 + 2 * len(everyone) // PROGRESS_BEATS
    assert all(notes.reached for notes in everyone)


def test_progress_never_passes_what_was_not_delivered_yet(bench: Bench) -> None:
    everyone = [bench.watch() for _ in range(2 * STEPS_PER_TURN)]
    for _ in range(PROGRESS_BEATS):
        due, bench.loop.later = bench.loop.later, []
        for _, callback in due:
            callback()
    bench.apply(*puts(b"a"))
    while bench.loop.soon:
        bench.loop.turn()
        for notes in everyone:
            assert all(reached <= len(notes.deliveries) for reached in notes.reached)
    assert all(notes.revisions == [1] for notes in everyone)


# Who may watch.


def test_limits(bench: Bench) -> None:
    bench = Bench(watchers_max=2)
    first, _ = bench.watcher()
    bench.watch()
    with pytest.raises(Overloaded, match="2 watchers"):
        bench.watch()
    first.close()
    first.close()
    bench.watch()


def test_a_limit_of_different_ranges() -> None:
    bench = Bench()
    ranges = [View(b"a", b"b%d" % i) for i in range(WATCHED_RANGES_MAX)]
    watchers = [bench.watcher(view)[0] for view in ranges]
    with pytest.raises(Overloaded, match="ranges"):
        bench.watch(View(b"a", b"other"))
    bench.watch(ranges[0])
    bench.watch(of_key(b"a"))
    bench.watch(of_prefix(b"a"))
    watchers[1].close()
    bench.watch(View(b"a", b"other"))


def test_watchers_being_opened_count(bench: Bench) -> None:
    async def test() -> None:
        hub = Bench(watchers_max=1)
        hold: list[object] = []
        hub.replica.read_index = hold.append  # type: ignore[method-assign]
        first = asyncio.create_task(hub.hub.open(View(), None, Notes()))
        await asyncio.sleep(0)
        assert hold
        with pytest.raises(Overloaded):
            await hub.hub.open(View(), 0, Notes())
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await hub.hub.open(View(), 0, Notes())

    asyncio.run(test())


@pytest.mark.parametrize("how", ["expelled", "late", "stopped"])
def test_a_node_that_may_not_answer_ends_its_watches(bench: Bench, how: str) -> None:
    live, (aside, _) = bench.watch(), bench.watcher(notes=(kept := Notes()))
    if how == "stopped":
        bench.hub.stop("this node is shutting down")
    else:
        if how == "expelled":
            bench.replica.expelled = "it was removed"
        else:
            bench.replica.state_age_s = 11.0
        bench.apply(*puts(b"a"))
        bench.loop.beat()
    for notes in (live, kept):
        assert isinstance(notes.error, NotLeader)
        assert notes.revisions == []
    assert aside.is_closed
    with pytest.raises(NotLeader):
        bench.watch()
    assert bench.hub.gauges()["watchers"] == 0


def test_one_broken_watcher_hurts_nobody(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    broken = bench.watch(notes=Notes(fails=True))
    fine = bench.watch()
    bench.apply(*puts(b"a"))
    bench.loop.run()
    assert isinstance(broken.error, Unknown)
    assert fine.revisions == [1]
    assert "could not be given" in caplog.text


def test_leaving_in_any_state(bench: Bench) -> None:
    bench.apply(*puts(*[b"a"] * 1000))
    watchers = [bench.watcher(since=since) for since in (0, 500, 1000, 1000)]
    for watcher, _ in watchers[:3]:
        watcher.resume()
    bench.loop.turn()
    for watcher, _ in watchers:
        watcher.close()
    bench.loop.run()
    bench.apply(*puts(b"a"))
    bench.loop.run()
    assert watchers[2][1].revisions == watchers[3][1].revisions == []
    gauges = bench.hub.gauges()
    assert gauges["watchers"] == gauges["watchers_behind"] == 0
    late = bench.watch(since=1000)
    bench.loop.run()
    assert late.revisions == [1001]


def test_steps_are_shorter_the_more_ranges_there_are(bench: Bench) -> None:
    count = 10 * STEPS_PER_TURN
    bench.watch(of_key(b"k"))
    bench.apply(*puts(*[b"a"] * count))
    few = bench.loop.run()
    for i in range(WATCHED_RANGES_MAX):
        bench.watch(View(b"k", b"k%d" % i))
    bench.loop.run()
    bench.apply(*puts(*[b"a"] * count))
    assert few <= 2
    assert bench.loop.run() >= 10


def test_an_audience_forgets_who_left() -> None:
    audience: Audience[int] = Audience()
    views = [of_key(b"k"), of_prefix(b"p"), of_prefix(b"k"), View(b"a", b"z"), View(previous=True)]
    for i, view in enumerate(views):
        audience.add(view, i)
        audience.add(view, i + 10)
    for i, view in enumerate(views):
        audience.remove(view, i)
        audience.remove(view, i + 10)
    assert not audience
    assert (audience._keys, audience._prefixes, audience._ranges) == ({}, {}, {})
