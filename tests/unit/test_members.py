"""The configuration and its changes, pure: every operation, every refusal."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from raftcache.errors import BadRequest, Conflict, NotFound, PreconditionFailed, RaftcacheError
from raftcache.raft import members
from raftcache.raft.members import (
    MEMBERS_MAX,
    REMOVED_REMEMBERED_MAX,
    Change,
    Configuration,
    Member,
    bootstrap,
)

N1 = Member("n1", "one", "h:1", "h:11", True)
N2 = Member("n2", "two", "h:2", "", True)
N3 = Member("n3", "", "h:3", "", True)
THREE = Configuration(7, (N1, N2, N3), ("gone",))


def refusal(change: Change, config: Configuration = THREE) -> RaftcacheError:
    with pytest.raises(RaftcacheError) as caught:
        members.apply(config, change)
    return caught.value


def test_the_first_configuration_is_equal_on_all_its_members() -> None:
    first = bootstrap({"n2": "h:2", "n1": "h:1"})
    assert first == bootstrap({"n1": "h:1", "n2": "h:2"})
    assert first.version == 0
    assert first.members == (Member("n1", "", "h:1", "", True), Member("n2", "", "h:2", "", True))


def test_a_configuration_is_claimed_when_it_has_voters_and_knows_them() -> None:
    """Until then nobody can say that a voter is too old: it was only not heard yet (seen by chaos:
    a node that had joined and was told nothing yet refused a transaction for good).
    """
    assert not members.NOBODY.is_claimed
    assert not bootstrap({"n1": "h:1"}).is_claimed
    assert not THREE.is_claimed
    assert Configuration(1, (N1, N2)).is_claimed


def test_an_entry_holds_a_whole_configuration() -> None:
    assert members.decode(members.encode(THREE)) == THREE
    assert members.decode(b"\x00" + members.encode(THREE)) is None
    assert members.from_builtins(members.to_builtins(THREE)) == THREE


def test_a_new_member_is_a_learner() -> None:
    added = members.apply(THREE, Change("add", "n0", "zero", "h:10", "h:20"))
    assert added.version == 8
    assert added.members == (Member("n0", "zero", "h:10", "h:20", False), N1, N2, N3)
    assert added.voters == THREE.voters


def test_adding_the_same_data_again_changes_nothing() -> None:
    assert members.apply(THREE, Change("add", "n1", "one", "h:1")) is THREE


def test_new_data_under_an_old_name_begins_anew_as_a_learner() -> None:
    anew = members.apply(THREE, Change("add", "n2", "other", "h:22"))
    assert anew.get("n2") == Member("n2", "other", "h:22", "", False)
    assert anew.removed == ("gone", "two")
    assert len(THREE.voters - anew.voters) == 1


def test_a_member_added_by_hand_is_bound_to_the_data_that_joins() -> None:
    by_hand = members.apply(THREE, Change("add", "n4", "", "h:4"))
    assert members.apply(by_hand, Change("add", "n4", "", "h:4")) is by_hand
    assert "already" in refusal(Change("add", "n4", "", "h:5"), by_hand).detail
    joined = members.apply(by_hand, Change("add", "n4", "four", "h:4"))
    assert joined.get("n4") == Member("n4", "four", "h:4", "", False)
    assert joined.removed == THREE.removed


@pytest.mark.parametrize(
    ("change", "kind", "why"),
    [
        (Change("add", "n4"), BadRequest, "needs a name and a Raft address"),
        (Change("add", "", "x", "h:4"), BadRequest, "needs a name"),
        (Change("add", "n4", "gone", "h:4"), Conflict, "removed member"),
        (Change("add", "n2", "", "h:9"), Conflict, "already"),
        (Change("add", "n4", "four", "h:2"), Conflict, "n2 has the Raft address h:2"),
        (Change("add", "n4", "four", "no address"), BadRequest, "raft: must be host:port"),
        (Change("add", "n4", "four", "h:4", "h:0"), BadRequest, "http: must have a port"),
    ],
)
def test_who_cannot_be_added(change: Change, kind: type[RaftcacheError], why: str) -> None:
    error = refusal(change)
    assert type(error) is kind
    assert why in error.detail


def test_there_is_a_limit_of_members() -> None:
    config = Configuration(0, tuple(Member(f"m{i}", "", f"h:{i}", "", i == 1) for i in range(1, 3)))
    while len(config.members) < MEMBERS_MAX:
        i = len(config.members) + 1
        config = members.apply(config, Change("add", f"m{i}", "", f"h:{i}"))
    assert "15 members already" in refusal(Change("add", "x", "", "h:99"), config).detail
    again = members.apply(config, Change("add", "m5", "new", "h:5"))
    assert len(again.members) == MEMBERS_MAX


def test_a_learner_becomes_a_voter() -> None:
    config = members.apply(THREE, Change("add", "n4", "four", "h:4"))
    promoted = members.apply(config, Change("promote", "n4"))
    assert promoted.version == 9
    assert promoted.voters - THREE.voters == {"n4"}
    assert type(refusal(Change("promote", "n4"), promoted)) is Conflict


def test_a_learner_that_knows_too_few_commands_does_not() -> None:
    voters = tuple(replace(m, commands_version=3) for m in THREE.members)
    config = replace(THREE, members=(*voters, Member("n4", "four", "h:4", "", False, 2)))
    assert "upgrade it first" in refusal(Change("promote", "n4"), config).detail


def test_who_is_removed_is_remembered_by_its_data() -> None:
    config = members.apply(THREE, Change("remove", "n2"))
    assert config == Configuration(8, (N1, N3), ("gone", "two"))
    config = members.apply(config, Change("remove", "n3"))  # nobody ever heard its id
    assert config == Configuration(9, (N1,), ("gone", "two"))
    assert "the only voter" in refusal(Change("remove", "n1"), config).detail


def test_the_only_voter_stays_however_many_learners_there_are() -> None:
    config = Configuration(0, (N1, replace(N2, voter=False)))
    assert "the only voter" in refusal(Change("remove", "n1"), config).detail
    assert members.apply(config, Change("remove", "n2")).members == (N1,)


def test_the_oldest_removed_are_forgotten() -> None:
    config = Configuration(0, (N1,))
    for i in range(REMOVED_REMEMBERED_MAX + 2):
        config = members.apply(config, Change("add", "n2", f"id{i}", "h:2"))
        config = members.apply(config, Change("remove", "n2"))
    assert len(config.removed) == REMOVED_REMEMBERED_MAX
    assert config.removed[0] == "id2"


def test_addresses_change_and_nothing_else() -> None:
    updated = members.apply(THREE, Change("update", "n2", "", "h:22", ""))
    assert updated.get("n2") == replace(N2, raft="h:22")
    updated = members.apply(updated, Change("update", "n2", "", "", "h:99"))
    assert updated.get("n2") == replace(N2, raft="h:22", http="h:99")
    assert updated.version == 9
    updated = members.apply(updated, Change("update", "n2", resp="h:999"))
    assert members.apply(updated, Change("update", "n2", raft="h:2")).get("n2") == replace(
        N2, http="h:99", resp="h:999"
    )
    assert "resp: must" in refusal(Change("update", "n2", resp="nowhere")).detail
    assert members.apply(updated, Change("update", "n2", "", "h:22")) is updated
    assert "n1 has the Raft address" in refusal(Change("update", "n2", "", "h:1")).detail
    assert type(refusal(Change("update", "n2", "", "nowhere"))) is BadRequest


def test_an_id_is_bound_once() -> None:
    bound = members.apply(THREE, Change("claim", "n3", "three", "h:33", "h:44", commands_version=2))
    assert bound.get("n3") == Member("n3", "three", "h:33", "h:44", True, 2)
    assert members.apply(bound, Change("claim", "n3", "three", commands_version=1)) is bound
    assert "another id" in refusal(Change("claim", "n3", "else"), bound).detail


def test_who_serves_no_redis_clients_any_more_says_so() -> None:
    served = members.apply(THREE, Change("claim", "n2", "two", resp="h:222"))
    assert served.get("n2") == replace(N2, resp="h:222")
    assert members.apply(served, Change("claim", "n2", "two")).get("n2") == N2


@pytest.mark.parametrize("op", ["promote", "remove", "update", "claim"])
def test_an_unknown_member_is_not_found(op: str) -> None:
    error = refusal(Change(op, "n9", "x", "h:9"))  # type: ignore[arg-type]
    assert type(error) is NotFound
    assert "n9" in error.detail


@pytest.mark.parametrize("op", ["add", "promote", "remove", "update"])
def test_a_change_may_depend_on_the_version(op: str) -> None:
    name = "n4" if op in ("add", "promote") else "n2"
    config = THREE if op == "add" else members.apply(THREE, Change("add", "n4", "four", "h:4"))
    change = Change(op, name, "", "h:99", if_version=config.version)  # type: ignore[arg-type]
    assert members.apply(config, change).version == config.version + 1
    error = refusal(replace(change, if_version=config.version - 1), config)
    assert type(error) is PreconditionFailed
    assert f"version {config.version}" in error.detail


def test_no_change_touches_two_voters() -> None:
    """What one-at-a-time rests on: majorities before and after have a node in common."""
    config = members.apply(THREE, Change("add", "n4", "four", "h:4"))
    for change in (
        Change("add", "n2", "new", "h:2"),
        Change("promote", "n4"),
        Change("remove", "n1"),
        Change("update", "n3", "", "h:33"),
    ):
        assert len(config.voters ^ members.apply(config, change).voters) <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change("add", "n5", "five", "h:5"), "n5 added"),
        (Change("add", "n2", "new", "h:2"), "n2 added"),
        (Change("promote", "n4"), "n4 promoted"),
        (Change("remove", "n1"), "n1 removed"),
        (Change("update", "n3", "", "h:33"), "n3 updated"),
        (Change("claim", "n3", "three"), "n3 updated"),
    ],
)
def test_a_change_can_be_told(change: Change, said: str) -> None:
    config = members.apply(THREE, Change("add", "n4", "four", "h:4"))
    assert members.describe(config, members.apply(config, change)) == said


@pytest.mark.parametrize(
    ("names", "majority"),
    [((), False), (("n1",), False), (("n1", "n9"), False), (("n1", "n3"), True)],
)
def test_a_majority_is_of_voters(names: tuple[str, ...], majority: bool) -> None:
    assert THREE.is_majority(frozenset(names)) is majority
