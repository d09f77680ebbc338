"""Membership in the engine, sentence by sentence: rule 10 of docs/decisions/0001-engine.md.

Raft: the dissertation, chapter 4. Nodes are n1 (the one on the bench), n2, n3; n4 is a learner
where there is one. Where the engine as installed breaks the rule, the test shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from pysyncobj.node import Node

from raftcache.errors import BadRequest, Conflict, NotFound, NotLeader, RaftcacheError, Unknown
from raftcache.raft import members
from raftcache.raft.datadir import open_data_dir
from raftcache.raft.engine.membership import PROMOTE_LAG_ENTRIES_MAX
from raftcache.raft.greetings import Refusal
from raftcache.raft.members import Change, Configuration, Member, StillLeads
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine
from tests.sim.stock import as_installed
from tests.support import sim_bench
from tests.support.memory_disk import MemoryDisk
from tests.support.sim_bench import (
    MEMBERS,
    MYSELF,
    SEGMENT_SIZE_BYTES,
    TIMING,
    Ours,
    Stock,
    entry,
    voter,
)

FIRST = MEMBERS.version
LEARNER = replace(voter("n4"), voter=False)
WITH_LEARNER = Configuration(FIRST + 1, (*MEMBERS.members, LEARNER))
WITHOUT_N3 = Configuration(FIRST + 1, MEMBERS.members[:2])
REMOVE_N3 = Change("remove", "n3")
LAST = {"last_log_index": 9, "last_log_term": 9}

Outcomes = list[Configuration | RaftcacheError]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with as_installed():
        yield


def ask(ours: Ours, change: Change) -> Outcomes:
    """What became of a change; empty while it is under way."""
    outcomes: Outcomes = []
    ours.replica.change_members(change, outcomes.append)
    ours.turn()
    return outcomes


def refused(ours: Ours, change: Change) -> RaftcacheError:
    (outcome,) = ask(ours, change)
    assert isinstance(outcome, RaftcacheError)
    return outcome


def leading(config: Configuration = MEMBERS, acks: Collection[str] = ("n2", "n3")) -> Ours:
    """A leader with this configuration, at which these peers have all that is in its log."""
    ours = Ours(commands=[] if config is MEMBERS else [members.encode(config)])
    ours.peers = [m.name for m in config.members if m.name != "n1"]
    ours.connect()
    ours.win()
    hold(ours, *acks)
    return ours


def hold(ours: Ours, *peers: str) -> None:
    """These peers acknowledge all that is in the leader's log."""
    for peer in peers:
        ours.acknowledge(peer, ours.term, ours.engine.last_index + 1)
    ours.advance(TIMING.heartbeat_s)


def append(
    ours: Ours, sender: str, term: int, prev: tuple[int, int], *configs: Configuration, **more: Any
) -> None:
    """Entries with configurations, behind prev."""
    rows = [entry(prev[0] + i, term, members.encode(c)) for i, c in enumerate(configs, 1)]
    place = {"prevLogIdx": prev[0], "prevLogTerm": prev[1]}
    ours.feed(sender, type="append_entries", term=term, entries=rows, **place, **more)


def test_what_other_data_says_under_a_members_name_does_not_count() -> None:
    """A name that began anew: its old process, or its new one, seen from an older configuration."""
    ours = leading(acks=())
    ours.links.others = {"n2", "n3"}
    hold(ours, "n2", "n3")
    assert ours.engine.raftCommitIndex < ours.engine.last_index
    ours.links.others = {"n2"}
    hold(ours, "n3")
    assert ours.engine.raftCommitIndex == ours.engine.last_index


# -- what counts -----------------------------------------------------------------------------------


def test_a_configuration_counts_from_the_moment_it_is_in_the_log() -> None:
    """4.1: "The new configuration takes effect on each server as soon as it is added to that
    server's log": so n3, on its way out, has no say in its own removal.
    """
    ours = leading()
    outcomes = ask(ours, REMOVE_N3)
    assert ours.replica.configuration == replace(WITHOUT_N3, removed=("n3-data",))
    assert not ours.replica.configuration_is_committed
    hold(ours, "n3")
    assert outcomes == []
    hold(ours, "n2")
    assert outcomes == [ours.replica.configuration]
    assert ours.replica.configuration_is_committed


