"""Elections, leases and reads, sentence by sentence: rules 5 and 9 of decisions/0001-engine.md.

Raft: the extended paper and the dissertation, by section. Each test plays one scenario to the
corrected engine, and shows that the engine as installed breaks the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from raftcache.raft.engine import elections
from raftcache.raft.engine.elections import LAG_WAIT_S, TURN_S
from tests.sim.stock import as_installed
from tests.support.sim_bench import TIMING, Bench, Ours, Stock, entry


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with as_installed():
        yield


# -- rule 5 ----------------------------------------------------------------------------------------


def test_votes_are_counted_per_node() -> None:
    """5.2: "A candidate wins an election if it receives votes from a majority of the servers": one
    server that answers twice is one server.
    """

    def play(bench: Bench) -> bool:
        bench.connect()
        bench.campaign()
        bench.feed("n2", type="response_vote", term=bench.term)
        bench.feed("n2", type="response_vote", term=bench.term)
        return bench.is_leader

    assert not play(Ours(size=5))
    assert play(Stock(size=5)), "stock counts messages"


def test_a_majority_of_the_nodes_elects() -> None:
    """5.2, the same sentence: two others of four are enough."""
    ours = Ours(size=5)
    ours.connect()
    ours.campaign()
    ours.feed("n2", type="response_vote", term=ours.term)
    assert not ours.is_leader
    ours.feed("n3", type="response_vote", term=ours.term - 1)
    ours.feed("stranger", type="response_vote", term=ours.term)
    assert not ours.is_leader
    ours.feed("n3", type="response_vote", term=ours.term)
    assert ours.is_leader


def test_who_is_alone_leads_when_its_vote_for_itself_is_on_the_disk() -> None:
    """Figure 2: currentTerm and votedFor are "updated on stable storage before responding". Nobody
    asks the only voter, but what it sends as a leader a learner keeps: were its term lost, it could
    lead the same term twice, with other entries.
    """
    ours = Ours(size=1)
    ours.disk_works = False
    ours.advance(2 * TIMING.election_max_s)
    assert not ours.is_leader
    ours.disk_works = True
    ours.run()
    assert ours.is_leader
    assert (ours.commit_index, ours.applied_index) == (len(ours.terms) + 1,) * 2


def test_a_candidate_that_could_not_win_does_not_raise_its_term() -> None:
    """Dissertation 9.6, Pre-Vote: "a candidate only increments its term if it first learns from a
    majority of the cluster that they would be willing to grant the candidate their votes".
    """

    def play(bench: Bench) -> int:
        bench.connect("n2")
        bench.advance(10 * TIMING.election_max_s)
        return bench.term

    assert play(Ours(log=[1])) == 1
    assert play(Stock(log=[1])) > 5, "stock disrupts the leader when it is back"


def test_a_pre_vote_is_won_by_a_majority_for_the_next_term() -> None:
    """9.6: answers to an earlier question do not count, nor does one node twice."""
    ours = Ours(size=5, log=[1])
    ours.connect()
    ours.advance(TIMING.election_max_s)
    assert ours.sent("pre_vote", "n2")[-1] == {
        "type": "pre_vote",
        "term": 2,
        "last_log_index": 2,
        "last_log_term": 1,
        "version": 1,
        "voter_id": "n2-data",
    }
    for sender, term in (("n2", 2), ("n2", 2), ("n3", 1), ("stranger", 2)):
        ours.feed(sender, type="pre_vote_ok", term=term)
    assert ours.term == 1
    ours.feed("n3", type="pre_vote_ok", term=2)
    assert ours.term == 2
    assert len(ours.sent("request_vote", "n4")) == 1


@pytest.mark.parametrize(
    ("last", "granted"), [((3, 1), True), ((2, 2), True), ((2, 1), False), ((9, 0), False)]
)
def test_a_pre_vote_goes_to_a_log_that_is_up_to_date(last: tuple[int, int], granted: bool) -> None:
    """5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the
    candidate"; and what it would deny, it does not promise.
    """
    ours = Ours(log=[1, 1])
    ours.connect()
    ours.advance(TIMING.election_min_s + 0.01)
    ours.feed("n2", type="pre_vote", term=2, last_log_index=last[0], last_log_term=last[1])
    assert bool(ours.sent("pre_vote_ok", "n2")) is granted
    assert ours.term == 1


def test_a_voter_that_hears_a_leader_refuses() -> None:
    """Dissertation 4.2.3: "if a server receives a RequestVote request within the minimum election
    timeout of hearing from a current leader, it does not update its term or grant its vote."
    """

    def play(bench: Bench) -> int:
        bench.connect()
        bench.append("n2", 1, (1, 0), [1])
        bench.advance(TIMING.election_min_s / 2)
        last = {"last_log_index": 2, "last_log_term": 1}
        bench.feed("n3", type="request_vote", term=7, force=False, **last)
        return bench.term

    ours = Ours()
    assert play(ours) == 1
    assert ours.sent("response_vote") == []
    assert play(Stock()) == 7, "stock deposes a live leader"


def test_a_voter_that_hears_a_leader_refuses_whoever_told_it_the_term() -> None:
    """4.2.3: the higher term may have come by another message than the request."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    ours.feed("n3", type="term", term=7)
    assert ours.term == 7
    last = {"last_log_index": 2, "last_log_term": 1}
    ours.feed("n3", type="request_vote", term=7, force=False, **last)
    assert ours.sent("response_vote") == []
    ours.advance(TIMING.election_min_s)
    ours.feed("n3", type="request_vote", term=7, force=False, **last)
    assert len(ours.sent("response_vote")) == 1


