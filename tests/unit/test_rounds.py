"""ReadIndex rounds and the lease, as an account: who answered what, which reads that confirms."""

from __future__ import annotations

import pytest

from raftcache.raft.rounds import LEASE_DRIFT, LEASE_SOUGHT_S, Rounds

ELECTION_MIN_S = 1.0


def answer(rounds: Rounds, peers: list[str], seq: int) -> None:
    for peer in peers:
        rounds.answered(peer, seq)


@pytest.mark.parametrize(("peers", "needed"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_a_read_needs_a_majority_with_the_leader(peers: int, needed: int) -> None:
    names = [f"n{i}" for i in range(peers)]
    rounds, answers = Rounds(), []
    rounds.add(answers.append)
    assert rounds.wants_message
    rounds.begin(5, 42)
    assert not rounds.wants_message
    answer(rounds, names[: needed - 1], 5)
    rounds.settle(names, 0.0)
    assert answers == []
    answer(rounds, names[:needed], 5)
    rounds.settle(names, 0.0)
    assert answers == [42]


def test_a_leader_alone_is_a_majority() -> None:
    rounds, answers = Rounds(), []
    rounds.add(answers.append)
    rounds.begin(1, 7)
    rounds.settle([], 3.0)
    assert answers == [7]
    assert rounds.holds_lease(3.5, ELECTION_MIN_S)


def test_an_answer_to_an_earlier_message_confirms_nothing() -> None:
    rounds, answers = Rounds(), []
    rounds.add(answers.append)
    rounds.begin(5, 42)
    answer(rounds, ["a"], 4)
    rounds.settle(["a", "b"], 0.0)
    assert answers == []
    answer(rounds, ["a"], 9)
    answer(rounds, ["a"], 3)  # late: it takes nothing back
    rounds.settle(["a", "b"], 0.0)
    assert answers == [42]


def test_reads_that_come_later_wait_for_a_later_message() -> None:
    rounds, answers = Rounds(), []
    rounds.add(answers.append)
    rounds.begin(5, 42)
    rounds.add(answers.append)
    rounds.begin(6, 43)
    answer(rounds, ["a"], 5)
    rounds.settle(["a", "b"], 0.0)
    assert answers == [42]
    answer(rounds, ["b"], 6)
    rounds.settle(["a", "b"], 0.0)
    assert answers == [42, 43]


def test_a_lease_counts_from_the_sending_of_what_a_majority_answered() -> None:
    rounds = Rounds()
    rounds.seek_lease(10.0)
    rounds.sent(1, 10.0)
    rounds.sent(2, 10.5)
    rounds.settle(["a", "b"], 10.6)
    assert not rounds.holds_lease(10.6, ELECTION_MIN_S)
    answer(rounds, ["a"], 1)
    rounds.settle(["a", "b"], 10.8)
    end_s = 10.0 + ELECTION_MIN_S * (1 - LEASE_DRIFT)
    assert rounds.holds_lease(end_s - 0.001, ELECTION_MIN_S)
    assert not rounds.holds_lease(end_s, ELECTION_MIN_S)
    answer(rounds, ["b"], 2)
    rounds.settle(["a", "b"], 10.8)
    assert rounds.holds_lease(end_s, ELECTION_MIN_S)


def test_nothing_that_did_not_ask_for_a_lease_gives_one() -> None:
    """But it confirms that nobody else was leader when it was sent."""
    rounds = Rounds()
    rounds.sent(1, 10.0)
    rounds.seek_lease(10.1)
    answer(rounds, ["a"], 1)
    rounds.settle(["a", "b"], 10.2)
    assert rounds.confirmed_s == 10.0
    assert not rounds.seeks_lease
    assert not rounds.holds_lease(10.2, ELECTION_MIN_S)
    rounds.sent(2, 10.3)
    assert rounds.seeks_lease
    answer(rounds, ["a"], 2)
    rounds.settle(["a", "b"], 10.4)
    assert rounds.holds_lease(10.4, ELECTION_MIN_S)


def test_what_asked_for_a_lease_gives_none_once_messages_go_out_that_do_not() -> None:
    """A peer that answers the later one may never have got the one before: its link had ended."""
    rounds = Rounds()
    rounds.seek_lease(10.0)
    rounds.sent(1, 10.0)
    rounds.sent(2, 10.0 + LEASE_SOUGHT_S)
    assert not rounds.seeks_lease
    answer(rounds, ["a"], 2)
    rounds.settle(["a", "b"], 10.0 + LEASE_SOUGHT_S)
    assert rounds.confirmed_s == 10.0 + LEASE_SOUGHT_S
    assert not rounds.holds_lease(10.0, ELECTION_MIN_S)


def test_a_lease_that_was_promised_is_held_to_its_end_though_none_is_sought_any_more() -> None:
    rounds, last_s = Rounds(), 10.0 + LEASE_SOUGHT_S - 0.1
    rounds.seek_lease(10.0)
    rounds.sent(1, last_s)
    answer(rounds, ["a"], 1)
    rounds.settle(["a", "b"], last_s)
    rounds.sent(2, 10.0 + LEASE_SOUGHT_S)
    end_s = last_s + ELECTION_MIN_S * (1 - LEASE_DRIFT)
    assert rounds.holds_lease(end_s - 0.001, ELECTION_MIN_S)
    assert not rounds.holds_lease(end_s, ELECTION_MIN_S)


def test_the_end_of_leadership_ends_every_read_and_the_lease() -> None:
    rounds, answers = Rounds(), []
    rounds.add(answers.append)
    rounds.begin(5, 42)
    rounds.add(answers.append)
    rounds.sent(5, 1.0)
    answer(rounds, ["a"], 5)
    rounds.end()
    assert answers == [None, None]
    rounds.settle(["a", "b"], 1.0)
    assert not rounds.holds_lease(1.0, ELECTION_MIN_S)
    assert not rounds.wants_message


def test_a_round_asks_the_quickest_that_make_a_majority() -> None:
    rounds, peers = Rounds(), frozenset("abcd")
    assert not rounds.quickest(peers), "nobody knows yet"
    rounds.ask_all(10)
    rounds.answered("a", 9)
    rounds.answered("c", 11)
    assert not rounds.quickest(peers), "two are needed, and one has answered"
    rounds.answered("b", 10)
    rounds.answered("d", 13)
    assert rounds.quickest(peers) == ["c", "b"]
    assert rounds.quickest(frozenset("abd")) == ["b", "d"]
    assert rounds.quickest(frozenset("c")) == ["c"]
    assert list(rounds.quickest(frozenset())) == [], "whoever is alone asks nobody"
    rounds.ask_all(20)
    rounds.answered("c", 19)
    assert not rounds.quickest(peers), "an answer to an earlier message says nothing"
