"""The door to consensus: group commit, limits, and an end to every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pysyncobj.node import Node

from raftcache.command.codec import decode, encode
from raftcache.command.limits import (
    BATCH_COMMANDS_MAX,
    BATCH_SIZE_BYTES_MAX,
    BATCH_WIDTH_MAX,
    VALUE_SIZE_BYTES_MAX,
)
from raftcache.command.replies import Reply
from raftcache.command.words import Put
from raftcache.errors import Fatal, NotLeader, Overloaded, Unknown
from raftcache.raft.batches import (
    ENOUGH_COMMANDS,
    GATHER_S,
    PIPELINE_AFTER_S,
    PIPELINE_BATCHES_MAX,
)
from raftcache.raft.compaction import PAUSE_S
from raftcache.raft.engine import REGULAR, STAMP_SIZE_BYTES, applying
from raftcache.raft.reads import ASK_ALL_AFTER_S
from raftcache.state.image import SLICE_KEYS_MAX
from tests.support.sim_bench import STORAGE, TIMING, Ours


def put(number: int = 0, size_bytes: int = 1) -> bytes:
    return encode(Put(b"key%d" % number, bytes(size_bytes)))


def alone() -> Ours:
    """A group of one, which leads."""
    bench = Ours(size=1)
    bench.advance(2 * TIMING.election_max_s)
    assert bench.is_leader
    return bench


def leading(writes_pending_max: int = 1000, pending_size_bytes_max: int = 1 << 30) -> Ours:
    bench = Ours(
        writes_pending_max=writes_pending_max, pending_size_bytes_max=pending_size_bytes_max
    )
    bench.connect()
    bench.win()
    answer_all(bench)
    return bench


def answer_all(bench: Ours) -> None:
    for peer in bench.peers:
        bench.acknowledge(peer, bench.term, bench.engine.last_index + 1)
    bench.turn()


def batch_sizes(bench: Ours) -> list[int]:
    """Commands in each entry of the log."""
    commands = [e.command for e in bench.engine._SyncObj__raftLog[:]]
    return [len(decode(c[1 + STAMP_SIZE_BYTES :])) for c in commands if c[:1] == REGULAR]


# -- group commit ----------------------------------------------------------------------------------


def test_what_arrives_in_one_turn_goes_into_one_batch() -> None:
    bench, outcomes = alone(), []
    for number in range(10):
        bench.replica.propose(put(number), outcomes.append)
    bench.turn()
    assert batch_sizes(bench) == [10]
    assert [o.revision for o in outcomes] == list(range(1, 11))


def test_what_arrives_while_a_batch_is_in_flight_goes_into_the_next_one() -> None:
    bench, outcomes = leading(), []
    for number in range(6):
        bench.replica.propose(put(number), outcomes.append)
        bench.turn()
    assert batch_sizes(bench) == [1]
    answer_all(bench)
    bench.advance(GATHER_S)
    answer_all(bench)
    assert batch_sizes(bench) == [1, 5]
    assert len(outcomes) == 6
    assert all(isinstance(o, Reply) for o in outcomes)


def test_batches_follow_one_that_takes_long_but_not_without_a_bound() -> None:
    bench, outcomes = leading(), []
    for number in range(PIPELINE_BATCHES_MAX + 5):
        bench.replica.propose(put(number), outcomes.append)
        bench.turn()
        bench.advance(PIPELINE_AFTER_S)
    assert batch_sizes(bench) == [1] * PIPELINE_BATCHES_MAX
    answer_all(bench)
    bench.advance(GATHER_S)
    answer_all(bench)
    assert batch_sizes(bench) == [1] * PIPELINE_BATCHES_MAX + [5]
    assert len(outcomes) == PIPELINE_BATCHES_MAX + 5


def test_many_commands_do_not_wait_for_the_batch_in_flight() -> None:
    bench, outcomes = leading(), []
    for number in range(2):
        bench.replica.propose(put(number), outcomes.append, ENOUGH_COMMANDS)
        bench.turn()
    assert batch_sizes(bench) == [1, 1]


def propose_each(bench: Ours, outcomes: list[Any], count: int) -> None:
    """So many commands, in a turn each."""
    for number in range(count):
        bench.replica.propose(put(number), outcomes.append)
        bench.turn()


def test_as_many_are_waited_for_as_were_answered() -> None:
    bench, outcomes = leading(), []
    for number in range(10):
        bench.replica.propose(put(number), outcomes.append)
    answer_all(bench)
    answer_all(bench)
    assert len(outcomes) == 10
    propose_each(bench, outcomes, 8)
    assert batch_sizes(bench) == [10]
    propose_each(bench, outcomes, 1)
    assert batch_sizes(bench) == [10, 9], "nine of ten are company enough"


def test_what_is_waited_for_in_vain_costs_little_and_less_each_time() -> None:
    bench, outcomes = leading(), []
    held = []
    for _ in range(40):
        for number in range(10):
            bench.replica.propose(put(number), outcomes.append)
        bench.advance(GATHER_S)
        answer_all(bench)
        answer_all(bench)
        before = len(batch_sizes(bench))
        propose_each(bench, outcomes, 1)
        held.append(len(batch_sizes(bench)) == before)
        bench.advance(2 * GATHER_S)
        answer_all(bench)
        answer_all(bench)
    assert held[0]
    assert 2 <= sum(held) <= 8, held
    assert len(outcomes) == 40 * 11


@pytest.mark.parametrize("weight", [1, 0])
def test_a_batch_is_bounded_in_commands_and_in_bytes(weight: int) -> None:
    """Also of those that do nothing: a transaction may do no more than watch keys."""
    bench, outcomes = alone(), []
    for number in range(BATCH_COMMANDS_MAX + 1):
        bench.replica.propose(put(number % 10), outcomes.append, weight)
    bench.turn()
    bench.advance(GATHER_S)
    assert batch_sizes(bench) == [BATCH_COMMANDS_MAX, 1]
    for size_bytes in (1, VALUE_SIZE_BYTES_MAX, VALUE_SIZE_BYTES_MAX, 1):
        bench.replica.propose(put(1, size_bytes), outcomes.append)
    bench.turn()
    bench.advance(GATHER_S)
    assert batch_sizes(bench)[2:] == [1, 1, 1, 1]
    assert len(outcomes) == BATCH_COMMANDS_MAX + 5


def test_wide_commands_share_an_entry_up_to_a_limit_and_one_may_be_over_it() -> None:
    bench, outcomes = alone(), []
    half = BATCH_WIDTH_MAX // 2
    for width in (half, 0, half, 1, 2 * half, 1, 0):
        bench.replica.propose(put(width), outcomes.append, 1, width)
    bench.turn()
    bench.advance(GATHER_S)
    assert (batch_sizes(bench), len(outcomes)) == ([3, 1, 1, 2], 7)


# -- limits and refusals ---------------------------------------------------------------------------


def test_more_than_may_wait_is_refused_and_the_rest_is_not_hurt() -> None:
    bench, outcomes = leading(writes_pending_max=20), []
    for number in range(21):
        bench.replica.propose(put(number), outcomes.append)
    assert [type(o) for o in outcomes] == [Overloaded]
    bench.turn()
    answer_all(bench)
    assert len(outcomes) == 21
    bench.replica.propose(put(), outcomes.append)
    bench.turn()
    answer_all(bench)
    assert isinstance(outcomes[-1], Reply), "there is room again"


def test_more_bytes_than_may_wait_are_refused_until_those_before_them_are_done() -> None:
    bench, outcomes = leading(pending_size_bytes_max=2 * BATCH_SIZE_BYTES_MAX), []
    large = put(size_bytes=BATCH_SIZE_BYTES_MAX // 2)  # two are too much for one batch
    for _ in range(6):
        bench.replica.propose(large, outcomes.append)
    assert [type(o) for o in outcomes] == [Overloaded]
    assert "bytes of writes are waiting already" in outcomes[0].detail
    bench.replica.propose(put(), outcomes.append)
    assert len(outcomes) == 2, "nor is anything else taken"
    bench.advance(TIMING.request_timeout_s + 1)  # nobody answers, or took them
    assert len(outcomes) == 7
    assert not bench.replica._batches.is_full, "there is room again"
    bench.replica.stop()


def test_without_a_leader_a_write_is_refused_at_once() -> None:
    outcomes: list[Any] = []
    bench = Ours()
    bench.connect()
    bench.replica.propose(put(), outcomes.append)
    assert [type(o) for o in outcomes] == [NotLeader]
    assert outcomes[0].definite


# -- an end to every call --------------------------------------------------------------------------


def test_writes_that_wait_behind_a_full_pipeline_end_as_well() -> None:
    """The followers answer heartbeats, their disks do not: the leader stays, and nothing moves."""
    bench, outcomes = leading(), []
    for number in range(PIPELINE_BATCHES_MAX + 1):
        bench.replica.propose(put(number), outcomes.append)
        bench.turn()
        bench.advance(PIPELINE_AFTER_S)
    for _ in range(int((TIMING.request_timeout_s + 1) / TIMING.heartbeat_s)):
        bench.advance(TIMING.heartbeat_s)
        for peer in bench.peers:
            bench.feed(peer, type="pong", term=bench.term, seq=bench.last_seq)
    assert bench.is_leader
    assert [type(o) for o in outcomes] == [Unknown] * PIPELINE_BATCHES_MAX + [NotLeader]
    answer_all(bench)
    assert len(outcomes) == PIPELINE_BATCHES_MAX + 1, "nobody is told twice"
    bench.replica.propose(put(), outcomes.append)
    bench.turn()
    answer_all(bench)
    assert isinstance(outcomes[-1], Reply), "the pipeline is free again"


def test_reads_that_arrive_under_a_round_share_the_next_one() -> None:
    bench, reads = leading(), list[tuple[str, int | None]]()
    bench.turn()

    def read(name: str) -> None:
        bench.replica.read_index(lambda index: reads.append((name, index)))
        bench.turn()

    before = bench.last_seq
    read("first")
    rounds = bench.last_seq - before
    assert rounds > 0
    for name in ("second", "third"):
        read(name)
    assert bench.last_seq - before == rounds, "they wait"
    for names in (["first"], ["second", "third"]):
        reads.clear()
        bench.feed(bench.peers[0], type="pong", term=bench.term, seq=bench.last_seq)
        bench.turn()
        bench.turn()
        assert [name for name, index in reads if index is not None] == names
    assert bench.last_seq - before == 2 * rounds


def test_who_gathers_under_a_round_is_told_when_the_next_may_begin() -> None:
    bench, told = leading(), list[str]()
    bench.turn()

    def gather(name: str) -> None:
        bench.replica.before_round(lambda: told.append(name))
        assert name not in told, "in a later call"

    gather("no round")
    bench.run()
    assert told == ["no round"]
    bench.replica.read_index(lambda index: told.append(f"read {index}"))
    bench.turn()
    gather("under one")
    bench.run()
    assert told == ["no round"], "the round is under way"
    bench.feed(bench.peers[0], type="pong", term=bench.term, seq=bench.last_seq)
    assert told == ["no round", "under one", "read 2"]
    bench.replica.read_index(lambda index: told.append(f"read {index}"))
    bench.turn()
    gather("at the end")
    bench.replica.stop()
    gather("after it")
    bench.run()
    assert {*told[3:]} == {"at the end", "read None", "after it"}


def test_an_error_stops_the_node_once_and_ends_everything() -> None:
    bench, outcomes, reads = leading(), [], []
    bench.replica.propose(put(), outcomes.append)
    bench.turn()
    bench.replica.read_index(reads.append)
    bench.replica.fail(ZeroDivisionError("why"))
    bench.replica.fail(ZeroDivisionError("again"))
    assert [type(e) for e in bench.fatal] == [Fatal]
    assert "ZeroDivisionError: why" in str(bench.fatal[0])
    assert [type(o) for o in outcomes] == [Unknown]
    assert reads == [None]
    bench.replica.propose(put(), outcomes.append)
    assert isinstance(outcomes[-1], NotLeader)
    bench.replica.read_index(reads.append)
    assert reads == [None, None]


def test_an_error_of_the_disk_stops_the_node() -> None:
    bench = alone()
    bench.disk.fail("sync", 5)
    bench.replica.propose(put(), lambda outcome: None)
    bench.turn()
    assert isinstance(bench.fatal[0], Fatal)


def test_an_error_as_a_write_lands_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = alone()

    def fails() -> None:
        raise AssertionError("the account is wrong")

    monkeypatch.setattr(bench.engine, "written", fails)
    bench.replica.propose(put(), lambda outcome: None)
    bench.turn()
    assert isinstance(bench.fatal[0], Fatal)


# -- callers that fail -----------------------------------------------------------------------------


def fails(outcome: object) -> None:
    raise ValueError("a mistake in what a caller does with its answer")


def assert_logged(caplog: pytest.LogCaptureFixture, times: int) -> None:
    faults = [(r.message, r.exc_info[0]) for r in caplog.records if r.exc_info is not None]
    assert faults == [("unexpected error", ValueError)] * times


def test_a_caller_that_fails_takes_no_answer_from_those_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, outcomes = leading(), []
    for number, done in enumerate([outcomes.append, fails, outcomes.append, fails, fails]):
        bench.replica.propose(put(number), done)
    bench.replica.propose(put(5), outcomes.append)
    answer_all(bench)
    answer_all(bench)
    assert batch_sizes(bench) == [6]
    assert [o.revision for o in outcomes] == [1, 3, 6], "each its own"
    assert_logged(caplog, times=3)


def test_a_replica_lives_on_behind_a_caller_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    bench, outcomes, reads = leading(), [], []
    for number in range(3 * PIPELINE_BATCHES_MAX):
        bench.replica.propose(put(number), fails)
        answer_all(bench)
        answer_all(bench)
    bench.replica.propose(put(), outcomes.append)
    answer_all(bench)
    answer_all(bench)
    assert [type(o) for o in outcomes] == [Reply], "no place of the pipeline is lost"
    bench.replica.read_index(reads.append)
    bench.turn()
    bench.feed(bench.peers[0], type="pong", term=bench.term, seq=bench.last_seq)
    bench.turn()
    assert reads == [bench.commit_index]
    assert bench.fatal == []
    assert_logged(caplog, times=3 * PIPELINE_BATCHES_MAX)


@pytest.mark.parametrize(
    "end",
    [lambda bench: bench.advance(2 * TIMING.request_timeout_s), lambda bench: bench.replica.stop()],
    ids=["expired", "stopped"],
)
def test_who_fails_when_told_that_nobody_knows_takes_no_answer_either(
    end: Callable[[Ours], None], caplog: pytest.LogCaptureFixture
) -> None:
    bench, outcomes = leading(), []
    for done in (fails, outcomes.append):
        bench.replica.propose(put(), done)
    bench.turn()
    end(bench)
    assert [type(o) for o in outcomes] == [Unknown]
    assert_logged(caplog, times=1)


def test_an_engine_that_answers_too_few_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = alone()
    monkeypatch.setattr(bench.machine, "apply", lambda stamp_ms, command: [])
    bench.replica.propose(put(), lambda outcome: None)
    bench.turn()
    assert isinstance(bench.fatal[0], Fatal)


# -- turns -----------------------------------------------------------------------------------------


def counting_steps(bench: Ours, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the engine had committed at each of its steps from now on."""
    steps, step = [], bench.engine.step

    def counted() -> None:
        steps.append(bench.commit_index)
        step()

    monkeypatch.setattr(bench.engine, "step", counted)
    return steps


