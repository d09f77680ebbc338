"""The Redis front door on real sockets: order, back-pressure, limits, its end."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from dataclasses import replace
from typing import cast

import pytest

from raftcache.command.values import Value
from raftcache.config import Address
from raftcache.errors import BadConfig
from raftcache.server.resp.client import Client
from raftcache.server.resp.connection import INBOX_SIZE_BYTES_MAX, Connection
from raftcache.server.resp.reference import BULK_SIZE_BYTES_MAX, Request
from raftcache.server.resp.server import RespServer
from raftcache.server.resp.session import PIPELINE_CALLS_MAX, Session
from raftcache.server.resp.table import NO_REPLY, CallTable
from tests.costs.counting import no_collector
from tests.support.raw_http import run, until
from tests.support.raw_resp import RespClient, ServedResp, serving_resp
from tests.support.resp_wire import packed

MIB = 1 << 20
PING = packed([b"PING"])
PONG = b"+PONG\r\n"


def subscribing(table: CallTable) -> None:
    """A room whose SUBSCRIBE makes a client one that listens."""

    def subscribe(client: Client, call: Request) -> Value:
        for channel in call[1:]:
            client.subscriptions += 1
            client.push([b"subscribe", channel, client.subscriptions])
        return NO_REPLY

    table.add("SUBSCRIBE", subscribe, is_refused_in_multi=True)


# What it serves.


def test_calls_and_their_replies() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call("SET", "a", "1", answer=b"+OK\r\n")
            await client.call("get", "a", answer=b"$1\r\n1\r\n")
            await client.call("GET", "b", answer=b"$-1\r\n")
            await client.call("gEt", "a", answer=b"$1\r\n1\r\n")
            await client.expect(b"GET a\r\n", b"$1\r\n1\r\n")
            await client.call("GET", answer=b"-ERR wrong number of arguments for 'get' command\r\n")
            await client.call("ECHO", "x", answer=b"$1\r\nx\r\n")
            assert served.counters.calls == 7

    run(test())


def test_a_pipeline_is_one_stage_and_its_replies_are_in_order() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            calls = [packed([b"INCR", b"n"])] * 50 + [packed([b"GET", b"n"])]
            answers = b"".join(b":%d\r\n" % n for n in range(1, 51)) + b"$2\r\n50\r\n"
            await client.expect(b"".join(calls), answers)
            assert [len(stage) for stage in served.redis.stages] == [51]

    run(test())


def test_calls_of_the_door_part_the_stages() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            data = b"".join(
                map(
                    packed,
                    [
                        [b"INCR", b"n"],
                        [b"PING"],
                        [b"nothing"],
                        [b"INCR", b"n"],
                        [b"get", b"n"],
                        [b"SET", b"n"],
                        [b"INCR", b"n"],
                    ],
                )
            )
            unknown = b"-ERR unknown command 'nothing', with args beginning with: \r\n"
            wrong = b"-ERR wrong number of arguments for 'set' command\r\n"
            answers = b":1\r\n+PONG\r\n" + unknown + b":2\r\n$1\r\n2\r\n" + wrong + b":3\r\n"
            await client.expect(data, answers)
            assert [len(stage) for stage in served.redis.stages] == [1, 2, 1]

    run(test())


def test_a_long_pipeline_has_several_stages() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            count = 3 * PIPELINE_CALLS_MAX
            writing = asyncio.ensure_future(client.send(packed([b"INCR", b"n"]) * count))
            for number in range(1, count + 1):
                assert await client.reader.readuntil(b"\r\n") == b":%d\r\n" % number
            await writing
            assert max(map(len, served.redis.stages)) <= PIPELINE_CALLS_MAX

    run(test())


async def with_a_call_under_way(served: ServedResp) -> RespClient:
    """A client that has called INCR; it is answered when the service lets go."""
    served.redis.holding = True
    client = await served.connect()
    await client.send(packed([b"INCR", b"n"]))
    await until(lambda: served.redis.held == 1)
    return client


def test_one_pipeline_is_under_way_at_a_time() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await with_a_call_under_way(served)
            await client.send(packed([b"INCR", b"n"]) + PING)
            await client.send(packed([b"INCR", b"n"]))
            other = await served.connect()
            await other.expect(PING, PONG)
            assert served.redis.held == 1
            served.redis.release()
            assert await client.receive(19) == b":1\r\n:2\r\n+PONG\r\n:3\r\n"

    run(test())


# Bad input.


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n:1\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
        (b"*1\r\n\xff\r\n", b"-ERR Protocol error: expected '$', got '\xff'\r\n"),
        (
            b"*2\r\n$3\r\nGET\r\n$%d\r\n" % (BULK_SIZE_BYTES_MAX + 1),
            b"-ERR Protocol error: invalid bulk length\r\n",
        ),
        (b"GET 'a\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    ],
)
def test_what_is_no_request_is_said_after_what_came_before_it(data: bytes, answer: bytes) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            served.redis.holding = True
            client = await served.connect()
            await client.send(packed([b"INCR", b"n"]) + data + PING)
            await until(lambda: served.redis.held == 1)
            served.redis.release()
            await client.expect(b"", b":1\r\n" + answer)
            assert await client.is_closed()
            assert served.counters.protocol_errors == 1

    run(test())


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\n", b"Host: localhost:6400\r\n"])
def test_a_browser_is_cut_off(data: bytes) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.send(data + b"\r\nINCR n\r\n")
            assert await client.is_closed()
            assert served.redis.data == {}

    run(test())


def test_connections_have_a_limit() -> None:
    async def test() -> None:
        async with serving_resp(connections_max=1) as served:
            first = await served.connect()
            await first.expect(PING, PONG)
            second = await served.connect()
            await second.expect(b"", b"-ERR max number of clients reached\r\n")
            assert await second.is_closed()
            await first.expect(PING, PONG)
            await first.close()
            await until(lambda: not served.port.connections)
            third = await served.connect()
            await third.expect(PING, PONG)
            assert served.counters.connections_refused == 1
            assert len(served.clients) == 1

    run(test())


# Back-pressure.


async def stuff(served: ServedResp, client: RespClient, data: bytes) -> None:
    """Send data again and again, reading nothing, until the server stops listening."""
    writer = client.writer
    while True:
        writer.write(data)
        (connection,) = served.port.connections
        if connection._is_reading_paused and writer.transport.get_write_buffer_size() > MIB:
            return
        await asyncio.sleep(0)


def test_who_reads_nothing_is_not_heard_and_costs_nobody_else_anything() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            served.redis.data[b"big"] = b"x" * 100_000
            slow = await served.connect(limit=1024)
            await stuff(served, slow, packed([b"GET", b"big"]) * 100)
            stages = len(served.redis.stages)
            (connection,) = served.port.connections
            unsent = connection.unsent_size_bytes
            quick = await served.connect()
            for _ in range(20):
                await quick.expect(packed([b"GET", b"big"]), b"$100000\r\n")
                assert await quick.receive(100_002) == b"x" * 100_000 + b"\r\n"
            assert connection.is_paused
            assert connection.unsent_size_bytes == unsent < 10 * MIB
            assert connection._heard_size_bytes <= INBOX_SIZE_BYTES_MAX + 256_000
            assert len(served.redis.stages) == stages + 20
            # It gets everything when it reads after all.
            reply = b"$100000\r\n" + b"x" * 100_000 + b"\r\n"
            for _ in range(300):
                assert await slow.receive(len(reply)) == reply

    run(test())


def test_who_reads_nothing_is_not_answered_more_than_is_told_at_once() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            redis = served.redis
            size, count = MIB // 4, 80
            redis.data[b"big"], redis.at_once_max = b"x" * size, 4
            client = await served.connect(limit=1024)
            await client.send(packed([b"GET", b"big"]) * count)
            (connection,) = served.port.connections
            await until(lambda: connection.is_paused)
            assert connection.unsent_size_bytes <= 8 * size, "in one turn it is told once"
            assert len(redis.stages) < count // 4
            for _ in range(count):
                await client.receive(size + len(b"$262144\r\n\r\n"))
            assert len(redis.stages) == count // 4

    run(test())


def test_what_is_heard_ahead_has_a_limit() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await with_a_call_under_way(served)
            await stuff(served, client, packed([b"SET", b"a", b"x" * 1000]) * 100)
            (connection,) = served.port.connections
            assert connection._heard_size_bytes <= INBOX_SIZE_BYTES_MAX + 256_000
            served.redis.release()
            assert await client.receive(4) == b":1\r\n"
            for _ in range(1000):
                assert await client.receive(5) == b"+OK\r\n"

    run(test())


def test_a_long_answer_is_no_reason_to_go() -> None:
    """Of what waits to be read, that counts which came while the client did not read."""

    async def test() -> None:
        async with serving_resp(resp_output_size_bytes_max=MIB) as served:
            served.redis.data[b"big"] = b"x" * 20 * MIB
            client = await served.connect(limit=1024)
            await client.expect(packed([b"GET", b"big"]), b"$%d\r\n" % (20 * MIB))
            (session,) = served.clients
            session.push([b"message", b"c", b"x" * 10_000])
            await asyncio.sleep(0)
            assert await client.receive(20 * MIB + 2) == b"x" * 20 * MIB + b"\r\n"
            await client.send(packed([b"GET", b"big"]))
            pushed = 0
            while served.port.connections:
                session.push([b"message", b"c", b"x" * 10_000])
                pushed += 10_000
                await asyncio.sleep(0)
            assert served.counters.connections_cut_off == 1
            assert pushed > MIB

    run(test())


def test_who_listens_and_does_not_read_is_cut_off() -> None:
    async def test() -> None:
        async with serving_resp(subscribing, resp_output_size_bytes_max=MIB) as served:
            client = await served.connect(limit=1024)
            await client.call(
                "SUBSCRIBE", "c", answer=b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
            )
            (session,) = served.clients
            while served.port.connections:
                session.push([b"message", b"c", b"x" * 10_000])
                await asyncio.sleep(0)
            assert served.counters.connections_cut_off == 1
            other = await served.connect()
            await other.expect(PING, PONG)

    run(test())


def test_one_that_cannot_be_written_to_does_not_silence_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            first, second = await served.connect(), await served.connect()
            await first.expect(PING, PONG)
            await second.expect(PING, PONG)
            broken = next(iter(served.port.connections))
            parents = Connection.flush

            def flush(self: Connection) -> None:
                if self is broken:
                    raise ZeroDivisionError
                parents(self)

            monkeypatch.setattr(Connection, "flush", flush)
            for session in served.clients:
                session.push([b"news"])
            await second.expect(b"", b"*1\r\n$4\r\nnews\r\n")
            assert await first.is_closed()
            await second.expect(PING, PONG)

    run(test())


@pytest.mark.parametrize("before", [[b"GET", b"b"], [b"PING"]])
def test_a_reply_that_cannot_be_written_ends_its_own_connection(before: list[bytes]) -> None:
    """After a GET the next one is done quickly, after others it is not."""

    async def test() -> None:
        async with serving_resp() as served:
            served.redis.data[b"a"] = cast("bytes", object())
            client, other = await served.connect(), await served.connect()
            await client.expect(packed(before), PONG if before == [b"PING"] else b"$-1\r\n")
            await client.send(packed([b"GET", b"a"]))
            assert await client.is_closed()
            await other.expect(PING, PONG)

    run(test())


# Time.


def test_who_stops_in_the_middle_is_cut_off() -> None:
    async def test() -> None:
        async with serving_resp(header_timeout_s=5.0) as served:
            halfway, idle = await served.connect(), await served.connect()
            await idle.expect(PING, PONG)
            await halfway.expect(PING + b"*2\r\n$3\r\nGET\r\n", PONG)
            await asyncio.sleep(0.02)
            served.clock.now_s += 4.9
            await asyncio.sleep(0.02)
            assert len(served.port.connections) == 2
            served.clock.now_s += 0.2
            assert await halfway.is_closed()
            await idle.expect(PING, PONG)
            assert served.counters.connections_stalled == 1

    run(test())


def test_who_does_not_read_its_replies_is_cut_off_in_the_end() -> None:
    async def test() -> None:
        async with serving_resp(header_timeout_s=5.0) as served:
            served.redis.data[b"big"] = b"x" * 100_000
            client = await served.connect(limit=1024)
            await stuff(served, client, packed([b"GET", b"big"]) * 100)
            await asyncio.sleep(0.02)
            served.clock.now_s += 5.1
            await until(lambda: not served.port.connections)
            assert served.counters.connections_stalled == 1

    run(test())


@pytest.mark.parametrize("listens", [False, True])
def test_the_idle_are_closed_if_that_is_wanted_unless_they_listen(listens: bool) -> None:
    async def test() -> None:
        async with serving_resp(subscribing, resp_idle_timeout_s=60.0) as served:
            client = await served.connect()
            if listens:
                await client.line("SUBSCRIBE", "c")
            await client.send(PING)
            await asyncio.sleep(0.02)
            served.clock.now_s += 59.0
            await asyncio.sleep(0.02)
            assert served.counters.connections_idle == 0
            served.clock.now_s += 2.0
            if listens:
                await asyncio.sleep(0.02)
            else:
                await until(lambda: not served.port.connections)
            assert served.counters.connections_idle == (not listens)

    run(test())


# The end.


def test_quit() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            data = packed([b"INCR", b"n"]) + packed([b"QUIT"]) + packed([b"INCR", b"n"])
            await client.expect(data, b":1\r\n+OK\r\n")
            assert await client.is_closed()
            assert served.redis.data == {b"n": b"1"}

    run(test())


def test_who_sends_no_more_gets_what_it_is_owed() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await with_a_call_under_way(served)
            await client.send(packed([b"INCR", b"n"]) * 2)
            client.writer.write_eof()
            (connection,) = served.port.connections
            await until(lambda: connection._ends)
            served.redis.release()
            await client.expect(b"", b":1\r\n:2\r\n:3\r\n")
            assert await client.is_closed()

    run(test())


def test_who_waits_for_something_and_leaves_is_gone() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.send(packed([b"BLPOP", b"l", b"0"]))
            await until(lambda: served.redis.held == 1)
            await client.close()
            await until(lambda: not served.port.connections)
            assert (served.redis.held, served.redis.cancelled) == (0, 1)

    run(test())


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard behind it", "in the pipeline"])
def test_who_leaves_before_its_wait_begins_is_gone_too(is_heard: bool) -> None:
    """Its end was noticed while an earlier call was under way, and no end comes twice."""

    async def test() -> None:
        async with serving_resp() as served:
            client, served.redis.holding = await served.connect(), True
            calls = packed([b"INCR", b"n"]), packed([b"BLPOP", b"l", b"0"])
            await client.send(b"".join(calls[: 1 if is_heard else 2]))
            await until(lambda: served.redis.held == 1)
            if is_heard:
                await client.send(calls[1])
            client.writer.write_eof()
            (connection,) = served.port.connections
            await until(lambda: connection._ends)
            served.redis.release()
            await client.expect(b"", b":1\r\n")
            assert await client.is_closed()
            assert (served.redis.held, served.redis.cancelled) == (0, 1)

    run(test())


def test_who_leaves_and_takes_nothing_is_told_what_there_is_at_once() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client, served.redis.holding = await served.connect(), True
            read = packed([b"XREAD", b"STREAMS", b"s", b"0"])
            await client.send(packed([b"INCR", b"n"]) + read)
            await until(lambda: served.redis.held == 1)
            client.writer.write_eof()
            (connection,) = served.port.connections
            await until(lambda: connection._ends)
            served.redis.release_first()
            assert (served.redis.held, served.redis.cancelled) == (1, 0)
            served.redis.release()
            await client.expect(b"", b":1\r\n-ERR this fake does not know XREAD\r\n")
            assert await client.is_closed()

    run(test())


def test_who_leaves_while_something_is_taken_for_it_is_told_and_does_not_wait_on() -> None:
    async def test() -> None:
        async with serving_resp(header_timeout_s=0.01) as served:
            client, served.redis.holding = await served.connect(), True
            await client.send(packed([b"INCR", b"n"]) + packed([b"BLPOP", b"l", b"0"]))
            await until(lambda: served.redis.held == 1)
            client.writer.write_eof()
            (connection,) = served.port.connections
            await until(lambda: connection._ends)
            served.redis.is_taking = True
            served.redis.release()
            await client.expect(b"", b":1\r\n")
            assert served.redis.held == 1
            served.redis.is_taking = False  # there was nothing, and now it waits

            def is_over() -> bool:
                served.clock.now_s += 20.0
                return not served.port.connections

            await until(is_over)
            assert await client.is_closed()
            assert (served.redis.held, served.redis.cancelled) == (0, 1)

    run(test())


def test_stopping_finishes_what_is_being_done() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            busy, idle, waiting = [await served.connect() for _ in range(3)]
            await idle.expect(PING, PONG)
            await waiting.send(packed([b"BLPOP", b"l", b"0"]))
            await until(lambda: served.redis.held == 1)
            served.redis.holding = True
            await busy.send(packed([b"INCR", b"n"]))
            await until(lambda: served.redis.held == 2)
            stopping = asyncio.ensure_future(served.server.stop(10.0))
            assert await idle.is_closed()
            assert await waiting.is_closed()
            assert not stopping.done()
            served.redis.release()
            await busy.expect(b"", b":1\r\n")
            assert await busy.is_closed()
            await stopping

    run(test())


def test_stopping_has_an_end() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await with_a_call_under_way(served)
            await served.server.stop(0.02)
            assert await client.is_closed()
            served.redis.release()  # nobody is there to be told

    run(test())


@pytest.mark.parametrize("holding", [False, True], ids=["answered", "answered later"])
def test_a_client_that_has_gone_leaves_nothing_to_the_collector(holding: bool) -> None:
    at_once = struct.pack("ii", 1, 0)  # a client that only closes gets what it is owed before

    def alive() -> int:
        return sum(isinstance(one, (Connection, Session)) for one in gc.get_objects())

    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call("SET", "a", "1", answer=b"+OK\r\n")
            assert alive() == 2
            served.redis.holding = holding
            await client.send(packed([b"INCR", b"n"]))
            await until(lambda: served.redis.held == 1 or not holding)
            end: socket.socket = client.writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            await client.close()
            await until(lambda: not served.port.connections)
            served.redis.release()
            await until(lambda: alive() == 0)

    with no_collector():
        run(test())


def test_an_address_that_is_taken() -> None:
    async def test() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            async with serving_resp() as served:
                address = Address("127.0.0.1", taken.getsockname()[1])
                server = RespServer(
                    served.redis,
                    replace(served.server._config, resp=address),
                    served.clock,
                    served.counters,
                    served.clients,
                    (),
                )
                with pytest.raises(BadConfig, match="cannot listen"):
                    await server.start()

    run(test())
