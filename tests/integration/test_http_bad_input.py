"""Bad, slow, broken and idle clients: a clear answer or a closed door, and nobody else is hurt."""

from __future__ import annotations

import asyncio
import random
import resource

import orjson
import pytest

from raftcache.server.connection import FIELD_SIZE_BYTES_MAX, TARGET_SIZE_BYTES_MAX
from tests.support.raw_http import Client, Response, Served, request, run, serving, until

CLOSE = {"Connection": "close"}
"""Makes any request a cold one."""


def check_problem(response: Response, status: int) -> str:
    """A whole problem, whose detail is returned."""
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json
    assert problem["status"] == status
    assert problem["type"].startswith("urn:raftcache:")
    assert problem["title"]
    assert "Traceback" not in problem["detail"]
    detail: str = problem["detail"]
    return detail


async def check_unhurt(served: Served) -> None:
    """Another client is served as ever."""
    assert (await served.ask("PUT", "/v1/kv/unhurt", b"1")).status in (200, 201)
    assert (await served.ask("GET", "/v1/kv/unhurt")).body == b"1"


BAD = [
    ("GET", "/v1/kv/", b"", {}, 400, "the key is empty"),
    ("GET", "/v1/kv/a%2", b"", {}, 400, "'%2'"),
    ("GET", "/v1/kv/%", b"", {}, 400, "'%'"),
    ("PUT", "/v1/kv/%zz", b"v", {}, 400, "'%zz'"),
    ("GET", "/v1/kv/" + "k" * 1025, b"", {}, 414, "at most 1024"),
    ("PUT", "/v1/kv/" + "%ff" * 1025, b"v", {}, 414, "at most 1024"),
    ("PUT", "/v1/kv/a", b"v" * 2001, {}, 413, "at most 2000 bytes"),
    ("PUT", "/v1/kv/a", b"v" * 200_000, {}, 413, "at most 2000 bytes"),
    ("GET", "/v1/kv/a?x=1", b"", {}, 400, "unknown query parameter 'x'"),
    ("PUT", "/v1/kv/a?ttl=1s&nx", b"", {}, 400, "unknown query parameter 'nx'"),
    ("PUT", "/v1/kv/a?ttl=1s&ttl=2s", b"", {}, 400, "'ttl' is given twice"),
    ("PUT", "/v1/kv/a?ttl=tomorrow", b"", {}, 400, "ttl='tomorrow'"),
    ("PUT", "/v1/kv/a?ttl=%31%20s", b"", {}, 400, "ttl='1 s'"),
    ("GET", "/v1/kv/a?consistency=stale&max_staleness=-1s", b"", {}, 400, "'-1s'"),
    ("POST", "/v1/kv/a?op=drop", b"", {}, 400, "op='drop'"),
    ("PUT", "/v1/kv/a", b"v", {"If-Match": 'W/"1"'}, 400, "strong ETag"),
    ("PUT", "/v1/kv/a", b"v", {"If-Match": '"1"'}, 412, "no such key"),
    ("PUT", "/v1/kv/a", b"v", {"Idempotency-Key": "a b"}, 400, "visible"),
    ("PUT", "/v1/kv/a", b"v", {"Content-Encoding": "gzip"}, 415, "'gzip'"),
    ("PUT", "/v1/kv/a", b"v", {"Content-Type": "x" * 256}, 400, "255"),
    ("GET", "/v1/kv/a", b"body", {}, 400, "takes no body"),
    ("PATCH", "/v1/kv/a", b"v", {}, 405, "no such method"),
    ("GET", "/v1/nothing", b"", {}, 404, ""),
]


@pytest.mark.parametrize("path", ["hot", "cold"])
@pytest.mark.parametrize(("method", "target", "body", "headers", "status", "says"), BAD)
def test_bad_requests_get_a_clear_answer_and_change_nothing(
    method: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    says: str,
    path: str,
) -> None:
    async def test() -> None:
        async with serving(value_size_bytes_max=2000) as served:
            more = headers | (CLOSE if path == "cold" else {})
            response = await served.ask(method, target, body, more)
            assert says in check_problem(response, status)
            if method != "GET":
                assert response.json["definite"] is True
            assert served.kv.machine.revision == 0
            await check_unhurt(served)

    run(test())


def test_the_largest_value_and_key_are_fine() -> None:
    async def test() -> None:
        async with serving(value_size_bytes_max=2000) as served:
            target = "/v1/kv/" + "%6B" * 1024
            for more in ({}, CLOSE):
                response = await served.ask("PUT", target, b"v" * 2000, more)
                assert response.status in (200, 201)
            assert len((await served.ask("GET", "/v1/kv/" + "k" * 1024)).body) == 2000

    run(test())


# A value that is too long is refused before it is sent.


