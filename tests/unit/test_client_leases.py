"""Leases and locks in the client: what it sends, and what it makes of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from raftcache.client import Grant, LockState, RaftcacheClient, attempts
from raftcache.errors import (
    BadRequest,
    LeaseLost,
    LockHeld,
    LockLost,
    NotLeader,
    Overloaded,
    RaftcacheError,
    Unknown,
)
from tests.support.fake_node import FakeNode, Mood, breaks_off, fake_cluster, hangs, says

Call = Callable[[RaftcacheClient], Awaitable[object]]


def run(test: Callable[[RaftcacheClient, list[FakeNode]], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with (
            fake_cluster(2) as nodes,
            RaftcacheClient([node.url for node in nodes], timeout_s=0.5) as client,
        ):
            await test(client, nodes)

    asyncio.run(inner())


CALLS: list[tuple[Call, int, str, type[RaftcacheError]]] = [
    (lambda c: c.acquire(b"l", 1000), 409, "lock held", LockHeld),
    (lambda c: c.keep_lock(b"l", 7), 409, "lock not held", LockLost),
    (lambda c: c.release(b"l", 7), 409, "lock not held", LockLost),
    (lambda c: c.keep_lease(7), 404, "no such lease", LeaseLost),
    (lambda c: c.revoke_lease(7), 404, "no such lease", LeaseLost),
    (lambda c: c.lease_state(7), 404, "no such lease", LeaseLost),
    (lambda c: c.put(b"k", b"v", lease=7), 404, "no such lease", LeaseLost),
]


@pytest.mark.parametrize(("call", "status", "title", "kind"), CALLS)
def test_what_the_state_says_is_final_whatever_was_tried_before(
    call: Call, status: int, title: str, kind: type[RaftcacheError]
) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always, nodes[1].always = breaks_off, says(status, title, definite=True)
        with pytest.raises(kind, match=title):
            await call(client)

    run(test)


@pytest.mark.parametrize("call", [call for call, *_ in CALLS if call is not CALLS[5][0]])
def test_without_a_word_from_the_state_the_outcome_is_unknown(call: Call) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = nodes[1].always = breaks_off
        with pytest.raises(Unknown):
            await call(client)

    run(test)


def test_a_limit_is_waited_for() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for node in nodes:
            node.always = says(429, "too many requests", definite=True)
        with pytest.raises(Overloaded):
            await client.acquire(b"l", 1000, wait_ms=100)

    run(test)


@pytest.mark.parametrize("name", [b"", b"x" * 256])
def test_a_name_over_its_limit_is_never_sent(name: bytes) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        with pytest.raises(BadRequest, match="a lock's name has 1 to 255 bytes"):
            await client.acquire(name, 1000)
        assert nodes[0].seen == []

    run(test)


def test_writes_carry_a_key_and_keep_alives_leave_no_record() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = says(200, "", token=7, ttl_ms=900)
        assert await client.acquire(b"a/b", 1000, value=b"v") == Grant(7, 900)
        assert await client.keep_lock(b"a/b", 7) == Grant(7, 900)
        await client.release(b"a/b", 7)
        acquired, kept, released = nodes[0].seen
        assert "Idempotency-Key" in acquired.headers
        assert "Idempotency-Key" not in kept.headers
        assert "Idempotency-Key" in released.headers
        assert acquired.raw_path == "/v1/locks/a%2Fb?ttl=1000ms"
        assert kept.raw_path == "/v1/locks/a%2Fb?op=keepalive&token=7"

    run(test)


def test_locks_are_listed_page_by_page() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        held = {"token": 7, "ttl_ms": 900, "waiting": 2, "value_base64": "bWU="}
        free = {"token": 0, "ttl_ms": None, "waiting": 0, "value_base64": None}
        first, second = {"name": "a%20b", **held}, {"name": "%FF", **free}
        nodes[0].moods = [
            says(200, "", locks=[first], more=True),
            says(200, "", locks=[second], more=False),
        ]
        assert [lock async for lock in client.locks()] == [
            (b"a b", LockState(7, 900, 2, b"me")),
            (b"\xff", LockState(0, None, 0, b"")),
        ]
        assert [seen.raw_path for seen in nodes[0].seen] == ["/v1/locks", "/v1/locks?after=a%20b"]

    run(test)


def test_a_node_that_gives_no_sign_of_life_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As long as the lock would be: it is asked for at another node, where its place is known."""
    monkeypatch.setattr(attempts, "PULSE_S", 0.05)
    monkeypatch.setattr(attempts, "ATTEMPT_TIMEOUT_S", 0.05)

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = hangs
        nodes[1].always = says(200, "", token=7, ttl_ms=900)
        assert await client.acquire(b"l", 1000, wait_ms=60_000) == Grant(7, 900)
        keys = {seen.headers["Idempotency-Key"] for seen in (nodes[0].seen[0], nodes[1].seen[0])}
        assert len(keys) == 1, "it is the same place"

    run(test)


def test_a_node_that_lives_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PULSE_S", 0.01)

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        lived: list[str] = []

        async def waits(node: FakeNode, request: web.Request) -> web.StreamResponse:
            while len(lived) < 5 and request.path != "/livez":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            lived.append(request.path)
            return web.json_response({"token": 7, "ttl_ms": 900}, status=200)

        nodes[0].always = waits
        assert await client.acquire(b"l", 1000, wait_ms=60_000) == Grant(7, 900)
        assert lived[:5] == ["/livez"] * 5
        assert nodes[1].seen == []

    run(test)


