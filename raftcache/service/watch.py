"""Watchers of this node: they see every committed change of their keys, in order, once.

Promise. A watcher that has seen all up to a revision is given what comes after it: ordered by
revision, unique, without a gap, and atomic (all its changes of a revision in one delivery). All
that is delivered was committed, and applied here. It may be late, never wrong: a node whose state
may be older than LATE_S_MAX ends its watches, so that their clients go to another.

How. All who are up to date share one tour through the history, so a change costs as many steps as
it has watchers, however many others there are (audience.py). Who is behind (because it began at a
past revision, or its client did not read for a while) joins a cohort: one tour for all who are
behind, until it meets the first. A client that does not read is owed nothing but its revision: its
watcher is put aside, and catches up when the client has read. It is ended when more than
BACKLOG_EVENTS_MAX changes happen meanwhile, or the history has forgotten what comes next. Work is
done in turns of STEPS_PER_TURN; between two of them the loop does other things.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from raftcache.errors import BadRequest, Compacted, NotLeader, Overloaded, RaftcacheError, Unknown
from raftcache.ports import Loop, Timer
from raftcache.service import lateness
from raftcache.service.audience import View
from raftcache.service.calls import called
from raftcache.service.tour import Delivery, Sink, Tour
from raftcache.state.history import History

STEPS_PER_TURN: Final = 64
"""Deliveries in one turn of the loop, and as many again for those behind: under a millisecond."""

COHORT_MAX: Final = 2000
"""Watchers that catch up together; the next wait for their end."""

BACKLOG_EVENTS_MAX: Final = 1 << 16
"""Changes, of any keys, that may happen while a watcher's client reads nothing: a quarter of what
the history holds, so that who is ended can still resume."""

WATCHED_RANGES_MAX: Final = 256
"""Different ranges, neither a key nor a prefix, watched at a time: each change looks at all."""

BEAT_S: Final = 0.1
PROGRESS_BEATS: Final = 50
"""Beats without a delivery after which a watcher is told how far it is. In one beat at most twice
their fair part is told, so that those who began together are not told together for ever."""

logger = logging.getLogger("raftcache.watch")


class Replicated(lateness.Replicated, Protocol):
    """What a hub asks its replica."""

    def read_index(self, ready: Callable[[int | None], None]) -> None: ...


class Changing(Protocol):
    """The state machine, as far as it is watched."""

    history: History

    @property
    def revision(self) -> int: ...


class Watcher:
    """One watcher. after: the last revision that it was given, or began after."""

    __slots__ = ("_hub", "after", "beat", "is_closed", "sink", "tour", "view")

    def __init__(self, hub: WatchHub, view: View, after: int, sink: Sink) -> None:
        self._hub, self.view, self.after, self.sink = hub, view, after, sink
        self.tour: Tour[Watcher] | None = None
        self.beat = 0
        self.is_closed = False

    @property
    def reached(self) -> int:
        """It was given all changes up to this revision."""
        return max(self.after, self.tour.reached) if self.tour is not None else self.after

    def resume(self) -> None:
        """Begin, or go on after the sink was full."""
        self._hub.resume(self)

    def close(self) -> None:
        """Its client has gone; nothing is delivered any more. Safe to repeat."""
        self._hub.close(self)


class WatchHub:
    """All watchers of a node. All methods on the event loop."""

    def __init__(
        self, replica: Replicated, machine: Changing, loop: Loop, watchers_max: int
    ) -> None:
        self._replica, self._machine, self._loop = replica, machine, loop
        self._history = machine.history
        self._watchers_max = watchers_max
        self._live: Tour[Watcher] = Tour(self._history, 0, 0, self._offer)
        self._cohort: Tour[Watcher] | None = None
        self._waiting: dict[Watcher, None] = {}  # for the next cohort
        self._aside: dict[Watcher, int] = {}  # -> the end of the history when it was put there
        self._quiet: dict[Watcher, None] = {}  # all of them, by their last beat
        self._ranges: Counter[tuple[bytes, bytes]] = Counter()
        self._opening = 0
        self._beat = self._progress_left = 0
        self._turn_due = False
        self._timer: Timer | None = None
        self._stopped = ""
        self._delivered = self._cut_off = 0

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._history.listeners.append(self._wake)
        self._tick()

    def stop(self, why: str) -> None:
        """End every watch, and begin no other. Safe to repeat."""
        if not self._stopped:
            self._history.listeners.remove(self._wake)
        self._stopped = why
        if self._timer is not None:
            self._timer.cancel()
        self._end_all()

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        catching_up = self._cohort.audience.watchers() if self._cohort else ()
        return {
            "watchers": len(self._quiet),
            "watchers_behind": len(self._waiting) + len(self._aside) + len(catching_up),
            "watch_deliveries": self._delivered,
            "watchers_cut_off": self._cut_off,
        }

    # -- watchers --------------------------------------------------------------------------------

    async def open(self, view: View, since: int | None, sink: Sink) -> Watcher:
        """A new watcher of what comes after `since`; None: after all that was acknowledged by now.

        It is given nothing before its first resume(). Raises NotLeader, Overloaded, Compacted, and
        BadRequest for a revision that has not been.
        """
        self._admit(view)
        self._opening += 1
        try:
            after = await self._begin_after(since)
        finally:
            self._opening -= 1
        self._admit(view)
        watcher = Watcher(self, view, after, sink)
        watcher.beat = self._beat
        self._quiet[watcher] = None
        self._aside[watcher] = self._history.end
        if view.is_range:
            self._ranges[view.start, view.end] += 1
        return watcher

    def _admit(self, view: View) -> None:
        if why := self._why_not():
            raise NotLeader(why)
        if len(self._quiet) + self._opening >= self._watchers_max:
            raise Overloaded(f"this node has {self._watchers_max} watchers already")
        is_new = view.is_range and (view.start, view.end) not in self._ranges
        if is_new and len(self._ranges) >= WATCHED_RANGES_MAX:
            raise Overloaded(f"this node has watchers of {WATCHED_RANGES_MAX} ranges already")

    async def _begin_after(self, since: int | None) -> int:
        if since is not None and since <= self._machine.revision:
            if self._history.position_after(since) is None:
                raise self._forgotten(since)
            return since
        if await called(self._replica.read_index) is None:
            raise NotLeader("no leader could confirm where this watch begins")
        now = self._machine.revision
        if since is not None and since > now:
            raise BadRequest(f"since={since} has not been yet: the store is at revision {now}")
        return now if since is None else since

    def _forgotten(self, revision: int) -> Compacted:
        oldest = self._history.first_revision
        return Compacted(
            f"what changed after revision {revision} is forgotten:"
            f" the oldest known here is {oldest}",
            oldest_revision=oldest,
        )

    def resume(self, watcher: Watcher) -> None:
        """See Watcher."""
        if self._aside.pop(watcher, None) is None:
            return
        if not self._live.audience:  # nobody was there to walk for
            self._live.jump(self._history.end, self._machine.revision)
        position = self._history.position_after(watcher.after)
        if position is not None and position >= self._live.position:
            self._go_live(watcher)
        else:
            self._waiting[watcher] = None
        self._wake()

    def close(self, watcher: Watcher) -> None:
        """See Watcher."""
        if watcher.is_closed:
            return
        watcher.is_closed = True
        self._leave(watcher)
        del self._quiet[watcher]
        view = watcher.view
        if view.is_range:
            self._ranges[view.start, view.end] -= 1
            self._ranges += Counter()  # drops what is at zero

    def _go_live(self, watcher: Watcher) -> None:
        watcher.tour = self._live
        self._live.audience.add(watcher.view, watcher)

    def _leave(self, watcher: Watcher) -> None:
        """Out of whatever it is in, with all that it was given noted."""
        self._aside.pop(watcher, None)
        self._waiting.pop(watcher, None)
        if watcher.tour is not None:
            watcher.after = watcher.reached
            watcher.tour.audience.remove(watcher.view, watcher)
            watcher.tour = None

    def _end(self, watcher: Watcher, error: RaftcacheError) -> None:
        self.close(watcher)
        try:
            watcher.sink.end(error)
        except Exception:  # one watcher's fault is not the others'
            logger.exception("a watcher could not be ended")

    def _end_all(self) -> None:
        why = self._why_not()
        for watcher in list(self._quiet):
            self._end(watcher, NotLeader(why))

    def _why_not(self) -> str:
        """Why this node has no watchers just now; "" if it may."""
        return self._stopped or lateness.why_late(self._replica)

    # -- turns -----------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._quiet and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(BEAT_S, self._tick)
        self._beat += 1
        self._progress_left = 1 + 2 * len(self._quiet) // PROGRESS_BEATS
        self._wake()

    def _turn(self) -> None:
        self._turn_due = False
        if self._why_not():
            self._end_all()
            return
        self._cut_off_the_slow()
        busy = self._work_for_all()
        busy |= self._catch_up()
        busy |= self._show_progress()
        if busy:
            self._wake()

    def _work_for_all(self) -> bool:
        live = self._live
        busy = live.work(STEPS_PER_TURN)
        if live.lost:  # another node's image took the place of the state
            for watcher in live.audience.watchers():
                self._leave(watcher)
                self._waiting[watcher] = None
            live.jump(self._history.end, self._machine.revision)
        elif live.at_end:
            live.reached = self._machine.revision
        return busy

    def _catch_up(self) -> bool:
        if self._cohort is not None and not self._cohort.audience:
            self._cohort = None  # all of them have gone
        if self._cohort is None:
            self._gather()
        cohort = self._cohort
        if cohort is None:
            return bool(self._waiting)
        cohort.work(STEPS_PER_TURN)
        if cohort.lost or (cohort.between and cohort.position >= self._live.position):
            self._cohort = None
            for watcher in cohort.audience.watchers():
                self._leave(watcher)
                if cohort.lost:
                    self._waiting[watcher] = None
                else:
                    self._go_live(watcher)
        return self._cohort is not None or bool(self._waiting)

    def _gather(self) -> None:
        """Begin the next cohort, if anybody waits, where the first of them has to."""
        positions: dict[Watcher, int] = {}
        for watcher in list(islice(self._waiting, COHORT_MAX)):
            position = self._history.position_after(watcher.after)
            if position is None:
                self._end(watcher, self._forgotten(watcher.after))
            else:
                del self._waiting[watcher]
                positions[watcher] = position
        if positions:
            self._cohort = cohort = Tour(self._history, min(positions.values()), 0, self._offer)
            for watcher in positions:
                watcher.tour = cohort
                cohort.audience.add(watcher.view, watcher)

    def _offer(self, watcher: Watcher, delivery: Delivery) -> None:
        if delivery.revision <= watcher.after:
            return
        if watcher.sink.is_full:
            self._leave(watcher)
            self._aside[watcher] = self._history.end
            return
        try:
            watcher.sink.deliver(delivery)
        except Exception:  # one watcher's fault is not the others'
            logger.exception("a watcher could not be given its changes")
            self._end(watcher, Unknown("this node made a mistake; its log tells more"))
            return
        watcher.after = delivery.revision
        self._delivered += 1
        self._note_beat(watcher)

    def _note_beat(self, watcher: Watcher) -> None:
        if watcher.beat != self._beat:
            watcher.beat = self._beat
            del self._quiet[watcher]
            self._quiet[watcher] = None

    def _cut_off_the_slow(self) -> None:
        while self._aside:
            watcher, since = next(iter(self._aside.items()))
            missed = self._history.end - since
            if missed <= BACKLOG_EVENTS_MAX:
                return
            self._cut_off += 1
            detail = f"{missed} changes happened while the client of this watch read nothing"
            logger.warning("a watcher was cut off", extra={"why": detail})
            self._end(watcher, Overloaded(detail))

    def _show_progress(self) -> bool:
        """Those who were given nothing lately; True if there are more."""
        for watcher in list(islice(self._quiet, min(STEPS_PER_TURN, self._progress_left))):
            if self._beat - watcher.beat < PROGRESS_BEATS:
                return False
            self._note_beat(watcher)
            self._progress_left -= 1
            if watcher.tour is self._live and not watcher.sink.is_full:
                watcher.sink.progress(watcher.reached)
        return self._progress_left > 0
