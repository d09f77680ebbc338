"""The log in memory: what pysyncobj may do with it, and what it says is durable."""

from __future__ import annotations

import msgspec
import pytest

from raftcache.raft import log as log_module
from raftcache.raft.entries import FORGOTTEN, NO_OP, START, Block, Entry, Position, Recovered
from raftcache.raft.log import (
    BLOCK_COMMANDS_SIZE_BYTES_MAX,
    ENTRY_SIZE_BYTES,
    RELEASE_SIZE_BYTES_MIN,
    Log,
)
from raftcache.raft.places import Place


def log_of(*entries: tuple[int, int]) -> Log:
    """A log with these (index, term), all of them durable."""
    log = Log()
    for index, term in entries:
        log.add(b"command %d" % index, index, term)
    settle(log)
    return log


def settle(log: Log) -> None:
    while (block := log.take_block()) is not None:
        log.block_durable(block)


def take(log: Log) -> Block:
    block = log.take_block()
    assert block is not None
    return block


def test_an_entry_is_the_tuple_that_pysyncobj_uses() -> None:
    entry = Entry(b"x", 3, 2)
    assert entry == (b"x", 3, 2)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=Entry) == entry


def test_a_new_log_is_empty_and_owes_nothing() -> None:
    log = Log()
    assert (len(log), log.first_index, log.last_index, log.durable_index) == (0, 1, 0, 0)
    assert log.take_block() is None
    assert not log.has_pending


def test_an_entry_is_durable_only_when_its_block_is() -> None:
    log = Log()
    log.add(NO_OP, 1, 0)
    assert log.has_pending
    block = take(log)
    assert block == Block(0, None, False, START, [Entry(NO_OP, 1, 0)], 0)
    assert (log.has_untaken, log.has_pending, log.durable_index) == (False, True, 0)
    log.block_durable(block)
    assert (log.has_pending, log.durable_index) == (False, 1)


def test_each_block_follows_the_one_before() -> None:
    log = log_of((1, 0), (2, 1))
    log.add(b"c", 3, 1)
    first = take(log)
    log.add(b"d", 4, 2)
    second = take(log)
    assert (first.prev, second.prev) == (Position(2, 1), Position(3, 1))
    log.block_durable(first)
    assert log.durable_index == 3
    log.block_durable(second)
    assert log.durable_index == 4


def test_a_vote_is_recorded_without_entries() -> None:
    log = log_of((1, 0))
    log.setCurrentTerm(7, "n2")
    assert (log.getCurrentTerm(), log.getVotedForNodeId()) == (7, "n2")
    assert take(log) == Block(7, "n2", False, Position(1, 0), [], 0)


def test_an_unchanged_vote_costs_no_block() -> None:
    log = log_of((1, 0))
    log.setCurrentTerm(7, "n2")
    settle(log)
    log.setCurrentTerm(7, "n2")
    assert log.take_block() is None


def test_a_truncation_of_durable_entries_is_recorded() -> None:
    log = log_of((1, 0), (2, 1), (3, 1))
    log.deleteEntriesFrom(1)
    assert (log.last_index, log.durable_index) == (1, 1)
    assert take(log) == Block(0, None, False, Position(1, 0), [], 0)


def test_a_truncation_of_what_no_block_holds_is_not() -> None:
    log = log_of((1, 0))
    log.add(b"b", 2, 1)
    log.deleteEntriesFrom(1)
    assert log.take_block() is None


def test_a_block_in_flight_does_not_make_truncated_entries_durable() -> None:
    log = log_of((1, 0))
    log.add(b"b", 2, 1)
    log.add(b"c", 3, 1)
    in_flight = take(log)
    log.deleteEntriesFrom(2)
    log.add(b"other c", 3, 2)
    log.block_durable(in_flight)
    assert log.durable_index == 2, "the disk has another entry 3"
    block = take(log)
    assert block == Block(0, None, False, Position(2, 1), [Entry(b"other c", 3, 2)], 0)
    log.block_durable(block)
    assert log.durable_index == 3


def test_a_block_in_flight_does_not_outlive_a_restart() -> None:
    log = log_of((1, 0))
    log.add(b"b", 2, 1)
    in_flight = take(log)
    log.restart_at(2, 9)
    log.block_durable(in_flight)
    assert log.durable_index == 0
    assert log[:] == [Entry(NO_OP, 2, 9)]
    block = take(log)
    assert block == Block(0, None, True, Position(2, 9), [], 0)
    log.block_durable(block)
    assert log.durable_index == 2


def test_a_restart_carries_the_entries_added_after_it() -> None:
    log = log_of((1, 0))
    log.restart_at(10, 3)
    log.add(b"k", 11, 3)
    assert take(log) == Block(0, None, True, Position(10, 3), [Entry(b"k", 11, 3)], 0)


