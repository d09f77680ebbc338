"""An engine whose log has forgotten the commands of old entries: all that is said of them is right.

Raft: the extended paper. What is only on the disk still belongs to the log.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator

import pytest

from raftcache.raft.entries import FORGOTTEN
from raftcache.raft.log import Log
from raftcache.system import give_memory_back
from tests.support.sim_bench import TIMING, Ours, entries, entry

TERMS = [1, 1, 1, 2, 2, 4, 4, 4, 4, 7]
"""Of the entries from 2 on."""
ALL = [entry(1, 0), *entries(2, TERMS)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("raftcache.raft.log.TAIL_SIZE_BYTES_MAX", 0)
    monkeypatch.setattr("raftcache.raft.engine.replication.APPEND_SIZE_BYTES_MAX", 8)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def log_of(bench: Ours) -> Log:
    log = bench.engine._SyncObj__raftLog
    assert isinstance(log, Log)
    return log


def leader() -> Ours:
    """It has committed and applied all there is, with n3, and forgotten the commands."""
    ours = Ours(log=TERMS)
    ours.connect()
    ours.win()
    ours.acknowledge("n3", ours.term, ours.engine.last_index + 1)
    assert ours.applied_index == ours.engine.last_index == len(ALL) + 1
    ours.advance(TIMING.heartbeat_s)
    assert log_of(ours).kept_index == len(ALL) + 2
    assert all(e[0] is FORGOTTEN for e in log_of(ours)[:])
    ours.links.sent.clear()
    return ours


def follower(commit: int) -> Ours:
    """All of its log is the leader's, n2's; it has applied and forgotten this much."""
    ours = Ours(log=TERMS)
    ours.connect()
    ours.append("n2", 8, (len(ALL), TERMS[-1]), [], commit=commit)
    ours.advance(TIMING.heartbeat_s / 2)
    assert (ours.applied_index, log_of(ours).kept_index) == (commit, commit + 1)
    return ours


@pytest.mark.parametrize("lacks", range(2, len(ALL) + 1))
def test_a_follower_that_is_far_behind_is_sent_what_the_disk_has(lacks: int) -> None:
    """Figure 2: "send AppendEntries RPC with log entries starting at nextIndex", each with the term
    of the entry that precedes them, whatever is still in memory.
    """
    ours = leader()
    ours.acknowledge("n2", ours.term, lacks, success=False, reset=True)
    sent = [m for m in ours.sent("append_entries", "n2") if m["prevLogIdx"] >= lacks - 1]
    assert [tuple(e) for m in sent for e in m["entries"]][:-1] == ALL[lacks - 1 :]
    for message in sent:
        before = ALL[message["prevLogIdx"] - 1]
        assert (before[1], before[2]) == (message["prevLogIdx"], message["prevLogTerm"])
    assert len(sent) > 1 or lacks == len(ALL), "within the bounds of one message"
    assert not ours.fatal


def test_the_window_bounds_what_is_read_back_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 15."""
    monkeypatch.setattr("raftcache.raft.window.WINDOW_MESSAGES_MAX", 2)
    ours = leader()
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    assert len(ours.sent("append_entries", "n2")) == 2
    (_, index, _) = ours.sent("append_entries", "n2")[-1]["entries"][-1]
    ours.acknowledge("n2", ours.term, index + 1)
    assert len(ours.sent("append_entries", "n2")) == 4


def test_nothing_waits_while_the_disk_is_read() -> None:
    """The others are served, and heartbeats go on."""
    ours = leader()
    ours.disk_works = False
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    ours.advance(TIMING.heartbeat_s)
    assert not ours.sent("append_entries", "n2")
    assert ours.sent("ping", "n2")
    done = []
    ours.engine.propose(b"\x90", lambda replies, reason: done.append(reason))
    ours.advance(TIMING.heartbeat_s)
    assert ours.sent("append_entries", "n3")
    ours.disk_works = True
    ours.turn()
    assert ours.sent("append_entries", "n2")[0]["prevLogIdx"] == 1