@pytest.mark.parametrize("what", ["lease", "lock"])
@pytest.mark.parametrize("when", ["POST", "DELETE"])
def test_who_is_cancelled_leaves_nothing_behind(what: str, when: str) -> None:
    """While it is granted, or given back: a lock that nobody holds would stay for its ttl."""

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        asked, go_on, ended = asyncio.Event(), asyncio.Event(), list[str]()

        async def grants(node: FakeNode, request: web.Request) -> web.StreamResponse:
            if request.path == "/v1/clients":
                return await says(404, "not found")(node, request)
            if request.method == when:
                asked.set()
                await go_on.wait()
            if request.method == "DELETE":
                ended.append(request.path)
                return web.json_response({"released": 1, "deleted": 0, "revision": 8})
            return web.json_response({"token": 7, "lease": 7, "ttl_ms": 60_000, "key_count": 0})

        for node in nodes:
            node.always = grants

        async def hold() -> None:
            held = client.lease(60_000) if what == "lease" else client.lock(b"l", 60_000)
            async with held:
                pass

        holding = asyncio.create_task(hold())
        await asked.wait()
        holding.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert ended == ["/v1/leases/7" if what == "lease" else "/v1/locks/l"]

    run(test)


@pytest.mark.parametrize("wait_ms", [0, 60_000])
def test_who_gives_up_has_gone(wait_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PULSE_S", 0.01)

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        gone = asyncio.Event()

        async def waits(node: FakeNode, request: web.Request) -> web.StreamResponse:
            if request.path != "/livez":
                try:
                    await asyncio.Event().wait()
                finally:
                    gone.set()
            return web.Response()

        nodes[0].always = waits
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.acquire(b"l", 1000, wait_ms=wait_ms)
        await gone.wait()

    run(test)


def test_a_hold_counts_from_before_it_was_asked_for() -> None:
    """The cluster counts from some moment between the question and the answer."""

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        now = asyncio.get_running_loop().time
        granted_s: list[float] = []

        async def grants(node: FakeNode, request: web.Request) -> web.StreamResponse:
            granted_s.append(now())
            return web.json_response({"token": 7, "lease": 7, "ttl_ms": 60_000, "deleted": 0})

        nodes[0].always = grants
        for hold in (client.lock(b"l", 60_000), client.lease(60_000)):
            granted_s.clear()
            async with hold:
                assert len(granted_s) == 1, "it was kept alive before that was of use"
                assert hold._until_s <= granted_s[0] + 60

    run(test)


@pytest.mark.parametrize("wait_ms", [0, 1000])
def test_no_block_begins_with_a_hold_that_may_be_over_already(wait_ms: int) -> None:
    """It was granted at some time, and its time to live has passed since it was asked for."""

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        async def grants_late(node: FakeNode, request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.2)
            return web.json_response({"token": 7, "ttl_ms": 150})

        nodes[0].moods = [grants_late]
        nodes[0].always = nodes[1].always = says(409, "lock not held", definite=True)
        with pytest.raises(LockLost):
            async with client.lock(b"l", 150, wait_ms=wait_ms and 10):
                raise AssertionError("the block has begun")
        nodes[0].moods = [grants_late, says(200, "", token=7, ttl_ms=150)]
        async with client.lock(b"l", 150, wait_ms=wait_ms) as held:
            assert held.token == 7
            nodes[0].always = says(200, "", token=7, ttl_ms=150)
        assert "keepalive" in str(nodes[0].seen[-2].rel_url)

    run(test)


@pytest.mark.parametrize("mood", [hangs, says(503, "no leader", definite=True)])
def test_what_could_not_be_kept_alive_before_the_block_is_given_back(mood: Mood) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        async def grants_late(node: FakeNode, request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(1.1)  # so much of its time is over that it must be prolonged
            return web.json_response({"token": 7, "ttl_ms": 3000})

        async def releases(node: FakeNode, request: web.Request) -> web.StreamResponse:
            if request.method == "DELETE":
                return web.json_response({"released": 1, "revision": 8})
            return await mood(node, request)

        nodes[0].moods = [grants_late]
        nodes[0].always = nodes[1].always = releases
        with pytest.raises((TimeoutError, NotLeader)):
            async with asyncio.timeout(2.5), client.within(2.0).lock(b"l", 3000):
                raise AssertionError("the block has begun")
        given_back = [seen for node in nodes for seen in node.seen if seen.method == "DELETE"]
        assert [seen.query_string for seen in given_back] == ["token=7"]

    run(test)


def test_who_waits_for_ever_waits_again_if_it_was_lost_before_he_knew() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        async def grants_late(node: FakeNode, request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.2)
            return web.json_response({"token": 7, "ttl_ms": 150})

        nodes[0].moods = [
            grants_late,
            says(409, "lock not held", definite=True),
            says(200, "", token=9, ttl_ms=150),
        ]
        nodes[0].always = says(200, "", token=9, ttl_ms=150)
        async with client.lock(b"l", 150, wait_ms=None) as held:
            assert held.token == 9

    run(test)


def test_a_hold_that_nobody_can_keep_alive_any_more_is_lost() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = says(200, "", token=7, ttl_ms=300)
        with pytest.raises(LockLost):  # noqa: PT012
            async with client.lock(b"l", 300):
                await client._http.close()  # a mistake, which no call is prepared for
                await asyncio.Event().wait()

    run(test)


def test_a_hold_that_nobody_answers_for_is_lost_when_its_time_is_over() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [says(200, "", token=7, ttl_ms=300)]
        nodes[0].always = nodes[1].always = hangs
        with pytest.raises(LockLost, match="token 7 could not be kept alive for 300 ms"):
            async with client.lock(b"l", 300):
                await asyncio.Event().wait()

    run(test)
