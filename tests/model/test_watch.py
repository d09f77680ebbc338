"""The hub against plain lists: whoever watches anything sees what a careful clerk wrote down."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from raftcache.command.codec import batch, encode
from raftcache.command.ranges import end_of_prefix, is_within
from raftcache.command.words import Command, Delete, DeleteRange, Put, Txn
from raftcache.errors import Compacted, Overloaded
from raftcache.service import watch
from raftcache.service.audience import ALL_KINDS, KINDS, View
from raftcache.service.watch import Watcher
from raftcache.state import history
from raftcache.state.history import Event
from raftcache.state.machine import Machine
from tests.support.watching import Bench, Notes

keys = st.binary(min_size=1, max_size=2).map(lambda b: bytes(byte % 3 + 97 for byte in b))
puts = st.builds(Put, keys, st.binary(max_size=2), st.just(""), st.sampled_from([None, 5, 50]))
simple = st.one_of(puts, st.builds(Delete, keys))
commands = st.one_of(
    simple,
    st.builds(lambda ops: Txn(success=tuple(ops)), st.lists(simple, max_size=4)),
    st.builds(lambda key: DeleteRange(key, end_of_prefix(key)), keys),
)
kinds = st.one_of(
    st.just(ALL_KINDS), st.frozensets(st.sampled_from(list(KINDS.values())), min_size=1)
)
spans = st.one_of(
    keys.map(lambda key: (key, key + b"\0")),
    st.one_of(keys, st.just(b"")).map(lambda prefix: (prefix, end_of_prefix(prefix))),
    st.tuples(keys, keys).filter(lambda pair: pair[0] < pair[1]),
)
views = st.builds(lambda span, kinds: View(*span, kinds), spans, kinds)

Seen = list[tuple[int, list[tuple[str, bytes, bytes | None]]]]


class Watching(RuleBasedStateMachine):
    """book: every revision and its changes, in order, as the history told them at once."""

    watchers = Bundle("watchers")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.book: dict[int, list[Any]] = {}
        self._written_to = 0
        self.known: list[tuple[Watcher, Notes, View, int]] = []

    def _note(self) -> None:
        # A revision may have changed nothing, as one that put a key and deleted it.
        events = self.bench.machine.history
        position = events.position_after(self._written_to)
        self._written_to = self.bench.machine.revision
        if position is not None:
            for event in events.read(position, 10_000) or ():
                self.book.setdefault(event.revision, []).append(event)

    @rule(batch=st.lists(commands, min_size=1, max_size=4), passed_ms=st.sampled_from([0, 0, 20]))
    def apply(self, batch: list[Command], passed_ms: int) -> None:
        self.bench.now_ms += passed_ms
        self.bench.apply(*batch)
        self._note()

    @rule(target=watchers, view=views, back=st.integers(0, 12), now=st.booleans())
    def open(self, view: View, back: int, now: bool) -> Any:
        since = max(0, self.bench.machine.revision - back)
        try:
            watcher, notes = self.bench.watcher(view, None if now else since)
        except Compacted:
            return None
        self.known.append((watcher, notes, view, watcher.after))
        watcher.resume()
        return watcher, notes

    @rule(watcher=watchers, full=st.booleans())
    def fill_or_drain(self, watcher: Any, full: bool) -> None:
        if watcher is not None:
            watcher[1].is_full = full
            if not full:
                watcher[0].resume()

    @rule(watcher=watchers)
    def leave(self, watcher: Any) -> None:
        if watcher is not None:
            watcher[0].close()

    @rule(turns=st.integers(1, 5))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.bench.loop.turn()

    @rule()
    def beat(self) -> None:
        self.bench.loop.beat()

    @rule(more=st.integers(0, 2))
    def install(self, more: int) -> None:
        """What another node has, which went on meanwhile."""
        other = Machine()
        loader = other.loader()
        for piece in self.bench.machine.dump():
            loader.feed(piece)
        loader.install()
        for i in range(more):
            entry = batch([encode(Put(b"a", b"%d" % i))])
            (reply,) = other.apply(self.bench.now_ms, entry)
            # Nobody here can know: whoever is shown what comes later must have been told so.
            self.book[reply.revision] = [Event(reply.revision, KINDS["put"], b"a", None, None)]
        self.bench.install(other)
        self._written_to = other.revision

    @invariant()
    def everyone_saw_what_happened(self) -> None:
        for watcher, notes, view, after in self.known:
            shown = [(d.revision, [(c.kind, c.key) for c in d.changes]) for d in notes.deliveries]
            expected = [line for line in self._shown(view) if after < line[0] <= watcher.reached]
            assert shown == expected, view
            for revision in notes.reached:
                assert revision <= watcher.reached

    def _shown(self, view: View) -> list[tuple[int, list[Any]]]:
        lines = []
        for revision, events in sorted(self.book.items()):
            mine = [
                (event.kind, event.key)
                for event in events
                if is_within(event.key, view.start, view.end) and event.kind in view.kinds
            ]
            if mine:
                lines.append((revision, mine))
        return lines

    def teardown(self) -> None:
        for watcher, notes, _, _ in self.known:
            notes.is_full = False
            watcher.resume()
        self.bench.loop.beat()
        for watcher, notes, _, _ in self.known:
            assert watcher.is_closed or watcher.reached == self.bench.machine.revision
            assert notes.error is None or isinstance(notes.error, Compacted | Overloaded)
        self.everyone_saw_what_happened()
        super().teardown()


class ShortMemory(Watching):
    """With limits so small that all of them are met."""

    def __init__(self) -> None:
        super().__init__()
        self._limits = (history.HISTORY_EVENTS_MAX, watch.STEPS_PER_TURN, watch.BACKLOG_EVENTS_MAX)
        history.HISTORY_EVENTS_MAX = 12  # type: ignore[misc]
        watch.STEPS_PER_TURN, watch.BACKLOG_EVENTS_MAX = 2, 8  # type: ignore[misc]

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            history.HISTORY_EVENTS_MAX = self._limits[0]  # type: ignore[misc]
            watch.STEPS_PER_TURN, watch.BACKLOG_EVENTS_MAX = self._limits[1:]  # type: ignore[misc]


TestWatching = Watching.TestCase
TestWatching.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestShortMemory = ShortMemory.TestCase
TestShortMemory.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
