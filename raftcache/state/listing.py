"""The keys of a range as they were at a revision, read piece by piece while they change.

What changed since is taken from the history, so a listing costs a write nothing, and any node that
has applied the revision can go on with one that another began.
"""

from __future__ import annotations

from typing import Final

from raftcache.command.words import Item
from raftcache.errors import Compacted
from raftcache.state.history import History
from raftcache.state.items import read, read_without_value
from raftcache.state.keyspace import Pass

EVENTS_PER_STEP: Final = 4000
"""Events looked at in one step: about half a millisecond."""


class Listing:
    """One walk in key order; between two steps, entries may be applied.

    Keys that were overdue at now_ms, the cluster time at which it began, are left out.
    """

    def __init__(
        self, walk: Pass, history: History, revision: int, now_ms: int, *, keys_only: bool
    ) -> None:
        """walk: a new one, over the keys as they are now. Raises Compacted."""
        self.revision, self._now_ms = revision, now_ms
        self._walk, self._history = walk, history
        self._read = read_without_value if keys_only else read
        position = history.position_after(revision)
        if position is None:
            raise self._compacted()
        self._position = position

    @property
    def done(self) -> bool:
        return self._walk.done

    def take(self, keys_max: int, size_bytes_max: int) -> list[tuple[bytes, Item]]:
        """The next keys, ended by the first that passes a limit; bounded work, also if empty.

        Raises Compacted when changes were forgotten that it had not seen.
        """
        if not self._catch_up():
            return []
        taken = self._walk.take(keys_max, size_bytes_max)
        found = ((key, self._read(packed, self._now_ms)) for key, packed in taken)
        return [(key, item) for key, item in found if item is not None]

    def _catch_up(self) -> bool:
        """Note what the keys held that changed meanwhile; False if there is more to note."""
        events = self._history.read(self._position, EVENTS_PER_STEP)
        if events is None:
            raise self._compacted()
        for event in events:
            self._walk.save(event.key, event.previous)
        self._position += len(events)
        return self._position == self._history.end

    def _compacted(self) -> Compacted:
        oldest = self._history.first_revision
        return Compacted(
            f"what changed after revision {self.revision} is forgotten:"
            f" the oldest known here is {oldest}",
            oldest_revision=oldest,
        )