def test_one_write_takes_one_step_of_a_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent in one; and applied, and passed on, without one, as soon as a majority has it."""
    bench, outcomes = leading(), []
    steps = counting_steps(bench, monkeypatch)
    bench.replica.propose(put(), outcomes.append)
    bench.replica.wake()
    bench.run()
    assert steps == [2], "that it is on the leader's own disk leaves nothing to be done"
    bench.acknowledge("n2", bench.term, 4)
    assert [o.revision for o in outcomes] == [1]
    assert [m["commit_index"] for m in bench.sent("ping", "n2")[-1:]] == [3]
    bench.acknowledge("n3", bench.term, 4)
    assert steps == [2], "nobody waits for the last one"
    assert bench.match_index("n3") == 3


def test_a_client_is_answered_before_the_followers_are_told() -> None:
    bench, sent_before = leading(), []
    bench.replica.propose(put(), lambda _: sent_before.append(len(bench.sent("ping"))))
    bench.turn()
    bench.links.sent.clear()
    bench.links._onMessageReceived(*_answer(bench, "n2"))
    bench.replica.heed()
    assert sent_before == [0]
    assert [m["commit_index"] for m in bench.sent("ping")] == [3, 3]


def test_one_write_takes_no_step_of_a_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is sent is written, acknowledged and applied without one."""
    bench = Ours()
    bench.connect()
    bench.append("n2", 1, (1, 0), [1], commit=2)
    assert bench.applied_index == 2
    steps = counting_steps(bench, monkeypatch)
    bench.append("n2", 1, (2, 1), [1], commit=2)
    assert bench.sent("next_node_idx")[-1]["next_node_idx"] == 4
    bench.feed("n2", type="ping", term=1, commit_index=3, answer=False)
    assert bench.applied_index == 3
    assert steps == []


