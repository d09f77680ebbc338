"""What hashes, lists, sets, sorted sets and streams share: a key with a descriptor, and rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from raftcache.state.items import Descriptor, Stored, described
from raftcache.state.notes import GENERIC, NEW
from raftcache.state.redis.parsing import TOO_LONG, Refuse
from raftcache.state.redis.store import Store
from raftcache.state.rows import ID_SIZE_BYTES, NAME_SIZE_BYTES_MAX, prefix_of


class Collection:
    """One collection, while a call works on it. Names here are those of its rows, without the id.

    count: its elements; types keep it true, for an element may have more than one row.
    """

    KIND: ClassVar[int]
    LEAD_SIZE_BYTES: ClassVar[int] = 0
    """What stands before an element in the name of its row, at most."""
    MAY_BE_EMPTY: ClassVar[bool] = False
    """Whether a key stays when its last element goes."""

    def __init__(self, store: Store, key: bytes, found: Stored | None) -> None:
        self.store, self.key, self._found = store, key, found
        self._rows = store.state.rows
        self._changed = self._replaces = False
        self._end = b""
        if found is None:
            self._id, self.count, self._size_bytes = 0, 0, 0  # the id comes with the first row
            self._prefix = b""
        else:
            descriptor = described(found.packed)
            self._id, self.count = descriptor.id, descriptor.count
            self._size_bytes, self._end = descriptor.size_bytes, descriptor.end
            self._prefix = prefix_of(self._id)

    def take_place_of(self, found: Stored | None) -> None:
        """What is put into this one, still empty, replaces what the key holds."""
        assert not self._id
        self._found, self._replaces = found, True

    @property
    def exists(self) -> bool:
        return self.count > 0 or (self.MAY_BE_EMPTY and self._found is not None)

    # Rows by name.

    def _get(self, name: bytes) -> bytes | None:
        value = self._rows.get(self._prefix + name) if self._id else None
        if value:
            self.store.count_bytes(len(value))
        return value

    def _put(self, name: bytes, value: bytes, *, is_second: bool = False) -> bytes | None:
        """Set a row; what it was before. is_second: of an element, which is counted once."""
        if not self._id:
            self._take_id()
        if len(value) > self.store.size_bytes_max:
            raise Refuse(TOO_LONG)
        if len(name) > NAME_SIZE_BYTES_MAX + self.LEAD_SIZE_BYTES:
            raise Refuse(f"ERR a field or member has at most {NAME_SIZE_BYTES_MAX} bytes")
        if not is_second:
            self.store.count_rows()
        old = self.store.changes.put_row(self._prefix + name, value)
        self._changed = True
        self._size_bytes += len(value) + (len(name) if old is None else -len(old))
        return old

    def _take_id(self) -> None:
        self.store.check_key(self.key)
        self._id = self._rows.take_id()
        self._prefix = prefix_of(self._id)
        if self._found is None:
            self.store.notify(NEW, b"new", self.key)

    def _remove(self, name: bytes, *, is_second: bool = False) -> bytes | None:
        """Remove a row; what it was. is_second: see _put."""
        if not self._id:
            return None
        if not is_second:
            self.store.count_rows()
        old = self.store.changes.remove_row(self._prefix + name)
        if old is not None:
            self._changed = True
            self._size_bytes -= len(name) + len(old)
        return old

    # Rows by place: from 0, in the order of their names.

    def _place(self, name: bytes) -> int:
        """How many rows have names below this one."""
        if not self._id:
            return 0
        return self._rows.place(self._prefix + name) - self._rows.place(self._prefix)

    def _name_at(self, place: int) -> bytes:
        return self._rows.name_at(self._rows.place(self._prefix) + place)[ID_SIZE_BYTES:]

    def _names(self, start: int, stop: int, *, reverse: bool = False) -> Iterator[bytes]:
        """Names of the rows at places [start, stop); nothing may be changed meanwhile."""
        if stop <= start or not self._id:
            return iter(())
        self.store.count_elements(stop - start)
        first = self._rows.place(self._prefix)
        names = self._rows.names(first + start, first + stop, reverse=reverse)
        return self._counted(names)

    def _counted(self, names: Iterator[bytes]) -> Iterator[bytes]:
        for name in names:
            self.store.count_bytes(len(name))
            yield name[ID_SIZE_BYTES:]

    def _pairs(
        self, start: int, stop: int, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """As _names, with what the rows hold."""
        get, prefix = self._rows.get, self._prefix
        for name in self._names(start, stop, reverse=reverse):
            value = get(prefix + name) or b""
            self.store.count_bytes(len(value))
            yield name, value

    def names_after(self, after: bytes | None, count_max: int) -> list[bytes]:
        """The first names behind one, in order, or the first of all: so a scan goes on.

        Whatever is put and removed between two steps, a row that stays is met once.
        """
        if not self._id:
            return []
        start = 0 if after is None else self._place(after + b"\0")
        first = self._rows.place(self._prefix)
        stop = min(start + count_max, self._rows.place(prefix_of(self._id + 1)) - first)
        return list(self._names(start, stop))

    # The end.

    def _begin_anew(self) -> None:
        """Leave all rows, which are freed afterwards; the next are those of another collection."""
        assert self._found is not None
        self._id, self.count, self._size_bytes, self._prefix = 0, 0, 0, b""
        self._changed = True

    def settle(self) -> None:
        """Write to the key what was changed."""
        if not self._changed:
            return
        assert self.count >= 0
        assert self.count or self.MAY_BE_EMPTY or not self._size_bytes, "rows without elements"
        if self.count == 0 and not self.MAY_BE_EMPTY:
            if self._found is not None:
                self.store.changes.remove(self.key, self._found)
                self.store.notify(GENERIC, b"del", self.key)
            return
        kept = None if self._replaces else self._found
        deadline_ms = 0 if kept is None else kept.deadline_ms
        descriptor = Descriptor(self._id, self.count, self._size_bytes, self._end).pack()
        self.store.write_descriptor(self.key, self._found, deadline_ms, self.KIND, descriptor)