def test_clear_and_add_is_a_restart_as_pysyncobj_does_it() -> None:
    log = log_of((1, 0))
    log.clear()
    log.add(b"real", 10, 3)
    log.add(b"real", 11, 3)
    assert log[0] == (b"real", 10, 3)
    assert take(log) == Block(0, None, True, Position(10, 3), [Entry(b"real", 11, 3)], 0)


def test_clear_alone_empties_the_log_on_disk_too() -> None:
    log = log_of((1, 0), (2, 0))
    log.clear()
    assert take(log) == Block(0, None, True, START, [], 0)
    log.add(NO_OP, 1, 0)
    assert take(log) == Block(0, None, False, START, [Entry(NO_OP, 1, 0)], 0)


def test_forgetting_a_prefix_changes_nothing_on_disk() -> None:
    log = log_of(*((i, 1) for i in range(1, 11)))
    log.deleteEntriesTo(4)
    assert (log.first_index, log.last_index, len(log)) == (5, 10, 6)
    assert log.size_bytes == sum(len(e.command) for e in log[:])
    assert not log.has_pending


def test_what_is_not_durable_is_not_forgotten() -> None:
    log = log_of((1, 0), (2, 0))
    log.add(b"c", 3, 0)
    log.add(b"d", 4, 0)
    log.deleteEntriesTo(3)
    assert log.first_index == 2, "the position that the next block follows"
    assert take(log).prev == Position(2, 0)


def test_a_recovered_log_begins_at_its_base() -> None:
    log = Log(Recovered([Entry(b"x", 8, 2)], Position(7, 2), 3, "n1"))
    assert log[:] == [(NO_OP, 7, 2), (b"x", 8, 2)]
    assert (log.durable_index, log.getCurrentTerm(), log.getVotedForNodeId()) == (8, 3, "n1")
    assert not log.has_pending


def test_a_recovered_log_that_was_never_cut_has_its_own_first_entry() -> None:
    log = Log(Recovered([Entry(b"first", 1, 0)]))
    assert log[0] == (b"first", 1, 0)


def test_a_large_change_comes_in_several_blocks() -> None:
    log = Log()
    command = b"x" * (BLOCK_COMMANDS_SIZE_BYTES_MAX // 2)
    for index in range(1, 6):
        log.add(command, index, 1)
    log.setCurrentTerm(1, "n1")
    blocks = [take(log), take(log), take(log)]
    assert [len(b.entries) for b in blocks] == [2, 2, 1]
    assert [b.prev.index for b in blocks] == [0, 2, 4]
    assert not log.has_untaken
    for block, durable in zip(blocks, (2, 4, 5), strict=True):
        log.block_durable(block)
        assert log.durable_index == durable


def test_slices_and_offsets_are_those_of_a_list() -> None:
    log = log_of((1, 0), (2, 0), (3, 1))
    assert log[-1].index == 3
    assert [e.index for e in log[1:]] == [2, 3]
    assert log[5:] == []
    log.deleteEntriesFrom(9)
    assert len(log) == 3


@pytest.mark.parametrize(("index", "term"), [(5, 1), (3, 1), (4, 0)])
def test_only_the_next_entry_may_be_added(index: int, term: int) -> None:
    log = log_of((1, 0), (2, 1), (3, 1))
    with pytest.raises(AssertionError):
        log.add(b"", index, term)


def test_the_base_cannot_be_truncated() -> None:
    with pytest.raises(AssertionError):
        log_of((1, 0), (2, 0)).deleteEntriesFrom(0)


def test_blocks_are_reported_in_the_order_taken() -> None:
    log = log_of((1, 0))
    log.add(b"", 2, 0)
    take(log)
    log.add(b"", 3, 0)
    second = take(log)
    with pytest.raises(AssertionError):
        log.block_durable(second)


def test_the_engine_starts_with_what_is_committed_everywhere() -> None:
    assert Log(Recovered([], Position(7, 2))).getRaftCommitIndex() == 7
    log = log_of((1, 0), (2, 0))
    log.setRaftCommitIndex(2)
    assert log.getRaftCommitIndex() == 1


# -- commands that are on the disk alone -----------------------------------------------------------


def log_on_disk(*entries: tuple[int, int]) -> Log:
    """The same as log_of, each entry in a block and at a place of its own."""
    log = Log()
    for index, term in entries:
        log.add(b"command %d" % index, index, term)
        log.block_durable(take(log), Place(1, 512 * index))
    return log


ROWS = ((1, 0), (2, 1), (3, 1), (4, 3), (5, 3), (6, 4))


def keep(monkeypatch: pytest.MonkeyPatch, commands: int) -> None:
    """So many of these in memory."""
    size_bytes = commands * (ENTRY_SIZE_BYTES + len(b"command 1"))
    monkeypatch.setattr(log_module, "TAIL_SIZE_BYTES_MAX", size_bytes)


@pytest.mark.parametrize("kept", range(7))
def test_the_oldest_commands_are_forgotten_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    keep(monkeypatch, kept)
    log = log_on_disk(*ROWS)
    size_bytes = log.size_bytes
    log.forget_commands(applied_index=6)
    assert log.kept_index == 7 - kept
    assert (log.first_index, log.last_index, len(log), log.size_bytes) == (1, 6, 6, size_bytes)
    assert [(e.index, e.term) for e in log] == list(ROWS) == [(e.index, e.term) for e in log[:]]
    assert [e.command is FORGOTTEN for e in log] == [index < 7 - kept for index, _ in ROWS]
    assert [(index, log.term_at(index)) for index, _ in ROWS] == list(ROWS)
    assert {log.size_at(index) for index, _ in ROWS} == {len(b"command 1")}
    assert (log[-1].index, log[-6].index, log[2:4]) == (6, 1, [log[2], log[3]])
    with pytest.raises(IndexError):
        log[6]
    assert not log.has_pending
    log.add(b"next", 7, 4)
    assert take(log) == Block(0, None, False, Position(6, 4), [Entry(b"next", 7, 4)], 0)


@pytest.mark.parametrize(("applied", "kept_index"), [(0, 1), (1, 2), (3, 4), (6, 6)])
def test_what_is_not_applied_or_not_durable_is_kept(
    monkeypatch: pytest.MonkeyPatch, applied: int, kept_index: int
) -> None:
    keep(monkeypatch, 0)
    log = log_on_disk(*ROWS[:5])
    log.add(b"not durable", 6, 4)
    log.forget_commands(applied)
    assert log.kept_index == kept_index


def test_a_log_without_a_disk_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 0)
    log = log_of(*ROWS)
    log.forget_commands(applied_index=6)
    assert log.kept_index == 1