def test_a_voter_that_hears_a_leader_promises_nothing() -> None:
    """9.6: "and the voters have not received heartbeats from a valid leader"."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    ours.feed("n3", type="pre_vote", term=2, last_log_index=9, last_log_term=9)
    assert ours.sent("pre_vote_ok") == []


def test_a_leader_with_a_quorum_refuses_as_well() -> None:
    """4.2.3: it hears itself, as long as a majority answers it."""
    ours = Ours()
    ours.connect()
    ours.win()
    for _ in range(20):
        ours.advance(TIMING.heartbeat_s)
        ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    ours.feed("n3", type="request_vote", term=9, last_log_index=9, last_log_term=9, force=False)
    assert ours.is_leader


def test_a_restarted_voter_may_have_heard_a_leader() -> None:
    """6.4.1: a lease may rest on what this node answered just before it stopped."""
    ours = Ours()
    ours.connect()
    last = {"last_log_index": 9, "last_log_term": 9}
    ours.feed("n3", type="request_vote", term=9, force=False, **last)
    assert ours.sent("response_vote") == []
    ours.advance(TIMING.election_min_s)
    ours.feed("n3", type="request_vote", term=9, force=False, **last)
    assert len(ours.sent("response_vote")) == 1


def test_a_transfer_may_interrupt_a_live_leader() -> None:
    """Dissertation 4.2.3: "a special flag" in RequestVote, when the leader asked for it."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    ours.feed("n3", type="request_vote", term=7, last_log_index=2, last_log_term=1, force=True)
    assert len(ours.sent("response_vote")) == 1
    target = Ours()
    target.connect()
    target.append("n2", 1, (1, 0), [1])
    target.feed("n2", type="timeout_now", term=1)
    assert [m["force"] for m in target.sent("request_vote")] == [True, True]


def test_a_message_of_a_lower_term_is_answered_with_the_current_one() -> None:
    """5.1: "If a server receives a request with a stale term number, it rejects the request"; and
    figure 2: the reply has "currentTerm, for leader to update itself".
    """

    def play(bench: Bench) -> list[object]:
        bench.connect()
        bench.append("n2", 1, (1, 0), [1])
        return [m["term"] for name, m in bench.links.sent if name == "n2" and "term" in m]

    assert play(Ours(term=5)) == [5]
    assert play(Stock(term=5)) == [], "stock is silent, and its sender stuck for ever"


