"""A dictionary of many names, spread over parts so that none of them grows in a long step.

Python's dictionary moves all its entries when it is full: 12 ms for 350,000 names, 24 for twice as
many, and nothing else happens meanwhile. Up to TOGETHER_MAX names a plain dictionary is faster, so
whoever may hold more begins with one, and goes on with this. Then it costs nothing: with so many
names a look-up waits for memory, not for the interpreter (docs/benchmarks/growth.md).
"""

from __future__ import annotations

from typing import Final, TypeVar

TOGETHER_MAX: Final = 1 << 18
"""Names in one dictionary: it grew last at 175,000, in 6 ms."""

PARTS: Final = 816
"""Of 10,922 names one takes 1 to 2 ms to grow, of 21,845 up to 3, of 43,690 up to 8: for nine, 18
and 36 million in all. A third of them each have 16, 17 and 18 of SLOTS, by the hash of a name: else
all would grow within a twentieth of the names, ten and more of them in one entry. At a million
names the fullest are just about to grow, so there they take the least memory. With twice as many
parts the list of slots is too large for the nearer caches: 6 % of a SET."""

SLOTS: Final = PARTS // 3 * (16 + 17 + 18)

MOVED_PER_NAME: Final = 2
"""Names moved from where all were together, by each one that is set."""

T = TypeVar("T")


def slots_of(parts: list[T]) -> list[T]:
    """Each part as many times as it has slots."""
    assert len(parts) == PARTS
    return [part for i, part in enumerate(parts) for _ in range(16 + i % 3)]


class Spread:
    """What takes the place of a dictionary whose values are never None, with all that is in it.

    The dictionary belongs to it from then on; with each name set, some move to their parts.
    """

    __slots__ = ("_rest", "_slots")

    def __init__(self, together: dict[bytes, bytes]) -> None:
        self._slots: list[dict[bytes, bytes]] = slots_of([{} for _ in range(PARTS)])
        self._rest = together

    @property
    def settled(self) -> list[dict[bytes, bytes]] | None:
        """The slots, if all names are in theirs: each in that of its hash modulo SLOTS.

        For a loop over many names, which the calls of this class would cost a third of its time.
        """
        return None if self._rest else self._slots

    def get(self, name: bytes) -> bytes | None:
        found = self._slots[hash(name) % SLOTS].get(name)
        if found is None and self._rest:
            found = self._rest.get(name)
        return found

    def __getitem__(self, name: bytes) -> bytes:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self._slots[hash(name) % SLOTS][name] = value
        if self._rest:
            self._rest.pop(name, None)
            self._move()

    def __delitem__(self, name: bytes) -> None:
        part = self._slots[hash(name) % SLOTS]
        if name in part:
            del part[name]
            if not part:
                part.clear()  # an emptied dictionary keeps its table
        else:
            del self._rest[name]

    def _move(self) -> None:
        rest, slots = self._rest, self._slots
        for _ in range(min(MOVED_PER_NAME, len(rest))):
            name, value = rest.popitem()
            slots[hash(name) % SLOTS][name] = value
        if not rest:
            self._rest = {}  # for the same reason