def test_a_round_for_reads_takes_no_step_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Ours()
    follower.connect()
    follower.append("n2", 1, (1, 0), [1], commit=2)
    steps = counting_steps(follower, monkeypatch)
    follower.feed("n2", type="ping", term=1, commit_index=2)
    assert len(follower.sent("pong")) == 1
    leader, reads = leading(), []
    leader.replica.read_index(reads.append)
    leader.turn()
    steps += counting_steps(leader, monkeypatch)
    leader.feed("n2", type="pong", term=leader.term, seq=leader.last_seq)
    assert reads == [2]
    leader.feed("n3", type="pong", term=leader.term, seq=leader.last_seq)
    assert steps == []


def asking(bench: Ours) -> list[str]:
    """Who was asked for an answer, since this was looked at last."""
    asked = [n for n, m in bench.links.sent if m["type"] == "ping" and m["answer"]]
    bench.links.sent.clear()
    return asked


def answer(bench: Ours, *peers: str) -> None:
    """These answer what they were sent last."""
    for peer in peers:
        bench.feed(peer, type="pong", term=bench.term, seq=bench.engine._SyncObj__seq)


def test_a_round_for_reads_asks_the_quickest_and_after_a_moment_all() -> None:
    bench, reads = leading(), []
    asking(bench)
    bench.advance(TIMING.heartbeat_s)
    assert set(asking(bench)) == {"n2", "n3"}, "a heartbeat is for everybody"
    answer(bench, "n3", "n2")
    bench.replica.read_index(reads.append)
    bench.run()
    assert asking(bench) == ["n3"]
    bench.advance(ASK_ALL_AFTER_S)
    assert asking(bench) == ["n2", "n3"]
    answer(bench, "n2")
    assert reads == [2]
    bench.replica.read_index(reads.append)
    bench.run()
    assert asking(bench) == ["n2"], "it has answered first now"
    bench.disconnect("n2")
    bench.advance(ASK_ALL_AFTER_S)
    answer(bench, "n3")
    assert reads == [2, 2]