def test_a_truncated_configuration_does_not_count_any_more() -> None:
    """4.1: "a server must be prepared to fall back to the previous configuration in its log"."""
    ours = Ours()
    ours.connect()
    append(ours, "n2", 1, (1, 0), WITHOUT_N3)
    assert ours.replica.configuration == WITHOUT_N3
    ours.append("n3", 2, (1, 0), [2])
    assert ours.replica.configuration == MEMBERS
    assert Node("n3") in ours.engine._SyncObj__otherNodes


def test_one_change_at_a_time() -> None:
    """4.1: "a leader ... must not begin a new change until the previous one is committed"."""
    ours = leading()
    ask(ours, REMOVE_N3)
    error = refused(ours, Change("add", "n4", "n4-data", "n4:7500"))
    assert type(error) is Conflict
    assert error.detail == "another change is in progress: n3 removed (version 2)"
    hold(ours, "n2")
    assert ask(ours, Change("add", "n4", "n4-data", "n4:7500")) == []
    assert len(ours.replica.configuration.members) == 3

    stock = Stock(dynamicMembershipChange=True)
    stock.connect()
    stock.win()
    stock.acknowledge("n2", stock.term, 3)
    stock.advance(TIMING.heartbeat_s)
    for node in ("n4", "n5"):
        stock.engine.addNodeToCluster(Node(node))
    stock.advance(TIMING.heartbeat_s)
    assert stock.commit_index == 2
    assert len(stock.engine.otherNodes) == 4, "stock makes both, and they may have no common node"


def test_a_leader_commits_in_its_own_term_before_it_changes_anything() -> None:
    """The erratum to 4.1: a leader "may not append a new configuration until it has committed an
    entry from its current term"."""
    ours = leading(acks=())
    error = refused(ours, REMOVE_N3)
    assert type(error) is NotLeader
    assert "not committed in its term" in error.detail
    hold(ours, "n2", "n3")
    assert ask(ours, REMOVE_N3) == []


def test_acknowledgements_of_learners_do_not_count() -> None:
    """4.2.1: new servers join "as non-voting members ... not yet counted towards majorities"."""
    ours = leading(WITH_LEARNER, acks=("n2",))
    committed = ours.commit_index
    ours.append_own(entry(0, 0)[0])
    hold(ours, "n4")
    assert ours.match_index("n4") == ours.engine.last_index
    assert ours.commit_index == committed
    hold(ours, "n2")
    assert ours.commit_index == committed + 1


def test_answers_of_learners_keep_no_leader_and_confirm_no_read() -> None:
    """4.2.1 and 6.4: a majority is one of voters."""
    ours = leading(WITH_LEARNER)
    answers: list[int | None] = []
    ours.engine.read_index(answers.append)
    ours.turn()
    ours.feed("n4", type="pong", term=ours.term, seq=ours.last_seq)
    assert answers == []
    for _ in range(30):
        ours.advance(TIMING.heartbeat_s)
        ours.feed("n4", type="pong", term=1, seq=ours.last_seq)
    assert answers == [None]
    assert not ours.is_leader


def test_votes_of_learners_do_not_count() -> None:
    """4.2.1; nor are they asked."""
    ours = Ours(commands=[members.encode(WITH_LEARNER)])
    ours.connect("n2", "n3", "n4")
    ours.advance(TIMING.election_max_s)
    ours.feed("n4", type="pre_vote_ok", term=ours.term + 1)
    assert not ours.sent("request_vote")
    ours.feed("n3", type="pre_vote_ok", term=ours.term + 1)
    ours.feed("n4", type="response_vote", term=1)
    assert not ours.is_leader
    ours.feed("n3", type="response_vote", term=1)
    assert ours.engine.is_leader
    assert not ours.sent("pre_vote", "n4") + ours.sent("request_vote", "n4")


