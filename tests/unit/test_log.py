"""The log in memory: what pysyncobj may do with it, and what it says is durable."""

from __future__ import annotations

import msgspec
import pytest

from raftcache.raft.entries import NO_OP, START, Block, Entry, Position, Recovered
from raftcache.raft.log import BLOCK_COMMANDS_SIZE_BYTES_MAX, Log


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
    assert block == Block(0, None, False, START, [Entry(NO_OP, 1, 0)])
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
    assert take(log) == Block(7, "n2", False, Position(1, 0), [])


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
    assert take(log) == Block(0, None, False, Position(1, 0), [])


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
    assert block == Block(0, None, False, Position(2, 1), [Entry(b"other c", 3, 2)])
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
    assert block == Block(0, None, True, Position(2, 9), [])
    log.block_durable(block)
    assert log.durable_index == 2


def test_a_restart_carries_the_entries_added_after_it() -> None:
    log = log_of((1, 0))
    log.restart_at(10, 3)
    log.add(b"k", 11, 3)
    assert take(log) == Block(0, None, True, Position(10, 3), [Entry(b"k", 11, 3)])


def test_clear_and_add_is_a_restart_as_pysyncobj_does_it() -> None:
    log = log_of((1, 0))
    log.clear()
    log.add(b"real", 10, 3)
    log.add(b"real", 11, 3)
    assert log[0] == (b"real", 10, 3)
    assert take(log) == Block(0, None, True, Position(10, 3), [Entry(b"real", 11, 3)])


def test_clear_alone_empties_the_log_on_disk_too() -> None:
    log = log_of((1, 0), (2, 0))
    log.clear()
    assert take(log) == Block(0, None, True, START, [])
    log.add(NO_OP, 1, 0)
    assert take(log) == Block(0, None, False, START, [Entry(NO_OP, 1, 0)])


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