@pytest.mark.parametrize("kind", ["append_entries", "ping", "snapshot_chunk", "request_vote"])
def test_nothing_else_comes_of_it(kind: str) -> None:
    ours = Ours(term=5)
    ours.connect()
    entries = {"prevLogIdx": 1, "prevLogTerm": 0, "entries": [entry(2, 1)]}
    chunk = {"index": 40, "index_term": 1, "offset": 0, "data": b"", "last": False}
    vote = {"last_log_index": 9, "last_log_term": 9, "force": True}
    ours.feed("n2", type=kind, term=1, **entries, **chunk, **vote)
    assert [m["type"] for name, m in ours.links.sent if name == "n2"] == ["term"]
    assert (ours.term, ours.terms, ours.engine.leader) == (5, [], None)


@pytest.mark.parametrize("kind", ["term", "pong", "next_node_idx", "snapshot_ack"])
def test_a_leader_that_sees_a_higher_term_steps_down(kind: str) -> None:
    """5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts
    to follower state."
    """
    ours = Ours()
    ours.connect()
    ours.win()
    fields = {
        "seq": 1,
        "next_node_idx": 2,
        "success": False,
        "reset": False,
        "offset": 0,
        "index": 1,
    }
    ours.feed("n2", type=kind, term=9, **fields)
    assert not ours.is_leader
    assert ours.term == 9


def test_a_vote_is_not_given_twice_in_a_term_but_may_be_repeated() -> None:
    """5.2: "Each server will vote for at most one candidate in a given term"."""

    def play(bench: Bench) -> list[str]:
        bench.connect()
        bench.advance(TIMING.election_min_s)
        ask = {"type": "request_vote", "last_log_index": 9, "last_log_term": 9, "force": False}
        for candidate in ("n2", "n2", "n3"):
            bench.feed(candidate, term=5, **ask)
        return [name for name, m in bench.links.sent if m["type"] == "response_vote"]

    assert play(Ours()) == ["n2", "n2"]
    assert play(Stock()) == ["n2"], "with stock, a vote that was lost is lost"


def test_a_node_that_stood_still_listens_before_it_stands() -> None:
    """Heartbeats that came meanwhile are yet to be read: its own pause is not its leader's."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    ours.clock.now_s += 2 * TIMING.election_max_s
    ours.turn()
    assert not ours.sent("pre_vote")
    ours.feed("n2", type="ping", term=1)
    ours.advance(TIMING.election_min_s - 0.01)
    assert not ours.sent("pre_vote")


def test_a_node_that_is_always_slow_stands_all_the_same() -> None:
    ours = Ours()
    ours.connect()
    for _ in range(10):
        ours.clock.now_s += TIMING.election_min_s
        ours.turn()
    assert ours.sent("pre_vote")


def test_a_node_that_has_much_to_apply_leaves_others_the_time_to_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As leader it could answer nobody until it has, and another voter may have applied it all."""
    ours = following()
    monkeypatch.setattr(elections, "LAG_ENTRIES_MAX", -1)
    ours.find_gone("n2")
    ours.advance(LAG_WAIT_S - 0.1)
    assert not ours.sent("pre_vote")
    ours.advance(0.1 + TIMING.heartbeat_s)
    assert ours.sent("pre_vote", "n3"), "but nobody did, so this one must"
    ours.feed("n2", type="ping", term=1)
    before = len(ours.sent("pre_vote"))
    ours.advance(LAG_WAIT_S - 0.1)
    assert len(ours.sent("pre_vote")) == before, "behind the next leader it is the same again"
    monkeypatch.undo()
    ours.advance(TIMING.heartbeat_s * 2)
    assert len(ours.sent("pre_vote")) > before, "and it stands as soon as it has applied enough"


def test_who_was_asked_to_lead_stands_at_once_whatever_it_has_to_apply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elections, "LAG_ENTRIES_MAX", -1)
    ours = following()
    ours.feed("n2", type="timeout_now", term=1)
    ours.turn()
    assert ours.sent("request_vote")


