"""The log's account of what is durable, against a plain list kept beside it the dumb way."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftcache.raft.entries import Block, Entry
from raftcache.raft.log import Log


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
        offset = data.draw(st.integers(1, len(self.seen)))
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
        assert self.log[0][1:] == (index, term)

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
        self.log.block_durable(block)

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
        assert self.log[:] == self.seen
        assert (self.log.first_index, self.log.last_index) == (
            self.seen[0].index,
            self.seen[-1].index,
        )
        assert self.log.size_bytes == sum(len(e.command) for e in self.seen)

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
