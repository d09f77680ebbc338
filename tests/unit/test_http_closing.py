"""What a closed connection leaves behind: nothing that only Python's collector would find.

It looks at what is old only when there is much of it (collector.py), and counts containers, not
bytes: of clients that go away in the middle of a body, gigabytes would wait for it.
"""

from __future__ import annotations

import asyncio
import gc

import pytest
from aiohttp import web

from raftcache.server.connection import Connection
from raftcache.service.watch import Watcher
from tests.costs.counting import no_collector
from tests.support.raw_http import Served, run, serving, until

LONG = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n"
CHUNKED = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"


def get(target: bytes, headers: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, headers)


UNANSWERED = {
    "nothing": b"",
    "half a head": b"GET /v1/kv/a HTTP/1.1\r\n",
    "no body": LONG + b"\r\n",
    "half a body": LONG + b"\r\n" + bytes(200_000),
    "half a body after a head that is known": get(b"/v1/kv/a")
    + b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    "some chunks": CHUNKED + CHUNK,
    "half a transaction": b"POST /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    "a long poll": get(b"/v1/watch?key=a&wait=5m"),
    "a long poll and another request": get(b"/v1/watch?key=a&wait=5m") + get(b"/livez"),
    "a refill that is waited for": get(b"/v1/kv/missed?vivify=5m&wait=5m"),
    "a lock that is waited for": b"POST /v1/locks/l?ttl=1m&wait=5m HTTP/1.1\r\nHost: x\r\n\r\n",
    "a lock that is followed": get(b"/v1/locks/l?since=0&wait=5m"),
}
ANSWERED = {
    "a read": get(b"/v1/kv/a"),
    "the last read": get(b"/v1/kv/a", b"Connection: close\r\n"),
    "a write": LONG + b"\r\n" + bytes(300_000),
    "a value that is too large": LONG.replace(b"300000", b"3000000") + b"\r\n",
    "a broken chunk": CHUNKED + CHUNK + b"zz\r\n",
    "nothing to read": b"GARBAGE\r\n\r\n",
    "no such path": get(b"/nothing"),
    "no such method": b"PATCH /v1/txn HTTP/1.1\r\nHost: x\r\n\r\n",
    "a mistake": get(b"/v1/kv?x=1"),
    "a listing": get(b"/v1/kv"),
    "a stream": get(b"/v1/watch?key=a"),
    "a stream and other requests": get(b"/v1/watch?key=a") + 3 * get(b"/v1/kv/a"),
    "an expectation": LONG + b"Expect: 100-continue\r\n\r\n",
    "no expectation": LONG + b"Expect: tea\r\n\r\n",
    "another protocol": get(b"/v1/kv/a", b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
}


def left(*kinds: type) -> int:
    """How many there are, found or not."""
    return sum(isinstance(one, kinds) for one in gc.get_objects())


async def come_and_go(served: Served, sent: bytes, *, answered: bool) -> None:
    client = await served.connect()
    served.clients.remove(client)
    await client.send(sent)
    await until(lambda: served.counters.connections_open == 1)
    if answered:
        assert await client.reader.read(1)
    else:
        await asyncio.sleep(0)
    client.writer.transport.abort()


@pytest.mark.parametrize("sent", UNANSWERED.values(), ids=UNANSWERED)
def test_who_goes_unanswered_leaves_nothing(sent: bytes) -> None:
    async def test() -> None:
        async with serving() as served:
            await served.ask("GET", "/v1/kv/missed?vivify=5m")
            await served.ask("POST", "/v1/locks/l?ttl=5m")
            await until(lambda: served.counters.connections_open == 0)
            with no_collector():
                await come_and_go(served, sent, answered=False)
                await until(lambda: left(Connection, Watcher) == 0)

    run(test())


@pytest.mark.parametrize("sent", ANSWERED.values(), ids=ANSWERED)
def test_who_goes_after_an_answer_leaves_nothing(sent: bytes) -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.1) as served:
            with no_collector():
                await come_and_go(served, sent, answered=True)
                await until(lambda: left(Connection, Watcher) == 0)

    run(test())


@pytest.mark.parametrize("target", ["/nothing", "/v1/kv?x=1", "/v1/watch?key=a&since=9"])
def test_a_refused_request_leaves_nothing_on_a_connection_that_stays(target: str) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            with no_collector():
                for _ in range(5):
                    assert (await client.ask(get(target.encode()))).status >= 400
                await until(lambda: left(web.BaseRequest) <= 1)

    run(test())


def test_who_was_not_let_in_leaves_nothing() -> None:
    async def test() -> None:
        async with serving(connections_max=1) as served:
            await served.connect()
            await until(lambda: served.counters.connections_open == 1)
            with no_collector():
                refused = await served.connect()
                assert (await refused.receive()).status == 503
                served.clients.remove(refused)
                await refused.close()
                await until(lambda: left(Connection) == 1)

    run(test())


def test_a_long_poll_that_is_over_leaves_nothing() -> None:
    async def test() -> None:
        async with serving() as served:
            await served.ask("PUT", "/v1/kv/a", b"v")
            client = await served.connect()
            with no_collector():
                for since in (0, 1):
                    target = b"/v1/watch?key=a&since=%d&wait=10ms" % since
                    assert len((await client.ask(get(target))).json["events"]) == 1 - since
                await until(lambda: left(Watcher) == 0)

    run(test())
