"""What clients hold at the HTTP door, in bytes: refused beyond a limit, and given back."""

from __future__ import annotations

import asyncio
import gc

import pytest

from raftcache.server.room import FREE_SIZE_BYTES, Requests, Room
from tests.support.raw_http import Client, Response, Served, request, run, serving, until

MIB = 1 << 20
KIB = 1 << 10


def held(served: Served) -> tuple[int, int]:
    """Of requests, and of answers."""
    assert served.server._port is not None
    return served.server._port.requests.size_bytes, served.server._port.answers.size_bytes


def check_too_much(response: Response, of: str, *, write: bool) -> None:
    assert response.status == response.json["status"] == 429
    assert response.json["detail"] == f"this node holds {MIB} bytes of {of} already"
    assert response.json.get("definite", False) is write
    assert response.headers["retry-after"] == "1"


async def begin(served: Served, head: bytes, size_bytes: int = 500 * KIB) -> Client:
    """A client that has sent so much of a body. Two of them leave room for hardly more."""
    behind = held(served)[0]
    client = await served.connect()
    await client.send(head + bytes(size_bytes))
    await until(lambda: held(served)[0] >= behind + size_bytes - FREE_SIZE_BYTES)
    return client


BODIES = {
    "of a known length": b"PUT /v1/kv/slow HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % MIB,
    "in chunks": b"PUT /v1/kv/slow HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n" % MIB,
    "of a transaction": b"POST /v1/txn HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % MIB,
}


@pytest.mark.parametrize("head", BODIES.values(), ids=BODIES.keys())
def test_bodies_that_are_coming_are_bounded_together(head: bytes) -> None:
    async def test() -> None:
        async with serving(pending_size_bytes_max=MIB) as served:
            slow = [await begin(served, head) for _ in range(2)]
            large = await served.ask("PUT", "/v1/kv/large", bytes(200 * KIB))
            check_too_much(large, "requests", write=True)
            small = await served.ask("PUT", "/v1/kv/small", bytes(FREE_SIZE_BYTES - 200))
            assert small.status == 201, "who wants little is served"
            for client in slow:
                await client.close()
            await until(lambda: held(served)[0] == 0)
            assert (await served.ask("PUT", "/v1/kv/large", bytes(200 * KIB))).status == 201
            assert held(served) == (0, 0)

    run(test())


def test_who_is_refused_may_go_on_when_its_body_has_come() -> None:
    async def test() -> None:
        async with serving(pending_size_bytes_max=MIB) as served:
            head = BODIES["of a known length"]
            slow = [await begin(served, head) for _ in range(2)]
            client = await served.connect()
            put = request("PUT", "/v1/kv/a", bytes(300 * KIB))
            check_too_much(await client.ask(put), "requests", write=True)
            await slow[0].close()
            await until(lambda: held(served)[0] < 500 * KIB)
            assert (await client.ask(put)).status == 201, "on the same connection"

    run(test())


def test_what_has_not_become_a_request_is_bounded_too() -> None:
    async def test() -> None:
        async with serving(pending_size_bytes_max=MIB) as served:
            for _ in range(2):
                await begin(served, BODIES["in chunks"])
            client = await served.connect()
            field = b"X-Long: " + b"x" * 8000 + b"\r\n"
            response = await client.ask(b"GET /v1/kv/a HTTP/1.1\r\nHost: t\r\n" + 16 * field)
            check_too_much(response, "requests", write=False)
            assert await client.is_closed()

    run(test())


def test_a_short_body_on_its_way_is_refused_as_a_long_one_is() -> None:
    async def test() -> None:
        async with serving(pending_size_bytes_max=MIB) as served:
            put = request("PUT", "/v1/kv/a", bytes(60 * KIB))
            client = await served.connect()
            await client.send(put[: 30 * KIB])  # hot, if the rest comes
            await until(lambda: held(served)[0] > 0)
            for _ in range(2):
                await begin(served, BODIES["in chunks"], 510 * KIB)
            check_too_much(await client.ask(put[30 * KIB : 56 * KIB]), "requests", write=True)
            await client.send(put[56 * KIB :])
            assert (await client.ask(request("PUT", "/v1/kv/a", b"small"))).status == 201

    run(test())


