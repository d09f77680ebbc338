"""One walk through the history for an audience: in order, whole revisions, in small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from msgspec import Struct

from raftcache.command.replies import Item
from raftcache.errors import RaftcacheError
from raftcache.service.audience import Audience, View
from raftcache.state.history import Event, History, Kind
from raftcache.state.items import read

LOOKUPS_PER_STEP: Final = 32
"""Of events that lead to no delivery, in one step: about 30 microseconds."""

PREVIOUS_SIZE_BYTES_MAX: Final = 8 << 20
"""What keys held before, in one delivery; more is left out, all of it. A range delete may replace
as much as the history holds, while what a revision writes is bounded by its command."""

_revision: Final = attrgetter("revision")

W = TypeVar("W")


class Change(Struct, frozen=True):
    """How one key changed. item: what it holds now; previous: what it held, if that was asked."""

    kind: Kind
    key: bytes
    item: Item | None
    previous: Item | None


class Delivery(Struct, frozen=True):
    """All changes of one revision that a view shows; one object for all watchers of the view.

    lacks_previous: what the keys held before was asked for, and is too much.
    """

    revision: int
    changes: tuple[Change, ...]
    lacks_previous: bool = False


class Sink(Protocol):
    """Where one watcher's deliveries go. None of these may call the hub."""

    @property
    def is_full(self) -> bool:
        """Its client has to read first: then somebody will call resume()."""
        ...

    def deliver(self, delivery: Delivery) -> None: ...
    def progress(self, revision: int) -> None:
        """All up to this revision was delivered."""

    def end(self, error: RaftcacheError) -> None:
        """Nothing follows, and why."""
        ...


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
        """Up to so many steps, each a delivery or LOOKUPS_PER_STEP; False when all are done."""
        steps = self._steps or self._walk()
        done = sum(1 for _ in islice(steps, steps_max))
        self._steps = steps if done == steps_max else None
        return done == steps_max

    def _walk(self) -> Iterator[None]:
        while events := self._history.read(
            self.position, max(1, LOOKUPS_PER_STEP // self.audience.cost)
        ):
            for revision, of_revision in groupby(events, _revision):
                yield from self._deliver(revision, list(of_revision))
            yield
        self.lost = events is None

    def _deliver(self, revision: int, events: Sequence[Event]) -> Iterator[None]:
        self.position += len(events)
        self.between = False
        for feed, shown in self.audience.addressed(events).items():
            delivery = _delivery(revision, shown, feed.view)
            for watcher in tuple(feed.watchers):
                if watcher in feed.watchers:  # it may have left meanwhile
                    self._offer(watcher, delivery)
                yield
        self.between, self.reached = True, revision


def _delivery(revision: int, events: Sequence[Event], view: View) -> Delivery:
    size_bytes = sum([len(event.previous or b"") for event in events]) if view.previous else 0
    lacks_previous = size_bytes > PREVIOUS_SIZE_BYTES_MAX
    with_previous = view.previous and not lacks_previous
    changes = tuple(_change(event, with_previous) for event in events)
    return Delivery(revision, changes, lacks_previous)


def _change(event: Event, with_previous: bool) -> Change:
    previous = event.previous if with_previous else None
    return Change(event.kind, event.key, _item(event.packed), _item(previous))


def _item(packed: bytes | None) -> Item | None:
    return None if packed is None else read(packed, 0)  # an overdue one too: it was so then