# -- a leader whose process has ended (decisions/0006) ---------------------------------------------

LOG: dict[str, Any] = {"last_log_index": 2, "last_log_term": 1}


def following(
    name: str = "n2", size: int = 3, lease: bool = False, peers: Sequence[str] = ()
) -> Ours:
    """A voter that heard this leader just now; what it promised before is over."""
    ours = Ours(size=size, peers=peers)
    ours.connect()
    ours.append(name, 1, (1, 0), [1])
    ours.advance(TIMING.election_min_s + 0.01)
    ours.feed(name, type="ping", term=1, lease=lease)
    return ours


@pytest.mark.parametrize(("size", "leader"), [(3, "n2"), (5, "n5"), (3, "n3")])
def test_the_first_voter_stands_at_once_when_the_leaders_process_has_ended(
    size: int, leader: str
) -> None:
    ours = following(leader, size)
    ours.find_gone(leader)
    ours.advance(TURN_S / 2)
    assert len({name for name, m in ours.links.sent if m["type"] == "pre_vote"}) == size - 2


def test_the_next_voter_stands_a_turn_later() -> None:
    """So that the two do not split the votes: n1, on the bench, comes after n0."""
    ours = following("n2", peers=["n0", "n2"])
    ours.find_gone("n2")
    ours.advance(TURN_S - 0.01)
    assert not ours.sent("pre_vote")
    ours.advance(0.01 + TIMING.heartbeat_s / 2)
    assert ours.sent("pre_vote", "n0")


def test_of_two_that_ask_at_once_the_first_by_name_goes_on() -> None:
    ours = following()
    ours.find_gone("n2")
    ours.advance(TURN_S / 2)
    assert ours.sent("pre_vote", "n3")
    ours.feed("n3", type="pre_vote", term=2, **LOG)
    assert not ours.sent("pre_vote_ok", "n3")
    ours.feed("n3", type="pre_vote", term=2, last_log_index=3, last_log_term=1)
    assert ours.sent("pre_vote_ok", "n3"), "unless the other one has more"


def test_of_two_that_ask_at_once_the_last_by_name_gives_way() -> None:
    ours = following("n2", peers=["n0", "n2"])
    ours.find_gone("n2")
    ours.advance(TURN_S + TIMING.heartbeat_s / 2)
    assert ours.sent("pre_vote", "n0")
    ours.feed("n0", type="pre_vote", term=2, **LOG)
    assert ours.sent("pre_vote_ok", "n0")
    ours.feed("n0", type="pre_vote_ok", term=2)
    assert not ours.sent("request_vote")
    ours.advance(2 * TURN_S + TIMING.heartbeat_s / 2)
    assert len(ours.sent("pre_vote", "n0")) == 2, "but not for long"


def test_an_end_of_a_link_alone_says_nothing_about_the_leader() -> None:
    ours = following()
    ours.disconnect("n2")
    ours.advance(TIMING.election_min_s - 0.01)
    assert not ours.sent("pre_vote")


def test_who_did_not_lead_may_go() -> None:
    ours = following()
    ours.find_gone("n3")
    ours.advance(TIMING.election_min_s - 0.01)
    assert not ours.sent("pre_vote")
    ours.feed("n3", type="pre_vote", term=2, **LOG)
    assert not ours.sent("pre_vote_ok")


def test_a_voter_votes_at_once_when_the_leaders_process_has_ended() -> None:
    ours = following()
    ours.find_gone("n2")
    ours.feed("n3", type="pre_vote", term=2, **LOG)
    assert len(ours.sent("pre_vote_ok", "n3")) == 1
    ours.feed("n3", type="request_vote", term=2, force=False, **LOG)
    assert len(ours.sent("response_vote", "n3")) == 1


def test_who_saw_it_first_is_answered_when_this_node_sees_it() -> None:
    ours = following()
    ours.feed("n3", type="pre_vote", term=2, **LOG)
    assert not ours.sent("pre_vote_ok")
    ours.find_gone("n2")
    assert len(ours.sent("pre_vote_ok", "n3")) == 1