def test_a_learner_never_stands_for_election() -> None:
    """4.2.1; it follows, whoever leads."""
    as_learner = replace(MEMBERS, members=(replace(MYSELF, voter=False), *MEMBERS.members[1:]))
    ours = Ours(commands=[members.encode(as_learner)])
    ours.connect()
    ours.advance(5 * TIMING.election_max_s)
    assert (ours.term, ours.sent("pre_vote"), ours.sent("request_vote")) == (0, [], [])
    assert ours.replica.status().role == "learner"


# -- identity --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voter_id", "version", "votes"),
    [("n1-data", 3, True), ("lost", 3, False), ("", 3, False), ("", 0, True)],
)
def test_a_node_votes_for_whom_knows_its_data(voter_id: str, version: int, votes: bool) -> None:
    """Rule 10: under this name, but with other data, a node may have voted in this very term, and
    acknowledged what it has no more; before the first change of all nothing was acknowledged.
    """
    ours = Ours()
    ours.connect()
    ours.advance(TIMING.election_min_s)
    request = {"voter_id": voter_id, "version": version, **LAST}
    ours.feed("n2", type="pre_vote", term=9, **request)
    ours.feed("n2", type="request_vote", term=9, force=False, **request)
    assert bool(ours.sent("pre_vote_ok")) is votes
    assert bool(ours.sent("response_vote")) is votes


def test_a_candidate_says_whose_data_it_knows() -> None:
    ours = Ours()
    ours.connect()
    ours.campaign()
    for kind in ("pre_vote", "request_vote"):
        said = [(m["voter_id"], m["version"]) for m in ours.sent(kind)]
        assert said == [("n2-data", 1), ("n3-data", 1)]


