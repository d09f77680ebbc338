"""The routes of membership: what reaches the operator, and every request that does not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from raftcache.cluster import joining
from raftcache.cluster.membership import Membership
from raftcache.errors import (
    BadRequest,
    Conflict,
    NotFound,
    NotLeader,
    PreconditionFailed,
    RaftcacheError,
    Unknown,
)
from raftcache.raft import members
from raftcache.raft.engine.membership import ChangeDone
from raftcache.raft.greetings import Refusal
from raftcache.raft.members import Change, Configuration, Member, StillLeads
from tests.support.raw_http import Response, Served, run, serving

MEMBERS = "/v1/cluster/members"
NEW = {"name": "n4", "raft": "h:7504"}


async def ask(served: Served, method: str, target: str, body: object = None) -> Response:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return await served.ask(method, target, data)


@pytest.mark.parametrize(
    ("method", "target", "body", "asked"),
    [
        ("POST", "", NEW, ("add", "n4", "", "h:7504", "", "", None)),
        (
            "POST",
            "?if_version=3",
            NEW | {"http": "[::1]:7404", "resp": "h:6404", "id": "four"},
            ("add", "n4", "four", "h:7504", "[::1]:7404", "h:6404", 3),
        ),
        ("POST", "/n4?op=promote", None, ("promote", "n4", None, False)),
        ("POST", "/n4?op=promote&force=true&if_version=0", None, ("promote", "n4", 0, True)),
        ("POST", "/n4?op=update", {"raft": "h:9"}, ("update", "n4", "h:9", "", "", None)),
        ("POST", "/n4?op=update&if_version=5", {"http": "h:9"}, ("update", "n4", "", "h:9", "", 5)),
        ("POST", "/n4?op=update", {"resp": "h:9"}, ("update", "n4", "", "", "h:9", None)),
        ("DELETE", "/n4", None, ("remove", "n4", None, False)),
        ("DELETE", "/n4?force=true&if_version=12", None, ("remove", "n4", 12, True)),
        ("DELETE", "/n%34?force=false", None, ("remove", "n4", None, False)),
    ],
)
def test_what_reaches_the_operator(
    method: str, target: str, body: object, asked: tuple[object, ...]
) -> None:
    async def test() -> None:
        async with serving() as served:
            answer = await ask(served, method, MEMBERS + target, body)
            assert (answer.status, answer.json) == (200, {"asked": list(asked)})
            assert served.operator.asked == [asked]

    run(test())


def test_members_are_shown_and_leadership_is_handed_over() -> None:
    async def test() -> None:
        async with serving() as served:
            assert (await ask(served, "GET", MEMBERS)).json == served.operator.view()
            for target, to in (("", ""), ("?to=", ""), ("?to=n3", "n3")):
                answer = await ask(served, "POST", "/v1/cluster/leader" + target)
                assert answer.json == {"leader": to or "n2"}
            assert served.operator.asked == [("transfer", ""), ("transfer", ""), ("transfer", "n3")]

    run(test())


@pytest.mark.parametrize(
    ("method", "target", "body", "why"),
    [
        ("GET", "?verbose", None, "verbose"),
        ("POST", "", None, "the body must be JSON"),
        ("POST", "", b"\xff", "the body must be JSON"),
        ("POST", "", b'{"name":"n4","raft":"h:1","raft":"h:2"}', "the field 'raft' is given twice"),
        ("POST", "", {"name": "n4"}, "raft"),
        ("POST", "", {"raft": "h:1"}, "name"),
        ("POST", "", NEW | {"voter": True}, "voter"),
        ("POST", "", NEW | {"name": 4}, "name"),
        ("POST", "", NEW | {"raft": ""}, "needs a Raft address"),
        ("POST", "", NEW | {"raft": "h"}, "raft: must be host:port"),
        ("POST", "", NEW | {"raft": "h:0"}, "raft: must have a port"),
        ("POST", "", NEW | {"http": "http://h:1"}, "http: must be host:port"),
        ("POST", "", NEW | {"name": ""}, "a member's name"),
        ("POST", "", NEW | {"name": "a/b"}, "a member's name"),
        ("POST", "", NEW | {"name": "x" * 65}, "a member's name"),
        ("POST", "?if_version=-1", NEW, "if_version must be a whole number"),
        ("POST", "?if_version=", NEW, "if_version must be a whole number"),
        ("POST", "?force=true", NEW, "force"),
        ("POST", "?if_version=1&if_version=2", NEW, "if_version"),
        ("POST", "/n4", None, "op must be promote or update"),
        ("POST", "/n4?op=demote", None, "op must be promote or update"),
        ("POST", "/n4?op=promote&force=yes", None, "force must be true or false"),
        ("POST", "/n4?op=promote&to=n1", None, "to"),
        ("POST", "/n4?op=update", None, "the body must be JSON"),
        ("POST", "/n4?op=update", {}, "needs a new address"),
        ("POST", "/n4?op=update", {"raft": "h"}, "raft: must be host:port"),
        ("POST", "/n4?op=update", {"name": "n5"}, "name"),
        ("POST", "/n%20?op=promote", None, "a member's name"),
        ("DELETE", "/n4?op=remove", None, "op"),
        ("DELETE", "/n%C3%A4", None, "a member's name"),
        ("DELETE", "/n4?force=1", None, "force must be true or false"),
    ],
)
def test_what_does_not(method: str, target: str, body: object, why: str) -> None:
    async def test() -> None:
        async with serving() as served:
            answer = await ask(served, method, MEMBERS + target, body)
            assert answer.status == 400
            assert answer.headers["content-type"] == "application/problem+json"
            assert why in answer.json["detail"]
            assert served.operator.asked == []

    run(test())


@pytest.mark.parametrize("target", ["?to=a/b", "?to=%20", "?from=n1", "?to=n1&to=n2"])
def test_to_whom_leadership_cannot_be_asked_to_go(target: str) -> None:
    async def test() -> None:
        async with serving() as served:
            assert (await ask(served, "POST", "/v1/cluster/leader" + target)).status == 400
            assert served.operator.asked == []

    run(test())


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("PUT", MEMBERS, 405),
        ("DELETE", MEMBERS, 405),
        ("GET", MEMBERS + "/n1", 405),
        ("GET", "/v1/cluster/leader", 405),
        ("DELETE", MEMBERS + "/n1/n2", 404),
        ("DELETE", MEMBERS + "/", 404),
    ],
)
def test_other_methods_and_paths(method: str, target: str, status: int) -> None:
    async def test() -> None:
        async with serving() as served:
            assert (await ask(served, method, target)).status == status
            assert served.operator.asked == []

    run(test())


@pytest.mark.parametrize(
    ("error", "status", "definite"),
    [
        (BadRequest("b"), 400, True),
        (NotFound("there is no member 'n4'"), 404, True),
        (Conflict("another change is in progress"), 409, True),
        (PreconditionFailed("the configuration has version 4, not 3"), 412, True),
        (NotLeader("n"), 503, True),
        (Unknown("u"), 503, False),
    ],
)
def test_a_refusal_says_why(error: RaftcacheError, status: int, definite: bool) -> None:
    async def test() -> None:
        async with serving() as served:
            served.operator.refusal = error
            for method, target in (
                ("DELETE", MEMBERS + "/n4"),
                ("POST", MEMBERS + "/n4?op=promote"),
                ("POST", "/v1/cluster/leader"),
            ):
                answer = await ask(served, method, target)
                problem = answer.json
                assert (answer.status, problem["status"]) == (status, status)
                assert (problem["detail"], problem["definite"]) == (error.detail, definite)

    run(test())


# -- behind the routes: one step after the other ---------------------------------------------------

TWO = Configuration(
    4, (Member("n1", "one", "h:1", "h:11", True), Member("n2", "two", "h:2", "", True))
)


class Leader:
    """A Replica that answers with one outcome after the other; None is no answer."""

    def __init__(self, *outcomes: Configuration | RaftcacheError | None) -> None:
        self.outcomes = list(outcomes)
        self.changes: list[Change] = []
        self.configuration, self.configuration_is_committed = TWO, True
        self.leader: str | None = "n1"
        self.expelled = ""

    def change_members(self, change: Change, done: ChangeDone) -> None:
        self.changes.append(change)
        if change.op == "transfer":
            self.leader = change.name or "n2"
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            done(outcome)


def membership(leader: Leader, timeout_s: float = 5.0) -> Membership:
    replica: Any = leader
    return Membership("n1", "c1", replica, timeout_s, 0.001)


def test_the_view_tells_all_but_what_is_not_known() -> None:
    shown = membership(Leader()).view()
    assert shown["members"][1] == {
        "name": "n2",
        "id": "two",
        "raft": "h:2",
        "http": None,
        "resp": None,
        "voter": True,
        "commands_version": 1,
    }
    assert {k: shown[k] for k in ("cluster_id", "version", "committed")} == {
        "cluster_id": "c1",
        "version": 4,
        "committed": True,
    }


def test_who_joins_is_told_what_every_member_knows() -> None:
    """Else it takes the voters for too old until the log reaches it (chaos, seed 303)."""
    leader = Leader()
    heard = {"commands_version": 2, "resp": "h:6401"}
    known = replace(TWO, members=tuple(replace(m, **heard) for m in TWO.members))
    told = joining._configuration("url", orjson.dumps(membership(leader).view(known)))
    assert told == ("c1", replace(known, removed=()))


def test_a_change_waits_for_a_leader_that_takes_it() -> None:
    leader = Leader(NotLeader(), NotLeader(), TWO)
    assert run(membership(leader).add("n4", "", "h:4", "", "", 3))["version"] == 4
    assert leader.changes == [Change("add", "n4", "", "h:4", "", 3)] * 3


def test_what_was_never_taken_is_refused_and_what_was_not_answered_is_unknown() -> None:
    with pytest.raises(NotLeader):
        run(membership(Leader(*[NotLeader()] * 10_000), 0.05).promote("n2", None, False))
    with pytest.raises(Unknown):
        run(membership(Leader(None), 0.05).promote("n2", None, False))
    with pytest.raises(Unknown):
        run(membership(Leader(NotLeader(), None), 0.05).promote("n2", None, False))


def test_an_expelled_node_does_not_wait() -> None:
    leader = Leader(NotLeader("out"))
    leader.expelled = "out"
    with pytest.raises(NotLeader):
        run(membership(leader).promote("n2", None, False))


def test_the_leader_is_removed_by_the_next_one() -> None:
    leader = Leader(StillLeads(), TWO, NotLeader(), TWO)
    assert run(membership(leader).remove("n1", 4, True))["version"] == 4
    removal = Change("remove", "n1", if_version=4, force=True)
    assert leader.changes == [removal, Change("transfer", ""), removal, removal]


def test_a_removal_that_is_refused_moves_no_leader() -> None:
    leader = Leader(Conflict("no majority"))
    with pytest.raises(Conflict):
        run(membership(leader).remove("n1", None, False))
    assert [c.op for c in leader.changes] == ["remove"]


def test_a_node_that_removes_itself_hears_of_it_when_it_greets() -> None:
    async def test() -> None:
        leader = Leader(Unknown("the link is gone"))
        asyncio.get_running_loop().call_later(
            0.01, lambda: setattr(leader, "expelled", str(Refusal.REMOVED))
        )
        shown = await membership(leader).remove("n1", None, False)
        assert [m["name"] for m in shown["members"]] == ["n2"]

    run(test())


@pytest.mark.parametrize("expelled", ["", str(Refusal.OTHER_DATA)])
def test_otherwise_its_removal_stays_unknown(expelled: str) -> None:
    leader = Leader(Unknown("the link is gone"))
    leader.expelled = expelled
    with pytest.raises(Unknown):
        run(membership(leader, 0.05).remove("n1", None, False))


def test_a_transfer_ends_with_the_leader_that_was_asked_for() -> None:
    assert run(membership(Leader(TWO)).transfer("n2")) == "n2"
    assert run(membership(Leader(TWO)).transfer("")) == "n2"
    assert run(membership(Leader()).transfer("n1")) == "n1", "it leads already"


def test_a_transfer_that_went_elsewhere_or_nowhere_is_a_conflict() -> None:
    class Elsewhere(Leader):
        def change_members(self, change: Change, done: ChangeDone) -> None:
            super().change_members(change, done)
            self.leader = "n3" if change.name else "n1"

    with pytest.raises(Conflict, match="n3 took over, not n2"):
        run(membership(Elsewhere(TWO)).transfer("n2"))
    with pytest.raises(Conflict, match="nobody took over from n1"):
        run(membership(Elsewhere(TWO), 0.05).transfer(""))


def test_still_leads_travels_between_nodes() -> None:
    assert issubclass(StillLeads, Conflict)
    assert members.StillLeads.status == 409
