"""The client numbers its writes where the cluster knows numbers, and has keys where it does not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from raftcache.client import RaftcacheClient
from raftcache.client.attempts import IDEMPOTENCY_KEY
from raftcache.errors import (
    AnsweredBefore,
    BadRequest,
    Forgotten,
    RaftcacheError,
    TooManyKeys,
    TooManyPending,
    Unknown,
)
from tests.support.fake_node import FakeNode, acts_and_breaks_off, fake_cluster, says

Test = Callable[[RaftcacheClient, list[FakeNode]], Awaitable[None]]


def play(test: Test, *, clients: int | None = 0, requests_max: int = 1024) -> None:
    async def inner() -> None:
        async with fake_cluster(3) as nodes:
            nodes[0].store.clients, nodes[0].store.requests_max = clients, requests_max
            async with RaftcacheClient([node.url for node in nodes], timeout_s=10) as client:
                await test(client, nodes)

    asyncio.run(inner())


def marks(*nodes: FakeNode) -> list[str]:
    """What the writes came with: a number as it is written, or "key"."""
    found = [
        r.headers[IDEMPOTENCY_KEY] for n in nodes for r in n.seen if IDEMPOTENCY_KEY in r.headers
    ]
    return ["key" if re.fullmatch("[0-9a-f]{32}", each) else each for each in found]


def numbered(client: int, number: int, pending_from: int) -> str:
    return f"client={client} number={number} pending-from={pending_from}"


async def registered(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
    """Until it has an id; what was seen before is forgotten, and its numbers begin with 1."""
    for _ in range(2):
        await client.put(b"a", b"1")
    task = client._place.numbers._registering
    assert task is not None
    await task
    client._place.numbers._last = 0
    for node in nodes:
        node.seen.clear()


def refuses(error: type[RaftcacheError]) -> object:
    return says(error.status, error.title, definite=error.definite)


def test_a_client_registers_with_its_second_write_and_numbers_those_after_it() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await client.put(b"a", b"1")
        assert [request.path for request in nodes[0].seen] == ["/v1/kv/a"]
        await registered(client, nodes)
        assert nodes[0].store.clients == 1
        for _ in range(3):
            await client.incr(b"n")
        assert marks(*nodes) == [numbered(1, n, n) for n in (1, 2, 3)]

    play(test)


def test_whoever_shares_an_id_is_far_away_in_numbers() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        firsts = []
        for _ in range(2):
            client._place.numbers.forget()
            for _ in range(2):
                await client.put(b"a", b"1")
            task = client._place.numbers._registering
            assert task is not None
            await task
            firsts.append(client._place.numbers._last)
        assert abs(firsts[0] - firsts[1]) > 1 << 20

    play(test)


def test_it_waits_from_its_lowest_number_on_whatever_is_answered_first() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        free, held = asyncio.Event(), asyncio.Event()

        async def holds(node: FakeNode, request: web.Request) -> web.StreamResponse:
            held.set()
            await free.wait()
            return await node.answer(request)

        nodes[0].moods = [holds]
        first = asyncio.create_task(client.put(b"a", b"1"))
        await held.wait()
        await asyncio.gather(*(client.put(b"a", b"1") for _ in range(2)))
        free.set()
        await first
        await client.put(b"a", b"1")
        assert marks(nodes[0]) == [numbered(1, n, p) for n, p in ((1, 1), (2, 1), (3, 1), (4, 4))]

    play(test)


def test_another_attempt_has_the_same_number() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        nodes[0].moods = [acts_and_breaks_off]
        assert (await client.incr(b"n")).number == 1
        assert marks(nodes[0]) == marks(nodes[1]) == [numbered(1, 1, 1)]
        assert nodes[0].store.values[b"n"][0] == b"1"

    play(test)


def test_a_number_that_is_given_up_is_waited_for_no_more() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        came = asyncio.Event()

        async def hangs(node: FakeNode, request: web.Request) -> web.StreamResponse:
            came.set()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        nodes[0].moods = [hangs]
        given_up = asyncio.create_task(client.put(b"a", b"1"))
        await came.wait()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await client.put(b"a", b"1")
        assert marks(nodes[0]) == [numbered(1, 1, 1), numbered(1, 2, 2)]

    play(test)


@pytest.mark.parametrize("refusal", [Forgotten, TooManyKeys, TooManyPending, BadRequest])
def test_what_is_refused_with_a_number_goes_with_a_key(refusal: type[RaftcacheError]) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        nodes[0].moods = [refuses(refusal)]  # type: ignore[list-item]
        assert (await client.incr(b"n")).number == 1
        assert marks(*nodes) == [numbered(1, 1, 1), "key"]

    play(test)


def test_who_was_forgotten_registers_again() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        nodes[0].moods = [refuses(Forgotten)]  # type: ignore[list-item]
        await client.incr(b"n")
        await registered(client, nodes)
        await client.incr(b"n")
        assert [mark.split()[0] for mark in marks(*nodes)] == ["client=2"]

    play(test)


@pytest.mark.parametrize("refusal", [Forgotten, AnsweredBefore])
def test_what_may_have_happened_is_not_done_again_by_who_was_forgotten(
    refusal: type[RaftcacheError],
) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        nodes[0].moods = [acts_and_breaks_off]
        nodes[1].always = refuses(refusal)  # type: ignore[assignment]
        with pytest.raises(refusal) as caught:
            await client.incr(b"n")
        assert isinstance(caught.value, Unknown)
        assert not caught.value.definite
        assert nodes[0].store.values[b"n"][0] == b"1"
        assert marks(*nodes) == [numbered(1, 1, 1)] * 2

    play(test)


def test_more_than_may_be_pending_go_with_keys() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        free, all_came = asyncio.Event(), asyncio.Event()

        async def holds(node: FakeNode, request: web.Request) -> web.StreamResponse:
            if len(node.seen) == 4:
                all_came.set()
            await free.wait()
            return await node.answer(request)

        nodes[0].always = holds
        calls = [asyncio.create_task(client.put(b"a", b"1")) for _ in range(4)]
        await all_came.wait()
        free.set()
        await asyncio.gather(*calls)
        assert sorted(marks(nodes[0])) == [numbered(1, 1, 1), numbered(1, 2, 1), "key", "key"]
        await client.put(b"a", b"1")
        assert marks(nodes[0])[-1] == numbered(1, 3, 3)

    play(test, requests_max=2)


def test_a_chosen_key_is_left_as_it_is() -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        await client.put(b"a", b"1", idempotency_key="order-17")
        assert marks(*nodes) == ["order-17"]

    play(test)


def test_a_child_process_has_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the parent's, its first increment would be answered as the parent's was."""

    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await registered(client, nodes)
        await client.incr(b"n")
        monkeypatch.setattr("os.getpid", lambda: -1)
        await client.incr(b"n")
        await registered(client, nodes)
        await client.incr(b"n")
        assert [mark.split()[0] for mark in marks(*nodes)] == ["client=2"]
        assert nodes[0].store.values[b"n"][0] == b"3"

    play(test)