def test_rounds_that_follow_each_other_are_each_waited_for() -> None:
    bench, reads = leading(), []
    bench.advance(TIMING.heartbeat_s)
    answer(bench, "n3", "n2")
    asking(bench)
    for _ in range(7):  # one is always under way, none of them for long
        bench.replica.read_index(reads.append)
        bench.run()
        bench.advance(ASK_ALL_AFTER_S * 0.6)
        answer(bench, "n3")
        bench.replica.read_index(reads.append)
        bench.run()
    assert len(reads) >= 7
    assert set(asking(bench)) == {"n3"}
    bench.advance(2 * ASK_ALL_AFTER_S)
    assert asking(bench) == ["n2", "n3"], "the last one has taken too long"


def test_a_message_is_heard_even_by_who_need_not_act_on_it() -> None:
    """A leader that is only heard is not stood against, and takes the place of one before it."""
    bench, outcomes = Ours(), []
    bench.connect()
    for _ in range(8):
        bench.feed("n2", type="ping", term=1)
        bench.advance(TIMING.election_min_s / 2)
    assert (bench.engine.leader, bench.term) == ("n2", 1)
    bench.feed("n3", type="ping", term=2)
    assert (bench.engine.leader, bench.term) == ("n3", 2)
    bench.replica.propose(put(), outcomes.append)
    bench.replica.wake()
    bench.run()
    assert len(bench.sent("apply_command", "n3")) == 1


