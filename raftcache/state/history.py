"""What changed lately, on this node: for those who follow changes, and for looking back.

It is no part of the state: neither in the image nor in the digest, and it begins anew with a
loaded one. So nothing that a command answers may depend on it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from enum import IntEnum
from operator import attrgetter
from typing import Final, TypeAlias, final

from msgspec import Struct

from raftcache.command.limits import (
    HISTORY_EVENT_SIZE_BYTES,
    HISTORY_EVENTS_MAX,
    HISTORY_SIZE_BYTES_MAX,
)
from raftcache.state.runs import Run

_SPARE: Final = 64
"""When a limit is passed, a 64th is forgotten at once: a cut moves all entries that stay, which so
costs each new one a few nanoseconds."""

_RUN_EVENTS_MIN: Final = 4
"""Fewer take less memory as events than as a run."""

_revision: Final = attrgetter("revision")


class Kind(IntEnum):
    """How a key changed."""

    PUT = 1
    DELETE = 2
    EXPIRE = 3
    """Its deadline had come."""
    EVICT = 4
    """It was forgotten to make room."""


@final
class Event(Struct, frozen=True, gc=False):
    """One change of one key; there is one at most for a key and a revision.

    packed: the item it holds now (see items.py), None if it is gone. previous: the one it held
    before that revision, None if there was none.
    """

    revision: int
    kind: Kind
    key: bytes
    packed: bytes | None
    previous: bytes | None


_Entry: TypeAlias = Event | Run


class History:
    """The latest events, in the order of their revisions; positions count them from 0 for ever.

    Of a revision it holds all events or none. Listeners are called once after a batch that changed
    anything, and after a loaded image, from within apply: they may only make a note of that.
    """

    __slots__ = (
        "_dropped",
        "_ends",
        "_entries",
        "_old",
        "_settled",
        "_size_bytes",
        "_size_bytes_max",
        "_sizes",
        "add",
        "first_revision",
        "listeners",
    )

    def __init__(self, size_bytes_max: int = HISTORY_SIZE_BYTES_MAX) -> None:
        self._size_bytes_max = size_bytes_max
        self._entries: list[_Entry] = []
        self.add: Final[Callable[[Event], None]] = self._entries.append
        """Take the next event; all of one revision come one after the other."""
        self._dropped = self._settled = 0  # positions: of the first event, and of the first unseen
        self._size_bytes = 0  # without HISTORY_EVENT_SIZE_BYTES for each event
        # Of each entry that was counted: the position behind it, and its size. Old entries are far
        # away in memory, and need not be looked at again.
        self._ends, self._sizes = array("Q"), array("Q")
        self._old: list[_Entry] = []  # of another state, to be freed
        self.first_revision = 0
        """All that changed after it is known."""
        self.listeners: list[Callable[[], None]] = []

    def add_run(self, run: Run) -> None:
        """As add, of all changes of a run, which is the history's from now on.

        Three places for each in place of an event and a number: most of what is written is never
        read here, and to make and free these took a tenth of a node's time.
        """
        count = len(run.keys)
        if count < _RUN_EVENTS_MIN:
            self._entries += _events(run, 0, count)
        else:
            self._entries.append(run)

    @property
    def end(self) -> int:
        """The position of the next event."""
        if len(self._ends) < len(self._entries):
            self._count()
        return self._ends[-1] if self._ends else self._dropped

    @property
    def size_bytes_max(self) -> int:
        """Where it begins to forget."""
        return min(self._size_bytes_max, HISTORY_SIZE_BYTES_MAX)

    @property
    def size_bytes(self) -> int:
        """About what it costs beside the keyspace."""
        return self._size_bytes + (self.end - self._dropped) * HISTORY_EVENT_SIZE_BYTES

    def position_after(self, revision: int) -> int | None:
        """Of the first event after a revision; None if one of them may be forgotten."""
        if revision < self.first_revision:
            return None
        self._count()
        place = bisect_right(self._entries, revision, key=_revision)
        position = self._start(place)
        if place < len(self._entries):
            entry = self._entries[place]
            if type(entry) is Run:
                position += max(0, revision + 1 - entry.first_revision)
        return position

    def read(self, position: int, count_max: int) -> list[Event] | None:
        """Events from a position, count_max or as many more as make the last revision whole.

        None if some of them were forgotten: then begin anew, at first_revision or later.
        """
        if position < self._dropped:
            return None
        assert position <= self.end
        place = bisect_right(self._ends, position)
        skip = position - self._start(place)  # of a run that was seen in part
        events: list[Event] = []
        for at in range(place, len(self._entries)):
            entry, left = self._entries[at], count_max - len(events)
            if left <= 0 and not (events and events[-1].revision == entry.revision):
                break
            if type(entry) is Event:
                events.append(entry)
            else:
                events += _events(entry, skip, min(skip + left, len(entry.keys)))
            skip = 0
        return events

    def _start(self, place: int) -> int:
        """The position of an entry's first event."""
        return self._ends[place - 1] if place else self._dropped

    # For the state machine.

    def settle(self) -> None:
        """A batch was applied: forget what passes the limits, and tell of what is new."""
        end = self.end
        if end == self._settled:
            return
        self._settled = end
        if end - self._dropped > HISTORY_EVENTS_MAX or self.size_bytes > self.size_bytes_max:
            self._forget()
        self._tell()

    def _count(self) -> None:
        """Look at the entries that came since it was last done."""
        ends, sizes, total_bytes = self._ends, self._sizes, 0
        end = ends[-1] if ends else self._dropped
        for entry in self._entries[len(ends) :]:
            if type(entry) is Event:
                end += 1
                size_bytes = len(entry.key) + len(entry.previous or b"")
            else:
                end += len(entry.keys)
                size_bytes = sum(map(len, entry.keys)) + entry.replaced_size_bytes
            ends.append(end)
            sizes.append(size_bytes)
            total_bytes += size_bytes
        self._size_bytes += total_bytes

    def _forget(self) -> None:
        entries, ends = self._entries, self._ends
        while (count := self.end - self._dropped) > HISTORY_EVENTS_MAX or (
            self.size_bytes > self.size_bytes_max
        ):
            place = bisect_left(ends, self._dropped + count // _SPARE + 1)
            self.first_revision = entries[place].revision
            place = bisect_right(entries, self.first_revision, lo=place, key=_revision)
            self._dropped = ends[place - 1]
            self._size_bytes -= sum(self._sizes[:place])
            del entries[:place], ends[:place], self._sizes[:place]

    def begin_at(self, revision: int) -> None:
        """An image of that revision was loaded: nothing is known of what came before."""
        self._dropped = self._settled = self.end + 1  # no position of before is valid any more
        self._old += self._entries
        self._entries.clear()
        del self._ends[:], self._sizes[:]
        self._size_bytes = 0
        self.first_revision = revision
        self._tell()

    def shed(self, count_max: int) -> bool:
        """Free some of what was known before an image was loaded; whether any is left.

        All of it at once would stop the node for some 30 ms.
        """
        while self._old and count_max > 0:
            entry = self._old.pop()
            count_max -= len(entry.keys) if type(entry) is Run else 1
        return bool(self._old)

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def _events(run: Run, start: int, stop: int) -> list[Event]:
    """Of a run, from one place to another."""
    first, put = run.first_revision, Kind.PUT
    keys, packed, previous = run.keys, run.packed, run.previous
    places = range(start, stop)
    return [Event(first + at, put, keys[at], packed[at], previous[at]) for at in places]