def test_a_leader_that_is_heard_again_has_not_gone() -> None:
    ours = following()
    ours.find_gone("n2")
    ours.connect("n2")
    ours.feed("n2", type="ping", term=1, lease=False)
    ours.feed("n3", type="pre_vote", term=2, **LOG)
    assert not ours.sent("pre_vote_ok")


@pytest.mark.parametrize("said", [True, None], ids=["a lease", "nothing"])
def test_what_was_promised_is_kept_though_the_leader_seems_to_have_gone(said: bool | None) -> None:
    """6.4.1: the refusal may be a firewall's, and the leader read by its lease. One of an older
    version does not say whether it does.
    """
    ours = following(lease=True) if said else following()
    if said is None:
        ours.feed("n2", type="ping", term=1)
    ours.find_gone("n2")
    ours.advance(TIMING.election_min_s - 0.02)
    assert not ours.sent("pre_vote")
    ours.feed("n3", type="pre_vote", term=2, **LOG)
    ours.feed("n3", type="request_vote", term=2, force=False, **LOG)
    assert not ours.sent("pre_vote_ok")
    assert not ours.sent("response_vote")
    ours.advance(0.02 + TIMING.heartbeat_s)
    assert ours.sent("pre_vote", "n3"), "and it does not wait for longer"


def test_an_ordinary_message_does_not_shorten_what_was_promised_before_it() -> None:
    ours = following(lease=True)
    ours.feed("n2", type="ping", term=1, lease=False)
    ours.find_gone("n2")
    ours.feed("n3", type="request_vote", term=2, force=False, **LOG)
    assert not ours.sent("response_vote")


def test_a_restarted_voter_may_have_promised_a_lease() -> None:
    ours = Ours()
    ours.connect()
    ours.feed("n2", type="ping", term=1, lease=False)
    ours.find_gone("n2")
    ours.feed("n3", type="request_vote", term=9, force=False, last_log_index=9, last_log_term=9)
    assert not ours.sent("response_vote")


def test_who_learns_of_a_higher_term_comes_between_nobody() -> None:
    """Another one stands already, and its disk may be slow."""
    ours = following()
    ours.find_gone("n2")
    ours.advance(TURN_S / 2)
    asked = len(ours.sent("pre_vote", "n3"))
    assert asked
    ours.feed("n3", type="term", term=2)
    ours.advance(TIMING.election_min_s - 0.05)
    assert len(ours.sent("pre_vote", "n3")) == asked


# -- rule 9 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ping", "append_entries", "snapshot_chunk"])
def test_a_leader_that_hears_another_one_of_its_term_stops(kind: str) -> None:
    """5.2: at most one leader can be elected in a given term; going on would only hide it."""
    ours = Ours()
    ours.connect()
    ours.win()
    entries = {"prevLogIdx": 1, "prevLogTerm": 0, "entries": []}
    chunk = {"index": 40, "index_term": 1, "offset": 0, "data": b"", "last": False}
    ours.feed("n2", type=kind, term=ours.term, **entries, **chunk)
    assert "and this node" in str(ours.fatal), "before anything comes of it"


def test_a_leader_that_no_majority_answers_steps_down() -> None:
    """Dissertation 6.2: "a leader ... steps down if an election timeout elapses without a
    successful round of heartbeats to a majority of its cluster".
    """

    def play(bench: Bench) -> bool:
        bench.connect()
        bench.win()
        bench.advance(2 * TIMING.election_max_s)
        return bench.is_leader

    assert not play(Ours())
    assert play(Stock()), "stock believes in itself for 30 s"


def test_a_read_waits_for_a_round_that_was_sent_after_it() -> None:
    """6.4: "The leader needs to make sure it hasn't been superseded ... it issues a new round of
    heartbeats and waits for their acknowledgments from a majority"; answers to earlier ones do not
    count. Stock has no such reads at all: it answers from local state, whoever it is.
    """
    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 3)
    early = ours.last_seq
    answers: list[int | None] = []
    ours.engine.read_index(answers.append)
    ours.turn()
    ours.feed("n2", type="pong", term=ours.term, seq=early)
    assert answers == []
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    assert answers == [2]
    assert not hasattr(Stock().engine, "read_index")


