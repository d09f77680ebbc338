"""Lists: a row for each element, named by a position.

The first element of a list stands in the middle, those pushed one further left or right. What is
inserted between two takes a name between theirs, longer by some bits, so that nothing moves;
only where names have grown too long, the values of the shorter side move by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar, Final

from raftcache.state.items import LIST
from raftcache.state.redis.collection import Collection
from raftcache.state.rows import ID_SIZE_BYTES

POSITION_SIZE_BYTES: Final = 8
MIDDLE: Final = 1 << 62

NAME_SIZE_BYTES_MAX: Final = 64
"""Of a name between two others: hundreds of elements, one after another inserted at one place."""

REMOVED_AT_ONCE_MAX: Final = 100
"""If more are removed, and fewer stay, those that stay move to other rows instead."""

PIECE: Final = 1000
"""Elements that a search looks at before it finds out whether more are wanted."""


def _named(position: int) -> bytes:
    return position.to_bytes(POSITION_SIZE_BYTES, "big")


def _position(name: bytes) -> int:
    return int.from_bytes(name[:POSITION_SIZE_BYTES], "big")


def between(low: bytes, high: bytes) -> bytes:
    """A name in the middle: both taken as fractions, with zeros behind them."""
    size = max(len(low), len(high)) + 1
    total = sum(int.from_bytes(name.ljust(size, b"\0"), "big") for name in (low, high))
    name = (total // 2).to_bytes(size, "big")
    return name[:POSITION_SIZE_BYTES] + name[POSITION_SIZE_BYTES:].rstrip(b"\0")


class List(Collection):
    """The elements of a key, in their order; places count them from 0."""

    KIND: ClassVar[int] = LIST

    # Reading.

    def place_of(self, index: int) -> int | None:
        """Where an index points to that may count from the end; None if that is outside."""
        place = index + self.count if index < 0 else index
        return place if 0 <= place < self.count else None

    def span_of(self, first: int, last: int) -> tuple[int, int]:
        """The places [start, stop) from one such index to another, as far as there are any."""
        start, last = (index + self.count if index < 0 else index for index in (first, last))
        start, stop = max(start, 0), min(last + 1, self.count)
        return (start, stop) if start < stop else (0, 0)

    def at(self, place: int) -> bytes:
        return self._get(self._name_at(place)) or b""

    def values(self, start: int, stop: int, *, reverse: bool = False) -> list[bytes]:
        return [value for _, value in self._pairs(start, stop, reverse=reverse)]

    def search(
        self, value: bytes, *, reverse: bool = False, look_max: int = 0
    ) -> Iterator[tuple[int, bytes]]:
        """The places where the value is, with their rows' names; nothing may change meanwhile.

        look_max: so many elements are looked at, 0 for all. Each of them is counted, up to the last
        one that was given: a piece without the value at once, for most have none.
        """
        looks = min(self.count, look_max or self.count)
        for begin in range(0, looks, PIECE):
            end = min(begin + PIECE, self.count)
            start, stop = (self.count - end, self.count - begin) if reverse else (begin, end)
            names, values = self._piece(start, stop, looks - begin, reverse=reverse)
            if value not in values:
                self.store.count_bytes(sum(map(len, names)) + sum(map(len, values)))
                continue
            places = range(stop - 1, start - 1, -1) if reverse else range(start, stop)
            for place, name, each in zip(places, names, values, strict=False):
                self.store.count_bytes(len(name) + len(each))
                if each == value:
                    yield place, name[ID_SIZE_BYTES:]

    def _piece(
        self, start: int, stop: int, count_max: int, *, reverse: bool
    ) -> tuple[list[bytes], list[bytes]]:
        """The first of the rows at these places, with the id in their names, and their values."""
        self.store.count_elements(stop - start)
        first = self._rows.place(self._prefix)
        names = self._rows.names(first + start, first + stop, reverse=reverse)
        wanted = list(islice(names, count_max))
        return wanted, [self._rows.get(name) or b"" for name in wanted]

    # Changing.

    def push(self, values: Sequence[bytes], *, left: bool) -> None:
        """Put them at an end, one after the other."""
        if not self.count:
            position = MIDDLE
        elif left:
            position = _position(self._name_at(0)) - 1
        else:
            position = _position(self._name_at(self.count - 1)) + 1
        for value in values:
            self._put(_named(position), value)
            position += -1 if left else 1
        self.count += len(values)

    def pop(self, count: int, *, left: bool) -> list[bytes]:
        """Take so many from an end, or all there are."""
        count = min(count, self.count)
        stay = self.count - count
        pairs = list(self._pairs(*((0, count) if left else (stay, self.count)), reverse=not left))
        if self._goes_row_by_row(count):
            self.remove([name for name, _ in pairs])
        else:
            self.keep(*((count, self.count) if left else (0, stay)))
        return [value for _, value in pairs]

    def set(self, place: int, value: bytes) -> None:
        self._put(self._name_at(place), value)

    def insert(self, place: int, value: bytes) -> None:
        """Put it before the element that is there; place is count for behind the last one."""
        if place in (0, self.count):
            self.push([value], left=place == 0)
            return
        name = between(self._name_at(place - 1), self._name_at(place))
        if len(name) > NAME_SIZE_BYTES_MAX:
            self._insert_and_move(place, value)
            return
        self._put(name, value)
        self.count += 1

    def _insert_and_move(self, place: int, value: bytes) -> None:
        if place * 2 < self.count:
            first = _named(_position(self._name_at(0)) - 1)
            names = [first, *self._names(0, place)]
            values = [*self.values(0, place), value]
        else:
            last = _named(_position(self._name_at(self.count - 1)) + 1)
            names = [*self._names(place, self.count), last]
            values = [value, *self.values(place, self.count)]
        for name, each in zip(names, values, strict=True):
            self._put(name, each)
        self.count += 1

    def remove(self, names: Sequence[bytes]) -> None:
        """Of rows that are there."""
        for name in names:
            self._remove(name)
        self.count -= len(names)

    def _goes_row_by_row(self, count: int) -> bool:
        """Whether so many are removed one by one."""
        return count <= max(self.count - count, REMOVED_AT_ONCE_MAX)

    def keep(self, start: int, stop: int) -> None:
        """Remove all but the elements at places [start, stop)."""
        if self._goes_row_by_row(self.count - (stop - start)):
            self.remove([*self._names(0, start), *self._names(stop, self.count)])
            return
        values = self.values(start, stop)
        self._begin_anew()
        self.push(values, left=False)
