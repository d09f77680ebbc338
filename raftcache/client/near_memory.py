"""What a near cache remembers: the newest known of each key, within a size. No IO and no clock.

Everything is decided by revisions. What is held of a key has `as_of`, the revision at which it was
so; what comes, be it an event or the answer to a read, counts only if its revision is higher. The
answer to a read may come after events that are newer than it: so from the moment a read is sent
until its answer is here, events of its key are noted even when nothing of the key is held.

How fresh it is, is decided by revisions too. A linearizable read that was asked for at a moment t
and answered at revision r says that all that was acknowledged before t has a revision of at most
r. Once the watch has come to r, the memory is no older than t: whatever queues, buffers and nodes
the events went through, and whoever's clock is wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from threading import Lock
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from raftcache.client.ranges import Entry
from raftcache.client.watch import Changes

ENTRY_SIZE_BYTES: Final = 500
"""What an entry counts beside its key, value and type; an absent key counts so much too."""

NOTES_MAX: Final = 128
NOTE_GAP_S: Final = 0.25
"""Reads that the watch has not come to yet: those asked for so much apart, for half a minute."""


class NearStatistics(Struct, frozen=True):
    """keys: remembered now, those known to be absent included. misses: read from the cluster."""

    keys: int
    size_bytes: int
    hits: int
    misses: int


class Known(Struct, frozen=True):
    """What is known of a key: its entry at the revision as_of, None if it was absent."""

    entry: Entry | None
    as_of: int
    until_s: float = inf
    """When its time to live is over, at the earliest."""

    def shown(self, now_s: float) -> Entry | None:
        """The entry, with what it has left to live now."""
        if self.entry is None or self.entry.ttl_ms is None:
            return self.entry
        return replace(self.entry, ttl_ms=max(0, round((self.until_s - now_s) * 1000)))


def known_since(entry: Entry | None, as_of: int, since_s: float) -> Known:
    """since_s: when what the entry has left to live was certainly not said yet."""
    ttl_ms = None if entry is None else entry.ttl_ms
    return Known(entry, as_of, inf if ttl_ms is None else since_s + ttl_ms / 1000)


class NearMemory:
    """Entries, least recently used first, and how fresh they are; for any thread at any time.

    staleness_s_max: an age above which nothing is answered. Moments are those of one monotonic
    clock, whichever it is.
    """

    def __init__(self, size_bytes_max: int, staleness_s_max: float) -> None:
        self._size_bytes_max, self._staleness_s_max = size_bytes_max, staleness_s_max
        self._lock = Lock()
        self._kept: OrderedDict[bytes, Known] = OrderedDict()
        self._expected: dict[bytes, Known | None] = {}  # keys being read -> what events said since
        self._notes: list[tuple[float, int]] = []  # reads beyond the revision: asked for, answered
        self._begin = 0
        self.revision = 0
        """All changes up to this one are known."""
        self.fresh_s = -inf
        """All that was acknowledged before this moment is known."""
        self._size_bytes = self._hits = self._misses = 0

    @property
    def statistics(self) -> NearStatistics:
        with self._lock:
            return NearStatistics(len(self._kept), self._size_bytes, self._hits, self._misses)

    # --- answers --------------------------------------------------------------------------------

    def lookup(self, key: bytes, now_s: float, at_least: int = 0) -> Known | None:
        """What is known of a key, at_least this revision or newer; None if it must be read."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or not self._answers(kept, now_s, at_least):
                self._misses += 1
                return None
            self._hits += 1
            self._kept.move_to_end(key)
            return kept

    def _answers(self, kept: Known, now_s: float, at_least: int) -> bool:
        is_fresh = now_s - self.fresh_s <= self._staleness_s_max
        return is_fresh and now_s < kept.until_s and max(self.revision, kept.as_of) >= at_least

    # --- reads ----------------------------------------------------------------------------------

    def expect(self, key: bytes) -> None:
        """A read of the key is about to be sent; one at a time."""
        with self._lock:
            self._expected[key] = None

    def unexpect(self, key: bytes) -> None:
        """No answer will come. Safe to repeat."""
        with self._lock:
            self._expected.pop(key, None)

    def fill(self, key: bytes, entry: Entry | None, as_of: int, asked_s: float) -> Known:
        """An answer has come to a read that was expected; returns the newest that is known."""
        with self._lock:
            known = [
                known_since(entry, as_of, asked_s),
                self._expected.pop(key),
                self._kept.get(key),
            ]
            newest = max((one for one in known if one is not None), key=lambda one: one.as_of)
            if newest.as_of >= self._begin:  # else events between the two were missed
                self._keep(key, newest)
            return newest

    def confirm(self, asked_s: float, revision: int) -> None:
        """A linearizable read that was asked for then was answered at this revision."""
        with self._lock:
            if revision <= self.revision:
                self.fresh_s = max(self.fresh_s, asked_s)
            elif len(self._notes) < NOTES_MAX and (
                not self._notes or asked_s >= self._notes[-1][0] + NOTE_GAP_S
            ):
                self._notes.append((asked_s, revision))

    def newest(self, key: bytes, found: Known) -> Known:
        """What was found, or what is known by now, which others may have been told meanwhile."""
        with self._lock:
            kept = self._kept.get(key)
            return found if kept is None or kept.as_of <= found.as_of else kept

    # --- the watch ------------------------------------------------------------------------------

    def apply(self, changes: Changes) -> None:
        """What comes next in the watch; without changes it is progress.

        When it was said nobody knows: it may have lain in a buffer, but since fresh_s at most.
        """
        with self._lock:
            for change in changes.changes:
                new = known_since(change.entry, changes.revision, self.fresh_s)
                if change.key in self._expected:
                    self._expected[change.key] = new
                kept = self._kept.get(change.key)
                if kept is not None and kept.as_of < new.as_of:
                    self._keep(change.key, new, used=False)
            self.revision = max(self.revision, changes.revision)
            come_to = [asked_s for asked_s, at in self._notes if at <= self.revision]
            self.fresh_s = max([self.fresh_s, *come_to])
            self._notes = [note for note in self._notes if note[1] > self.revision]

    def restart(self, revision: int, asked_s: float) -> None:
        """Forget all; a watch of what comes after this revision was asked for at that moment."""
        with self._lock:
            self._kept.clear()
            self._notes.clear()
            self._size_bytes = 0
            self._begin = self.revision = revision
            self.fresh_s = asked_s

    # --- the size -------------------------------------------------------------------------------

    def _keep(self, key: bytes, new: Known, *, used: bool = True) -> None:
        old = self._kept.get(key)
        size_bytes = _size_bytes(key, new)
        if size_bytes > self._size_bytes_max:
            self._drop(key)
            return
        self._size_bytes += size_bytes - (0 if old is None else _size_bytes(key, old))
        self._kept[key] = new
        if used:
            self._kept.move_to_end(key)
        while self._size_bytes > self._size_bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        if (old := self._kept.pop(key, None)) is not None:
            self._size_bytes -= _size_bytes(key, old)


def _size_bytes(key: bytes, one: Known) -> int:
    entry = one.entry
    kept = 0 if entry is None else len(entry.value) + len(entry.content_type)
    return ENTRY_SIZE_BYTES + len(key) + kept
