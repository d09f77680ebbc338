"""Replication, sentence by sentence: rules 1, 2, 6, 12 and 15 of docs/decisions/0001-engine.md.

Raft: "In Search of an Understandable Consensus Algorithm" (extended version) by section. Each test
plays one scenario to the corrected engine, and shows that the engine as installed breaks the rule.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pysyncobj.node import Node

from raftcache.command.codec import batch, encode
from raftcache.command.words import Put
from raftcache.errors import Fatal
from raftcache.raft.window import WINDOW_SIZE_BYTES_MAX
from tests.sim.stock import as_installed
from tests.support.sim_bench import TIMING, Bench, Ours, Stock, entry

STAMP = bytes(8)
REGULAR = b"\x00"


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with as_installed():
        yield


# -- rule 1 ----------------------------------------------------------------------------------------


def test_only_conflicting_entries_are_deleted() -> None:
    """Figure 2: "If an existing entry conflicts with a new one (same index but different terms),
    delete the existing entry and all that follow it." A late AppendEntries conflicts with nothing.
    """

    def play(bench: Bench) -> list[int]:
        bench.connect()
        bench.append("n2", 1, (1, 0), [1, 1, 1, 1])
        bench.append("n2", 1, (1, 0), [1, 1])  # sent earlier, or again
        return bench.terms

    assert play(Ours()) == [1, 1, 1, 1]
    assert play(Stock()) == [1, 1], "stock deletes what it has acknowledged"


def test_conflicting_entries_are_deleted() -> None:
    """The same sentence: and then it must delete, from the first conflict on."""

    def play(bench: Bench) -> list[int]:
        bench.connect()
        bench.append("n2", 3, (2, 1), [1, 3])
        return bench.terms

    assert play(Ours(log=[1, 1, 2, 2, 2])) == [1, 1, 3]
    assert play(Stock(log=[1, 1, 2, 2, 2])) == [1, 1, 3]


def test_a_committed_entry_is_never_deleted() -> None:
    """5.4.3, State Machine Safety: a leader that asks for it is not one; this node stops."""

    def play(bench: Bench) -> list[int]:
        bench.connect()
        bench.append("n2", 1, (1, 0), [1, 1, 1], commit=4)
        assert bench.commit_index == 4
        bench.append("n3", 2, (2, 1), [2])
        return bench.terms

    ours = Ours()
    assert play(ours) == [1, 1, 1]
    assert isinstance(ours.fatal[0], Fatal)
    assert "truncation at 3, but committed to 4" in str(ours.fatal[0])
    assert play(Stock()) == [1, 2], "stock logs it, and deletes"


def test_next_index_is_never_moved_back_by_a_success() -> None:
    """5.3: nextIndex is "the index of the next log entry the leader will send": what is on its way
    is not sent again because something earlier arrived.
    """

    def play(bench: Bench) -> int:
        bench.connect()
        bench.win()  # the no-op is entry 5
        for peer in bench.peers:
            bench.acknowledge(peer, bench.term, 6)
        for number in range(3):  # entries 6, 7 and 8: on their way
            bench.propose(entry(6 + number, 1)[0])
            bench.turn()
        assert bench.next_index("n2") == 9
        bench.links._onMessageReceived(
            *_from("n2", bench, type="next_node_idx", next_node_idx=7, success=True, reset=False)
        )
        return bench.next_index("n2")

    assert play(Ours(log=[1, 1, 1])) == 9
    assert play(Stock(log=[1, 1, 1])) == 7, "stock sends batches again that are on their way"


def _from(sender: str, bench: Bench, **message: object) -> tuple[object, dict[str, object]]:
    """A message that is handled without a turn after it."""
    return Node(sender), {"term": bench.term, "seq": bench.last_seq} | message


def test_next_index_stays_above_match_index() -> None:
    """Figure 2: matchIndex is "known to be replicated"; a rejection that says less is old."""

    def play(bench: Bench) -> tuple[int, int]:
        bench.connect()
        bench.win()
        bench.acknowledge("n2", bench.term, 6)
        bench.acknowledge("n2", bench.term, 2, success=False, reset=True)
        return bench.match_index("n2"), bench.next_index("n2")

    assert play(Ours(log=[1, 1, 1])) == (5, 6)
    match, following = play(Stock(log=[1, 1, 1]))
    assert match == 5
    assert following != 6, "stock begins anew, below what is replicated"


# -- rule 2 ----------------------------------------------------------------------------------------


def test_replies_of_other_terms_are_dropped() -> None:
    """5.1: a stale term number means a stale message: what was acknowledged to a leader of an
    earlier term may have been deleted since.
    """

    def play(bench: Bench) -> int:
        bench.connect()
        bench.win()
        bench.acknowledge("n2", bench.term - 1, 5)
        return bench.match_index("n2")

    assert play(Ours(log=[1, 1, 1])) == 0
    assert play(Stock(log=[1, 1, 1])) == 4, "stock counts a reply that carries another term"


def test_a_rejection_of_what_was_sent_earlier_is_dropped() -> None:
    """One conflict is rejected once for each message on its way: the first rejection counts."""
    ours = Ours(log=[1, 1, 1])
    ours.connect()
    ours.win()
    early = ours.last_seq
    rejection = {"success": False, "reset": True}
    ours.acknowledge("n2", ours.term, 3, seq=early, **rejection)
    assert ours.sent("append_entries", "n2")[-1]["prevLogIdx"] == 2
    ours.acknowledge("n2", ours.term, 5, seq=ours.last_seq)  # 3 and 4 arrived
    sent = len(ours.sent("append_entries", "n2"))
    ours.acknowledge("n2", ours.term, 2, seq=early, **rejection)
    assert ours.next_index("n2") == 6
    assert len(ours.sent("append_entries", "n2")) == sent


def test_an_answer_carries_its_term_and_what_it_answers() -> None:
    """5.1: "Current terms are exchanged whenever servers communicate"."""

    def play(bench: Bench) -> dict[str, object]:
        bench.connect()
        bench.append("n2", 1, (1, 0), [1, 1])
        answer = bench.sent("next_node_idx")[-1]
        return {name: answer.get(name) for name in ("term", "seq", "success", "next_node_idx")}

    assert play(Ours()) == {"term": 1, "seq": 1, "success": True, "next_node_idx": 4}
    assert play(Stock())["term"] is None


def test_only_what_matches_is_acknowledged() -> None:
    """5.3, Log Matching: the tail behind the entries of a message was never compared."""

    def play(bench: Bench) -> int:
        bench.connect()
        bench.append("n2", 3, (2, 1), [1])
        return int(bench.sent("next_node_idx")[-1]["next_node_idx"])

    assert play(Ours(log=[1, 1, 2, 2])) == 4


def test_a_heartbeat_commits_only_what_was_compared() -> None:
    """5.3: a commit index speaks of the leader's log; this one's tail may be another's."""
    ours = Ours(log=[1, 1, 1])
    ours.connect()
    ours.feed("n2", type="ping", term=2, commit_index=4)
    assert ours.commit_index == 1
    ours.append("n2", 2, (3, 1), [], commit=4)
    assert ours.commit_index == 3
    ours.append("n2", 2, (3, 1), [2], commit=4)
    assert (ours.commit_index, ours.terms) == (4, [1, 1, 2])


