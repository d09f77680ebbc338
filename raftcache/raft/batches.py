"""Group commit: proposals gathered into batches, given to the engine, and answered.

One entry costs all nodes together as much as dozens of plain commands do: a write to three disks,
half a dozen messages, as many turns. So it pays to wait a moment for company, and only then. Who
waits for answers tends to ask again as soon as they have come: after a batch has landed, as many
commands are expected as were under way, and the next batch leaves when nearly all of them are here,
or after GATHER_S. An expectation that came to nothing is not held again for some batches, twice as
many each time, so that those who never ask in step do not pay for it.

Behind a batch that takes longer than PIPELINE_AFTER_S, on a slow disk or over a long way, others
follow: PIPELINE_BATCHES_MAX are in flight at most.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from raftcache.command.codec import batch as encode_batch
from raftcache.command.limits import BATCH_COMMANDS_MAX, BATCH_SIZE_BYTES_MAX, BATCH_WIDTH_MAX
from raftcache.errors import NotLeader, RaftcacheError, Refused, Unknown
from raftcache.ports import Clock, Loop, Timer

PIPELINE_BATCHES_MAX: Final = 3
"""Batches in flight: one being written, one on the wire, one being answered."""

PIPELINE_AFTER_S: Final = 0.005
"""A batch waits so long for one that is in flight, then it follows."""

GATHER_S: Final = 0.002
"""The longest that a batch is held for company."""

GRAIN_S: Final = 0.0005
"""A timer of an event loop is set in milliseconds, and may come so much too early."""

ENOUGH_COMMANDS: Final = 512
"""So many need no company: what an entry costs is little beside what they do."""

COMPANY: Final = 0.9
"""Nearly all: some clients of a batch are always slower than the others."""

UNHELD_BATCHES_MAX: Final = 64
"""So many batches leave at once, at most, before another expectation is held."""

Done: TypeAlias = Callable[[Any], None]
"""Called exactly once, with the state machine's reply or with a RaftcacheError."""

Landed: TypeAlias = Callable[[Sequence[Any] | None, RaftcacheError | None], None]
"""Told once what became of a batch: the replies of its commands, in order, or why not."""

logger = logging.getLogger("raftcache.raft")


class _Batch:
    """Commands that travel together in one log entry."""

    def __init__(self, begun_s: float) -> None:
        self.commands: list[bytes] = []
        self.done: list[Done] = []
        self.size_bytes = self.weight = self.width = 0
        self.begun_s = begun_s

    def is_full_for(self, command: bytes, width: int) -> bool:
        return bool(self.commands) and (
            self.weight >= BATCH_COMMANDS_MAX
            or self.size_bytes + len(command) > BATCH_SIZE_BYTES_MAX
            or self.width + width > BATCH_WIDTH_MAX
        )

    def add(self, command: bytes, done: Done, weight: int, width: int) -> None:
        self.weight += max(1, weight)  # more commands than that cannot be read again
        self.width += width
        self.commands.append(command)
        self.done.append(done)
        self.size_bytes += len(command)

    def end(self, outcomes: Sequence[Any]) -> None:
        """Answer every caller; a second end (a reply after the timeout) finds nobody.

        The fault of one is logged, and is not the fault of the engine, in whose turn this is.
        """
        waiting, self.done = self.done, []
        assert not waiting or len(waiting) == len(outcomes)
        left = zip(waiting, outcomes, strict=False)
        while True:
            try:
                for done, outcome in left:
                    done(outcome)
                return
            except Exception:  # those behind it still get their answers
                logger.exception("unexpected error")

    def fail(self, error: RaftcacheError) -> None:
        self.end([error] * len(self.done))