def test_a_long_body_is_refused_by_its_announcement() -> None:
    async def test() -> None:
        async with serving(value_size_bytes_max=2000, header_timeout_s=0.2) as served:
            for expect in ("", "Expect: 100-continue\r\n"):
                client = await served.connect()
                head = f"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\n{expect}Content-Length: 4000000000"
                await client.send(head.encode() + b"\r\n\r\n")
                check_problem(await client.receive(), 413)
                for _ in range(3):
                    await until_swept(served)
                    served.clock.now_s += 20
                assert await client.is_closed(), "it got one answer to one request"
            await check_unhurt(served)

    run(test())


def test_a_chunked_body_has_the_same_limit() -> None:
    async def test() -> None:
        async with serving(value_size_bytes_max=2000) as served:
            client = await served.connect()
            head = request("PUT", "/v1/kv/a", headers={"Transfer-Encoding": "chunked"})
            await client.send(head + b"7d1\r\n" + b"v" * 2001 + b"\r\n0\r\n\r\n")
            check_problem(await client.receive(), 413)
            client = await served.connect()
            await client.send(head)
            for _ in range(3):
                await client.send(b"3e8\r\n" + b"v" * 1000 + b"\r\n")
            check_problem(await client.receive(), 413)
            await check_unhurt(served)

    run(test())


def test_an_unknown_expectation() -> None:
    async def test() -> None:
        async with serving() as served:
            for target, status in (("/v1/kv/a", 417), ("/nothing", 417)):
                for method, body in (("PUT", b"v"), ("PUT", b""), ("GET", b""), ("DELETE", b"")):
                    response = await served.ask(method, target, body, {"Expect": "tea"})
                    check_problem(response, status)

    run(test())


# What is no HTTP.

