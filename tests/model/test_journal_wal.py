"""The log on disk against a plain list, with crashes and bad disks at any operation.

What must hold: the next process finds every block whose write returned, and of the one block whose
write did not, all or nothing. And it finds it again after the power fails right then.
"""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from raftcache.errors import Fatal
from raftcache.raft.entries import START, Block, Entry, Position, Recovered
from raftcache.raft.wal import Wal
from tests.support.memory_disk import MemoryDisk

SEGMENT_SIZE_BYTES = 2048
SIZES = [0, 30, 300, 480, 700, 1800, 3000]


class Stopped(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Model:
    """A log as plain values; entries from the one after the base."""

    base: Position = START
    entries: tuple[Entry, ...] = ()
    vote: tuple[int, str | None] = (0, None)
    dropped: int = field(default=0, compare=False)
    """Segments below this index may be gone."""

    def last(self) -> Position:
        return Position(*self.entries[-1][1:]) if self.entries else self.base

    def position(self, index: int) -> Position:
        found = [Position(*e[1:]) for e in self.entries if e.index == index]
        return found[0] if found else self.base

    def after(self, block: Block) -> Model:
        vote = (block.term, block.voted_for)
        if block.restart:
            return Model(block.prev, tuple(block.entries), vote)
        kept = tuple(e for e in self.entries if e.index <= block.prev.index)
        return replace(self, entries=kept + tuple(block.entries), vote=vote)

    def allows(self, found: Model) -> bool:
        """Whether it is this log, maybe without entries that were to be dropped."""
        at = found.base.index
        if at != self.base.index and not self.base.index < at < self.dropped:
            return False
        kept = tuple(e for e in self.entries if e.index > at)
        return found == replace(self, base=self.position(at), entries=kept)


class WalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.model = Model()
        self.maybe: Model | None = None  # the log, if the write that failed happened after all
        self.count = 0
        self.wal: Wal | None = self.open()[0]

    def open(self) -> tuple[Wal, Recovered]:
        return Wal.open(self.disk, SEGMENT_SIZE_BYTES, sync=True)

    def stop_at(self, operation_number: int, error: bool) -> None:
        """The operation of this number from now on fails, or is the last one of the process."""
        left = operation_number

        def hook(operation: str, path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0 and error and operation != "read":
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            if left < 0:
                raise Stopped

        self.disk.hook = hook

    @precondition(lambda self: self.wal is not None)
    @rule(data=st.data(), fault=st.sampled_from([None, None, None, "error", "stop"]))
    def write(self, data: st.DataObject, fault: str | None) -> None:
        block = self.draw_block(data)
        expected = self.model.after(block)
        assert self.wal is not None
        if fault is not None:
            self.stop_at(data.draw(st.integers(0, 8)), fault == "error")
        try:
            self.wal.write(block)
        except (Fatal, Stopped):
            self.wal, self.maybe = None, expected
        else:
            self.model = expected
        self.disk.hook = None

    def draw_block(self, data: st.DataObject) -> Block:
        last = self.model.last()
        term = last.term + data.draw(st.integers(0, 1))
        restart = data.draw(st.integers(0, 9)) == 0
        if restart:
            prev = Position(max(1, last.index + data.draw(st.integers(-2, 5))), term)
        else:
            back = data.draw(st.sampled_from([0, 0, 0, 1, 4]))
            prev = self.model.position(
                max(last.index - back, self.model.dropped, self.model.base.index)
            )
        entries = []
        for i, size_bytes in enumerate(data.draw(st.lists(st.sampled_from(SIZES), max_size=3)), 1):
            self.count += 1
            filler = (bytes, b"x".__mul__)[self.count % 2](size_bytes)
            entries.append(Entry(b"%d:" % self.count + filler, prev.index + i, term))
        vote = max(term, self.model.vote[0]), data.draw(st.sampled_from([None, "n1", "n2"]))
        return Block(*vote, restart, prev, entries)

    @precondition(lambda self: self.wal is not None)
    @rule(data=st.data(), fault=st.sampled_from([None, None, "error", "stop"]))
    def drop(self, data: st.DataObject, fault: str | None) -> None:
        index = data.draw(st.integers(self.model.base.index, self.model.last().index))
        assert self.wal is not None
        self.model = replace(self.model, dropped=max(self.model.dropped, index))
        if fault is not None:
            self.stop_at(data.draw(st.integers(0, 4)), fault == "error")
        try:
            self.wal.drop_before(index)
            if data.draw(st.booleans()):  # or later, or never: another lane does it
                self.wal.remove_dropped()
        except (Fatal, Stopped):
            self.wal = None
        self.disk.hook = None

    @rule(seed=st.integers(0, 999), power_fails=st.booleans(), data=st.data())
    def next_process(self, seed: int, power_fails: bool, data: st.DataObject) -> None:
        rng = random.Random(seed)
        self.wal = None
        self.disk.crash(rng) if power_fails else self.disk.kill()
        if data.draw(st.booleans()):  # recovery itself may be interrupted
            self.stop_at(data.draw(st.integers(0, 9)), error=False)
            try:
                self.open()
            except Stopped:
                self.disk.crash(rng)
            else:
                self.disk.kill()
        _, recovered = self.open()
        self.check(recovered)
        self.disk.crash(rng)
        self.wal, again = self.open()
        assert replace_torn(again) == replace_torn(recovered), "what was recovered is durable"

    def check(self, recovered: Recovered) -> None:
        found = Model(
            recovered.base, tuple(recovered.entries), (recovered.term, recovered.voted_for)
        )
        allowed = [m for m in (self.model, self.maybe) if m is not None and m.allows(found)]
        assert allowed, (found, self.model, self.maybe)
        self.model, self.maybe = replace(found, dropped=allowed[0].dropped), None

    def teardown(self) -> None:
        self.disk.kill()
        self.check(self.open()[1])


def replace_torn(recovered: Recovered) -> tuple[object, ...]:
    return recovered.entries, recovered.base, recovered.term, recovered.voted_for


TestWal = WalMachine.TestCase
TestWal.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
