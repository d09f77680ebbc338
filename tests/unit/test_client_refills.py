"""Reads that refill, as the clients ask for them: who loads, who waits, what a lost answer does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from raftcache.client import RaftcacheClient, Refill, Status, SyncClient
from raftcache.errors import BadRequest, NotLeader, Overloaded, Refused, TooLarge, Unknown
from tests.support.fake_node import Mood, breaks_off, fake_cluster, problem, says
from tests.support.raw_http import Served, run, serving, until
from tests.unit.test_client_ranges import served_aside

Test = Callable[[RaftcacheClient, Served], Awaitable[None]]


def play(test: Test) -> None:
    async def inner() -> None:
        async with serving() as served:
            url = f"http://127.0.0.1:{served.server.listening.port}"
            async with RaftcacheClient([url], timeout_s=3.0) as client:
                await test(client, served)

    run(inner())


class Source:
    """What is cached; counts how often it is asked, and answers when it may."""

    def __init__(self, value: bytes = b"loaded") -> None:
        self.value, self.loads, self.may = value, 0, asyncio.Event()
        self.may.set()

    async def load(self) -> bytes:
        self.loads += 1
        await self.may.wait()
        return self.value


def waiting(served: Served) -> int:
    return len(served.server._door._vivifier._waiting)  # type: ignore[attr-defined]


def test_one_wins_and_refills() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        won = await client.get_or_refill(b"k", refill_ms=30_000)
        assert (won.found, won.role, won.won, won.token) == (None, "won", True, 1)
        assert await client.get_or_refill(b"k") == Refill(None, "lost")
        written = await client.refill(b"k", b"v", won.token, ttl_ms=10_000, content_type="a/b")
        assert written.status is Status.CREATED
        hit = await client.get_or_refill(b"k", early_ms=9_999)
        assert hit.found is not None
        assert (hit.role, hit.won, hit.token, hit.value) == ("hit", False, 0, b"v")
        assert (hit.found.content_type, hit.found.ttl_ms) == ("a/b", 10_000)
        early = await client.get_or_refill(b"k", early_ms=10_000)
        assert (early.role, early.value) == ("won", b"v")
        late = await client.refill(b"k", b"v", won.token)
        assert (late.status, late.applied) == (Status.PRECONDITION, False)
        await client.put(b"k", b"by somebody else")
        assert not (await client.refill(b"k", b"v", early.token)).applied

    play(test)


def test_a_refill_is_applied_once() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        won = await client.get_or_refill(b"k")
        await client.refill(b"k", b"v", won.token, idempotency_key="t")
        again = await client.refill(b"k", b"v", won.token, idempotency_key="t")
        assert (again.status, again.replayed) == (Status.CREATED, True)

    play(test)


def test_all_get_what_one_loads() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        source = Source()
        source.may.clear()
        calls = [asyncio.create_task(client.cached(b"k", source.load)) for _ in range(5)]
        await until(lambda: waiting(served) == 4)
        source.may.set()
        assert await asyncio.gather(*calls) == [b"loaded"] * 5
        assert (source.loads, await client.ttl(b"k")) == (1, -1)

    play(test)


def test_soon_stale_one_loads_and_the_others_get_the_old_value() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        source = Source()
        await client.put(b"k", b"old", ttl_ms=5_000)
        source.may.clear()
        first = asyncio.create_task(client.cached(b"k", source.load, ttl_ms=60_000, early_ms=9_000))
        await until(lambda: source.loads == 1)
        assert await client.cached(b"k", source.load, early_ms=9_000) == b"old"
        source.may.set()
        assert await first == b"loaded"
        assert (source.loads, await client.ttl(b"k")) == (1, 60_000)

    play(test)


def test_who_does_not_want_to_wait_gets_nothing() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        source = Source()
        await client.get_or_refill(b"k")
        assert await client.cached(b"k", source.load, wait_ms=0) is None
        assert await client.cached(b"k", source.load, wait_ms=20) is None
        assert source.loads == 0

    play(test)


def test_what_load_raises_is_raised_and_the_right_runs_out() -> None:
    async def fails() -> bytes:
        raise OSError("no database")

    async def test(client: RaftcacheClient, served: Served) -> None:
        source = Source()
        with pytest.raises(OSError, match="no database"):
            await client.cached(b"k", fails, refill_ms=30_000)
        assert await client.cached(b"k", source.load, wait_ms=0) is None
        next_one = asyncio.create_task(client.cached(b"k", source.load))
        await until(lambda: waiting(served) == 1)
        served.kv.time_ms += 30_000
        assert await next_one == b"loaded"

    play(test)


def test_a_value_that_comes_too_late_is_returned_and_not_put() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        async def slow() -> bytes:
            await client.put(b"k", b"newer")
            return b"older"

        assert await client.cached(b"k", slow) == b"older"
        found = await client.get(b"k")
        assert found is not None
        assert found.value == b"newer"

    play(test)


def test_bad_input_is_refused_and_gives_no_right() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        source = Source()
        for asked in ({"refill_ms": 0}, {"refill_ms": 600_001}, {"early_ms": -1}, {"wait_ms": -1}):
            with pytest.raises(BadRequest):
                await client.get_or_refill(b"k", **asked)
            with pytest.raises(BadRequest):
                await client.cached(b"k", source.load, **asked)
        with pytest.raises(TooLarge):
            await client.get_or_refill(b"k" * 1025)
        with pytest.raises(BadRequest):
            await client.refill(b"k", b"v", 0)
        assert (source.loads, served.kv.machine.revision) == (0, 0)
        served.kv.error = NotLeader("nobody")
        with pytest.raises(NotLeader):
            await client.within(0.2).get_or_refill(b"k")
        served.kv.error = Overloaded("too many keys are being refilled")
        with pytest.raises(Overloaded):
            await client.within(0.2).cached(b"k", source.load, wait_ms=0)

    play(test)


# --- lost answers ---------------------------------------------------------------------------------


def lost() -> Mood:
    async def mood(node: object, request: web.Request) -> web.StreamResponse:
        return problem(404, "no such key", headers={"X-Raftcache-Vivify": "lost"})

    return mood


def test_after_a_lost_answer_one_loses_perhaps_to_oneself() -> None:
    """The right that may have been won runs out by itself; the answer is what is so now."""

    async def test() -> None:
        async with fake_cluster(2) as (n1, n2):
            n1.always, n2.always = breaks_off, lost()
            async with RaftcacheClient([n1.url, n2.url], timeout_s=3.0) as client:
                assert await client.get_or_refill(b"k", wait_ms=5) == Refill(None, "lost")
                (asked,) = n2.seen
                assert asked.query == {"vivify": "30000ms", "wait": "5ms"}

    run(test())


@pytest.mark.parametrize(
    ("mood", "error"),
    [
        (breaks_off, Unknown),
        (says(503, "outcome unknown"), Unknown),
        (says(404, "no such key"), Unknown),
    ],
)
def test_no_answer_is_unknown_if_a_right_may_have_been_given(
    mood: Mood, error: type[Exception]
) -> None:
    async def test() -> None:
        async with fake_cluster(1) as (node,):
            node.always = mood
            async with RaftcacheClient([node.url], timeout_s=0.2) as client:
                with pytest.raises(error):
                    await client.get_or_refill(b"k")
        async with RaftcacheClient([node.url], timeout_s=0.2) as client:
            with pytest.raises(Refused):  # never sent
                await client.get_or_refill(b"k")

    run(test())


def test_what_was_refused_each_time_is_refused() -> None:
    """Unless the last attempt had too little time left to hear so: then nobody can tell."""

    async def test() -> None:
        async with fake_cluster(1) as (node,):
            node.always = says(503, "no leader")
            async with RaftcacheClient([node.url], timeout_s=0.2) as client:
                for _ in range(20):
                    try:
                        await client.get_or_refill(b"k")
                    except NotLeader:
                        return
                    except Unknown:
                        continue
        pytest.fail("a refusal was never told")

    run(test())


# --- the blocking one -----------------------------------------------------------------------------


def test_the_blocking_client_does_the_same() -> None:
    with served_aside() as url, SyncClient([url]) as client:

        def load() -> bytes:
            found = client.get(b"a")  # the client may be used meanwhile
            assert found is not None
            return found.value + b" loaded"

        assert client.cached(b"new", load, ttl_ms=60_000) == b"a loaded"
        assert client.cached(b"new", load) == b"a loaded"
        won = client.get_or_refill(b"other")
        assert client.cached(b"other", load, wait_ms=0) is None
        assert client.refill(b"other", b"v", won.token).applied
