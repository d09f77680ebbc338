"""The invariants that stay on: a node for which they do not hold stops, and says why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from raftcache.errors import Fatal
from raftcache.raft.progress import Progress, Seen
from tests.support.sim_bench import Ours


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ((2, "n1", 5, 4, 6), "the term went back from 3 to 2"),
        ((3, "n1", 4, 4, 6), "the commit index went back from 5 to 4"),
        ((3, "n1", 5, 3, 6), "the applied index went back from 4 to 3"),
        ((3, "n1", 5, 6, 6), "applied 6, committed 5, log to 6"),
        ((3, "n1", 7, 4, 6), "applied 4, committed 7, log to 6"),
        ((3, "n2", 5, 4, 6), "two leaders in term 3: n1 and n2"),
    ],
)
def test_what_cannot_be_stops_the_node(after: Seen, why: str) -> None:
    progress = Progress()
    progress.check((3, None, 5, 4, 6))
    progress.check((3, "n1", 5, 4, 6))
    with pytest.raises(Fatal, match=why):
        progress.check(after)


def test_what_can_be_does_not() -> None:
    progress = Progress()
    progress.check((3, "n1", 5, 4, 6))
    progress.check((3, None, 5, 5, 5))  # the leader is lost; a tail was truncated
    progress.check((4, "n2", 9, 9, 9))
    progress.check((4, "n2", 9, 9, 9))


def _commit_goes_back(bench: Ours) -> None:
    bench.engine._SyncObj__raftCommitIndex = bench.engine._SyncObj__raftLastApplied = 2


def _applied_goes_back(bench: Ours) -> None:
    bench.engine._SyncObj__raftLastApplied = 1
    bench.engine._SyncObj__raftCommitIndex = 1


@pytest.mark.parametrize("breaks", [_commit_goes_back, _applied_goes_back])
def test_a_node_looks_after_every_turn(breaks: Callable[[Ours], None]) -> None:
    bench = Ours()
    bench.connect()
    bench.append("n2", 1, (1, 0), [1, 1, 1], commit=4)
    assert (bench.applied_index, bench.fatal) == (4, [])
    breaks(bench)
    bench.turn()
    (error,) = bench.fatal
    assert "went back from 4" in str(error)


def test_a_follower_that_hears_two_leaders_in_a_term_stops() -> None:
    """Election Safety, 5.2: at most one leader can be elected in a given term."""
    bench = Ours()
    bench.connect()
    bench.append("n2", 1, (1, 0), [1])
    bench.append("n3", 1, (1, 0), [1])
    (error,) = bench.fatal
    assert "two leaders in term 1: n2 and n3" in str(error)


def test_a_leader_that_hears_another_one_in_its_term_stops() -> None:
    bench = Ours()
    bench.connect()
    bench.win()
    bench.append("n2", bench.term, (1, 0), [bench.term])
    (error,) = bench.fatal
    assert f"two leaders in term {bench.term}" in str(error)


def test_a_leader_stops_when_a_follower_acknowledges_what_it_does_not_have() -> None:
    """Match indexes are never above what the follower holds, and that is the leader's own log."""
    bench = Ours()
    bench.connect()
    bench.win()
    bench.acknowledge("n2", bench.term, bench.engine.last_index + 2)
    (error,) = bench.fatal
    assert "n2 answers for entries that this leader does not have" in str(error)
