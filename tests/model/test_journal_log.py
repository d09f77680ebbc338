"""The log's account of what is durable, against a plain list kept beside it the dumb way."""

from __future__ import annotations

from collections import deque
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftcache.raft import log as log_module
from raftcache.raft.entries import FORGOTTEN, Block, Entry
from raftcache.raft.log import Log
from raftcache.raft.places import Place


class LogMachine(RuleBasedStateMachine):
    """Every entry has a command of its own, so equal entries are the same entry."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.memory: list[Entry] = []  # with the base at the front, if there is one
        self.forgotten = 0
        self.disk: list[Entry] = []
        self.in_flight: deque[tuple[Block, list[Entry], tuple[int, str | None]]] = deque()
        self.vote: tuple[int, str | None] = (0, None)
        self.disk_vote = self.vote
        self.count = 0
        self.applied_index = 0
        self.written: list[Block] = []  # where a block lies: its number is its offset
        self.add(0)

    @property
    def seen(self) -> list[Entry]:
        return self.memory[self.forgotten :]

    @rule(term_step=st.integers(0, 1))
    def add(self, term_step: int) -> None:
        self.count += 1
        index, term = (self.memory[-1][1:]) if self.memory else (0, 0)
        entry = Entry(b"%d" % self.count, index + 1, term + term_step)
        self.log.add(*entry)
        self.memory.append(entry)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        committed = max(1, self.applied_index + 1 - self.seen[0].index)
        offset = data.draw(st.integers(committed, len(self.seen)))
        self.log.deleteEntriesFrom(offset)
        del self.memory[self.forgotten + offset :]

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.seen)))
        self.log.deleteEntriesTo(offset)
        forgotten = self.log.first_index - self.seen[0].index
        assert 0 <= forgotten <= offset
        self.forgotten += forgotten

    @rule(step=st.integers(-2, 5), term_step=st.integers(0, 1))
    def restart(self, step: int, term_step: int) -> None:
        last = self.memory[-1]
        index, term = max(1, last.index + step), last.term + term_step
        self.log.restart_at(index, term)
        self.count += 1
        self.memory, self.forgotten = [self.log[0]], 0
        self.applied_index = index
        assert self.log[0][1:] == (index, term)

    @rule(data=st.data(), tail_size_bytes=st.sampled_from([0, 300, 1000]))
    def forget_commands(self, data: st.DataObject, tail_size_bytes: int) -> None:
        last = self.memory[-1].index
        self.applied_index = data.draw(st.integers(min(self.applied_index, last), last))
        kept_index = self.log.kept_index
        with mock.patch.object(log_module, "TAIL_SIZE_BYTES_MAX", tail_size_bytes):
            self.log.forget_commands(self.applied_index)
        durable_index = self.log.durable_index
        assert kept_index <= self.log.kept_index
        assert self.log.kept_index <= max(kept_index, min(self.applied_index, durable_index) + 1)
        if not tail_size_bytes and self.log._places.holds(max(kept_index, self.seen[0].index + 1)):
            assert self.log.kept_index > min(self.applied_index, durable_index)

    @rule(term_step=st.integers(0, 1), who=st.sampled_from([None, "n1", "n2"]))
    def set_vote(self, term_step: int, who: str | None) -> None:
        self.vote = (self.vote[0] + term_step, who)
        self.log.setCurrentTerm(*self.vote)

    @rule()
    def take(self) -> None:
        block = self.log.take_block()
        if block is None:
            on_its_way = self.in_flight[-1][1] if self.in_flight else self.disk
            assert on_its_way == self.memory
        else:
            self.in_flight.append((block, list(self.memory), self.vote))

    @precondition(lambda self: self.in_flight)
    @rule()
    def land(self) -> None:
        block, expected, vote = self.in_flight.popleft()
        self.disk = _apply(self.disk, block)
        assert [e[1:] for e in self.disk] == [e[1:] for e in expected]
        assert (block.term, block.voted_for) == vote
        self.disk, self.disk_vote = expected, vote  # the same, with the identity of a base
        self.written.append(block)
        self.log.block_durable(block, Place(1, len(self.written) - 1))

    @invariant()
    def durable_index_is_the_common_prefix(self) -> None:
        common = 0
        for ours, on_disk in zip(self.memory, self.disk, strict=False):
            if ours is not on_disk:
                break
            common = ours.index
        assert self.log.durable_index == common

    @invariant()
    def it_is_a_list(self) -> None:
        kept = self.log.kept_index - self.log.first_index
        assert self.log[kept:] == self.seen[kept:]
        assert self.log[:kept] == [Entry(FORGOTTEN, *e[1:]) for e in self.seen[:kept]]
        assert list(self.log) == self.log[:]
        assert (self.log.first_index, self.log.last_index) == (
            self.seen[0].index,
            self.seen[-1].index,
        )
        assert self.log.size_bytes == sum(len(e.command) for e in self.seen)

    @invariant()
    def what_is_forgotten_is_where_its_place_says(self) -> None:
        for entry in self.seen[1 : self.log.kept_index - self.log.first_index]:
            _, blocks = self.log.stretch(entry.index, 3)
            at, first_index, next_index = blocks[0]
            assert first_index <= entry.index < next_index
            assert entry in self.written[at].entries
            assert self.written[at].prev.index + 1 == first_index

    @invariant()
    def nothing_pending_means_the_disk_has_it(self) -> None:
        if not self.log.has_pending:
            assert self.disk == self.memory
            assert self.disk_vote == self.vote


def _apply(disk: list[Entry], block: Block) -> list[Entry]:
    """What a block does to the log on disk; a base is kept as an entry, as in memory."""
    if block.restart:
        return [Entry(b"", *block.prev), *block.entries]
    kept = [e for e in disk if e.index <= block.prev.index]
    assert (kept[-1][1:] if kept else (0, 0)) == block.prev
    return kept + block.entries


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
