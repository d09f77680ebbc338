"""Answers that were written down once, found again by what is stored under their key.

What a plain string is answered with is a function of the bytes that are stored: whatever changes
the key changes them, for its revision is in them. So nothing that is kept can be too old, whatever
happens to the keys meanwhile: a reader looks up what is stored, as ever, and finds the answer by
that. What else an answer depends on is for the doors to see to.
"""

from __future__ import annotations

from typing import Final

KEPT_MAX: Final = 1 << 14
"""Answers that a door keeps; when it has so many, none is added until all are let go."""

KEPT_SIZE_BYTES_MAX: Final = 1 << 10
"""Of one of them: to write a longer one down is little beside sending it."""


class Kept:
    """Of one door. get: the answer for what is stored, if it is kept; None is nothing stored."""

    __slots__ = ("_by_stored", "get")

    def __init__(self) -> None:
        self._by_stored: dict[bytes | None, bytes] = {}
        self.get: Final = self._by_stored.get

    def add(self, stored: bytes | None, answer: bytes) -> None:
        """Keep what is answered, if there is room."""
        if len(answer) <= KEPT_SIZE_BYTES_MAX and len(self._by_stored) < KEPT_MAX:
            self._by_stored[stored] = answer

    def clear(self) -> None:
        """Let all go, which takes a millisecond at most."""
        self._by_stored.clear()

    def sweep(self) -> None:
        """Make room, if there is none; to be called now and then.

        So who asks for more keys than are kept pays little for it: those that are asked for most
        are back soonest.
        """
        if len(self._by_stored) == KEPT_MAX:
            self.clear()
