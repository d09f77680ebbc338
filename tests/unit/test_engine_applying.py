"""Applying and answering, rule by rule: 8, 11, 13 and 14 of docs/decisions/0001-engine.md.

Each test plays one scenario to the corrected engine, and shows that the engine as installed breaks
the rule.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from raftcache.command.codec import batch, encode
from raftcache.command.limits import ENTRY_SIZE_BYTES_MAX
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Put
from raftcache.errors import Fatal, NotLeader, RaftcacheError, Refused, Unknown
from raftcache.raft import stock as door
from raftcache.raft.batches import ENOUGH_COMMANDS
from raftcache.raft.engine.applying import APPLY_S_MAX
from raftcache.raft.inspection import read_log
from raftcache.raft.stock import FAIL_REASON
from tests.sim.stock import as_installed
from tests.support.memory_disk import MemoryDisk
from tests.support.sim_bench import TIMING, Bench, Ours, Stock
from tests.unit.test_engine_snapshots import send_chunk, snapshot

REGULAR, MEMBERSHIP = b"\x00", b"\x02"
STAMP = (5).to_bytes(8, "little")
PUT = encode(Put(b"key", b"value"))


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with as_installed():
        yield


def lead(bench: Bench) -> None:
    bench.connect()
    bench.win()
    for peer in bench.peers:
        bench.acknowledge(peer, bench.term, len(bench.terms) + 2)
    bench.turn()


# -- rule 8 ----------------------------------------------------------------------------------------


def test_an_entry_that_cannot_be_applied_stops_the_node_and_is_named() -> None:
    """5.3: "If any server has applied a particular log entry to its state machine" all others will:
    to skip one is to diverge, to try again for ever is to stand still and lead all the same.
    """

    def play(bench: Bench, poison: bytes) -> None:
        lead(bench)
        bench.append_own(poison)
        for peer in bench.peers:
            bench.acknowledge(peer, bench.term, 4)
        bench.turn()

    ours = Ours()
    play(ours, REGULAR + b"no batch")
    assert [type(e) for e in ours.fatal] == [Fatal]
    assert "entry 3 cannot be applied" in str(ours.fatal[0])
    stock = Stock()
    play(stock, REGULAR + pickle.dumps((999, ())))
    assert len(stock.errors) > 1, "stock tries again for ever,"
    assert stock.applied_index == 2, "never gets past it,"
    assert stock.is_leader, "and leads all the same"


def test_a_new_leader_appends_what_is_proposed_when_it_has_committed_in_its_term() -> None:
    """Who proposes something may have been answered for what the leader before had committed.

    So that is known to be committed in every block that has what may rest on it.
    """
    ours = Ours(log=[1])
    ours.connect()
    ours.win()
    outcomes = outcomes_of(ours)
    assert ours.engine.last_index == 3, "the entry of an earlier leader, and its own first one"
    ours.acknowledge("n2", ours.term, 4)
    ours.heed()
    on_disk = read_log(ours.disk)
    assert (on_disk.last_index, on_disk.recovered.committed_index) == (4, 3)
    ours.acknowledge("n2", ours.term, 5)
    assert [type(outcome) for outcome in outcomes] == [Reply]


def test_entries_that_take_long_are_applied_in_several_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that heartbeats are answered between them, and nobody is taken for dead meanwhile."""
    ours = Ours(term=1, commands=[REGULAR + STAMP + batch([PUT])] * 5)
    ours.connect()
    apply = ours.machine.apply

    def slow(now_ms: int, entry: bytes) -> list[Reply]:
        ours.clock.now_s += APPLY_S_MAX / 2
        return apply(now_ms, entry)

    monkeypatch.setattr(ours.machine, "apply", slow)
    begin, seen = ours.applied_index, list[int]()

    def look() -> None:
        seen.append(ours.applied_index - begin)
        if seen[-1] < 5:
            ours.loop.call_soon(look)

    last = ours.engine.last_index
    ours.loop.call_soon(look)
    ours.append("n2", 1, (last, 1), [], commit=last)
    ours.run()
    assert seen[-1] == 5, "all of them, without anything else that happens"
    assert max(after - before for before, after in pairwise([0, *seen])) == 2, seen


