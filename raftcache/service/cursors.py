"""Where the scans of this node's clients go on: a cursor names a place in a bounded table."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from raftcache.ports import Dice

CURSORS_MAX: Final = 10_000
CURSORS_SIZE_BYTES_MAX: Final = 16 << 20
"""Scans under way at a time, and bytes of the names where they go on; the oldest are forgotten."""

CURSOR_BITS: Final = 53
"""Some clients hold numbers in doubles."""


class Place(Struct, frozen=True):
    """Where a scan goes on.

    scanned: what is looked through. last: the last name that was looked at, None at the beginning.
    before: the cursor of the step before, 0 for none.
    """

    scanned: tuple[bytes, ...]
    last: bytes | None = None
    before: int = 0


class Cursors:
    """The table. Numbers are random: those of another node are unknown here, not mistaken.

    A scan takes one or two places. Who comes with a cursor has read the step that named it, so the
    one that led there is forgotten; its own stays, for this answer may be lost.
    """

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._places: dict[int, Place] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._places)

    def find(self, cursor: int, scanned: tuple[bytes, ...]) -> Place | None:
        """The place that it names; None if this is no cursor of such a scan."""
        if not cursor:
            return Place(scanned)
        place = self._places.get(cursor)
        if place is None or place.scanned != scanned:
            return None
        self._forget(place.before)
        return place

    def put(self, place: Place) -> int:
        """A new cursor for it."""
        cursor = 0
        while cursor == 0 or cursor in self._places:
            token = self._dice.token((CURSOR_BITS + 7) // 8)
            cursor = int.from_bytes(token, "big") % (1 << CURSOR_BITS)
        self._places[cursor] = place
        self._size_bytes += _size_bytes(place)
        while len(self._places) > CURSORS_MAX or self._size_bytes > CURSORS_SIZE_BYTES_MAX:
            self._forget(next(iter(self._places)))
        return cursor

    def _forget(self, cursor: int) -> None:
        place = self._places.pop(cursor, None)
        if place is not None:
            self._size_bytes -= _size_bytes(place)


def _size_bytes(place: Place) -> int:
    return len(place.last or b"") + sum(map(len, place.scanned))
