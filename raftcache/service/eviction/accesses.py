"""What was read at this node lately: noted at the price of one append, kept in bounded room.

A note is a sample: of the reads between two `take`s only the latest NOTES_MAX are known, which is
all of them at moderate load, and enough at a high one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from raftcache.command.limits import ACCESSES_REPORTED_MAX, ACCESSES_REPORTED_SIZE_BYTES_MAX

NOTES_MAX: Final = 128
"""With a look in 20 ms: what the policy learns of them takes a hundredth of a core at most."""


class Accesses:
    """Notes of reads, and what of them is still to be reported."""

    def __init__(self) -> None:
        self._notes: deque[bytes] = deque(maxlen=NOTES_MAX)
        self.note: Final[Callable[[bytes], None]] = self._notes.append
        """A key was read, or asked for."""
        self._counts: dict[bytes, int] = {}
        self._size_bytes = 0

    def take(self) -> list[bytes]:
        """The notes since the last call, the oldest first; they are part of the next report."""
        notes = list(self._notes)
        self._notes.clear()
        counts = self._counts
        for key in notes:
            count = counts.pop(key, 0)
            if count or self._has_room(key):
                counts[key] = count + 1  # at the end: the order is that of the last reads
        return notes

    def report(self) -> list[tuple[bytes, int]]:
        """Keys and how often each was taken since the last report; the latest read comes last."""
        report = list(self._counts.items())
        self._counts, self._size_bytes = {}, 0
        return report

    def _has_room(self, key: bytes) -> bool:
        if (
            len(self._counts) >= ACCESSES_REPORTED_MAX
            or self._size_bytes + len(key) > ACCESSES_REPORTED_SIZE_BYTES_MAX
        ):
            return False
        self._size_bytes += len(key)
        return True
