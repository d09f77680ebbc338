"""Cluster time over elections: who has restarted asks those who vote, and its wall clock last."""

from __future__ import annotations

import pytest

from raftcache.raft.engine import stamp_ms_of
from tests.support.sim_bench import TIMING, Ours

TOLD_MS = 5_000
"""Far below what the wall clock of the bench says."""

LAST = {"last_log_index": 9, "last_log_term": 9}


def stamp_ms(ours: Ours) -> int:
    """Of an entry that a new leader makes."""
    for peer in ours.peers:
        ours.acknowledge(peer, ours.term, ours.engine.last_index + 1)
    ours.replica.propose(b"", lambda outcome: None)
    ours.turn()
    ours.advance(TIMING.heartbeat_s)
    return stamp_ms_of(ours.engine._SyncObj__raftLog[-1].command)


@pytest.mark.parametrize("kind", ["pre_vote_ok", "response_vote"])
def test_who_has_restarted_leads_with_the_time_that_a_voter_knows(kind: str) -> None:
    ours = Ours()
    ours.connect()
    ours.advance(TIMING.election_max_s)
    begun_s = ours.clock.now_s
    for peer, now_ms in (("n2", 0), ("n3", TOLD_MS)):
        now = {"now": now_ms} if kind == "pre_vote_ok" else {}
        ours.feed(peer, type="pre_vote_ok", term=1, **now)
    ours.turn()
    for peer, now_ms in (("n3", TOLD_MS), ("n2", 0)):
        now = {"now": now_ms} if kind == "response_vote" else {}
        ours.feed(peer, type="response_vote", term=1, **now)
    assert ours.is_leader
    elapsed_ms = (ours.clock.now_s - begun_s) * 1000
    assert TOLD_MS <= stamp_ms(ours) <= TOLD_MS + elapsed_ms + 2000


def test_a_new_cluster_begins_with_the_time_of_a_wall_clock() -> None:
    """Nobody knows another one; voters of older versions do not say."""
    ours = Ours()
    ours.connect()
    ours.win()
    assert ours.clock.wall_ms() - 1000 <= stamp_ms(ours) <= ours.clock.wall_ms()


def test_who_has_heard_a_leader_takes_no_voters_word() -> None:
    ours = Ours()
    ours.connect()
    ours.feed("n2", type="ping", term=1, now=TOLD_MS)
    ours.campaign()
    for peer in ours.peers:
        ours.feed(peer, type="response_vote", term=ours.term, now=1 << 40)
    assert ours.is_leader
    assert stamp_ms(ours) < TOLD_MS + 60_000


def test_a_vote_says_the_time_that_its_voter_has_heard() -> None:
    for heard, least_ms, most_ms in ((True, TOLD_MS, TOLD_MS + 60_000), (False, 0, 0)):
        ours = Ours()
        ours.connect()
        if heard:
            ours.feed("n2", type="ping", term=1, now=TOLD_MS)
        ours.advance(TIMING.election_min_s)
        ours.feed("n3", type="pre_vote", term=8, **LAST)
        ours.feed("n3", type="request_vote", term=8, force=False, **LAST)
        told = [ours.sent(kind, "n3")[-1]["now"] for kind in ("pre_vote_ok", "response_vote")]
        assert all(least_ms <= now_ms <= most_ms for now_ms in told), told