# -- rule 11 ---------------------------------------------------------------------------------------


explosions: list[str] = []


def explode(how: str) -> None:
    explosions.append(how)


class Bomb:
    """Whoever unpickles it runs what it says."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ("boom",)


@pytest.mark.parametrize("kind", [REGULAR, MEMBERSHIP, b"\x03"])
def test_nothing_from_a_peer_is_unpickled(kind: bytes) -> None:
    """Whoever reaches the port of stock runs code."""

    def play(bench: Bench) -> list[str]:
        explosions.clear()
        bench.connect()
        row = (kind + pickle.dumps(Bomb()), 2, 1)
        message = {"term": 1, "prevLogIdx": 1, "prevLogTerm": 0, "entries": [row]}
        bench.feed("n2", type="append_entries", commit_index=2, **message)
        return list(explosions)

    assert play(Ours()) == []
    assert play(Stock())[:1] == ["boom"]


def test_the_engine_has_no_pickle() -> None:
    """What filtering might miss ends here."""
    for name in ("dumps", "loads"):
        with pytest.raises(Fatal, match="pickle"):
            getattr(door.engine.pickle, name)(b"")


def test_a_peer_may_only_propose_batches_of_bounded_size() -> None:
    """Entries of the engine's own kinds are not for others to make."""
    ours = Ours()
    lead(ours)
    for number, command in enumerate(
        (MEMBERSHIP + b"x", b"\x01", b"", REGULAR + bytes(ENTRY_SIZE_BYTES_MAX))
    ):
        ours.feed("n2", type="apply_command", command=command, request_id=number)
        refusal = ours.sent("apply_command_response", "n2")[-1]
        assert refusal["error"] == FAIL_REASON.REQUEST_DENIED
        assert refusal["request_id"] == number
    assert ours.engine.last_index == 2


# -- rule 13 ---------------------------------------------------------------------------------------


def outcomes_of(ours: Ours) -> list[Any]:
    """What becomes of one write proposed now; grows when it is known."""
    outcomes: list[Any] = []
    ours.replica.propose(PUT, outcomes.append, ENOUGH_COMMANDS)  # a batch of its own, at once
    ours.turn()
    return outcomes


def test_a_leader_without_a_majority_ends_every_call() -> None:
    """8: a client must not wait for ever; nobody can tell what becomes of it: unknown."""
    ours = Ours()
    lead(ours)
    ours.disconnect()
    outcomes = outcomes_of(ours)
    assert outcomes == []
    ours.advance(TIMING.request_timeout_s + 1)
    assert [type(o) for o in outcomes] == [Unknown]
    stock = Stock()
    lead(stock)
    stock.disconnect()
    called: list[int] = []
    stock.propose(REGULAR + pickle.dumps((0, ())), lambda result, reason: called.append(reason))
    stock.advance(60)
    assert called == [], "stock's caller waits for ever"


def test_a_deposed_leaders_calls_are_refused_once_another_term_has_committed() -> None:
    """5.4.1: entries after a committed one are of its term or a later one: so never this one."""

    def play(bench: Bench) -> None:
        bench.disconnect("n3")
        bench.feed("n2", type="ping", term=bench.term + 1)
        bench.append("n2", bench.term, (2, bench.term - 1), [bench.term], commit=3)

    ours = Ours()
    lead(ours)
    first, second = outcomes_of(ours), outcomes_of(ours)
    assert ours.engine.last_index == 4
    play(ours)
    assert [type(o) for o in first + second] == [NotLeader, NotLeader]
    assert first[0].definite
    stock = Stock()
    lead(stock)
    called: list[int] = []
    for _ in range(2):
        stock.propose(b"\x01", lambda result, reason: called.append(reason))
        stock.turn()
    play(stock)
    assert called == [FAIL_REASON.DISCARDED], "stock forgets the second one"