GARBAGE = [
    (b"\r\n\r\n\0\0", 400),
    (b"GET\r\n\r\n", 400),
    (b"get / HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
    (b"*1\r\n$4\r\nPING\r\n", 400),
    (b"GET / HTTP/9.9\r\nHost: t\r\n\r\n", 400),
    (b"GET /v1/kv/a HTTP/1.1\r\n\r\n", 400),
    (b"GET /v1/kv/a HTTP/1.1\r\nHost: t\r\nno colon\r\n\r\n", 400),
    (b"GET /v1/kv/a HTTP/1.1\r\nHost: t\r\nA: \0\r\n\r\n", 400),
    (b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", 400),
    (b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: t\r\n" + b"A: b\r\n" * 65 + b"\r\n", 400),
    (b"GET /" + b"x" * TARGET_SIZE_BYTES_MAX + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: t\r\nA: " + b"x" * (FIELD_SIZE_BYTES_MAX + 1) + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x" * FIELD_SIZE_BYTES_MAX + b"x: y\r\n\r\n", 431),
]


@pytest.mark.parametrize(("data", "status"), GARBAGE)
def test_garbage_is_a_400_and_the_end(data: bytes, status: int) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            response = await client.ask(data)
            check_problem(response, status)
            assert (response.version, response.headers["connection"]) == ("HTTP/1.1", "close")
            assert await client.is_closed()
            assert served.kv.machine.revision == 0
            await check_unhurt(served)

    run(test())


def test_a_raw_byte_in_the_target_is_a_400() -> None:
    async def test() -> None:
        async with serving() as served:
            for more in (b"", b"Connection: close\r\n"):
                for byte in (b"\xff", b"\xc3\xa9", b"#"):
                    client = await served.connect()
                    data = b"GET /v1/kv/a" + byte + b" HTTP/1.1\r\nHost: t\r\n" + more + b"\r\n"
                    check_problem(await client.ask(data), 400)
            assert served.kv.wants == []

    run(test())


@pytest.mark.parametrize("at_once", [True, False])
def test_garbage_behind_requests_is_answered_after_them(at_once: bool) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            served.kv.holding = True
            good = request("PUT", "/v1/kv/a", b"v") + request("GET", "/livez")
            await client.send(good)
            await until(lambda: served.kv.held == 1)
            await client.send(b"garbage\r\n\r\n")
            if not at_once:
                await until(lambda: all(c._deaf for c in served.server._port.connections))
                await client.send(b"more\r\n\r\n")
            served.kv.release()
            assert (await client.receive()).status == 201
            assert (await client.receive()).status == 200
            check_problem(await client.receive(), 400)
            assert await client.is_closed()

    run(test())


@pytest.mark.parametrize("target", ["/v1/kv/a", "/livez"])
def test_garbage_inside_a_body(target: str) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            method = "GET" if target == "/livez" else "PUT"
            await client.send(request(method, target, headers={"Transfer-Encoding": "chunked"}))
            await until(lambda: all(c._body for c in served.server._port.connections))
            await client.send(b"zz\r\n")
            response = await client.receive()
            assert response.status == (200 if target == "/livez" else 400)
            assert await client.is_closed()
            assert served.kv.commands == []

    run(test())


@pytest.mark.parametrize("size", [5, 100_000])
def test_garbage_right_behind_a_body(size: int) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            data = request("PUT", "/v1/kv/a", b"v" * size)
            await client.send(data[:-1])
            await until(lambda: all(c._body for c in served.server._port.connections))
            await client.send(data[-1:] + b"garbage\r\n\r\n")
            assert (await client.receive()).status == 201
            check_problem(await client.receive(), 400)
            assert await client.is_closed()

    run(test())


def test_upgrades_and_connect_are_declined() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
            data = request("GET", "/v1/kv/a", headers=upgrade) + request("GET", "/livez")
            check_problem(await client.ask(data), 404)
            assert (await client.receive()).body == b"ok\n"
            client = await served.connect()
            response = await client.ask(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert response.status in (404, 405)
            response = await served.ask("OPTIONS", "*")
            assert response.status in (404, 405)
            await check_unhurt(served)

    run(test())


# Clients that stop, or nearly.


@pytest.mark.parametrize(
    "half",
    [
        request("PUT", "/v1/kv/a", b"v" * 100)[:-50],
        request("PUT", "/v1/kv/a", b"v" * 100_000)[:-50],
        request("PUT", "/v1/kv/a", headers={"Transfer-Encoding": "chunked"}) + b"5\r\nab",
        request("PUT", "/v1/kv/a", b"v")[:20],
        request("PUT", "/v1/kv/a", b"v" * 9, CLOSE)[:-3],
    ],
)
def test_a_body_that_stops_half_way_changes_nothing(
    half: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.send(half)
            await until(lambda: all(c._body or c._partial for c in served.server._port.connections))
            await client.close()
            await until(lambda: served.counters.connections_open == 0)
            assert served.kv.commands == []
            await check_unhurt(served)

    run(test())
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def trickle(served: Served, client: Client, data: bytes, step_s: float) -> float:
    """Send a byte every step_s by the node's clock, until it closes; seconds that took."""
    began_s = served.clock.now_s
    for i in range(len(data)):
        await client.send(data[i : i + 1])
        await until_swept(served)
        if served.counters.connections_open == 0:
            break
        served.clock.now_s += step_s
    return served.clock.now_s - began_s


async def until_swept(served: Served) -> None:
    """One sweep begins and ends."""
    port = served.server._port
    assert port is not None
    swept = asyncio.Event()
    before = port.sweep

    def once(now_s: float) -> None:
        before(now_s)
        swept.set()

    port.sweep = once  # type: ignore[method-assign]
    await swept.wait()
    port.sweep = before  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("at_once", "slowly", "answer"),
    [
        (b"", request("PUT", "/v1/kv/a", b"v" * 50), 408),
        (b"", b"\r\n" * 50, 408),
        (b"", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"A: b\r\n" * 20, 408),
        (request("PUT", "/v1/kv/a", b"v" * 500)[:-500], b"v" * 500, 408),
        (request("PUT", "/v1/kv/a", b"v" * 100_000)[:-50_000], b"v" * 500, 0),
        (request("PUT", "/v1/kv/a", b"v" * 9, {"Expect": "100-continue"})[:-9], b"v" * 9, 100),
    ],
    ids=["all", "lines", "headers", "short body", "long body", "expected"],
)
def test_a_byte_a_second_is_too_slow(at_once: bytes, slowly: bytes, answer: int) -> None:
    async def test() -> None:
        async with serving(header_timeout_s=4.0) as served:
            client = await served.connect()
            await client.send(at_once)
            taken_s = await trickle(served, client, slowly, 1.0)
            assert 4.0 <= taken_s <= 5.0
            if answer == 100:
                assert (await client.receive()).status == 100
            elif answer:
                check_problem(await client.receive(), answer)
            assert await client.is_closed()
            assert served.counters.connections_stalled == 1
            assert served.kv.commands == []
            await check_unhurt(served)

    run(test())


def test_a_slow_body_that_moves_is_not_cut_off() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.04) as served:
            client = await served.connect()
            data = request("PUT", "/v1/kv/a", b"v" * 1_000_000)
            for at in range(0, len(data), 20_000):
                await client.send(data[at : at + 20_000])
                served.clock.now_s += 0.03
                await until_swept(served)
            assert (await client.receive()).status == 201

    run(test())


def test_a_quick_client_may_stay_for_ever() -> None:
    """Requests in pieces over a long time are no stalled request, as long as each ends in time."""

    async def test() -> None:
        async with serving(header_timeout_s=0.04) as served:
            client = await served.connect()
            data = request("GET", "/v1/kv/a")
            for _ in range(20):
                await client.send(data[:10])
                served.clock.now_s += 0.03
                await until_swept(served)
                assert (await client.ask(data[10:])).status == 404

    run(test())


def test_a_pause_of_ours_is_not_held_against_the_client() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.04) as served:
            client = await served.connect()
            served.kv.holding = True
            count = 100
            await client.send(request("PUT", "/v1/kv/a", b"v") * count)
            await until(lambda: all(c._buffer_paused for c in served.server._port.connections))
            for _ in range(5):
                served.clock.now_s += 1
                await until_swept(served)
            served.kv.release()
            for _ in range(count):
                assert (await client.receive()).status in (200, 201)

    run(test())


def test_a_body_that_we_do_not_read_yet_is_not_held_against_the_client() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.04) as served:
            client = await served.connect()
            served.kv.holding = True
            first = request("PUT", "/v1/kv/a", b"v" * 100_000)
            await client.send(first[:-1])
            await until(lambda: all(c._busy for c in served.server._port.connections))
            second = request("PUT", "/v1/kv/b", b"v" * 1_000_000)
            sending = asyncio.create_task(client.send(first[-1:] + second))
            await until(lambda: all(c._reading_paused for c in served.server._port.connections))
            for _ in range(5):
                served.clock.now_s += 1
                await until_swept(served)
            served.kv.release()
            assert (await client.receive()).status == 201
            assert (await client.receive()).status == 201
            await sending

    run(test())


def test_an_idle_connection_is_closed_in_the_end() -> None:
    async def test() -> None:
        async with serving(keepalive_timeout_s=0.2) as served:
            fresh, used = await served.connect(), await served.connect()
            assert (await used.ask(request("GET", "/v1/kv/a"))).status == 404
            await until_swept(served)
            served.clock.now_s += 0.15
            await until_swept(served)
            assert served.counters.connections_open == 2
            assert (await used.ask(request("GET", "/v1/kv/a"))).status == 404
            served.clock.now_s += 0.15
            assert await fresh.is_closed()
            assert served.counters.connections_open == 1
            await until_swept(served)
            served.clock.now_s += 0.25
            assert await used.is_closed()

    run(test())


@pytest.mark.slow
def test_2000_idle_connections_hurt_nobody() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 6000)), hard))

    async def test() -> None:
        async with serving() as served:
            idle = []
            for i in range(2000):
                client = await served.connect()
                if i % 2:
                    await client.send(b"GET /v1/kv/a HT"[: i % 16])
                idle.append(client)
            await until(lambda: served.counters.connections_open == 2000)
            client = await served.connect()
            for i in range(500):
                put = await client.ask(request("PUT", "/v1/kv/a", b"%d" % i))
                assert put.status in (200, 201)
                assert (await client.ask(request("GET", "/v1/kv/a"))).body == b"%d" % i
            served.clock.now_s += 1
            await until_swept(served)
            assert served.counters.connections_open == 2001, "their time has not come"

    try:
        run(test())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Anything at all.