def test_a_block_that_is_nowhere_cannot_follow_those_that_are_on_the_disk() -> None:
    log = log_on_disk(*ROWS)
    log.add(b"next", 7, 4)
    with pytest.raises(AssertionError):
        log.block_durable(take(log))


def test_entries_behind_the_forgotten_can_be_truncated_and_the_forgotten_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(monkeypatch, 0)
    log = log_on_disk(*ROWS)
    log.forget_commands(applied_index=4)
    with pytest.raises(AssertionError):
        log.deleteEntriesFrom(3)
    log.deleteEntriesFrom(4)
    assert (log.last_index, log.durable_index, log[-1].term) == (4, 4, 3)
    assert take(log) == Block(0, None, False, Position(4, 3), [], 0)
    log.add(b"other", 5, 5)
    assert take(log) == Block(0, None, False, Position(4, 3), [Entry(b"other", 5, 5)], 0)


@pytest.mark.parametrize("offset", range(1, 6))
def test_a_snapshot_drops_forgotten_entries_too(
    monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    keep(monkeypatch, 2)
    log = log_on_disk(*ROWS)
    log.forget_commands(applied_index=6)
    log.deleteEntriesTo(offset)
    assert log.first_index == offset + 1
    assert [(e.index, e.term) for e in log] == list(ROWS[offset:])
    assert log.size_bytes == sum(log.size_at(index) for index, _ in ROWS[offset:])
    assert log.kept_index == max(5, offset + 1)


def test_a_restart_remembers_nothing_of_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 0)
    log = log_on_disk(*ROWS)
    log.forget_commands(applied_index=6)
    log.restart_at(9, 9)
    assert (log.first_index, log.kept_index, log[:]) == (9, 9, [(NO_OP, 9, 9)])
    log.block_durable(take(log), Place(2, 512))
    log.forget_commands(applied_index=9)
    assert log.kept_index == 9, "no block holds it"
    log.add(b"ten", 10, 9)
    log.block_durable(take(log), Place(2, 1024))
    log.forget_commands(applied_index=10)
    assert (log.kept_index, log.term_at(9), log.stretch(10, 1)) == (
        11,
        9,
        (2, [(1024, 10, 1 << 63)]),
    )


def test_memory_is_given_back_when_it_has_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "TAIL_SIZE_BYTES_MAX", 0)
    log = Log()
    for index in range(1, 9):
        log.add(bytes(RELEASE_SIZE_BYTES_MIN // 2), index, 1)
    while (block := log.take_block()) is not None:
        log.block_durable(block, Place(1, block.prev.index))
    worth_while = [applied for applied in range(9) if log.forget_commands(applied)]
    assert worth_while == [4, 6, 8], "4 of 8 are left, 2 of 4, none of 2"