def test_who_no_longer_leads_sends_nothing_that_comes_from_the_disk() -> None:
    ours = leader()
    ours.disk_works = False
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    ours.feed("n3", type="ping", term=ours.term + 1)
    ours.disk_works = True
    ours.turn()
    assert not ours.sent("append_entries")
    assert not ours.fatal


def test_a_link_that_ends_meanwhile_begins_anew() -> None:
    ours = leader()
    ours.disk_works = False
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    ours.disconnect("n2")
    ours.disk_works = True
    ours.connect("n2")
    last = ours.sent("append_entries", "n2")
    assert [m["prevLogIdx"] for m in last] == [len(ALL)], "what a new link begins with"
    ours.acknowledge("n2", ours.term, 4, success=False, reset=True)
    assert ours.sent("append_entries", "n2")[1]["prevLogIdx"] == 3


def test_a_disk_that_cannot_give_it_back_stops_the_leader() -> None:
    ours = leader()
    ours.disk.fail("read", errno.EIO)
    ours.acknowledge("n2", ours.term, 2, success=False, reset=True)
    assert len(ours.fatal) == 1
    assert not ours.sent("append_entries", "n2")


def test_a_leader_that_forgot_all_stamps_goes_on_with_its_time() -> None:
    """5.4.2's new leader: cluster time never goes back, though no command is in memory."""
    ours = leader()
    now_ms = ours.time.now_ms()
    ours.feed("n3", type="ping", term=ours.term + 1)
    ours.win()
    assert ours.time.now_ms() >= now_ms


def test_memory_goes_back_to_the_system_once_a_recovered_log_is_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raftcache.raft.log.RELEASE_SIZE_BYTES_MIN", 100)
    ours = leader()
    assert ours.released == 1
    ours.advance(10 * TIMING.heartbeat_s)
    assert ours.released == 1


def test_giving_memory_back_is_harmless() -> None:
    give_memory_back()


# -- the follower's side ---------------------------------------------------------------------------


@pytest.mark.parametrize("commit", range(2, len(ALL)))
def test_a_conflicting_suffix_is_truncated_behind_what_is_forgotten(commit: int) -> None:
    """5.3: "delete the existing entry and all that follow it"."""
    ours = follower(commit)
    ours.append("n2", 9, (commit, ALL[commit - 1][2]), [9, 9], commit=commit + 2)
    assert ours.terms == [*TERMS[: commit - 1], 9, 9]
    assert ours.applied_index == commit + 2
    assert ours.sent("next_node_idx")[-1]["next_node_idx"] == commit + 3
    assert not ours.fatal


@pytest.mark.parametrize("begin", range(1, 7))
def test_entries_that_are_here_and_forgotten_are_compared_and_acknowledged(begin: int) -> None:
    ours = follower(7)
    ours.append("n2", 8, (begin, ALL[begin - 1][2]), TERMS[begin - 1 :], commit=7)
    assert ours.terms == TERMS
    answer = ours.sent("next_node_idx")[-1]
    assert (answer["success"], answer["next_node_idx"]) == (True, len(ALL) + 1)


@pytest.mark.parametrize("commit", range(2, 11))
def test_a_hint_never_leads_back_into_what_is_forgotten(commit: int) -> None:
    """What is forgotten is committed here, so a leader has it, too."""
    ours = follower(commit)
    ours.append("n3", 9, (len(ALL), 8), [9], commit=commit)
    answer = ours.sent("next_node_idx")[-1]
    assert answer["reset"]
    assert answer["next_node_idx"] == max(len(ALL), commit + 1)
    ours.append("n3", 9, (10, 8), [9], commit=commit)
    answer = ours.sent("next_node_idx")[-1]
    assert answer["next_node_idx"] == max(7, commit + 1), "its whole term, as far as uncommitted"


def test_a_vote_is_asked_for_with_the_last_position_though_its_command_is_forgotten() -> None:
    ours = follower(len(ALL))
    assert log_of(ours).kept_index == len(ALL) + 1
    ours.advance(TIMING.election_max_s)
    ours.campaign()
    asked = ours.sent("request_vote")[-1]
    assert (asked["last_log_index"], asked["last_log_term"]) == (len(ALL), TERMS[-1])
