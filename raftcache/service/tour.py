"""One walk through the history for an audience: in order, whole revisions, in small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, Generic, TypeVar

from msgspec import Struct

from raftcache.command.words import Item
from raftcache.service.audience import Audience, View
from raftcache.state.history import Event, History, Kind
from raftcache.state.items import read

EVENTS_PER_STEP: Final = 32
"""Events looked at without a delivery in one step: about 30 microseconds."""

_revision: Final = attrgetter("revision")

W = TypeVar("W")


class Change(Struct, frozen=True):
    """How one key changed. item: what it holds now; previous: what it held, if that was asked."""

    kind: Kind
    key: bytes
    item: Item | None
    previous: Item | None


class Delivery(Struct, frozen=True):
    """All changes of one revision that a view shows; one object for all watchers of the view."""

    revision: int
    changes: tuple[Change, ...]


class Tour(Generic[W]):
    """A reader of the history with its audience; `offer` takes each delivery for each watcher.

    position: of the first event that it has not begun with. reached: the last revision that is
    dealt with whole. lost: the next events are forgotten; then jump, or give it up.
    """

    def __init__(
        self, history: History, position: int, reached: int, offer: Callable[[W, Delivery], None]
    ) -> None:
        self.audience: Audience[W] = Audience()
        self._history, self._offer = history, offer
        self.jump(position, reached)

    def jump(self, position: int, reached: int) -> None:
        """Go on from there; what was under way is dropped."""
        self.position, self.reached = position, reached
        self.lost = False
        self.between = True
        """No revision is half delivered."""
        self._steps: Iterator[None] | None = None

    @property
    def at_end(self) -> bool:
        """Everything that the history has is delivered."""
        return self.between and self.position == self._history.end

    def work(self, steps_max: int) -> bool:
        """Up to so many steps, each a delivery or EVENTS_PER_STEP; False when all are done."""
        steps = self._steps or self._walk()
        done = sum(1 for _ in islice(steps, steps_max))
        self._steps = steps if done == steps_max else None
        return done == steps_max

    def _walk(self) -> Iterator[None]:
        while events := self._history.read(self.position, EVENTS_PER_STEP):
            for revision, of_revision in groupby(events, _revision):
                yield from self._deliver(revision, list(of_revision))
            yield
        self.lost = events is None

    def _deliver(self, revision: int, events: Sequence[Event]) -> Iterator[None]:
        self.position += len(events)
        self.between = False
        for feed, shown in self.audience.addressed(events).items():
            delivery = Delivery(revision, tuple(_change(event, feed.view) for event in shown))
            for watcher in tuple(feed.watchers):
                if watcher in feed.watchers:  # it may have left meanwhile
                    self._offer(watcher, delivery)
                yield
        self.between, self.reached = True, revision


def _change(event: Event, view: View) -> Change:
    previous = event.previous if view.previous else None
    return Change(event.kind, event.key, _item(event.packed), _item(previous))


def _item(packed: bytes | None) -> Item | None:
    return None if packed is None else read(packed, 0)  # an overdue one too: it was so then