# -- reads -----------------------------------------------------------------------------------------


def test_a_leader_that_has_not_applied_everything_gives_no_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A follower may have applied more than this leader, and answered its client."""
    bench = leading()
    bench.seek_lease()
    assert bench.replica.holds_lease()
    for number in range(2):
        bench.replica.propose(put(number), lambda outcome: None)
        bench.advance(PIPELINE_AFTER_S)
    monkeypatch.setattr(applying, "APPLY_SIZE_BYTES_MAX", 1)
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((bench.engine.is_behind, bench.replica.holds_lease()))

    bench.loop.call_soon(look)
    for peer in bench.peers:
        bench.links._onMessageReceived(*_answer(bench, peer))
    bench.replica.wake()
    bench.loop.call_soon(look)
    bench.loop.call_soon(lambda: bench.loop.call_soon(look))
    bench.turn()
    assert (True, False) in seen
    assert (True, True) not in seen
    assert bench.replica.holds_lease()


def _answer(bench: Ours, peer: str) -> tuple[Any, dict[str, Any]]:
    answer = {"type": "next_node_idx", "term": bench.term, "seq": bench.last_seq}
    index = bench.engine.last_index + 1
    return Node(peer), answer | {"next_node_idx": index, "success": True, "reset": False}


def test_status_tells_what_the_node_knows() -> None:
    bench = leading()
    status = bench.replica.status()
    assert (status.role, status.leader, status.term) == ("leader", "n1", 1)
    assert (status.commit_index, status.applied_index, status.last_index) == (2, 2, 2)
    assert status.match_indexes == {"n2": 2, "n3": 2}
    follower = Ours()
    follower.connect()
    follower.append("n2", 4, (1, 0), [4])
    follower.advance(0.1)
    status = follower.replica.status()
    assert (status.role, status.leader, status.term) == ("follower", "n2", 4)
    assert status.contact_age_s == pytest.approx(0.1)


# -- the size of the log ---------------------------------------------------------------------------


def test_a_log_that_grew_too_large_is_cut_by_one_snapshot() -> None:
    """Not by two: it is still as large when the engine asks again, while the first is taken."""
    bench = Ours(size=1, storage=replace(STORAGE, snapshot_log_size_bytes=100_000))
    bench.advance(2 * TIMING.election_max_s)
    slices = 5 * TIMING.heartbeat_s / PAUSE_S  # so many, that the log is looked at meanwhile
    for number in range(int(slices * SLICE_KEYS_MAX)):
        bench.replica.propose(put(number), lambda _: None)
        if number % 100 == 0:
            bench.turn()
    compactor = bench.engine._SyncObj__parts.compactor
    assert compactor.taken == 0
    bench.advance(20 * TIMING.heartbeat_s)
    assert compactor.taken == 1
