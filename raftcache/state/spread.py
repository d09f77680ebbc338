"""A dictionary of many names, spread over parts so that none of them grows in a long step.

Python's dictionary moves all its entries when it is full: 12 ms for 350,000 names, 24 for twice as
many, and nothing else happens meanwhile. Up to TOGETHER_MAX names a plain dictionary is faster, so
whoever may hold more begins with one, and goes on with this. Then it costs nothing: with so many
names a look-up waits for memory, not for the interpreter (docs/benchmarks/growth.md).
"""

from __future__ import annotations

from typing import Final

TOGETHER_MAX: Final = 1 << 18
"""Names in one dictionary: it grew last at 175,000, in 6 ms."""

PARTS: Final = 96
"""Of 350,000 names, where one of them takes 12 ms to grow, in all: 33,000,000. It is no power of
two, for those would be half empty at a million names."""

MOVED_PER_NAME: Final = 2
"""Names moved from where all were together, by each one that is set."""


class Spread:
    """What takes the place of a dictionary whose values are never None, with all that is in it.

    The dictionary belongs to it from then on; with each name set, some move to their parts.
    """

    __slots__ = ("_parts", "_rest")

    def __init__(self, together: dict[bytes, bytes]) -> None:
        self._parts: list[dict[bytes, bytes]] = [{} for _ in range(PARTS)]
        self._rest = together

    @property
    def settled(self) -> list[dict[bytes, bytes]] | None:
        """The parts, if all names are in theirs: each in that of its hash modulo PARTS.

        For a loop over many names, which the calls of this class would cost a third of its time.
        """
        return None if self._rest else self._parts

    def get(self, name: bytes) -> bytes | None:
        found = self._parts[hash(name) % PARTS].get(name)
        if found is None and self._rest:
            found = self._rest.get(name)
        return found

    def __getitem__(self, name: bytes) -> bytes:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self._parts[hash(name) % PARTS][name] = value
        if self._rest:
            self._rest.pop(name, None)
            self._move()

    def __delitem__(self, name: bytes) -> None:
        part = self._parts[hash(name) % PARTS]
        if name in part:
            del part[name]
        else:
            del self._rest[name]

    def _move(self) -> None:
        rest, parts = self._rest, self._parts
        for _ in range(min(MOVED_PER_NAME, len(rest))):
            name, value = rest.popitem()
            parts[hash(name) % PARTS][name] = value
        if not rest:
            self._rest = {}  # an emptied dictionary keeps its table
