"""What changed lately, on this node: for those who follow changes, and for looking back.

It is no part of the state: neither in the image nor in the digest, and it begins anew with a
loaded one. So nothing that a command answers may depend on it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from enum import IntEnum
from operator import attrgetter
from typing import Final

from msgspec import Struct

from raftcache.command.limits import (
    HISTORY_EVENT_SIZE_BYTES,
    HISTORY_EVENTS_MAX,
    HISTORY_SIZE_BYTES_MAX,
)

_SPARE: Final = 64
"""When a limit is passed, a 64th is forgotten at once: a cut moves all events that stay, which so
costs each new one a few nanoseconds."""

_revision: Final = attrgetter("revision")


class Kind(IntEnum):
    """How a key changed."""

    PUT = 1
    DELETE = 2
    EXPIRE = 3
    """Its deadline had come."""
    EVICT = 4
    """It was forgotten to make room."""


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


class History:
    """The latest events, in the order of their revisions; positions count them from 0 for ever.

    Of a revision it holds all events or none. Listeners are called once after a batch that changed
    anything, and after a loaded image, from within apply: they may only make a note of that.
    """

    __slots__ = (
        "_dropped",
        "_events",
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
        self._events: list[Event] = []
        self.add: Final = self._events.append
        """Take the next event; all of one revision come one after the other."""
        self._dropped = self._settled = 0  # positions: of the first event, and of the first unseen
        self._size_bytes = 0  # without HISTORY_EVENT_SIZE_BYTES for each event
        # Of each event settled: old ones are far away in memory, and need not be looked at again.
        self._sizes = array("Q")
        self.first_revision = 0
        """All that changed after it is known."""
        self.listeners: list[Callable[[], None]] = []

    @property
    def end(self) -> int:
        """The position of the next event."""
        return self._dropped + len(self._events)

    @property
    def size_bytes_max(self) -> int:
        """Where it begins to forget."""
        return min(self._size_bytes_max, HISTORY_SIZE_BYTES_MAX)

    @property
    def size_bytes(self) -> int:
        """About what it costs beside the keyspace."""
        return self._size_bytes + len(self._events) * HISTORY_EVENT_SIZE_BYTES

    def position_after(self, revision: int) -> int | None:
        """Of the first event after a revision; None if one of them may be forgotten."""
        if revision < self.first_revision:
            return None
        return self._dropped + bisect_right(self._events, revision, key=_revision)

    def read(self, position: int, count_max: int) -> list[Event] | None:
        """Events from a position, count_max or as many more as make the last revision whole.

        None if some of them were forgotten: then begin anew, at first_revision or later.
        """
        start = position - self._dropped
        if start < 0:
            return None
        assert start <= len(self._events)
        end = start + count_max
        if 0 < end < len(self._events):
            end = bisect_right(self._events, self._events[end - 1].revision, lo=end, key=_revision)
        return self._events[start:end]

    # For the state machine.

    def settle(self) -> None:
        """A batch was applied: forget what passes the limits, and tell of what is new."""
        events = self._events
        if self.end == self._settled:
            return
        sizes = _sizes_bytes(events[self._settled - self._dropped :])
        self._sizes.extend(sizes)
        self._size_bytes += sum(sizes)
        self._settled = self.end
        self._forget()
        self._tell()

    def _forget(self) -> None:
        events = self._events
        while len(events) > HISTORY_EVENTS_MAX or self.size_bytes > self.size_bytes_max:
            count = len(events) // _SPARE + 1
            self.first_revision = events[count - 1].revision
            count = bisect_right(events, self.first_revision, lo=count, key=_revision)
            self._size_bytes -= sum(self._sizes[:count])
            self._dropped += count
            del events[:count], self._sizes[:count]

    def begin_at(self, revision: int) -> None:
        """An image of that revision was loaded: nothing is known of what came before."""
        self._dropped = self._settled = self.end + 1  # no position of before is valid any more
        self._events.clear()
        del self._sizes[:]
        self._size_bytes = 0
        self.first_revision = revision
        self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def _sizes_bytes(events: list[Event]) -> list[int]:
    """Of what only the history holds: the new items are in the keyspace, or previous to others."""
    return [len(event.key) + len(event.previous or b"") for event in events]