def test_a_call_that_a_snapshot_overtook_is_unknown() -> None:
    """It was decided, but nobody here was told how."""
    ours = Ours()
    lead(ours)
    outcomes = outcomes_of(ours)
    send_chunk(ours, snapshot(MemoryDisk(), 40, 2), 0, last=True)
    assert [type(o) for o in outcomes] == [Unknown]


def test_a_forwarded_call_whose_leader_is_gone_is_unknown_not_refused() -> None:
    """The old leader may have placed it, and it may yet be committed."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    outcomes = outcomes_of(ours)
    assert len(ours.sent("apply_command", "n2")) == 1
    ours.append("n3", 2, (2, 1), [2])
    assert [type(o) for o in outcomes] == [Unknown]
    assert not outcomes[0].definite


def test_a_forwarded_call_that_never_left_is_refused() -> None:
    """That is certain."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1])
    ours.links.connected.clear()
    outcomes = outcomes_of(ours)
    assert [type(o) for o in outcomes] == [NotLeader]
    assert isinstance(outcomes[0], Refused)


def test_a_forwarded_call_ends_with_the_followers_own_apply() -> None:
    """The leader says where it is; the answer comes from the state here."""
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1], commit=2)
    outcomes = outcomes_of(ours)
    ask = ours.sent("apply_command", "n2")[-1]
    place = {"request_id": ask["request_id"], "log_idx": 3, "log_term": 1}
    ours.feed("n2", type="apply_command_response", **place)
    row = (REGULAR + STAMP + ask["command"][1:], 3, 1)
    message = {"term": 1, "prevLogIdx": 2, "prevLogTerm": 1, "entries": [row]}
    ours.feed("n2", type="append_entries", commit_index=2, **message)
    assert outcomes == []
    ours.feed("n2", type="ping", term=1, commit_index=3)
    assert [o.status for o in outcomes] == [Status.CREATED]


def test_no_call_is_left_when_the_node_stops() -> None:
    """What was given to the engine is unknown, what was not is refused."""
    ours = Ours()
    lead(ours)
    flying = outcomes_of(ours)
    waiting: list[RaftcacheError] = []
    for _ in range(5):
        ours.replica.propose(PUT, waiting.append)
    ours.replica.stop()
    assert [type(o) for o in flying] == [Unknown]
    assert len(waiting) == 5
    assert all(o.definite for o in waiting)


# -- rule 14 ---------------------------------------------------------------------------------------


def request_ids(bench: Bench) -> list[int]:
    """The number of the first proposal this node forwards."""
    bench.connect()
    bench.append("n2", 1, (1, 0), [1])
    bench.propose(REGULAR + batch([PUT]))
    bench.turn()
    return [m["request_id"] for m in bench.sent("apply_command", "n2")]


def test_an_answer_to_an_earlier_life_reaches_nobody() -> None:
    """Requests are numbered by incarnation: a late answer cannot meet another call's number."""
    first = Ours()
    again = Ours(disk=first.disk)
    assert len(request_ids(first)) == 1
    assert not set(request_ids(again)) & set(request_ids(first))
    assert request_ids(Stock()) == request_ids(Stock()) == [1]


def test_read_rounds_are_numbered_by_incarnation_too() -> None:
    """An answer to an earlier life has an index from before this read began."""
    ids = []
    disk = None
    for _ in range(2):
        ours = Ours(disk=disk)
        disk = ours.disk
        ours.connect()
        ours.append("n2", 1, (1, 0), [1])
        ours.engine.read_index(lambda index: None)
        ids += [m["id"] for m in ours.sent("read_index")]
    assert len(set(ids)) == 2


def test_a_long_log_of_small_entries_is_applied_in_many_turns() -> None:
    """Whoever comes back behind has thousands of them: they must not stop its loop meanwhile."""
    bench = Ours(log=[1] * 1000)
    bench.engine._SyncObj__raftCommitIndex = bench.engine.last_index
    bench.engine._SyncObj__applyLogEntries()
    assert 10 < bench.applied_index < 100
    assert bench.engine.is_behind
