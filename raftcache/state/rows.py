"""The elements of collections: one row for each, in order, with a running digest.

A collection is an item of the keyspace whose value is a Descriptor (items.py), and rows whose
names begin with its id. So a key is renamed, overdue or deleted at once however large it is: rows
without a key are freed afterwards, some by each entry. Ids rise and are never used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sortedcontainers import SortedList
from xxhash import xxh3_64_intdigest

from raftcache.command.limits import VALUE_SIZE_BYTES_MAX
from raftcache.state.passes import Pass, pass_over_all
from raftcache.state.spread import TOGETHER_MAX, Spread

ID_SIZE_BYTES: Final = 8
ID_MAX: Final = (1 << 63) - 1

NAME_SIZE_BYTES_MAX: Final = 64 << 10
"""Of a field or member: it is held in an index, as keys are."""

ROW_NAME_SIZE_BYTES_MAX: Final = NAME_SIZE_BYTES_MAX + 32
"""With the id, and what a type puts before it."""

ROW_COST_BYTES: Final = 160
"""What Python takes for a row beside its bytes; as for a key."""

ROWS_FREED_PER_ENTRY: Final = 1000
"""Of collections that are gone: as many as keys may expire by one."""


def prefix_of(collection: int) -> bytes:
    """What the names of its rows begin with."""
    return collection.to_bytes(ID_SIZE_BYTES, "big")


def id_of(name: bytes) -> int:
    """The collection that a row belongs to."""
    return int.from_bytes(name[:ID_SIZE_BYTES], "big")


class Rows:
    """All rows; digest is the sum of a hash over each (see Keyspace).

    next_id: of the next collection. gone: ids without a key, whose rows are to be freed, in order;
        millions of them once millions of keys have expired. All of them have rows, for that is what
        an image tells: how much an entry frees must be the same where one was loaded.
    """

    __slots__ = ("_items", "_order", "_pass", "_size_bytes", "digest", "gone", "next_id")

    def __init__(self, next_id: int = 1) -> None:
        self._items: dict[bytes, bytes] | Spread = {}
        self._order = SortedList()
        self._pass: Pass | None = None
        self.next_id = next_id
        self.gone = SortedList()
        self._size_bytes = 0
        self.digest = 0

    def __len__(self) -> int:
        return len(self._order)

    @property
    def memory_size_bytes(self) -> int:
        """About what it takes of the process's memory."""
        return self._size_bytes + len(self._order) * ROW_COST_BYTES

    # Rows by name.

    def get(self, name: bytes) -> bytes | None:
        return self._items.get(name)

    def put(self, name: bytes, value: bytes) -> bytes | None:
        """Set a row; what it was before."""
        old = self._items.get(name)
        seed = xxh3_64_intdigest(name)
        if old is None:
            self._order.add(name)
            if type(self._items) is dict and len(self._items) >= TOGETHER_MAX:
                self._items = Spread(self._items)
            self._size_bytes += len(name) + len(value)
        else:
            self.digest -= xxh3_64_intdigest(old, seed)
            self._size_bytes += len(value) - len(old)
        self.digest += xxh3_64_intdigest(value, seed)
        if self._pass is not None:
            self._pass.save(name, old)
        self._items[name] = value
        return old

    def remove(self, name: bytes) -> bytes | None:
        """Remove a row; what it was, None if there was none."""
        old = self._items.get(name)
        if old is None:
            return None
        del self._items[name]
        self._order.remove(name)
        self.digest -= xxh3_64_intdigest(old, xxh3_64_intdigest(name))
        self._size_bytes -= len(name) + len(old)
        if self._pass is not None:
            self._pass.save(name, old)
        return old

    def take_id(self) -> int:
        """For a new collection."""
        self.next_id += 1
        return self.next_id - 1

    # Rows by place: places count all rows, and hold until one is put or removed.

    def place(self, name: bytes) -> int:
        """Where the first row is whose name is not below; O(log n)."""
        place: int = self._order.bisect_left(name)
        return place

    def name_at(self, place: int) -> bytes:
        name: bytes = self._order[place]
        return name

    def names(self, start: int, stop: int, *, reverse: bool = False) -> Iterator[bytes]:
        """Of the rows at places [start, stop); nothing may change while it is read."""
        names: Iterator[bytes] = self._order.islice(start, stop, reverse)
        return names

    # Collections that are gone.

    def discard(self, collection: int) -> None:
        """Its key is gone: free its rows by and by, if any are left."""
        if next(self._of(collection), None) is not None:
            self.gone.add(collection)

    def restore(self, collection: int) -> None:
        """It has a key again, if it had lost it."""
        self.gone.discard(collection)

    def free(self, count_max: int = ROWS_FREED_PER_ENTRY) -> None:
        """Free rows of collections without keys, the oldest collection first."""
        while self.gone and count_max > 0:
            names = list(islice(self._of(self.gone[0]), count_max + 1))
            for name in names[:count_max]:
                self.remove(name)
            if len(names) <= count_max:
                del self.gone[0]
            count_max -= len(names) + 1

    def _of(self, collection: int) -> Iterator[bytes]:
        """The names of its rows, in order."""
        ends = prefix_of(collection), prefix_of(collection + 1)
        names: Iterator[bytes] = self._order.irange(*ends, (True, False))
        return names

    def shed(self, count_max: int) -> bool:
        """As Keyspace.shed: free some rows of a state that was replaced; whether any are left."""
        if self._pass is not None:
            return True
        for _ in range(min(count_max, len(self._order))):
            del self._items[self._order.pop()]
        return bool(self._order)

    # For images.

    def begin_pass(self) -> Pass:
        """Walk the rows as they are now, while they change; one pass at a time."""
        assert self._pass is None, "a dump is already under way"
        self._pass = pass_over_all(lambda: self._items, self._order)
        return self._pass

    def end_pass(self) -> None:
        self._pass = None


def fault(name: bytes, value: bytes) -> str | None:
    """Why these cannot be a row; None if they can."""
    if not ID_SIZE_BYTES <= len(name) <= ROW_NAME_SIZE_BYTES_MAX:
        return f"a row's name of {len(name)} bytes"
    if len(value) > VALUE_SIZE_BYTES_MAX:
        return f"a row of {len(value)} bytes"
    return None
