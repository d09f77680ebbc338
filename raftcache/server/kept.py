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

KEPT_SIZE_BYTES_MAX: Final = 16 << 20
"""Of all of them, with what is stored: the same holds for it."""

ANSWER_SIZE_BYTES_MAX: Final = 4 << 10
"""Of one that is kept: to write a longer one down is little beside sending it."""


class Kept:
    """Of one door. get: the answer for what is stored, if it is kept; None is nothing stored."""

    __slots__ = ("_by_stored", "_size_bytes", "get")

    def __init__(self) -> None:
        self._by_stored: dict[bytes | None, bytes] = {}
        self.get: Final = self._by_stored.get
        self._size_bytes = 0

    @property
    def _is_full(self) -> bool:
        room = KEPT_SIZE_BYTES_MAX - 3 * ANSWER_SIZE_BYTES_MAX  # one more may be as long as that
        return len(self._by_stored) >= KEPT_MAX or self._size_bytes >= room

    def add(self, stored: bytes | None, answer: bytes) -> None:
        """Keep what is answered, if there is room."""
        if self._is_full or stored is None or len(answer) > ANSWER_SIZE_BYTES_MAX:
            return
        if stored in self._by_stored:  # of a pipeline in which another was not
            return
        self._by_stored[stored] = answer
        self._size_bytes += len(stored) + len(answer)

    def clear(self) -> None:
        """Let all go, which takes a millisecond at most."""
        self._by_stored.clear()
        self._size_bytes = 0

    def sweep(self) -> None:
        """Make room, if there is none; to be called now and then.

        So who asks for more keys than are kept pays little for it: those that are asked for most
        are back soonest.
        """
        if self._is_full:
            self.clear()
