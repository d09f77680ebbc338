"""Where entries lie on the disk, and what is remembered of those that only lie there."""

from __future__ import annotations

import pytest

from raftcache.raft.entries import START, Position
from raftcache.raft.outline import Outline
from raftcache.raft.places import Place, Places

FAR = 1 << 63


def places_of(*blocks: tuple[int, int, int]) -> Places:
    """Blocks: (first index, segment, offset)."""
    places = Places()
    for first_index, segment, offset in blocks:
        places.wrote(first_index, Place(segment, offset))
    return places


def test_an_entry_is_in_the_last_block_that_begins_before_it() -> None:
    places = places_of((2, 1, 512), (5, 1, 1024), (9, 2, 512))
    assert places.stretch(5, 1) == (1, [(1024, 5, 9)])
    assert places.stretch(8, 1) == (1, [(1024, 5, 9)])
    assert places.stretch(9, 1) == (2, [(512, 9, FAR)])
    assert [places.holds(index) for index in (1, 2, 100)] == [False, True, True]
    assert not Places().holds(1)


def test_a_stretch_stays_in_one_segment_and_is_bounded() -> None:
    places = places_of((2, 1, 512), (5, 1, 1024), (9, 1, 2048), (10, 2, 512))
    assert places.stretch(3, 1 << 20) == (1, [(512, 2, 5), (1024, 5, 9), (2048, 9, 10)])
    assert places.stretch(3, 1000) == (1, [(512, 2, 5), (1024, 5, 9)])


def test_blocks_of_truncated_entries_are_forgotten_but_not_the_one_that_is_cut() -> None:
    places = places_of((2, 1, 512), (5, 1, 1024), (9, 1, 2048))
    places.cut_after(6)
    places.wrote(7, Place(1, 4096))
    assert places.stretch(6, 1) == (1, [(1024, 5, 7)])
    assert places.stretch(9, 1) == (1, [(4096, 7, FAR)])
    places.cut_after(0)
    assert len(places) == 0


def test_a_block_cannot_begin_where_one_is_known() -> None:
    with pytest.raises(AssertionError):
        places_of((2, 1, 512), (2, 1, 1024))


@pytest.mark.parametrize(("index", "left"), [(1, 3), (4, 3), (5, 2), (8, 2), (9, 1), (99, 1)])
def test_blocks_below_what_is_needed_are_dropped(index: int, left: int) -> None:
    places = places_of((2, 1, 512), (5, 1, 1024), (9, 2, 512))
    places.drop_before(index)
    assert len(places) == left
    assert places.holds(max(2, index))


def outline_of(*rows: tuple[int, int, int]) -> Outline:
    outline = Outline()
    for row in rows:
        outline.add(*row)
    return outline


ROWS = ((7, 1, 10), (8, 1, 20), (9, 3, 30), (10, 3, 40), (11, 4, 50))


@pytest.mark.parametrize("begin", range(6, 12))
def test_an_outline_tells_terms_and_sizes_wherever_it_begins(begin: int) -> None:
    outline = outline_of(*ROWS)
    outline.drop_before(begin)
    left = [row for row in ROWS if row[0] >= begin]
    assert [(i, outline.term_at(i), outline.size_at(i)) for i, _, _ in left] == left
    assert (len(outline), outline.size_bytes) == (len(left), sum(size for *_, size in left))
    assert outline.last == Position(11, 4)
    for index in (left[0][0] - 1, 12):
        with pytest.raises(AssertionError):
            outline.term_at(index)


def test_an_outline_that_was_emptied_begins_anywhere() -> None:
    outline = outline_of(*ROWS)
    outline.drop_before(12)
    assert (len(outline), outline.size_bytes, outline.last) == (0, 0, START)
    outline.add(40, 6, 5)
    assert (outline.first_index, outline.last, outline.term_at(40)) == (40, Position(40, 6), 6)


def test_an_outline_has_no_gaps() -> None:
    with pytest.raises(AssertionError):
        outline_of((7, 1, 10), (9, 1, 10))