@pytest.fixture
def unbound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first configuration knows names and addresses only, as with `serve --cluster`."""

    def bootstrapped(version: int, listed: Sequence[Member]) -> Configuration:
        return Configuration(0, tuple(replace(m, id="") for m in listed))

    monkeypatch.setattr(sim_bench, "Configuration", bootstrapped)


@pytest.mark.usefixtures("unbound")
def test_the_first_entry_of_a_new_cluster_says_whose_data_counts() -> None:
    """Otherwise a crash right after the first entry would leave nobody who may vote for it."""
    ours = Ours()
    for peer in ("n2", "n3"):
        ours.engine.greeted(voter(peer))
    ours.connect()
    ours.win()
    config = members.decode(ours.engine._SyncObj__raftLog[1][0])
    assert config is not None
    assert [m.id for m in config.members] == ["n1-data", "n2-data", "n3-data"]
    hold(ours, "n2", "n3")
    assert ours.replica.configuration.version == 1, "and says it once"


@pytest.mark.usefixtures("unbound")
def test_a_member_is_bound_to_its_data_when_it_is_first_heard() -> None:
    """Until then what it acknowledges does not count: its data may be lost unnoticed."""
    ours = Ours()
    ours.connect("n2", "n3")
    ours.engine.greeted(voter("n2"))
    ours.win()
    hold(ours, "n3")
    assert ours.commit_index == 1
    hold(ours, "n2", "n3")
    ours.engine.greeted(voter("n3"))
    ours.turn()
    assert ours.replica.configuration.get("n3") == voter("n3")
    hold(ours, "n2")
    ours.engine.greeted(replace(voter("n3"), id="other"))
    ours.turn()
    assert ours.replica.configuration.get("n3") == voter("n3"), "once, not twice"


def test_what_a_member_says_is_written_down_when_the_leader_has_committed_in_its_term() -> None:
    """As any change: see the erratum to 4.1."""
    ours = leading(acks=())
    ours.engine.greeted(replace(voter("n2"), http="n2:9999"))
    ours.advance(TIMING.heartbeat_s)
    assert ours.replica.configuration == MEMBERS
    hold(ours, "n2", "n3")
    assert ours.replica.configuration.get("n2") == replace(voter("n2"), http="n2:9999")


@pytest.mark.parametrize("raft", ["n3:7500", "garbage", "n2:99999"])
def test_no_greeting_can_stop_a_leader(raft: str) -> None:
    """An address that is taken, or is none, must never come into the log."""
    ours = leading()
    ours.engine.greeted(replace(voter("n2"), raft=raft))
    ours.advance(TIMING.heartbeat_s)
    assert ours.is_leader
    assert not ours.fatal
    assert ours.replica.configuration == MEMBERS


def test_an_address_of_the_operator_outranks_an_older_greeting() -> None:
    ours = leading()
    ours.engine.greeted(voter("n2"))
    ask(ours, Change("update", "n2", raft="n2:7777"))
    hold(ours, "n2", "n3")
    ours.advance(TIMING.heartbeat_s)
    assert ours.replica.configuration.get("n2") == replace(voter("n2"), raft="n2:7777")
    ours.engine.greeted(replace(voter("n2"), raft="n2:8888"))  # it has restarted somewhere else
    ours.turn()
    assert ours.replica.configuration.get("n2") == replace(voter("n2"), raft="n2:8888")


def test_where_a_member_serves_redis_clients_is_noted_as_it_greets() -> None:
    ours = leading()
    for resp in ("n2:6400", "n2:6401", ""):
        ours.engine.greeted(replace(voter("n2"), resp=resp))
        ours.turn()
        assert ours.replica.configuration.get("n2") == replace(voter("n2"), resp=resp)
        hold(ours, "n2", "n3")


def test_an_address_that_an_older_leader_drops_is_claimed_by_the_next_that_heard_it() -> None:
    ours = Ours()
    ours.connect()
    ours.engine.greeted(replace(voter("n2"), http="n2:1", resp="n2:6400"))
    ours.engine.greeted(replace(voter("n3"), resp="n3:6400"))
    moved = replace(voter("n2"), http="n2:7777", commands_version=voter("n2").commands_version + 1)
    said = replace(voter("n3"), resp="n3:6666")
    append(ours, "n2", 2, (1, 0), Configuration(FIRST + 1, (MYSELF, moved, said)))
    ours.win()
    hold(ours, "n2", "n3")
    assert ours.replica.configuration.members[1:] == (replace(moved, resp="n2:6400"), said)


def test_an_address_that_an_older_leader_drops_after_it_was_written_is_claimed_again() -> None:
    """The member said it when it greeted, before it was written, and does not say it again."""
    ours = Ours()
    ours.connect()
    ours.engine.greeted(replace(voter("n3"), resp="n3:6400"))
    written = replace(voter("n3"), resp="n3:6400")
    members_with = (MYSELF, voter("n2"), written)
    members_without = (MYSELF, voter("n2"), voter("n3"))
    configs = Configuration(FIRST + 1, members_with), Configuration(FIRST + 2, members_without)
    append(ours, "n2", 2, (1, 0), configs[0])
    append(ours, "n2", 2, (2, 2), configs[1])
    assert ours.replica.configuration.get("n3") == voter("n3")
    ours.win()
    hold(ours, "n2", "n3")
    assert ours.replica.configuration.get("n3") == written


def test_removed_data_is_refused_from_the_commit_of_its_removal_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not before: until then the removal may be undone."""
    told: list[Collection[str]] = []
    monkeypatch.setattr(sim_bench._Links, "set_removed", lambda self, ids: told.append(ids))
    ours = leading()
    ask(ours, REMOVE_N3)
    assert told == [()]
    hold(ours, "n2")
    assert told[-1] == ("n3-data",)
    told.clear()
    Ours(disk=snapshot_disk(replace(WITHOUT_N3, removed=("n3-data",))))
    assert told == [("n3-data",)], "nor does a restart forget it"


# -- refusals --------------------------------------------------------------------------------------


def test_a_change_leaves_a_majority_of_live_voters_or_is_refused() -> None:
    ours = leading(acks=("n2",))
    error = refused(ours, Change("remove", "n2"))
    assert type(error) is Conflict
    assert error.detail.endswith("not heard of late: n3")
    assert ours.replica.configuration == MEMBERS
    assert ask(ours, replace(REMOVE_N3, force=True)) == [], "who is dead may go"


def test_force_makes_it_all_the_same() -> None:
    ours = leading(acks=("n2",))
    assert ask(ours, Change("remove", "n2", force=True)) == []
    assert ours.replica.configuration.voters == {"n1", "n3"}


