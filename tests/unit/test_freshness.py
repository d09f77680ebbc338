"""How old a state may be, by what was heard, when it was sent, and what was applied."""

from __future__ import annotations

import math

import pytest

from raftcache.raft.freshness import Freshness


def test_nothing_is_known_at_first() -> None:
    assert Freshness().age_s(5.0) == math.inf


def test_a_message_counts_when_what_it_called_committed_is_applied() -> None:
    fresh = Freshness()
    fresh.heard(term=2, commit_index=7, leader_ms=90_000, now_s=1.0)
    fresh.applied(6, term=2)
    assert fresh.age_s(1.0) == math.inf
    fresh.heard(term=2, commit_index=9, leader_ms=91_000, now_s=2.0)  # the first one still waits
    fresh.applied(7, term=2)
    assert fresh.age_s(2.5) == pytest.approx(1.5)
    fresh.heard(term=2, commit_index=9, leader_ms=92_000, now_s=3.0)
    fresh.applied(9, term=2)
    assert fresh.age_s(3.5) == pytest.approx(0.5)


def test_a_state_without_an_entry_of_the_leaders_term_proves_nothing() -> None:
    """Its leader may not know yet what earlier ones acknowledged (Raft, 5.4.2)."""
    fresh = Freshness()
    fresh.heard(term=3, commit_index=7, leader_ms=90_000, now_s=1.0)
    fresh.applied(7, term=2)
    assert fresh.age_s(1.0) == math.inf
    fresh.applied(8, term=3)
    assert fresh.age_s(1.0) == pytest.approx(0.0)


def test_a_leader_may_have_been_replaced_before_it_said_so() -> None:
    """It was confirmed two seconds before it sent this: others may have elected one since."""
    fresh = Freshness()
    fresh.heard(term=2, commit_index=7, leader_ms=90_000, now_s=1.0, fresh_ms=88_000)
    fresh.applied(7, term=2)
    assert fresh.age_s(1.0) == pytest.approx(2.0)


def test_what_an_earlier_leader_said_waits_for_nothing_any_more() -> None:
    fresh = Freshness()
    fresh.heard(term=2, commit_index=7, leader_ms=90_000, now_s=1.0)
    fresh.heard(term=3, commit_index=5, leader_ms=91_000, now_s=2.0)
    fresh.applied(7, term=2)
    assert fresh.age_s(2.0) == math.inf
    fresh.applied(8, term=3)
    assert fresh.age_s(2.0) == pytest.approx(0.0)


def test_a_message_is_as_old_as_when_it_was_sent() -> None:
    """It was held up for four seconds, as the leader's clock in it shows."""
    fresh = Freshness()
    fresh.heard(term=2, commit_index=7, leader_ms=90_000, now_s=1.0)
    fresh.applied(7, term=2)
    fresh.heard(term=2, commit_index=7, leader_ms=91_000, now_s=6.0)
    fresh.applied(7, term=2)
    assert fresh.age_s(6.0) == pytest.approx(4.0, abs=0.01)


def test_a_clock_that_is_a_bit_slower_is_not_taken_for_delay() -> None:
    """A day later it is 40 s behind; messages still come at once."""
    fresh, rate = Freshness(), 0.9995
    for now_s in range(0, 86_400, 10):
        fresh.heard(term=2, commit_index=7, leader_ms=int(now_s * rate * 1000), now_s=now_s)
        fresh.applied(7, term=2)
    assert fresh.age_s(86_390.0) < 0.02


def test_a_leader_counts_from_what_a_majority_answered() -> None:
    fresh = Freshness()
    fresh.confirmed(-math.inf)
    assert fresh.age_s(4.0) == math.inf
    fresh.confirmed(3.0)
    fresh.confirmed(2.0)
    assert fresh.age_s(4.0) == pytest.approx(1.0)
