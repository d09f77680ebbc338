"""Who wants to hear of which changes: watchers by exact key, by prefix, and by range. Pure.

What one changed key costs, beside the deliveries it leads to: one look-up in a dict for all exact
keys together, one for each *length* of prefix that somebody watches, and one comparison for each
different range that is neither. So a hundred thousand watched keys cost as much as one, prefixes
are cheap because few lengths are in use, and the number of ranges is bounded (watch.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from raftcache.command.ranges import end_of_prefix, is_within
from raftcache.state.history import Event, Kind

KINDS: Final = {kind.name.lower(): kind for kind in Kind}
"""By the names that callers use."""

ALL_KINDS: Final = frozenset(Kind)

__all__ = ["ALL_KINDS", "KINDS", "Audience", "Feed", "Kind", "View"]

W = TypeVar("W")


class View(Struct, frozen=True):
    """What a watcher is shown: changes of the keys in [start, end), an empty end for no end.

    previous: with what the key held before.
    """

    start: bytes = b""
    end: bytes = b""
    kinds: frozenset[Kind] = ALL_KINDS
    previous: bool = False

    @property
    def is_key(self) -> bool:
        return self.end == self.start + b"\0"

    @property
    def is_prefix(self) -> bool:
        return self.end == end_of_prefix(self.start)

    @property
    def is_range(self) -> bool:
        return not (self.is_key or self.is_prefix)


class Feed(Generic[W]):
    """All watchers of one view: they are shown the same."""

    __slots__ = ("_mask", "view", "watchers")

    def __init__(self, view: View) -> None:
        self.view = view
        self.watchers: dict[W, None] = {}
        # An IntEnum is hashed in Python, a shift is not.
        self._mask = sum(1 << kind for kind in view.kinds)

    def wants(self, event: Event) -> bool:
        """Of an event of one of its keys."""
        return self._mask >> event.kind & 1 == 1


class Audience(Generic[W]):
    """Watchers, each with one view; see the module."""

    def __init__(self) -> None:
        self._feeds: dict[View, Feed[W]] = {}
        self._keys: dict[bytes, list[Feed[W]]] = {}
        self._prefixes: dict[int, dict[bytes, list[Feed[W]]]] = {}  # by length
        self._ranges: dict[tuple[bytes, bytes], list[Feed[W]]] = {}

    def __bool__(self) -> bool:
        return bool(self._feeds)

    @property
    def cost(self) -> int:
        """Of one event, in look-ups, each as long as about eight comparisons with ranges."""
        return 1 + len(self._prefixes) + len(self._ranges) // 8

    def watchers(self) -> list[W]:
        return [watcher for feed in self._feeds.values() for watcher in feed.watchers]

    def add(self, view: View, watcher: W) -> None:
        feed = self._feeds.get(view)
        if feed is None:
            feed = self._feeds[view] = Feed(view)
            table, place = self._place(view)
            table.setdefault(place, []).append(feed)
        feed.watchers[watcher] = None

    def remove(self, view: View, watcher: W) -> None:
        feed = self._feeds[view]
        del feed.watchers[watcher]
        if feed.watchers:
            return
        del self._feeds[view]
        table, place = self._place(view)
        table[place].remove(feed)
        if not table[place]:
            del table[place]
        if not table and view.is_prefix:
            self._prefixes.pop(len(view.start), None)

    def _place(self, view: View) -> tuple[dict[Any, list[Feed[W]]], bytes | tuple[bytes, bytes]]:
        if view.is_key:
            return self._keys, view.start
        if view.is_prefix:
            return self._prefixes.setdefault(len(view.start), {}), view.start
        return self._ranges, (view.start, view.end)

    def addressed(self, events: Iterable[Event]) -> dict[Feed[W], list[Event]]:
        """Which events each feed is to be shown, in their order; feeds without any are left out."""
        found: dict[Feed[W], list[Event]] = {}
        for event in events:
            for feed in self._of(event.key):
                if feed.wants(event):
                    found.setdefault(feed, []).append(event)
        return found

    def _of(self, key: bytes) -> Sequence[Feed[W]]:
        feeds = list(self._keys.get(key, ()))
        for size, table in self._prefixes.items():
            feeds += table.get(key[:size], ())
        for (start, end), of_range in self._ranges.items():
            if is_within(key, start, end):
                feeds += of_range
        return feeds