def test_bodies_that_wait_behind_others_are_bounded_too() -> None:
    async def test() -> None:
        async with serving(pending_size_bytes_max=MIB) as served:
            served.kv.holding = True
            client = await served.connect()
            put = request("PUT", "/v1/kv/a", bytes(100 * KIB), {"Connection": "Keep-Alive"})
            sending = asyncio.create_task(client.send(put * 30))
            await until(lambda: served.kv.held == 1 and held(served)[0] >= MIB)
            served.kv.release()
            statuses = []
            while not statuses or statuses[-1] != 429:
                statuses.append((await client.receive()).status)
            assert statuses[0] == 201
            sending.cancel()
            await until(lambda: held(served)[0] == 0)

    run(test())


def test_answers_that_are_not_read_are_bounded_together() -> None:
    async def test() -> None:
        async with serving(pending_size_bytes_max=MIB) as served:
            await served.ask("PUT", "/v1/kv/large", bytes(MIB))
            await served.ask("PUT", "/v1/kv/small", bytes(8 * KIB))
            unread = dict[Client, int]()
            while held(served)[1] < MIB:
                client = await served.connect_unread()
                unread[client] = await ask_until_it_waits(served, client)
            for headers in ({}, {"Connection": "close"}):
                response = await served.ask("GET", "/v1/kv/large", headers=headers)
                check_too_much(response, "answers that are not read", write=False)
            page = await served.ask("GET", "/v1/kv?prefix=l")
            check_too_much(page, "answers that are not read", write=False)
            txn = await served.ask("POST", "/v1/txn", b"{}")
            check_too_much(txn, "answers that are not read", write=True)
            assert (await served.ask("GET", "/v1/kv/small")).status == 200
            assert (await served.ask("HEAD", "/v1/kv/large")).status == 200
            assert (await served.ask("PUT", "/v1/kv/large", bytes(MIB))).status == 200
            for client, count in unread.items():
                assert {(await client.receive()).status for _ in range(count)} == {200}
            await until(lambda: held(served)[1] == 0)
            assert (await served.ask("GET", "/v1/kv/large")).status == 200

    run(test())


@pytest.mark.parametrize("asked", [request("GET", "/livez"), BODIES["of a known length"]])
def test_a_client_that_leaves_the_moment_it_has_asked_is_no_mistake_of_the_node(
    asked: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        troubles = list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, what: troubles.append(what))
        async with serving() as served:
            assert served.server._port is not None
            for turns in range(4):  # before its task has it, and while it begins
                client = await served.connect()
                assert (await client.ask(request("GET", "/livez"))).status == 200
                (connection,) = served.server._port.connections
                connection.data_received(asked)
                for _ in range(turns):
                    await asyncio.sleep(0)
                connection.connection_lost(None)
                for _ in range(9):
                    await asyncio.sleep(0)
            del connection
            gc.collect()
        assert troubles == []
        assert caplog.records == []

    run(test())


async def ask_until_it_waits(served: Served, client: Client) -> int:
    """For large values, which it does not read, and kernels take a few of; how many it got."""
    count, answers = 0, served.counters.answers
    while True:
        given, before = answers["GET", 200], held(served)[1]
        client.writer.write(request("GET", "/v1/kv/large"))
        await until(lambda given=given: answers["GET", 200] > given)  # type: ignore[misc]
        count += 1
        for _ in range(100):  # what kernels take they have taken then
            await asyncio.sleep(0)
        if held(served)[1] > before:
            return count


# -- the accounts by themselves --------------------------------------------------------------------


def test_every_byte_that_is_counted_is_given_back() -> None:
    room = Room("requests", 100 * KIB)
    a, b = Requests(room), Requests(room)
    a.came(40 * KIB)
    assert not a.count()
    a.queued()
    b.came(FREE_SIZE_BYTES)
    assert not b.count(), "what is free is not counted"
    a.came(90 * KIB)
    a.continued()
    assert a.count()
    assert room.is_full
    assert not b.count(), "who holds little is not asked to go"
    a.refused()
    assert not a.count()
    a.came(50 * KIB)  # the rest of what was refused
    a.answered()
    a.continued()
    assert room.hold(0, 0) == room.size_bytes == 0 or not a.count()
    b.came(90 * KIB)
    b.queued()
    b.count()
    b.gone()
    a.gone()
    assert room.size_bytes == 0