WORDS = [
    b"GET ",
    b"PUT ",
    b"POST ",
    b"/v1/kv/",
    b"/livez",
    b"%",
    b"?op=",
    b" HTTP/1.1\r\n",
    b"Host: t\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"If-Match: ",
    b"Idempotency-Key: k\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"\0",
    b"\xff\xfe",
]


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_never_break_the_server(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    print(f"seed={seed}")
    dice = random.Random(seed)

    def noise() -> bytes:
        kind = dice.randrange(4)
        if kind == 0:
            return dice.randbytes(dice.randrange(1, 2000))
        words = b"".join(dice.choice(WORDS) for _ in range(dice.randrange(1, 30)))
        if kind == 1:
            return words
        data = bytearray(request("PUT", "/v1/kv/a?ttl=1s", b"value", {"If-Match": "*"}) + words)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data)

    async def one(served: Served) -> bytes:
        client = await served.connect()
        try:
            for _ in range(dice.randrange(1, 4)):
                await client.send(noise())
            client.writer.write_eof()
            return await client.reader.read()
        except ConnectionError:
            return b""

    async def test() -> None:
        async with serving(header_timeout_s=0.04) as served:
            for _ in range(60):
                ending = asyncio.create_task(one(served))
                while not ending.done():  # what waits for more bytes is cut off by the sweep
                    served.clock.now_s += 1
                    await asyncio.wait((ending,), timeout=0.01)
                said = ending.result()
                assert b"Traceback" not in said
                assert b" 500 " not in said
            await check_unhurt(served)
            await until(lambda: served.counters.connections_open == 0)

    run(test())
    assert [record.message for record in caplog.records if record.levelno >= 30] == []


def test_problems_are_json_on_every_path() -> None:
    async def test() -> None:
        async with serving() as served:
            for more in ({}, CLOSE):
                response = await served.ask("GET", "/v1/kv/missing", b"", more)
                assert set(orjson.loads(response.body)) == {"type", "title", "status", "detail"}

    run(test())
