"""Where the log's entries lie on disk: one place for each block, not for each entry."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import NamedTuple


class Place(NamedTuple):
    """Where a block lies: in this segment of the log, at this offset."""

    segment: int
    offset_bytes: int


class Stretch(NamedTuple):
    """Blocks of one segment: (offset, first index, the index before which the next block begins).

    What a block holds from that index on was truncated later.
    """

    segment: int
    blocks: list[tuple[int, int, int]]


class Places:
    """The blocks that hold the entries of a log as it is now, in the order of their entries.

    Three numbers for each block; an entry is in the last block that begins at or before its index.
    """

    def __init__(self) -> None:
        self._first_indexes = array("Q")
        self._segments = array("Q")
        self._offsets = array("Q")

    def __len__(self) -> int:
        return len(self._first_indexes)

    def wrote(self, first_index: int, place: Place) -> None:
        """A block that begins with this entry is on the disk; it follows all that are known."""
        known = self._first_indexes
        assert not known or first_index > known[-1]
        known.append(first_index)
        segment, offset_bytes = place
        self._segments.append(segment)
        self._offsets.append(offset_bytes)

    def cut_after(self, index: int) -> None:
        """Entries above this index are truncated, or will be by the next block."""
        if self._first_indexes and self._first_indexes[-1] > index:
            self._keep(slice(bisect_right(self._first_indexes, index)))

    def drop_before(self, index: int) -> None:
        """Entries below this index will not be asked for any more."""
        last = bisect_right(self._first_indexes, index) - 1
        if last > 0:
            self._keep(slice(last, None))

    def _keep(self, part: slice) -> None:
        self._first_indexes = self._first_indexes[part]
        self._segments, self._offsets = self._segments[part], self._offsets[part]

    def holds(self, index: int) -> bool:
        """Whether a block is known that holds this entry, which is durable."""
        return bool(self._first_indexes) and self._first_indexes[0] <= index

    def stretch(self, index: int, size_bytes: int) -> Stretch:
        """The block that holds this entry, and those that begin so few bytes behind its start."""
        assert self.holds(index)
        at = begin = bisect_right(self._first_indexes, index) - 1
        segment, end = self._segments[begin], self._offsets[begin] + size_bytes
        blocks = []
        while at < len(self) and self._segments[at] == segment and self._offsets[at] < end:
            first = self._first_indexes[at]
            blocks.append((self._offsets[at], first, self._next_first_index(at)))
            at += 1
        return Stretch(segment, blocks)

    def _next_first_index(self, at: int) -> int:
        known = at + 1 < len(self)
        return self._first_indexes[at + 1] if known else 1 << 63
