"""Client-side caching: who holds copies of keys is told when these change, by anybody, anywhere.

Promise. A tracker that was shown a key is told once that key has changed in the log after that,
whether by a call of Redis, by HTTP, by its deadline or by eviction, through any node; it is told
after the reply that showed the key. It may be told needlessly, but never too little: when changes
were missed, because an image was loaded or the history has forgotten them, everything is invalid.
Who is connected to a node whose state is too old is cut off (lateness.py).

How. A key is registered before it is read, and a change that comes while the read is under way is
told when it is answered, for nobody knows which of the two the reply shows. Changes come from the
history, in turns of the loop.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from raftcache.command.ranges import end_of_prefix
from raftcache.ports import Loop
from raftcache.service.audience import Audience, View
from raftcache.state.history import Event, Kind
from raftcache.state.machine import Machine
from raftcache.state.notes import Flushed, Note

TRACKED_KEYS_MAX: Final = 1 << 18
"""Of this node: each key counts once for each tracker that was shown it, and costs about 300 bytes.
When it is reached, those tracked for longest are called invalid early, as in Redis."""

PREFIXES_MAX: Final = 200
"""Of one tracker."""

EVENTS_PER_TURN: Final = 256
"""Changes looked at in one turn of the loop, or half of those that wait: under a millisecond."""

_OWN: Final = (Kind.PUT, Kind.DELETE)
"""How a write changes a key; that one expires meanwhile is nobody's doing."""

logger = logging.getLogger("raftcache.tracking")


class Sink(Protocol):
    """Where one tracker is told. None of these may call the hub."""

    def invalidate(self, keys: list[bytes] | None) -> None:
        """These keys are invalid, after what was answered so far; None: all of them."""
        ...

    def cut_off(self, why: str) -> None:
        """It will not be told what changes; its connection must end."""
        ...


class Tracker:
    """One who is told. prefixes: of all keys that it is told of; None: those that it was shown."""

    __slots__ = ("keys", "late", "lost", "own", "prefixes", "reading", "sink")

    def __init__(self, sink: Sink, prefixes: tuple[bytes, ...] | None) -> None:
        self.sink, self.prefixes = sink, prefixes
        self.keys: set[bytes] = set()
        self.reading: set[bytes] = set()
        """Keys of the reads that are under way."""
        self.late: dict[bytes, None] = {}
        """Those of them that have changed meanwhile."""
        self.lost = False
        """All of them may have."""
        self.own: deque[tuple[int, int]] = deque()
        """First and last revisions of writes of its own that it is not to be told of."""

    def is_own(self, event: Event) -> bool:
        """Whether it is not to be told of this change."""
        revision = event.revision
        return event.kind in _OWN and any(first <= revision <= last for first, last in self.own)


