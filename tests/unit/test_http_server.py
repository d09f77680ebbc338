"""The front door on real sockets: hot and cold paths, their order, back-pressure, its end."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from dataclasses import replace

import pytest
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from raftcache.config import Address
from raftcache.errors import BadConfig
from raftcache.server.hot import HotConnection
from raftcache.server.http import HttpServer
from raftcache.server.outgoing import PIPELINED_MAX, UNSENT_SIZE_BYTES_MAX
from raftcache.server.plain import LATE_BODY_SIZE_BYTES_MAX
from tests.support.raw_http import Client, Response, Served, request, run, serving, until

MIB = 1 << 20


def is_hot(response: Response) -> bool:
    """Only the application names itself."""
    return "server" not in response.headers


async def send_cold(served: Served, client: Client, data: bytes) -> None:
    """Send a request with a long body in two pieces, which makes it one for the application."""
    assert len(data) > LATE_BODY_SIZE_BYTES_MAX
    await client.send(data[:-1])
    await until(lambda: any(c._busy and c._body for c in served.server._port.connections))
    await client.send(data[-1:])


# What it serves.


def test_operations() -> None:
    async def test() -> None:
        async with serving() as served:
            cluster = await served.ask("GET", "/v1/cluster")
            assert cluster.json == served.node.cluster_status()
            assert cluster.headers["content-type"] == "application/json"
            assert (await served.ask("GET", "/livez")).body == b"ok\n"
            ready = await served.ask("GET", "/readyz")
            assert (ready.status, ready.body) == (200, b"ready\n")
            ready = await served.ask("GET", "/readyz?verbose")
            assert ready.body == b"[+] leader: n1 leads\n[+] disk: is there\nready\n"
            served.node.checks[1] = ("disk", False, "is gone")
            ready = await served.ask("GET", "/readyz")
            assert ready.status == 503
            assert b"[-] disk: is gone\n" in ready.body

    run(test())


def test_metrics_count_both_paths() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            for close in ({}, {"Connection": "close"}):
                response = await client.ask(request("GET", "/v1/kv/a", headers=close))
                assert is_hot(response) is (not close)
            page = (await served.ask("GET", "/metrics")).body.decode()
            assert 'raftcache_http_requests_total{method="GET",status="4xx"} 2.0' in page
            assert "raftcache_raft_term 3.0" in page
            assert "raftcache_store_keys 11.0" in page
            assert "raftcache_http_connections_accepted_total 2.0" in page

    run(test())


def test_a_mistake_of_the_node_is_a_500_problem() -> None:
    async def test() -> None:
        async with serving() as served:
            served.node.error = ZeroDivisionError("secret")
            response = await served.ask("GET", "/v1/cluster")
            assert response.status == 500
            assert response.json["reference"]
            assert b"secret" not in response.body
            served.node.error = BadConfig("a sentence")
            assert (await served.ask("GET", "/v1/cluster")).json["detail"] == "a sentence"

    run(test())


def test_an_address_in_use_is_a_clear_error() -> None:
    async def test() -> None:
        async with serving() as served:
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                here = Address("127.0.0.1", taken.getsockname()[1])
                config = replace(served.server._config, http=here)
                vivifier = served.server._door._vivifier
                server = HttpServer(served.kv, vivifier, config, served.clock, served.counters)
                with pytest.raises(BadConfig, match=f"http {here}: cannot listen"):
                    await server.start()

    run(test())


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/kvs", "/v1/kvx/a", "//v1/kv/a", "/metrics/"])
def test_unknown_paths_are_404(path: str) -> None:
    async def test() -> None:
        async with serving() as served:
            response = await served.ask("GET", path)
            assert response.status == response.json["status"] == 404
            assert response.headers["content-type"] == "application/problem+json"

    run(test())


@pytest.mark.parametrize("path", ["/v1/cluster", "/livez", "/readyz", "/metrics"])
def test_operations_refuse_other_methods_and_parameters(path: str) -> None:
    async def test() -> None:
        async with serving() as served:
            response = await served.ask("PUT", path, b"x")
            assert response.status == 405
            assert response.headers["allow"] == "GET, HEAD"
            assert response.json["definite"] is True
            response = await served.ask("GET", path + "?pretty=1")
            assert response.status == 400
            assert "unknown query parameter 'pretty'" in response.json["detail"]

    run(test())


# One answer, however it comes.

SPLIT = [
    request("PUT", "/v1/kv/a%20b?ttl=30s", b"hello", {"Content-Type": "text/x"}),
    request("GET", "/v1/kv/a%20b?consistency=stale"),
    request("GET", "/v1/kv/a%20b", headers={"If-None-Match": '"1"'}),
    request("HEAD", "/v1/kv/a%20b"),
    request("GET", "/v1/kv/missing"),
    request("GET", "/v1/kv/a%2"),
    request("POST", "/v1/kv/n?op=incr&by=2", headers={"Idempotency-Key": "k"}),
    request("GET", "/v1/cluster"),
    request("PUT", "/v1/kv/c", headers={"Transfer-Encoding": "chunked"})
    + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    request("GET", "/v1/kv/a%20b", headers={"Connection": "close"}),
    request("GET", "/v1/kv/a%20b").replace(b"HTTP/1.1", b"HTTP/1.0"),
]


async def pieces(served: Served, parts: list[bytes], heard: list[int]) -> Response:
    """The answer to a request sent in these parts, each heard by the server before the next."""
    client = await served.connect()
    for part in parts:
        before = len(heard)
        await client.send(part)
        await until(lambda before=before: len(heard) > before)  # type: ignore[misc]
    response = await client.receive(bare=parts and b"".join(parts).startswith(b"HEAD"))
    await client.close()
    return response


@pytest.mark.parametrize("data", SPLIT)
def test_a_request_split_anywhere_gets_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    heard: list[int] = []
    parents = HotConnection.data_received

    def counted(connection: HotConnection, part: bytes) -> None:
        heard.append(len(part))
        parents(connection, part)

    monkeypatch.setattr(HotConnection, "data_received", counted)

    async def answer(parts: list[bytes]) -> Response:
        async with serving() as served:
            await served.ask("PUT", "/v1/kv/a%20b", b"before", {"Content-Type": "text/x"})
            heard.clear()
            return await pieces(served, parts, heard)

    async def test() -> None:
        whole = await answer([data])
        for at in range(1, len(data)):
            assert (await answer([data[:at], data[at:]])).plain == whole.plain, at
        assert (await answer([data[i : i + 1] for i in range(len(data))])).plain == whole.plain

    run(test())


def test_hot_and_cold_give_the_same_answers() -> None:
    async def test() -> None:
        for data in SPLIT[:7]:
            answers = []
            for more in (b"", b"Connection: close\r\n"):
                async with serving() as served:
                    await served.ask("PUT", "/v1/kv/a%20b", b"before")
                    client = await served.connect()
                    asked = data.replace(b"Host: test\r\n", b"Host: test\r\n" + more)
                    answers.append(await client.ask(asked, bare=data.startswith(b"HEAD")))
                    assert is_hot(answers[-1]) is (more == b"")
            assert answers[0].plain == answers[1].plain

    run(test())


def test_a_target_may_be_absolute() -> None:
    async def test() -> None:
        async with serving() as served:
            await served.ask("PUT", "/v1/kv/a%2Fb?ttl=1h", b"v")
            response = await served.ask("GET", "http://test/v1/kv/a%2Fb?consistency=stale")
            assert response.body == b"v"

    run(test())


def test_a_key_is_taken_as_it_came() -> None:
    async def test() -> None:
        async with serving() as served:
            for close in ({}, {"Connection": "close"}):
                for key in ("a/../b", "./a", "a//b", "%2e%2e/x", "%ff%00", "a%2Fb"):
                    response = await served.ask("PUT", "/v1/kv/" + key, key.encode(), close)
                    assert response.status in (200, 201), key
            keys = {command.key for command in served.kv.commands}  # type: ignore[union-attr]
            assert keys == {b"a/../b", b"./a", b"a//b", b"../x", b"\xff\0", b"a/b"}

    run(test())


def test_a_large_value_goes_in_and_out() -> None:
    async def test() -> None:
        value = random.Random(1).randbytes(MIB)
        async with serving() as served:
            client = await served.connect()
            assert (await client.ask(request("PUT", "/v1/kv/a", value))).status == 201
            assert (await client.ask(request("GET", "/v1/kv/a"))).body == value
            assert (await client.ask(request("PUT", "/v1/kv/a", value + b"x"))).status == 413
            assert (await client.ask(request("GET", "/v1/kv/a"))).body == value

    run(test())


# How connections live.


def test_keep_alive_and_close() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            for _ in range(3):
                assert "connection" not in (await client.ask(request("GET", "/v1/kv/a"))).headers
            last = await client.ask(request("GET", "/v1/kv/a", headers={"Connection": "close"}))
            assert last.headers["connection"] == "close"
            assert await client.is_closed()

    run(test())


def test_http_1_0_closes_unless_asked_not_to() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            old = request("GET", "/v1/kv/a").replace(b"HTTP/1.1", b"HTTP/1.0")
            keep = old.replace(b"Host: test", b"Host: test\r\nConnection: keep-alive")
            assert (await client.ask(keep)).headers["connection"] == "keep-alive"
            assert (await client.ask(old)).status == 404
            assert await client.is_closed()

    run(test())


def test_head_has_the_length_and_no_body() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.ask(request("PUT", "/v1/kv/a", b"hello"))
            head = await client.ask(request("HEAD", "/v1/kv/a"), bare=True)
            assert (head.status, head.headers["content-length"]) == (200, "5")
            missing = await client.ask(request("HEAD", "/v1/kv/b"), bare=True)
            assert missing.status == 404
            assert (await client.ask(request("HEAD", "/livez"), bare=True)).status == 200
            assert (await client.ask(request("GET", "/v1/kv/a"))).body == b"hello"

    run(test())


def test_100_continue() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            head, _, body = request(
                "PUT", "/v1/kv/a", b"hello", {"Expect": "100-continue"}
            ).partition(b"hello")
            assert body == b""
            assert (await client.ask(head)).status == 100
            assert (await client.ask(b"hello")).status == 201
            assert (await client.ask(request("GET", "/v1/kv/a"))).body == b"hello"

    run(test())


@pytest.mark.parametrize("path", ["hot", "cold"])
def test_a_client_may_finish_sending_before_it_is_answered(path: str) -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.04) as served:
            served.kv.holding = True
            client = await served.connect()
            if path == "hot":
                await client.send(request("PUT", "/v1/kv/a", b"v"))
            else:
                await send_cold(served, client, request("PUT", "/v1/kv/a", b"v" * 100_000))
            await until(lambda: served.kv.held == 1)
            client.writer.write_eof()
            await until(lambda: all(c._ends for c in served.server._port.connections))
            served.kv.release()
            assert (await client.receive()).status == 201
            assert await client.is_closed()

    run(test())


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_hurts_nobody(caplog: pytest.LogCaptureFixture, reset: bool) -> None:
    async def test() -> None:
        async with serving() as served:
            served.kv.holding = True
            gone, other = await served.connect(), await served.connect()
            await gone.send(request("PUT", "/v1/kv/a", b"v") * 3)
            await gone.send(request("GET", "/livez"))
            await other.send(request("GET", "/v1/kv/a"))
            await until(lambda: served.kv.held == 4)
            if reset:
                sock = gone.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.writer.transport.abort()
            if reset:
                await until(lambda: served.counters.connections_open == 1)
            else:  # it may be a client that has only finished sending
                await until(lambda: any(c._ends for c in served.server._port.connections))
            served.kv.release()
            assert (await other.receive()).body == b"v"
            assert served.kv.machine.revision == 3
            await until(lambda: served.counters.connections_open == 1)

    run(test())
    assert caplog.records == []


def test_a_machine_that_dies_without_a_word_is_noticed() -> None:
    """Half a minute, by what the kernel is told: it asks after a silence, and again twice."""

    async def test() -> None:
        async with serving() as served:
            await served.connect()
            await until(lambda: served.counters.connections_open == 1)
            assert served.server._port is not None
            (transport,) = served.server._port.connections.values()
            options = transport.get_extra_info("socket").getsockopt
            assert options(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            asked = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            idle_s, interval_s, count = (options(socket.IPPROTO_TCP, option) for option in asked)
            assert idle_s + interval_s * count == 30

    run(test())


def test_too_many_connections_are_told_and_closed() -> None:
    async def test() -> None:
        async with serving(connections_max=2) as served:
            first, second = await served.connect(), await served.connect()
            for client in (first, second):
                assert (await client.ask(request("GET", "/v1/kv/a"))).status == 404
            third = await served.connect()
            refused = await third.receive()
            assert (refused.status, refused.headers["connection"]) == (503, "close")
            assert refused.headers["retry-after"] == "1"
            assert refused.json["definite"] is True
            assert await third.is_closed()
            assert served.counters.connections_refused == 1
            await first.close()
            await until(lambda: served.counters.connections_open == 1)
            assert (await served.ask("GET", "/v1/kv/a")).status == 404

    run(test())


# Order, and which path.


async def answers(client: Client, methods: list[str]) -> list[Response]:
    return [await client.receive(bare=method == "HEAD") for method in methods]


def test_requests_are_hot_again_after_a_cold_one() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            for _ in range(10):
                assert not is_hot(await client.ask(request("GET", "/livez")))
                for _ in range(3):
                    assert is_hot(await client.ask(request("PUT", "/v1/kv/a", b"v")))
                    assert is_hot(await client.ask(request("GET", "/v1/kv/a")))

    run(test())


def test_a_short_body_behind_its_headers_is_hot() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            for body in (b"hello", b"x" * (64 << 10)):
                data = request("PUT", "/v1/kv/a", body)
                await client.send(data[:-5])
                await until(lambda: any(c._late for c in served.server._port.connections))
                assert is_hot(await client.ask(data[-5:]))
                assert (await client.ask(request("GET", "/v1/kv/a"))).body == body

    run(test())


def test_answers_of_one_turn_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    flushes = 0
    parents = HotConnection.flush

    def counted(connection: HotConnection) -> None:
        nonlocal flushes
        flushes += 1
        parents(connection)

    monkeypatch.setattr(HotConnection, "flush", counted)

    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.ask(request("GET", "/v1/kv/a"))  # which is parsed, the others are known
            before = flushes
            await client.send(request("GET", "/v1/kv/a") * 20)
            assert [r.status for r in await answers(client, ["GET"] * 20)] == [404] * 20
            assert flushes == before + 1

    run(test())


def test_answers_keep_the_order_of_their_requests() -> None:
    """Outcomes come in another order: the last one first."""

    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await served.ask("PUT", "/v1/kv/a", b"old")
            served.kv.holding = True
            await client.send(
                request("PUT", "/v1/kv/a", b"1")
                + request("PUT", "/v1/kv/b", b"2")
                + request("DELETE", "/v1/kv/c")
            )
            await until(lambda: served.kv.held == 3)
            for index in (2, 1, 0):
                served.kv.release(index)
            put, other, delete = await answers(client, ["PUT", "PUT", "DELETE"])
            assert (put.status, put.json["version"]) == (200, 2)
            assert other.status == 201
            assert delete.json["deleted"] == 0

    run(test())


def test_a_cold_request_waits_for_hot_ones_and_later_hot_ones_for_it() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            served.kv.holding = True
            await client.send(
                request("PUT", "/v1/kv/a", b"1")
                + request("GET", "/livez")
                + request("GET", "/v1/kv/a")
                + request("GET", "/v1/cluster")
                + request("GET", "/v1/kv/b")
            )
            await until(lambda: served.kv.held == 1)  # the two reads are not even asked yet
            served.kv.release()
            got = await answers(client, ["GET"] * 5)
            assert [r.status for r in got] == [201, 200, 200, 200, 404]
            assert got[1].body == b"ok\n"
            assert got[2].body == b"1"
            assert [is_hot(r) for r in got] == [True, False, False, False, False]
            assert is_hot(await client.ask(request("GET", "/v1/kv/a")))

    run(test())


def test_a_hot_request_behind_a_busy_application_waits() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            served.kv.holding = True
            await send_cold(served, client, request("PUT", "/v1/kv/a", b"v" * 100_000))
            await until(lambda: served.kv.held == 1)
            await client.send(request("GET", "/v1/kv/b"))
            await until(lambda: all(c._messages for c in served.server._port.connections))
            assert served.kv.held == 1
            served.kv.release()
            first, second = await answers(client, ["PUT", "GET"])
            assert (first.status, second.status) == (201, 404)

    run(test())


MIXED = {
    "PUT": lambda i: request("PUT", f"/v1/kv/{i}", str(i).encode()),
    "chunked": lambda i: (
        request("PUT", f"/v1/kv/{i}", headers={"Transfer-Encoding": "chunked"})
        + b"2\r\n%02d\r\n0\r\n\r\n" % i
    ),
    "large": lambda i: request("PUT", f"/v1/kv/{i}", b"%d" % i * 50_000),
    "GET": lambda i: request("GET", f"/v1/kv/{i}"),
    "HEAD": lambda i: request("HEAD", f"/v1/kv/{i}"),
    "livez": lambda i: request("GET", "/livez"),
    "missing": lambda i: request("GET", f"/nothing/{i}"),
}


@pytest.mark.parametrize("seed", range(12))
def test_random_mixes_in_random_pieces_keep_their_order(seed: int) -> None:
    """One connection against the same requests one by one."""
    print(f"seed={seed}")
    dice = random.Random(seed)
    kinds = [dice.choice(list(MIXED)) for _ in range(60)]
    asked = [MIXED[kind](dice.randrange(8)) for kind in kinds]
    bares = [kind == "HEAD" for kind in kinds]

    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            expected = [
                (await client.ask(data, bare=bare)).plain
                for data, bare in zip(asked, bares, strict=True)
            ]
        async with serving() as served:
            client = await served.connect()
            stream = b"".join(asked)

            async def send() -> None:
                at = 0
                while at < len(stream):
                    size = int(dice.choice([1, 10, 100, 1000, 100_000, MIB]) * (1 + dice.random()))
                    await client.send(stream[at : at + size])
                    at += size
                    for _ in range(dice.randrange(3)):
                        await asyncio.sleep(0)

            sending = asyncio.create_task(send())
            for bare, plain in zip(bares, expected, strict=True):
                assert (await client.receive(bare=bare)).plain == plain
            await sending

    run(test())


# Pipelining has limits.


def test_a_request_that_was_answered_before_its_body_ended_leaves_an_idle_connection() -> None:
    async def test() -> None:
        async with serving(keepalive_timeout_s=5.0, header_timeout_s=1.0) as served:
            client = await served.connect()
            put = request("PUT", "/v1/kv/a", bytes(2 * MIB))
            await client.send(put[:-1])
            assert (await client.receive()).status == 413
            await client.send(put[-1:])
            (connection,) = served.server._port.connections
            await until(lambda: connection.is_idle)
            assert is_hot(await client.ask(request("GET", "/v1/kv/a")))
            await client.send(put)
            assert (await client.receive()).status == 413
            await until(lambda: connection.is_idle)
            served.clock.now_s += 1
            for _ in range(9):  # a sweep sees it so
                await asyncio.sleep(0.005)
            served.clock.now_s += 6
            assert await client.is_closed(), "as any that nobody uses"

    run(test())


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("methods", "bodies"),
    [
        (("PUT", "GET", "PUT", "GET"), (b"1", None, b"2", None)),
        (("GET", "PUT", "GET"), (None, b"1", None)),
        (("GET", "GET", "DELETE", "HEAD"), (None, None, b"", None)),
    ],
)
def test_reads_and_writes_of_one_connection_are_done_in_their_order(
    known: bool, methods: tuple[str, ...], bodies: tuple[bytes | None, ...]
) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            asked = [request(m, "/v1/kv/a", b or b"") for m, b in zip(methods, bodies, strict=True)]
            await served.ask("PUT", "/v1/kv/a", b"0")
            if known:
                for method in ("GET", "PUT"):
                    await client.ask(request(method, "/v1/kv/b", b"1" if method == "PUT" else b""))
            served.kv.holding = True
            await client.send(b"".join(asked))
            value: bytes | None = b"0"
            for method, body in zip(methods, bodies, strict=True):
                asking = asyncio.create_task(client.receive(bare=method == "HEAD"))
                while not asking.done():
                    await asyncio.sleep(0.002)
                    if served.kv.held:
                        served.kv.release(-1)  # if they wait together, the later one is done first
                answer = await asking
                if body is not None:
                    value = body or None
                else:
                    assert answer.status == (404 if value is None else 200)
                    assert method == "HEAD" or answer.body == value

    run(test())


def test_deep_pipelining_pauses_and_goes_on() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            served.kv.holding = True
            count = PIPELINED_MAX * 5
            await client.send(request("PUT", "/v1/kv/a", b"v") * count)
            (connection,) = served.server._port.connections
            await until(lambda: connection._buffer_paused)
            assert PIPELINED_MAX <= served.kv.held <= PIPELINED_MAX + 2
            served.kv.release()
            got = await answers(client, ["PUT"] * count)
            assert [r.json["version"] for r in got] == list(range(1, count + 1))

    run(test())


def test_the_parser_is_told_of_every_request_that_ends_late() -> None:
    """The parent tells it too early for those; after 32 it would keep back what is pipelined."""

    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            late = request("PUT", "/v1/kv/a", b"v" * 66_000)
            for _ in range(70):
                await client.send(late[:-1])
                await until(lambda: all(c._busy for c in served.server._port.connections))
                assert (await client.ask(late[-1:])).status in (200, 201)
            await client.send(request("GET", "/v1/kv/b") * 10)
            assert [r.status for r in await answers(client, ["GET"] * 10)] == [404] * 10

    run(test())


async def unread(served: Served, size_bytes: int, count: int) -> Client:
    """A client that asked for much and reads nothing."""
    await served.ask("PUT", "/v1/kv/a", b"v" * size_bytes)
    client = await served.connect_unread()
    client.writer.write(request("GET", "/v1/kv/a") * count)
    return client


@pytest.mark.parametrize("size_bytes", [100, 30_000, MIB])
def test_a_client_that_does_not_read_is_not_served_ahead(size_bytes: int) -> None:
    async def test() -> None:
        count = {100: 40_000, 30_000: 1000, MIB: 20}[size_bytes]
        async with serving() as served:
            client = await unread(served, size_bytes, count)

            def blocked() -> bool:
                return any(
                    connection._paused and connection._buffer_paused
                    for connection in served.server._port.connections
                )

            await until(blocked)
            for _ in range(1000):
                await asyncio.sleep(0)  # and it stays so
            assert blocked()
            ((connection, transport),) = served.server._port.connections.items()
            waiting = transport.get_write_buffer_size() + connection._unsent_size_bytes
            assert waiting <= UNSENT_SIZE_BYTES_MAX + 2 * size_bytes + (1 << 18)
            assert len(served.kv.wants) < count
            for _ in range(count):
                assert len((await client.receive()).body) == size_bytes

    run(test())


def test_a_client_that_never_reads_is_cut_off() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.2) as served:
            client = await unread(served, MIB, 20)
            await until(lambda: any(c._paused for c in served.server._port.connections))
            for _ in range(3):
                await asyncio.sleep(0.1)  # a sweep sees it, twice
            assert served.counters.connections_stalled == 0, "its time has not come"
            served.clock.now_s += 1
            await until(lambda: served.counters.connections_stalled == 1)
            await until(lambda: served.counters.connections_open == 0)
            assert not client.reader.at_eof()

    run(test())


# The end.


def test_stopping_finishes_what_is_being_answered() -> None:
    async def test() -> None:
        async with serving() as served:
            busy, cold, idle = [await served.connect() for _ in range(3)]
            assert (await idle.ask(request("GET", "/v1/kv/a"))).status == 404
            served.kv.holding = True
            await busy.send(request("PUT", "/v1/kv/a", b"1") + request("PUT", "/v1/kv/b", b"2"))
            await send_cold(served, cold, request("PUT", "/v1/kv/c", b"3" * 100_000))
            await until(lambda: served.kv.held == 3)
            port = served.server.listening.port
            stopping = asyncio.create_task(served.server.stop(10))
            assert await idle.is_closed()
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", port)
            await busy.send(request("PUT", "/v1/kv/late", b"4"))
            served.kv.release()
            first, second = await answers(busy, ["PUT", "PUT"])
            assert "connection" not in first.headers
            assert second.headers["connection"] == "close"
            third = await cold.receive()
            assert (third.status, third.headers["connection"]) == (201, "close")
            for client in (busy, cold):
                assert await client.is_closed()
            await stopping
            assert served.counters.connections_open == 0
            assert len(served.kv.commands) == 3

    run(test())


def test_stopping_takes_its_time_and_no_more() -> None:
    async def test() -> None:
        async with serving() as served:
            hot_one, cold = await served.connect(), await served.connect()
            await unread(served, MIB, 20)
            await until(lambda: any(c._paused for c in served.server._port.connections))
            served.kv.holding = True
            await hot_one.send(request("PUT", "/v1/kv/a", b"1"))
            await send_cold(served, cold, request("PUT", "/v1/kv/c", b"3" * 100_000))
            await until(lambda: served.kv.held == 2)
            await served.server.stop(0.05)
            assert await hot_one.is_closed()
            assert await cold.is_closed()
            await until(lambda: served.counters.connections_open == 0)
            served.kv.release()  # too late, and nobody minds

    run(test())


def test_limits_stand_in_relation() -> None:
    assert PIPELINED_MAX < MAX_MSG_QUEUE_SIZE, "we pause the socket before the parser stops"
