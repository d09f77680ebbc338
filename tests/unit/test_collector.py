"""Python's collector, called by the clock."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from raftcache import collector
from raftcache.collector import LOOK_EVERY, MIDDLE_EVERY, Collector
from tests.support.watching import HandLoop


class Knot:
    """Something that keeps itself alive."""

    def __init__(self) -> None:
        self.itself = self


def knot() -> weakref.ref[Knot]:
    return weakref.ref(Knot())


@pytest.fixture
def loop() -> Iterator[HandLoop]:
    """The loop of a collector that has begun."""
    loop, before = HandLoop(), gc.get_threshold()
    started = Collector(loop)
    started.start()
    yield loop
    started.stop()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
    loop.beat()
    assert not loop.later, "it has stopped"


def full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])


def test_each_beat_frees_what_is_young(loop: HandLoop) -> None:
    for _ in range(2 * MIDDLE_EVERY):
        young = knot()
        assert young() is not None
        loop.beat()
        assert young() is None


def test_what_outlived_one_collection_is_freed_by_a_later_one(loop: HandLoop) -> None:
    kept = Knot()
    seen = weakref.ref(kept)
    loop.beat()
    del kept
    for _ in range(MIDDLE_EVERY):
        loop.beat()
    assert seen() is None


def test_all_is_looked_at_only_when_there_is_much(
    loop: HandLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, kept = full_collections(), [Knot() for _ in range(2000)]
    seen = [weakref.ref(one) for one in kept]
    for _ in range(2 * LOOK_EVERY):
        loop.beat()
    assert full_collections() == before
    del kept
    for _ in range(LOOK_EVERY):
        loop.beat()
    assert all(one() is not None for one in seen), "old, and too few to be looked for"


def test_many_old_ones_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "OLD_GROWTH_MAX", 1000)
    loop = HandLoop()
    started = Collector(loop)
    started.start()
    try:
        kept = [Knot() for _ in range(2000)]
        seen = weakref.ref(kept[0])
        for _ in range(2 * MIDDLE_EVERY):
            loop.beat()
        before = full_collections()
        del kept
        for _ in range(LOOK_EVERY):
            loop.beat()
        assert seen() is None
        assert full_collections() == before + 1
        for _ in range(LOOK_EVERY):
            loop.beat()
        assert full_collections() == before + 1, "there is nothing more to free"
    finally:
        started.stop()