def test_a_peer_that_was_never_heard_is_not_alive() -> None:
    """A new leader gives everybody time before it steps down; that makes nobody alive."""
    ours = leading(acks=("n2",))
    assert ours.clock.now_s - 1000.0 < 3 * TIMING.election_max_s
    assert type(refused(ours, Change("remove", "n2"))) is Conflict


def test_a_learner_that_lacks_too_much_is_not_promoted() -> None:
    """4.2.1: "the leader ... must determine when it is sufficiently caught up"."""
    ours = leading(WITH_LEARNER)
    for _ in range(PROMOTE_LAG_ENTRIES_MAX + 1):
        ours.engine._SyncObj__raftLog.add(entry(0, 0)[0], ours.engine.last_index + 1, ours.term)
    hold(ours, "n2", "n3")
    error = refused(ours, Change("promote", "n4", force=True))
    assert type(error) is Conflict
    assert error.detail == f"n4 lacks {ours.engine.last_index} entries, at most 1000 may"
    hold(ours, "n4")
    assert ask(ours, Change("promote", "n4")) == []
    assert "n4" in ours.replica.configuration.voters


def test_a_learner_that_does_not_answer_is_not_promoted() -> None:
    ours = leading(WITH_LEARNER)
    assert refused(ours, Change("promote", "n4")).detail == "n4 does not answer"


def test_a_live_member_is_not_replaced() -> None:
    ours = leading()
    for name in ("n1", "n2"):
        error = refused(ours, Change("add", name, "new", f"{name}:7500"))
        assert type(error) is Conflict
        assert "is alive" in error.detail
    for _ in range(20):
        ours.advance(TIMING.heartbeat_s)
        ours.feed("n3", type="pong", term=ours.term, seq=ours.last_seq)
    assert ask(ours, Change("add", "n2", "new", "n2:7500")) == []
    assert ours.replica.configuration.get("n2") == Member("n2", "new", "n2:7500", "", False)


def test_the_leader_hands_over_before_it_is_removed() -> None:
    """3.10 and 4.2.2: a leader that is to go transfers first; everything else is checked before."""
    ours = leading()
    assert type(refused(ours, Change("remove", "n1"))) is StillLeads
    alone = leading(acks=("n2",))
    alone.disconnect("n3")
    error = refused(alone, Change("remove", "n1"))
    assert type(error) is Conflict
    assert "no majority" in error.detail


@pytest.mark.parametrize(
    ("to", "kind", "why"),
    [("n9", NotFound, "no member"), ("n4", Conflict, "learner"), ("n3", Conflict, "not answer")],
)
def test_to_whom_leadership_cannot_go(to: str, kind: type[RaftcacheError], why: str) -> None:
    ours = leading(WITH_LEARNER)
    ours.disconnect("n3")
    error = refused(ours, Change("transfer", to))
    assert type(error) is kind
    assert why in error.detail
    assert not ours.sent("timeout_now")


def test_a_transfer_to_a_member_that_is_removed_meanwhile_is_given_up() -> None:
    """The simulator found it: the leader looked for how much its target had, and stopped."""
    ours = leading(acks=["n2"])
    assert ours.replica.transfer("n3", 10.0)
    ours.advance(TIMING.heartbeat_s)
    ask(ours, REMOVE_N3)
    ours.advance(TIMING.heartbeat_s)
    assert not ours.fatal
    assert ours.is_leader