def test_what_one_leader_compared_counts_for_the_next_one_as_far_as_it_is_committed() -> None:
    """Which may not have it, and say of others of these indexes that they are committed."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1, 1, 1], commit=2)
    ours.feed("n3", type="ping", term=2, commit_index=4)
    assert ours.commit_index == 2
    ours.append("n3", 2, (4, 1), [], commit=4)
    assert ours.commit_index == 4


def test_a_rejection_skips_the_whole_conflicting_term() -> None:
    """5.3: "the follower can include the term of the conflicting entry and the first index it
    stores for that term"; one rejection for each conflicting term, not for each entry.
    """

    def play(bench: Bench) -> int:
        bench.connect()
        bench.append("n2", 4, (6, 3), [4])
        rejection = bench.sent("next_node_idx")[-1]
        assert rejection["reset"]
        return int(rejection["next_node_idx"])

    assert play(Ours(log=[1, 2, 2, 2, 2])) == 3
    assert play(Stock(log=[1, 2, 2, 2, 2])) == 6, "stock goes back one by one"


def test_who_is_told_what_is_committed_does_not_answer() -> None:
    """Heartbeats, and rounds for reads, are answered; an older leader asks for it every time."""
    follower = Ours()
    follower.connect()
    follower.append("n2", 1, (1, 0), [1, 1])
    follower.feed("n2", type="ping", term=1, commit_index=2, answer=False)
    assert follower.commit_index == 2
    assert follower.sent("pong") == []
    follower.feed("n2", type="ping", term=1, commit_index=3)
    follower.feed("n2", type="ping", term=1, commit_index=3, answer=True)
    assert len(follower.sent("pong")) == 2
    leader = Ours()
    leader.connect()
    leader.win()
    leader.links.sent.clear()
    leader.acknowledge("n2", leader.term, 3)
    assert [m["answer"] for m in leader.sent("ping")] == [False, False]
    leader.links.sent.clear()
    leader.engine.read_index(lambda index: None)
    leader.turn()
    leader.advance(2 * TIMING.heartbeat_s)
    pings = leader.sent("ping")
    assert len(pings) >= 4
    assert all(m["answer"] for m in pings)


# -- rule 6: the order of effects ------------------------------------------------------------------


def test_entries_are_acknowledged_once_they_are_durable() -> None:
    """Figure 2: persistent state is "updated on stable storage before responding to RPCs"."""
    ours = Ours()
    ours.connect()
    ours.disk_works = False
    ours.append("n2", 1, (1, 0), [1, 1])
    ours.feed("n2", type="ping", term=1)
    assert ours.sent("next_node_idx") == []
    assert len(ours.sent("pong")) == 1, "a slow disk does not hold up heartbeats"
    ours.disk_works = True
    ours.turn()
    assert ours.sent("next_node_idx")[-1]["next_node_idx"] == 4
    stock = Stock()
    stock.connect()
    stock.append("n2", 1, (1, 0), [1, 1])
    assert stock.sent("next_node_idx"), "stock answers before anything was synced"


def test_a_leader_counts_itself_once_its_disk_has_the_entry() -> None:
    """Dissertation 10.2.1: a leader may send before it has written, but does not count itself."""

    def play(bench: Bench) -> int:
        bench.connect()
        bench.win()
        bench.acknowledge("n2", bench.term, 3)
        return bench.commit_index

    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 3)  # what it begins its term with
    ours.disk_works = False
    ours.engine.propose(batch([encode(Put(b"k", b"v"))]), lambda replies, reason: None)
    ours.turn()
    assert len(ours.sent("append_entries", "n2")) == 2, "the followers' disks work meanwhile"
    ours.acknowledge("n2", ours.term, 4)
    assert ours.commit_index < 3
    ours.acknowledge("n3", ours.term, 4)
    assert ours.commit_index == 3, "two disks of three, without the leader's, are a majority"
    assert play(Stock()) == 2, "stock counts itself at once, whatever its journal does"


def test_votes_are_durable_before_they_leave() -> None:
    """Figure 2: votedFor is persistent: a voter that forgets could vote twice in one term."""

    def play(bench: Bench) -> int:
        bench.connect()
        bench.advance(1.0)
        bench.feed("n2", type="request_vote", term=5, last_log_index=9, last_log_term=4, force=True)
        return len(bench.sent("response_vote"))

    ours = Ours()
    ours.disk_works = False
    assert play(ours) == 0
    ours.disk_works = True
    ours.turn()
    assert len(ours.sent("response_vote")) == 1
    assert play(Stock()) == 1, "stock votes before anything was synced"


# -- rule 12 ---------------------------------------------------------------------------------------


def _big_command(bench: Bench, size_bytes: int) -> bytes:
    value = bytes(size_bytes)
    return batch([encode(Put(b"k", value))]) if isinstance(bench, Ours) else value


def test_an_entry_above_the_batch_size_travels_whole() -> None:
    """Stock splits it with a wrong end test: the piece before the last is called the last one."""
    size_bytes = 2 * (1 << 16) - 40  # just under a multiple of stock's batch size

    def play(bench: Bench) -> list[object]:
        bench.connect()
        bench.win()
        bench.acknowledge("n2", bench.term, 3)
        bench.links.sent.clear()
        bench.propose(REGULAR + _big_command(bench, size_bytes))
        bench.turn()
        bench.advance(0.1)
        rows = bench.sent("append_entries", "n2")
        return [m.get("transmission") or len(m["entries"]) for m in rows]

    assert play(Ours())[0] == 1
    assert play(Stock())[:3] == ["start", "finish", "finish"]


def test_a_large_entry_travels_alone() -> None:
    """Batches are bounded below the frame limit, so nothing is ever split."""
    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, 3)
    for size_bytes in (100, 3 << 20, 100):
        ours.engine.propose(_big_command(ours, size_bytes), lambda replies, reason: None)
    ours.turn()
    rows = [[len(e[0]) for e in m["entries"]] for m in ours.sent("append_entries", "n2")]
    assert [len(row) for row in rows] == [1, 1, 1, 1]
    assert rows[2][0] > 3 << 20


# -- rule 15 ---------------------------------------------------------------------------------------


def test_a_bounded_number_of_bytes_is_on_its_way() -> None:
    """A follower that does not answer is not sent a whole log, nor does that stop a turn."""
    entry_size_bytes, number = 256 << 10, 60

    def play(bench: Bench) -> int:
        bench.connect()
        bench.win()
        bench.acknowledge("n2", bench.term, 3)
        bench.links.sent.clear()
        for _ in range(number):
            bench.propose(REGULAR + _big_command(bench, entry_size_bytes))
        bench.turn()
        bench.advance(0.5)
        rows = bench.sent("append_entries", "n2")
        split = sum(len(m["data"]) for m in rows if "data" in m)
        return split + sum(len(e[0]) for m in rows for e in m.get("entries", ()))

    most = WINDOW_SIZE_BYTES_MAX + (1 << 20)
    ours = Ours()
    assert entry_size_bytes <= play(ours) <= most
    assert play(Stock()) > number * entry_size_bytes > most, "stock sends all of it"
    for _ in range(number):
        ours.acknowledge("n2", ours.term, ours.next_index("n2"))
    assert ours.match_index("n2") == number + 2, "answers open the window again"


# -- seen by the simulator -------------------------------------------------------------------------


def test_a_restarted_follower_is_told_where_it_stands_though_nothing_is_new() -> None:
    """Nothing in its log is verified yet; heartbeats alone would leave it behind for ever."""
    ours = Ours()
    ours.connect()
    ours.win()
    for peer in ours.peers:
        ours.acknowledge(peer, ours.term, 3)
    ours.advance(0.1)
    ours.disconnect("n2")
    ours.links.sent.clear()
    ours.connect("n2")
    assert [m["prevLogIdx"] for m in ours.sent("append_entries", "n2")] == [1]


def test_a_stall_in_mid_step_does_not_stamp_a_proposal_twice() -> None:
    """The parent stops taking proposals when a period has passed; ours takes all of them."""
    ours = Ours(size=1)
    ours.advance(1.0)
    assert ours.is_leader
    replies: list[object] = []
    for number in range(3):
        command = batch([encode(Put(b"k%d" % number, b"v"))])
        ours.engine.propose(command, lambda answers, reason: replies.append(answers[0].status))
    ours.clock.stride_s = 0.1  # more than a heartbeat between any two readings
    ours.turn()
    ours.clock.stride_s = 0.0
    ours.turn()
    assert ours.fatal == []
    assert len(replies) == 3


def test_a_leader_that_is_told_of_entries_it_does_not_have_stops() -> None:
    """A follower that acknowledges more than it was sent lost count, or follows another one."""
    ours = Ours()
    ours.connect()
    ours.win()
    ours.acknowledge("n2", ours.term, ours.engine.last_index + 1)
    assert ours.fatal == []
    ours.acknowledge("n2", ours.term, ours.engine.last_index + 2)
    assert "entries that this leader does not have" in str(ours.fatal)


# -- 5.4.2 -----------------------------------------------------------------------------------------


def test_only_entries_of_the_own_term_are_committed_by_counting() -> None:
    """5.4.2: "Only log entries from the leader's current term are committed by counting replicas";
    figure 8: an earlier one, though on a majority, may yet be replaced.
    """
    ours = Ours(log=[1, 1])
    ours.connect()
    ours.win()  # its no-op is entry 4
    for peer in ours.peers:
        ours.acknowledge(peer, ours.term, 4)
    assert ours.commit_index == 1
    ours.acknowledge("n2", ours.term, 5)
    assert ours.commit_index == 4, "and with it, all before it"


def test_what_a_peer_may_not_lose_is_committed() -> None:
    """What it acknowledged beyond that, another leader may take back."""
    ours = Ours(log=[1, 1, 1])
    ours.connect()
    ours.win()
    last = len(ours.terms) + 1
    n2 = Node("n2")
    assert ours.engine.acknowledged(n2) == 0
    ours.acknowledge("n2", ours.term, last - 1)
    assert ours.commit_index < last - 2
    assert ours.engine.acknowledged(n2) == ours.commit_index, "of an earlier term, not committed"
    ours.acknowledge("n2", ours.term, last + 1)
    assert ours.engine.acknowledged(n2) == ours.commit_index == last
    ours.disconnect("n2")
    assert ours.engine.acknowledged(n2) == last, "when its link ends that is asked for"
    ours.append("n3", ours.term + 1, (last, ours.term), [])
    assert ours.engine.acknowledged(n2) == 0, "another one leads"