class Tracking:
    """All trackers of a node. All methods on the event loop."""

    def __init__(self, machine: Machine, loop: Loop) -> None:
        self._machine, self._history, self._loop = machine, machine.history, loop
        self._trackers: dict[Tracker, None] = {}
        self._tracked: dict[bytes, dict[Tracker, None]] = {}
        self._audience: Audience[Tracker] = Audience()
        self._told: dict[Tracker, dict[bytes, None]] = {}
        """What is to be told in the next turn."""
        self._told_all: dict[Tracker, None] = {}
        self._count = 0
        self._position = 0
        self._reached = 0
        """All changes up to this revision were looked at."""
        self._turn_due = self._flushed = False
        self._invalidations = self._early = 0

    def start(self) -> None:
        self._history.listeners.append(self._wake)
        self._machine.note_listeners.append(self._note)

    def stop(self) -> None:
        self._history.listeners.remove(self._wake)
        self._machine.note_listeners.remove(self._note)

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        return {
            "trackers": len(self._trackers),
            "tracked_keys": self._count,
            "invalidations": self._invalidations,
            "invalidated_early": self._early,
        }

    # Trackers.

    def open(self, sink: Sink, prefixes: Iterable[bytes] | None = None) -> Tracker:
        """A new one; see Tracker."""
        if not self._trackers:  # nobody was there to look for
            self._position = self._history.end
        tracker = Tracker(sink, None if prefixes is None else tuple(prefixes))
        self._trackers[tracker] = None
        for prefix in tracker.prefixes or ():
            self._audience.add(_view(prefix), tracker)
        return tracker

    def widen(self, tracker: Tracker, prefixes: Iterable[bytes]) -> None:
        """It is told of these, too; only one that has prefixes."""
        assert tracker.prefixes is not None
        new = tuple(prefix for prefix in prefixes if prefix not in tracker.prefixes)
        tracker.prefixes += new
        for prefix in new:
            self._audience.add(_view(prefix), tracker)

    def close(self, tracker: Tracker) -> None:
        """It is told nothing more. Safe to repeat."""
        if self._trackers.pop(tracker, True):
            return
        for prefix in tracker.prefixes or ():
            self._audience.remove(_view(prefix), tracker)
        for key in tracker.keys:
            self._untrack(key, tracker)
        self._count -= len(tracker.keys)
        self._told.pop(tracker, None)
        self._told_all.pop(tracker, None)

    def _untrack(self, key: bytes, tracker: Tracker) -> None:
        trackers = self._tracked[key]
        del trackers[tracker]
        if not trackers:
            del self._tracked[key]

    def reading(self, tracker: Tracker, keys: Iterable[bytes]) -> None:
        """It will be shown these, too; to be called before they are looked at, on any way."""
        shown = set(keys)
        tracker.reading |= shown
        if tracker.prefixes is not None or tracker not in self._trackers:
            return  # one that is closed is told nothing
        for key in shown - tracker.keys:
            self._tracked.setdefault(key, {})[tracker] = None
            self._count += 1
        tracker.keys |= shown
        while self._count > TRACKED_KEYS_MAX:
            self._early += 1
            self._change(next(iter(self._tracked)), None)
        if self._told:
            self._wake()

    def has_read(self, tracker: Tracker) -> None:
        """It was shown the keys of each `reading` since the last time, or is not going to be."""
        late, tracker.late = tracker.late, {}
        lost, tracker.lost = tracker.lost, False
        tracker.reading = set()
        if lost:
            self._told_all[tracker] = None
        elif late:
            self._told.setdefault(tracker, {}).update(late)
        else:
            return
        self._wake()

    def wrote(self, tracker: Tracker, first: int, last: int) -> None:
        """It made the changes of these revisions, and does not want to hear of them."""
        own = tracker.own
        while own and own[0][1] <= self._reached:
            own.popleft()
        own.append((first, last))

    def cut_off_all(self, why: str) -> None:
        """Whoever has copies must drop them, and go to another node."""
        for tracker in list(self._trackers):
            self.close(tracker)
            try:
                tracker.sink.cut_off(why)
            except Exception:  # one tracker's fault is not the others'
                logger.exception("a tracker could not be cut off")

    # Changes.

    def _note(self, notes: list[Note] | None) -> None:
        if self._trackers and any(type(note) is Flushed for note in notes or ()):
            self._flushed = True
            self._wake()

    def _wake(self) -> None:
        if self._trackers and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        waiting = self._history.end - self._position
        events = self._history.read(self._position, max(EVENTS_PER_TURN, waiting // 2))
        if events is None or self._flushed:
            self._position, self._flushed = self._history.end, False
            self._invalidate_all()
        else:
            self._position += len(events)
            for event in events:
                self._change(event.key, event)
            if self._audience:
                self._broadcast(events)
            if events:
                self._reached = events[-1].revision
        self._tell()
        if self._position < self._history.end:
            self._wake()

    def _change(self, key: bytes, event: Event | None) -> None:
        """The copies of those who were shown the key are invalid; event None: to make room."""
        for tracker in list(self._tracked.get(key, ())):
            if event is not None and tracker.own and tracker.is_own(event):
                continue
            self._untrack(key, tracker)
            tracker.keys.discard(key)
            self._count -= 1
            self._invalidate(key, tracker)

    def _broadcast(self, events: list[Event]) -> None:
        for feed, shown in self._audience.addressed(events).items():
            for tracker in feed.watchers:
                for event in shown:
                    if not (tracker.own and tracker.is_own(event)):
                        self._invalidate(event.key, tracker)

    def _invalidate(self, key: bytes, tracker: Tracker) -> None:
        if key in tracker.reading:
            tracker.late[key] = None
        else:
            self._told.setdefault(tracker, {})[key] = None

    def _invalidate_all(self) -> None:
        """Everything has changed, or may have."""
        self._tracked.clear()
        self._count = 0
        for tracker in self._trackers:
            tracker.keys.clear()
            tracker.lost = bool(tracker.reading)
            self._told_all[tracker] = None

    def _tell(self) -> None:
        told, self._told = self._told, {}
        told_all, self._told_all = self._told_all, {}
        for tracker in told_all:
            told.pop(tracker, None)
            self._send(tracker, None)
        for tracker, keys in told.items():
            self._send(tracker, list(keys))

    def _send(self, tracker: Tracker, keys: list[bytes] | None) -> None:
        if tracker not in self._trackers:
            return
        self._invalidations += 1 if keys is None else len(keys)
        try:
            tracker.sink.invalidate(keys)
        except Exception:  # one tracker's fault is not the others'
            logger.exception("a tracker could not be told what is invalid")
            self.close(tracker)
            tracker.sink.cut_off("this node made a mistake; its log tells more")


def _view(prefix: bytes) -> View:
    return View(prefix, end_of_prefix(prefix))
