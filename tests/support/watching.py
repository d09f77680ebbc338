"""A watch hub on a state machine without a log, whose time a test moves by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from raftcache.command.codec import batch, encode
from raftcache.command.replies import Reply
from raftcache.command.words import Command
from raftcache.errors import RaftcacheError
from raftcache.service.audience import View
from raftcache.service.tour import Delivery
from raftcache.service.watch import Watcher, WatchHub
from raftcache.state.machine import Machine


class FakeReplica:
    """A Replicated. confirms: what a read index is answered with, None for nobody."""

    def __init__(self) -> None:
        self.expelled = ""
        self.state_age_s = 0.0
        self.confirms: int | None = 1
        self.asked = 0
        self.before: Callable[[], object] = lambda: None
        """Called when a read index is asked for: what happens until it is confirmed."""

    def read_index(self, ready: Callable[[int | None], None]) -> None:
        self.asked += 1
        self.before()
        ready(self.confirms)


class HandTimer:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandLoop:
    """Does what is due when it is told to."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()
        self.later: list[tuple[HandTimer, Callable[[], object]]] = []

    def call_soon(self, callback: Callable[..., object], *args: object) -> object:
        self.soon.append(lambda: callback(*args))
        return None

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> HandTimer:
        timer = HandTimer()
        self.later.append((timer, lambda: callback(*args)))
        return timer

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def run(self) -> int:
        """Turns until nothing is due; returns how many."""
        turns = 0
        while self.soon:
            self.turn()
            turns += 1
        return turns

    def beat(self) -> None:
        """Every timer goes off once."""
        due, self.later = self.later, []
        for timer, callback in due:
            if not timer.is_cancelled:
                callback()
        self.run()


class Notes:
    """A Sink that remembers."""

    def __init__(self, fails: bool = False) -> None:
        self.is_full = False
        self.deliveries: list[Delivery] = []
        self.reached: list[int] = []
        self.error: RaftcacheError | None = None
        self._fails = fails

    def deliver(self, delivery: Delivery) -> None:
        if self._fails:
            raise ZeroDivisionError
        assert not self.is_full
        assert self.error is None, "delivered after the end"
        self.deliveries.append(delivery)

    def progress(self, revision: int) -> None:
        assert self.error is None
        self.reached.append(revision)

    def end(self, error: RaftcacheError) -> None:
        assert self.error is None, "ended twice"
        self.error = error

    @property
    def revisions(self) -> list[int]:
        return [delivery.revision for delivery in self.deliveries]

    @property
    def seen(self) -> list[tuple[int, str, bytes, bytes | None]]:
        return [
            (d.revision, c.kind.name, c.key, c.item.value if c.item else None)
            for d in self.deliveries
            for c in d.changes
        ]


class Bench:
    """A hub and its surroundings."""

    def __init__(self, watchers_max: int = 1000) -> None:
        self.machine, self.replica, self.loop = Machine(), FakeReplica(), HandLoop()
        self.hub = WatchHub(self.replica, self.machine, self.loop, watchers_max)
        self.hub.start()
        self.now_ms = 1000

    def apply(self, *commands: Command) -> list[Reply]:
        """One batch."""
        return self.machine.apply(self.now_ms, batch([encode(command) for command in commands]))

    def watcher(
        self, view: View | None = None, since: int | None = None, notes: Notes | None = None
    ) -> tuple[Watcher, Notes]:
        """One that is not resumed yet."""
        notes = notes or Notes()
        return asyncio.run(self.hub.open(view or View(), since, notes)), notes

    def watch(self, view: View | None = None, since: int | None = None, **more: Any) -> Notes:
        watcher, notes = self.watcher(view, since, **more)
        watcher.resume()
        return notes

    def install(self, other: Machine) -> None:
        """The image of another machine takes the place of the state."""
        loader = self.machine.loader()
        for piece in other.dump():
            loader.feed(piece)
        loader.install()
