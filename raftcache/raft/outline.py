"""What a log remembers of entries whose commands are on the disk alone: index, term and size."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from raftcache.raft.entries import START, Position


class Outline:
    """Entries that follow each other: four bytes for each, and a few for each change of the term.

    Begins anywhere, grows at its end, and is shortened at its beginning only.
    """

    def __init__(self) -> None:
        self.first_index = 1
        """Of the first entry, if there is any."""
        self.size_bytes = 0
        """Sum of the sizes of the commands."""
        self._sizes = array("I")
        self._run_begins: list[int] = []  # indexes from which on each term counts
        self._run_terms: list[int] = []

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def last(self) -> Position:
        """START if there is none."""
        if not self._sizes:
            return START
        return Position(self.first_index + len(self._sizes) - 1, self._run_terms[-1])

    def add(self, index: int, term: int, size_bytes: int) -> None:
        """One more entry; the first one may have any index."""
        if not self._sizes:
            self.first_index = index
            self._run_begins, self._run_terms = [index], [term]
        elif term != self._run_terms[-1]:
            self._run_begins.append(index)
            self._run_terms.append(term)
        assert index == self.first_index + len(self._sizes), "a gap"
        self._sizes.append(size_bytes)
        self.size_bytes += size_bytes

    def term_at(self, index: int) -> int:
        assert 0 <= index - self.first_index < len(self._sizes)
        return self._run_terms[bisect_right(self._run_begins, index) - 1]

    def size_at(self, index: int) -> int:
        """Of its command, in bytes."""
        assert 0 <= index - self.first_index < len(self._sizes)
        return self._sizes[index - self.first_index]

    def drop_before(self, index: int) -> None:
        """Only the entries from this index on are left."""
        count = min(max(0, index - self.first_index), len(self._sizes))
        if 2 * count <= len(self._sizes):
            self.size_bytes -= sum(self._sizes[:count])
            del self._sizes[:count]
        else:  # a snapshot has covered nearly all: two million sizes take 28 ms to add up
            del self._sizes[:count]
            self.size_bytes = sum(self._sizes)
        self.first_index += count
        gone = max(0, bisect_right(self._run_begins, self.first_index) - 1)
        del self._run_begins[:gone], self._run_terms[:gone]