@pytest.mark.parametrize("refusal", [(404, "not found"), (409, "conflict")])
def test_a_cluster_that_knows_no_numbers_is_not_asked_again_soon(refusal: tuple[int, str]) -> None:
    async def test(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [lambda node, request: node.answer(request)]
        await client.put(b"a", b"1")
        asked = 0

        async def knows_none(node: FakeNode, request: web.Request) -> web.StreamResponse:
            nonlocal asked
            if request.path != "/v1/clients":
                return await node.answer(request)
            asked += 1
            return await says(*refusal)(node, request)

        nodes[0].always = knows_none
        for _ in range(5):
            await client.put(b"a", b"1")
            task = client._place.numbers._registering
            assert task is not None
            await task
        assert asked == 1
        assert marks(*nodes) == ["key"] * 6

    play(test)


def test_a_client_is_closed_while_it_registers() -> None:
    async def inner() -> None:
        async with fake_cluster(1) as nodes:
            nodes[0].store.clients = 0
            came = asyncio.Event()

            async def hangs(node: FakeNode, request: web.Request) -> web.StreamResponse:
                if request.path != "/v1/clients":
                    return await node.answer(request)
                came.set()
                await asyncio.Event().wait()
                raise AssertionError("unreachable")

            nodes[0].always = hangs
            async with RaftcacheClient([nodes[0].url]) as client:
                for _ in range(2):
                    await client.put(b"a", b"1")
                await came.wait()
                task = client._place.numbers._registering
            assert task is not None
            assert task.cancelled()

    asyncio.run(inner())