def test_reads_of_one_turn_share_a_round() -> None:
    """6.4: "it can use a single round of heartbeats for any number of read-only queries"."""
    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 3)
    ours.turn()
    ours.links.sent.clear()
    answers: list[int | None] = []
    for _ in range(50):
        ours.replica.read_index(answers.append)
    ours.turn()
    assert len(ours.sent("ping", "n2")) == 1
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    assert answers == [2] * 50


def test_a_read_waits_for_an_entry_of_the_leaders_own_term() -> None:
    """6.4: "If the leader has not yet marked an entry from its current term committed, it waits
    until it has."""
    ours = Ours(log=[1])
    ours.connect()
    ours.win()
    answers: list[int | None] = []
    ours.engine.read_index(answers.append)
    ours.turn()
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    assert answers == []
    ours.acknowledge("n2", ours.term, 4)
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    assert answers == [3]


def test_it_waits_for_that_also_where_it_is_known_who_answers_quickly() -> None:
    ours = Ours(log=[1])
    ours.connect()
    ours.win()
    for peer in ours.peers:
        ours.feed(peer, type="pong", term=ours.term, seq=ours.last_seq)
    answers: list[int | None] = []
    ours.engine.read_index(answers.append)
    for peer in ours.peers:
        ours.feed(peer, type="pong", term=ours.term, seq=ours.last_seq)
    assert answers == []


def test_a_follower_reads_at_the_leaders_index_once_it_has_applied_it() -> None:
    """6.4: a follower may ask the leader "for a current readIndex", and waits for its state."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1, 1], commit=2)
    answers: list[int | None] = []
    ours.engine.read_index(answers.append)
    ask = ours.sent("read_index", "n2")[-1]
    assert ask["term"] == 1
    ours.feed("n2", type="read_index_reply", id=ask["id"] + 1, index=9)
    ours.feed("n2", type="read_index_reply", id=ask["id"], index=3)
    assert answers == []
    ours.feed("n2", type="ping", term=1, commit_index=3)
    assert answers == [3]


def test_who_asks_for_an_index_has_answered_itself() -> None:
    """Ours: the question is sent after the read arrived, as an answer to a heartbeat would be."""
    ours = Ours()
    ours.connect()
    ours.win()
    ours.feed("n2", type="read_index", id=1, term=ours.term)
    assert ours.sent("read_index_reply") == [], "nothing of this term is committed"
    ours.acknowledge("n2", ours.term, 3)
    ours.turn()
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    ours.links.sent.clear()
    ours.feed("n3", type="read_index", id=2, term=ours.term)
    (reply,) = ours.sent("read_index_reply", "n3")
    assert (reply["id"], reply["index"]) == (2, 2)
    assert ours.sent("ping") == []


def test_who_has_other_data_than_the_member_it_speaks_for_has_answered_nothing() -> None:
    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 3)
    ours.turn()
    ours.links.others = {"n3"}
    ours.feed("n3", type="read_index", id=1, term=ours.term)
    assert ours.sent("read_index_reply") == []
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    assert [m["index"] for m in ours.sent("read_index_reply", "n3")] == [2]


@pytest.mark.parametrize(
    ("size", "term"), [(3, -1), (3, None), (5, 0)], ids=["earlier", "older", "of-five"]
)
def test_a_question_alone_does_not_always_do(size: int, term: int | None) -> None:
    """From before this term, or of a version that does not say; or two are no majority."""
    ours = Ours(size=size)
    ours.connect()
    ours.win()
    for peer in ours.peers:
        ours.acknowledge(peer, ours.term, 3)
    ours.turn()
    said = {} if term is None else {"term": ours.term + term}
    ours.feed("n3", type="read_index", id=1, **said)
    ours.turn()
    assert ours.sent("read_index_reply") == []
    for peer in ours.peers:
        ours.feed(peer, type="pong", term=ours.term, seq=ours.last_seq)
    assert [m["index"] for m in ours.sent("read_index_reply", "n3")] == [2]


def test_a_read_ends_when_its_leader_is_gone() -> None:
    """Nobody is left to vouch: the caller hears it, and does not wait for ever."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    answers: list[int | None] = []
    ours.engine.read_index(answers.append)
    ours.disconnect("n2")
    assert answers == [None]
    leader = Ours()
    leader.connect()
    leader.win()
    leader.engine.read_index(answers.append)
    leader.feed("n2", type="term", term=9)
    assert answers == [None, None]


