"""The bounded memory of what changed: whole revisions, positions that never come again."""

from __future__ import annotations

import pytest

from raftcache.command.limits import HISTORY_EVENT_SIZE_BYTES
from raftcache.state.history import Event, History, Kind
from raftcache.state.runs import Run


def event(revision: int, key: bytes = b"key", previous: bytes | None = b"old") -> Event:
    return Event(revision, Kind.PUT, key, b"new", previous)


def history_of(*revisions: int) -> History:
    history = History()
    for revision in revisions:
        history.add(event(revision))
    history.settle()
    return history


def revisions(events: list[Event] | None) -> list[int]:
    assert events is not None
    return [event.revision for event in events]


def test_events_after_a_revision_are_read_in_order() -> None:
    history = history_of(1, 2, 2, 2, 5)
    assert [history.position_after(r) for r in (0, 1, 2, 4, 5, 9)] == [0, 1, 4, 4, 5, 5]
    assert revisions(history.read(0, 100)) == [1, 2, 2, 2, 5]
    assert revisions(history.read(5, 100)) == []


@pytest.mark.parametrize(("count_max", "read"), [(1, [1]), (2, [1, 2, 2, 2]), (5, [1, 2, 2, 2, 5])])
def test_a_revision_is_never_read_in_parts(count_max: int, read: list[int]) -> None:
    assert revisions(history_of(1, 2, 2, 2, 5).read(0, count_max)) == read


@pytest.mark.parametrize(
    ("events_max", "first", "left"),
    [(5, 0, [1, 2, 2, 2, 5]), (4, 1, [2, 2, 2, 5]), (3, 2, [5]), (1, 2, [5]), (0, 5, [])],
)
def test_the_oldest_revisions_are_forgotten_whole(
    monkeypatch: pytest.MonkeyPatch, events_max: int, first: int, left: list[int]
) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", events_max)
    history = history_of(1, 2, 2, 2, 5)
    assert history.first_revision == first
    position = history.position_after(first)
    assert position is not None
    assert revisions(history.read(position, 100)) == left
    assert history.end == 5
    if first:
        assert history.position_after(first - 1) is None
        assert history.read(0, 100) is None


def test_large_values_are_forgotten_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    size_bytes_max = 6400
    monkeypatch.setattr("raftcache.state.history.HISTORY_SIZE_BYTES_MAX", size_bytes_max)
    history = History()
    each = HISTORY_EVENT_SIZE_BYTES + 3 + 2000
    for revision in (1, 2):
        history.add(event(revision, previous=bytes(2000)))
        history.settle()
    assert (history.first_revision, history.size_bytes) == (0, 2 * each)
    history.add(event(3, previous=bytes(2000)))
    history.settle()
    assert (history.first_revision, history.size_bytes) == (1, 2 * each)
    history.add(event(4, previous=bytes(2 * size_bytes_max)))
    history.settle()
    assert (history.first_revision, history.size_bytes, history.end) == (4, 0, 4)


def test_a_cut_leaves_room_so_that_not_every_batch_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 640)
    history = history_of(*range(1, 642))
    assert history.first_revision == 11


def test_it_tells_of_new_events_once_a_batch() -> None:
    history, told = History(), list[int]()
    history.listeners.append(lambda: told.append(history.end))
    history.settle()
    assert told == []
    history.add(event(1))
    history.add(event(2))
    history.settle()
    history.settle()
    assert told == [2]


def test_a_loaded_image_begins_a_new_history() -> None:
    history, told = history_of(1, 2), list[int]()
    history.listeners.append(lambda: told.append(history.first_revision))
    history.begin_at(7)
    assert told == [7]
    assert history.position_after(6) is None
    position = history.position_after(7)
    assert position == history.end
    assert history.read(2, 10) is None, "a position of before"
    assert history.read(position, 10) == []
    history.add(event(8))
    history.settle()
    assert revisions(history.read(position, 10)) == [8]
    assert history.size_bytes == HISTORY_EVENT_SIZE_BYTES + len(b"key") + len(b"old")


def test_what_was_known_before_an_image_is_freed_piece_by_piece() -> None:
    history = history_of(1, 2, 3)
    history.add_run(Run(8, [b"key"] * 5, [b"new"] * 5, [b"old"] * 5))
    history.settle()
    history.begin_at(20)
    assert history.size_bytes == 0
    left = [history.shed(2) for _ in range(4)]
    assert left == [True, True, False, False], "the run is freed whole"
