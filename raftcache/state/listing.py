"""The keys of a range as they were at a revision, read piece by piece while they change.

What changed since is taken from the history, so a listing costs a write nothing, and any node that
has applied the revision can go on with one that another began.
"""

from __future__ import annotations

from typing import Final

from raftcache.command.replies import Item
from raftcache.errors import Compacted
from raftcache.state.history import History
from raftcache.state.items import read, read_without_value
from raftcache.state.keyspace import Keyspace

EVENTS_PER_STEP: Final = 4000
"""Events looked at in one step: about half a millisecond."""

WINDOW_KEYS: Final = 2000
"""Only what changed in the next part of the range is kept, of about so many keys: for the next
part the history is read again. Long enough that this is done once a page, as a rule."""


class Listing:
    """One walk in key order; between two steps, entries may be applied.

    Keys that were overdue at now_ms, the cluster time at which it began, are left out; so are those
    whose lease was over then. What a lease has left is not told: it changes without a revision.
    """

    def __init__(
        self,
        keyspace: Keyspace,
        history: History,
        start: bytes,
        end: bytes,
        revision: int,
        now_ms: int,
        *,
        keys_only: bool,
    ) -> None:
        """Of the keys of [start, end). Raises Compacted."""
        self._keyspace, self._history = keyspace, history
        self._end, self._revision, self._now_ms = end, revision, now_ms
        self._read = read_without_value if keys_only else read
        self._open(start)

    def _open(self, start: bytes) -> None:
        """Begin the part of the range that starts there."""
        position = self._history.position_after(self._revision)
        if position is None:
            raise self._compacted()
        self._position = position
        self._start = start
        self._stop = self._keyspace.key_from(start, WINDOW_KEYS, self._end)
        self._walk = self._keyspace.walk(start, self._stop, self._revision)

    @property
    def done(self) -> bool:
        return self._walk.done and self._stop == self._end

    def take(self, keys_max: int, size_bytes_max: int) -> list[tuple[bytes, Item]]:
        """The next keys, ended by the first that passes a limit; bounded work, also if empty.

        Raises Compacted when changes were forgotten that it had not seen.
        """
        if not self._catch_up():
            return []
        if self._walk.done and not self.done:
            self._open(self._stop)
            return []
        taken = self._walk.take(keys_max, size_bytes_max)
        found = ((key, self._read(packed, self._now_ms)) for key, packed in taken)
        return [(key, item) for key, item in found if item is not None and self._lives(item)]

    def _lives(self, item: Item) -> bool:
        return not item.lease or self._keyspace.leases.seen(item, self._now_ms) is not None

    def _catch_up(self) -> bool:
        """Note what the keys held that changed meanwhile; False if there is more to note."""
        events = self._history.read(self._position, EVENTS_PER_STEP)
        if events is None:  # so too after another state was loaded
            raise self._compacted()
        self._position += len(events)
        start, stop = self._start, self._stop
        if stop:
            events = [event for event in events if start <= event.key < stop]
        for event in events:
            self._walk.save(event.key, event.previous)
        return self._position == self._history.end

    def _compacted(self) -> Compacted:
        oldest = self._history.first_revision
        return Compacted(
            f"what changed after revision {self._revision} is forgotten:"
            f" the oldest known here is {oldest}",
            oldest_revision=oldest,
        )