class Batches:
    """The proposals of one node that have no outcome yet. All methods on the event loop."""

    def __init__(
        self,
        give: Callable[[bytes, Landed], None],
        wake: Callable[[], None],
        clock: Clock,
        loop: Loop,
        timeout_s: float,
        size_bytes_max: int,
    ) -> None:
        """give: to consensus. wake: asks for a turn, in which `launch` is called.

        timeout_s: after which a proposal ends as unknown. size_bytes_max: of all that wait, beside
        one batch.
        """
        self._give, self._wake, self._clock, self._loop = give, wake, clock, loop
        self._timeout_s, self._size_bytes_max = timeout_s, size_bytes_max
        self._open: deque[_Batch] = deque()  # not yet given to the engine
        self._flying: deque[_Batch] = deque()  # in the order given; ended ones leave lazily
        self._in_flight = 0
        self.pending = 0
        """Commands without an outcome."""
        self.is_full = False
        """Whether what is kept of them is too much."""
        self._expected = 0.0  # the weight that the next batch is held for
        self._expected_until_s = float("-inf")
        self._is_held = False
        self._unheld = self._in_vain = 0  # batches yet to leave at once, and how many that was
        self._timer: Timer | None = None

    def add(self, command: bytes, done: Done, weight: int, width: int = 0) -> None:
        """To be launched in this turn, or soon. weight: as so many commands it counts. width: see
        BATCH_WIDTH_MAX."""
        if not self._open or self._open[-1].is_full_for(command, width):
            if self._open:  # else there is little, and no time to count it
                self._measure()
            self._open.append(_Batch(self._clock.monotonic_s()))
        self._open[-1].add(command, done, weight, width)
        self.pending += 1
        self._wake()

    def launch(self) -> None:
        """Give the engine what is due."""
        while self._open and self._in_flight < PIPELINE_BATCHES_MAX and self._is_due():
            batch = self._open.popleft()
            self._flying.append(batch)
            self._in_flight += 1
            self._expected, self._is_held = 0.0, False
            self._give(encode_batch(batch.commands), partial(self._landed, batch))

    def _is_due(self) -> bool:
        batch = self._open[0]
        if len(self._open) > 1 or batch.weight >= ENOUGH_COMMANDS:
            return True
        if self._in_flight:
            return self._held_until(batch.begun_s + PIPELINE_AFTER_S)
        if batch.weight >= self._expected:
            if self._is_held:
                self._in_vain = 0
            return True
        self._is_held = True
        if not self._held_until(self._expected_until_s):
            return False
        self._unheld = self._in_vain = min(UNHELD_BATCHES_MAX, 2 * self._in_vain or 1)
        return True

    def _held_until(self, until_s: float) -> bool:
        """Whether it is so late; if not, a turn is asked for when it is."""
        left_s = until_s - self._clock.monotonic_s()
        if left_s <= GRAIN_S:
            return True
        if self._timer is None:
            self._timer = self._loop.call_later(left_s, self._look_again)
        return False

    def _look_again(self) -> None:
        self._timer = None
        self._wake()

    def _landed(
        self, batch: _Batch, replies: Sequence[Any] | None, error: RaftcacheError | None
    ) -> None:
        self._in_flight -= 1
        self.pending -= len(batch.done)
        self._expect(batch)
        if error is None:
            assert replies is not None
            batch.end(replies)
        else:
            batch.fail(error)
        batch.commands, batch.size_bytes = [], 0
        while self._flying and not self._flying[0].done:
            self._flying.popleft()
        if self.is_full:
            self._measure()
        if self._open:
            self._wake()

    def _measure(self) -> None:
        size_bytes = sum(batch.size_bytes for batch in (*self._open, *self._flying))
        self.is_full = size_bytes >= self._size_bytes_max

    def _expect(self, landed: _Batch) -> None:
        """Those who are answered now may ask again at once."""
        if self._unheld:
            self._unheld -= 1
            return
        waiting = self._open[0].weight if self._open else 0
        self._expected = COMPANY * (landed.weight + waiting)
        self._expected_until_s = self._clock.monotonic_s() + GATHER_S

    def expire(self, lacks_leader: bool) -> None:
        """Rule 13: every proposal ends, even if the engine never hears of it again."""
        begun_s = self._clock.monotonic_s() - self._timeout_s
        for batch in self._flying:
            if batch.done and batch.begun_s < begun_s:
                self.pending -= len(batch.done)
                batch.fail(Unknown(f"no majority confirmed it in {self._timeout_s:g} s"))
        while self._open and (lacks_leader or self._open[0].begun_s < begun_s):
            batch = self._open.popleft()
            self.pending -= len(batch.done)
            batch.fail(NotLeader("no leader took it"))
        if self.is_full:
            self._measure()

    def stop(self) -> None:
        """End all of them: what was given to the engine as unknown."""
        for batch in self._open:
            batch.fail(Refused("this node is shutting down", retry_after_s=1.0))
        for batch in self._flying:
            batch.fail(Unknown("this node is shutting down"))
        if self._timer is not None:
            self._timer.cancel()
