"""Which replica is right when digests differ, and what a node remembers of its own."""

from __future__ import annotations

import pytest

from raftcache.raft.digests import DIGESTS_REMEMBERED_MAX, Digests, judge

VOTERS = frozenset(("n1", "n2", "n3"))


@pytest.mark.parametrize(
    ("reports", "right", "wrong"),
    [
        ({"n1": 7, "n2": 7, "n3": 7}, 7, ""),
        ({"n1": 7, "n2": 7, "n3": 8}, 7, "n3"),
        ({"n1": 8, "n2": 7, "n3": 7}, 7, "n1"),
        ({"n1": 7, "n2": 7}, 7, ""),
        ({"n1": 7}, None, ""),
        ({"n1": 7, "n2": 8}, None, "n1 n2"),
        ({"n1": 7, "n2": 8, "n3": 9}, None, "n1 n2 n3"),
        ({"n1": 7, "n2": 7, "learner": 8}, 7, "learner"),
        ({"n1": 7, "one": 8, "two": 8, "three": 8}, None, "n1 one three two"),
        ({"n1": 7, "n2": 7, "n3": 8, "one": 8, "two": 8}, 7, "n3 one two"),
    ],
)
def test_a_majority_of_all_voters_is_right_and_nobody_else(
    reports: dict[str, int], right: int | None, wrong: str
) -> None:
    verdict = judge(reports, VOTERS)
    assert verdict.right == right
    assert verdict.wrong == frozenset(wrong.split())


def test_digests_are_remembered_by_index_up_to_their_limit() -> None:
    digests = Digests(10, 100)
    assert [digests.at(i) for i in (9, 10, 11)] == [None, 100, None]
    last = 10 + DIGESTS_REMEMBERED_MAX
    for index in range(11, last + 1):
        digests.note(index, index * 10)
    assert digests.at(10) is None
    assert digests.at(11) == 110
    assert digests.at(last) == last * 10


def test_a_snapshot_leaves_nothing_before_it() -> None:
    digests = Digests(1, 100)
    digests.note(2, 200)
    digests.note(50, 500)
    assert [digests.at(i) for i in (1, 2, 49, 50, 51)] == [None, None, None, 500, None]
    digests.note(51, 510)
    assert digests.at(50) == 500