def test_a_lease_is_shorter_than_the_shortest_election_timeout() -> None:
    """6.4.1: a lease from the sending of heartbeats that a majority acknowledged, shorter than an
    election timeout by a bound on the drift of clocks.
    """
    ours = Ours()
    ours.connect()
    ours.win()
    assert not ours.replica.holds_lease()
    ours.acknowledge("n2", ours.term, 3)
    ours.turn()
    assert not ours.replica.holds_lease(), "nobody was asked for it before somebody wanted it"
    ours.advance(TIMING.heartbeat_s)
    assert ours.sent("ping", "n2")[-1]["lease"]
    ours.feed("n2", type="pong", term=ours.term, seq=ours.last_seq)
    assert ours.replica.holds_lease()
    ours.advance(TIMING.election_min_s * 0.89)
    assert ours.replica.holds_lease()
    ours.advance(TIMING.election_min_s * 0.02)
    assert not ours.replica.holds_lease()


def test_there_is_no_lease_before_an_entry_of_the_leaders_own_term_is_committed() -> None:
    """Others may have been answered for what this leader does not know to be committed yet."""
    ours = Ours(log=[1])
    ours.connect()
    ours.win()
    ours.seek_lease()
    assert not ours.replica.holds_lease()
    ours.acknowledge("n2", ours.term, 4)
    ours.turn()
    assert ours.replica.holds_lease()


@pytest.mark.parametrize(("size", "known"), [(3, True), (5, False)])
def test_a_follower_is_as_fresh_as_its_leader_is_confirmed(size: int, known: bool) -> None:
    """6.4, for `max_staleness`: of five voters three may have elected another one, while the fourth
    still hears this leader; of three voters two cannot without the one that hears it.
    """
    ours = Ours(size=size)
    ours.connect()
    ours.win()
    ours.advance(TIMING.heartbeat_s)
    said = ours.sent("ping", "n2")[-1]
    assert said["fresh"] == (said["now"] if known else 0)
    sent_ms = ours.time.now_ms()
    for peer in ours.peers:
        ours.feed(peer, type="pong", term=ours.term, seq=ours.last_seq)
    ours.advance(TIMING.heartbeat_s)
    said = ours.sent("ping", "n2")[-1]
    assert said["fresh"] == (said["now"] if known else pytest.approx(sent_ms, abs=1))
    assert said["now"] > sent_ms


def test_a_transfer_ends_the_lease_first() -> None:
    """6.4.1 and 3.10: its target may be elected at once, by voters that do not wait."""
    ours = Ours()
    ours.connect()
    ours.win()
    for peer in ours.peers:
        ours.acknowledge(peer, ours.term, 3)
    ours.turn()
    ours.seek_lease()
    assert ours.replica.holds_lease()
    assert ours.replica.transfer("n3", 1.0)
    assert not ours.replica.holds_lease()
    ours.turn()
    assert ours.sent("timeout_now", "n3")
    assert not ours.sent("timeout_now", "n2")


def test_a_transfer_waits_until_its_target_has_everything() -> None:
    """3.10: "The prior leader fully updates the target server's log"; stock only refuses."""
    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 3)
    assert ours.replica.transfer("n3", 1.0)
    ours.turn()
    assert not ours.sent("timeout_now")
    ours.acknowledge("n3", ours.term, 3)
    assert ours.sent("timeout_now", "n3")
