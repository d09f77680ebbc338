"""The client's calls for membership, against servers that answer and fail as told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from raftcache.client import Members, RaftcacheClient
from raftcache.errors import (
    BadRequest,
    Conflict,
    NotFound,
    PreconditionFailed,
    RaftcacheError,
    Unknown,
)
from tests.support.fake_node import FakeNode, breaks_off, fake_cluster, says

VIEW = {
    "cluster_id": "c1",
    "version": 5,
    "committed": True,
    "members": [{"name": "n1", "id": "one", "raft": "h:1", "http": None, "voter": False}],
}


async def shows(node: FakeNode, request: web.Request) -> web.Response:
    return web.json_response(VIEW | {"leader": "n2"})


def play(test: Callable[[RaftcacheClient, list[FakeNode]], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with fake_cluster(2) as nodes:
            for node in nodes:
                node.always = shows
            async with RaftcacheClient([n.url for n in nodes], timeout_s=5.0) as client:
                await test(client, nodes)

    asyncio.run(inner())


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (lambda c: c.members(), "GET /v1/cluster/members"),
        (lambda c: c.add_member("n4", "h:4"), "POST /v1/cluster/members"),
        (lambda c: c.promote_member("n4"), "POST /v1/cluster/members/n4?op=promote"),
        (
            lambda c: c.promote_member("n4", if_version=0, force=True),
            "POST /v1/cluster/members/n4?op=promote&if_version=0&force=true",
        ),
        (lambda c: c.remove_member("a b"), "DELETE /v1/cluster/members/a%20b"),
        (
            lambda c: c.remove_member("n4", if_version=7),
            "DELETE /v1/cluster/members/n4?if_version=7",
        ),
        (
            lambda c: c.update_member("n4", http="h:9"),
            "POST /v1/cluster/members/n4?op=update",
        ),
        (
            lambda c: c.update_member("n4", resp="h:9"),
            "POST /v1/cluster/members/n4?op=update",
        ),
        (lambda c: c.transfer_leadership(), "POST /v1/cluster/leader"),
        (lambda c: c.transfer_leadership("n2"), "POST /v1/cluster/leader?to=n2"),
    ],
)
def test_what_is_sent_and_what_comes_back(
    call: Callable[[RaftcacheClient], Awaitable[Any]], sent: str
) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        got = await call(client)
        (request,) = nodes[0].seen
        assert f"{request.method} {request.raw_path}" == sent
        if isinstance(got, Members):
            (member,) = got.members
            assert (got.version, got.get("n1"), got.get("n2")) == (5, member, None)
            assert (member.id, member.http, member.voter) == ("one", None, False)
        else:
            assert got == "n2"

    play(test)


@pytest.mark.parametrize(
    ("status", "title", "kind"),
    [
        (400, "bad request", BadRequest),
        (404, "not found", NotFound),
        (409, "conflict", Conflict),
        (412, "precondition failed", PreconditionFailed),
    ],
)
def test_a_refusal_is_what_the_server_said(
    status: int, title: str, kind: type[RaftcacheError]
) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = says(status, title, definite=True)
        with pytest.raises(RaftcacheError) as caught:
            await client.remove_member("n4")
        assert type(caught.value) is kind
        assert nodes[1].seen == [], "no other node would say otherwise"

    play(test)


@pytest.mark.parametrize(("status", "title"), [(404, "not found"), (409, "conflict")])
def test_after_an_unknown_attempt_a_refusal_is_none(status: int, title: str) -> None:
    """The first attempt may be why the second is refused."""

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = breaks_off
        nodes[1].always = says(status, title, definite=True)
        with pytest.raises(Unknown, match="it may have happened"):
            await client.remove_member("n4")

    play(test)


def test_the_next_node_is_asked_when_one_has_no_leader() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = says(503, "no leader", definite=True)
        assert (await client.promote_member("n4")).version == 5
        assert len(nodes[1].seen) == 1

    play(test)


def test_no_write_is_sent_again_unnoticed() -> None:
    """aiohttp repeats a DELETE whose connection broke, and would tell nobody."""

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [shows, breaks_off]
        nodes[0].always = nodes[1].always = says(404, "not found")
        await client.members()
        with pytest.raises(Unknown):
            await client.remove_member("n4")
        assert [seen.method for seen in nodes[0].seen] == ["GET", "DELETE"]
        with pytest.raises(NotFound):
            await client.remove_member("n5")

    play(test)