@pytest.mark.parametrize(
    ("config", "why", "believes"),
    [
        (Configuration(0, tuple(replace(m, id="") for m in MEMBERS.members)), "OTHER_DATA", True),
        (MEMBERS, "OTHER_DATA", False),
        (MEMBERS, "REMOVED", True),
    ],
)
def test_only_a_node_that_was_told_nothing_believes_that_its_data_is_not_known(
    config: Configuration, why: str, believes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulator found it: a peer that was away while this name began anew still knew the old
    data, and a member left the cluster on its word.
    """
    monkeypatch.setattr(sim_bench, "Configuration", lambda *_: config)
    ours = Ours()
    ours.links.removed(Refusal[why])
    assert bool(ours.replica.expelled) == believes


def test_leadership_goes_to_a_voter() -> None:
    ours = leading(WITH_LEARNER, acks=("n2", "n4"))
    assert ask(ours, Change("transfer", "n1")) == [WITH_LEARNER], "it leads already"
    assert ask(ours, Change("transfer", "")) == [WITH_LEARNER]
    assert ours.sent("timeout_now", "n2")


def test_who_leads_again_takes_requests_at_once() -> None:
    """A transfer ends with the leadership it gave away, not with its timeout."""
    ours = leading(acks=("n2", "n3"))
    assert ask(ours, Change("transfer", "n2")) == [MEMBERS]
    ours.feed("n2", type="ping", term=2)
    ours.feed("n2", type="timeout_now", term=2)
    ours.feed("n2", type="response_vote", term=3)
    assert ours.is_leader
    hold(ours, "n2")
    before = ours.engine.last_index
    ours.replica.propose(b"", lambda outcome: None)
    ours.turn()
    assert ours.engine.last_index == before + 1


# -- logs and snapshots ----------------------------------------------------------------------------

N5 = voter("n5")
LATER = Configuration(FIRST + 2, (*MEMBERS.members, N5))


def snapshot_file(disk: MemoryDisk, config: Configuration) -> bytes:
    """Of an empty state at index 40, term 2, with this configuration."""
    disk.make_folder("snapshots")
    machine = Machine()
    meta = SnapshotMeta(
        index=40,
        term=2,
        members=members.to_builtins(config),
        cluster_id="bench",
        now_ms=5,
        revision=machine.revision,
        digest=machine.digest,
    )
    writer = SnapshotStore(disk).writer(meta)
    for piece in machine.dump():
        writer.write(piece)
    writer.finish()
    return disk.read(f"snapshots/{meta.name}")


def snapshot_disk(config: Configuration) -> MemoryDisk:
    disk = MemoryDisk()
    open_data_dir(disk, "n1", "bench", MYSELF.id)
    Wal.open(disk, SEGMENT_SIZE_BYTES, sync=True)[0].close()
    snapshot_file(disk, config)
    return disk


def install(ours: Ours, config: Configuration) -> None:
    place = {"index": 40, "index_term": 2, "offset": 0, "last": True}
    data = snapshot_file(MemoryDisk(), config)
    ours.feed("n2", type="snapshot_chunk", term=3, data=data, **place)
    assert ours.applied_index == 40


def test_a_snapshot_has_the_configuration_at_its_index() -> None:
    """4.4 and 7: "the latest configuration in the log as of the last included index": stock keeps
    the members of the moment instead.
    """
    commands = [entry(2, 0)[0], members.encode(WITH_LEARNER), entry(4, 0)[0], members.encode(LATER)]
    ours = Ours(commands=commands)
    known = [ours.engine.configuration_at(index) for index in range(1, 6)]
    assert known == [MEMBERS, MEMBERS, WITH_LEARNER, WITH_LEARNER, LATER]


def test_after_an_install_the_configuration_is_that_of_the_snapshot() -> None:
    ours = Ours(commands=[members.encode(WITH_LEARNER)])
    ours.connect()
    install(ours, LATER)
    assert ours.replica.configuration == LATER
    assert {n.id for n in ours.engine._SyncObj__otherNodes} == {"n2", "n3", "n5"}


def test_later_configurations_in_the_log_outrank_an_installed_one() -> None:
    commands = [entry(i, 2)[0] for i in range(2, 41)] + [members.encode(LATER)]
    ours = Ours(term=2, commands=commands)
    ours.connect()
    install(ours, WITH_LEARNER)
    assert ours.replica.configuration == LATER
    assert ours.engine.configuration_at(40) == WITH_LEARNER


def test_after_a_restart_the_configuration_is_the_latest_on_disk() -> None:
    assert Ours(disk=snapshot_disk(LATER)).replica.configuration == LATER
    assert Ours(commands=[members.encode(LATER)]).replica.configuration == LATER


def test_an_old_configuration_does_not_part_a_node_from_its_leader() -> None:
    """Who catches up passes configurations that do not know today's leader yet."""
    ours = Ours()
    ours.connect()
    append(ours, "n2", 5, (1, 0), Configuration(1, (MYSELF, voter("n3"))))
    assert Node("n2") in ours.engine._SyncObj__otherNodes
    assert ours.sent("next_node_idx", "n2")[-1]["success"]
    assert ours.replica.configuration.voters == {"n1", "n3"}, "it has no vote meanwhile"


def test_a_node_is_lost_while_it_hears_no_leader() -> None:
    """Then it lets in whom it does not know: that may be the leader."""
    ours = Ours()
    ours.connect()
    ours.advance(2 * TIMING.election_min_s)
    assert ours.engine.is_lost
    ours.feed("n9", type="ping", term=7)
    assert not ours.engine.is_lost
    assert not leading().engine.is_lost


# -- by way of a follower --------------------------------------------------------------------------


def following() -> Ours:
    ours = Ours()
    ours.connect()
    ours.append("n2", 1, (1, 0), [1], commit=2)
    return ours


def test_a_follower_sends_a_change_on_and_brings_the_answer_back() -> None:
    ours = following()
    outcomes = ask(ours, REMOVE_N3)
    (sent,) = ours.sent("change_members", "n2")
    answer = {"type": "change_members_reply", "id": sent["id"], "error": "", "detail": ""}
    ours.feed("n2", **answer | {"id": sent["id"] + 1, "body": members.encode(MEMBERS)})
    assert outcomes == []
    ours.feed("n2", **answer | {"body": members.encode(WITHOUT_N3)})
    assert outcomes == [WITHOUT_N3]


@pytest.mark.parametrize("kind", [Conflict, NotFound, NotLeader, StillLeads, BadRequest, Unknown])
def test_a_refusal_comes_back_as_what_it_is(kind: type[RaftcacheError]) -> None:
    ours = following()
    outcomes = ask(ours, REMOVE_N3)
    (sent,) = ours.sent("change_members", "n2")
    answer = {"id": sent["id"], "error": kind.__name__, "detail": "so it is", "body": b""}
    ours.feed("n2", type="change_members_reply", **answer)
    (outcome,) = outcomes
    assert type(outcome) is kind
    assert isinstance(outcome, RaftcacheError)
    assert outcome.detail == "so it is"


def test_a_change_whose_leader_is_lost_is_unknown() -> None:
    ours = following()
    outcomes = ask(ours, REMOVE_N3)
    ours.disconnect("n2")
    (outcome,) = outcomes
    assert type(outcome) is Unknown


def test_a_node_that_is_out_of_the_cluster_leaves_nobody_waiting() -> None:
    """The simulator found it: it hears nobody any more, so nothing else would end them."""
    ours = following()
    outcomes, reads = ask(ours, REMOVE_N3), list[int | None]()
    ours.replica.read_index(reads.append)
    ours.turn()
    assert (outcomes, reads) == ([], [])
    ours.links.removed(Refusal.REMOVED)
    assert [type(outcome) for outcome in outcomes] == [Unknown]
    assert reads == [None]


def test_a_change_that_never_left_is_refused() -> None:
    ours = Ours()
    assert type(refused(ours, REMOVE_N3)) is NotLeader


def test_a_leader_answers_a_follower() -> None:
    ours = leading()
    body = msgspec.msgpack.encode(Change("remove", "n9"))
    ours.feed("n2", type="change_members", id=4, change=body)
    (reply,) = ours.sent("change_members_reply", "n2")
    assert (reply["id"], reply["error"]) == (4, "NotFound")
    ours.feed("n2", type="change_members", id=5, change=b"\xc1")
    assert ours.sent("change_members_reply", "n2")[-1]["error"] == "BadRequest"
    assert ours.replica.configuration == MEMBERS


def test_a_change_that_a_new_leader_discards_did_not_happen() -> None:
    ours = leading()
    outcomes = ask(ours, REMOVE_N3)
    ours.append("n2", 5, (2, 1), [5], commit=3)
    (outcome,) = outcomes
    assert type(outcome) is NotLeader
    assert ours.replica.configuration == MEMBERS
