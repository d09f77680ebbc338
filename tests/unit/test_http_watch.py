"""GET /v1/watch on real sockets: streams, resuming, long polls, slow clients, bad input."""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from typing import Any

import pytest

from raftcache.server.connection import PROGRESS_SIZE_BYTES
from raftcache.server.watch import POLL_REVISIONS_MAX, UNSENT_SIZE_BYTES_MAX
from raftcache.service import watch
from raftcache.service.watch import PROGRESS_BEATS
from tests.support.raw_http import Client, Response, Served, request, run, serving, until


class Stream:
    """A client's end of a watch."""

    def __init__(self, client: Client, head: bytes) -> None:
        self.client, self.head = client, head
        self.is_chunked = b"chunked" in head

    async def event(self) -> dict[str, str]:
        """The next event, by its fields; empty at the end of the stream."""
        text = (await self._piece()).decode()
        if not text:
            return {}
        assert text.endswith("\n\n")
        return dict(line.split(": ", 1) for line in text.strip().split("\n"))  # type: ignore[misc]

    async def changes(self) -> Any:
        event = await self.event()
        assert "event" not in event, event
        data = json.loads(event["data"])
        assert event["id"] == str(data["revision"])
        return data

    async def _piece(self) -> bytes:
        reader = self.client.reader
        if not self.is_chunked:
            return await reader.readuntil(b"\n\n")
        size = int(await reader.readline(), 16)
        piece = await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
        return piece


async def begin(
    served: Served, query: str = "", headers: dict[str, str] | None = None, version: str = "1.1"
) -> Stream:
    """A watch that has begun; the first event is not read yet."""
    client = await served.connect()
    asked = request("GET", "/v1/watch" + query, headers=headers)
    await client.send(asked.replace(b"HTTP/1.1", b"HTTP/" + version.encode(), 1))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"200", head
    return Stream(client, head)


async def put(served: Served, key: str, value: bytes = b"v", query: str = "") -> Response:
    return await served.ask("PUT", f"/v1/kv/{key}{query}", value)


def test_a_stream() -> None:
    async def test() -> None:
        async with serving() as served:
            await put(served, "a", b"1")
            stream = await begin(served)
            assert b"Content-Type: text/event-stream\r\n" in stream.head
            assert b"Cache-Control: no-store\r\n" in stream.head
            assert await stream.event() == {
                "event": "progress",
                "id": "1",
                "data": '{"revision":1}',
            }
            await put(served, "a%ff%00", b"\xff\n\n", "?ttl=1m")
            await served.ask("DELETE", "/v1/kv/a")
            assert await stream.changes() == {
                "revision": 2,
                "changes": [
                    {
                        "event": "put",
                        "key": "a%FF%00",
                        "value_base64": b64encode(b"\xff\n\n").decode(),
                        "content_type": None,
                        "revision": 2,
                        "create_revision": 2,
                        "version": 1,
                        "ttl_ms": 60_000,
                        "lease": None,
                    }
                ],
            }
            assert await stream.changes() == {
                "revision": 3,
                "changes": [{"event": "delete", "key": "a"}],
            }
            again = await begin(served, "?since=0", {"Last-Event-ID": "2"})
            assert (await again.event())["id"] == "2"
            assert (await again.changes())["revision"] == 3

    run(test())


def test_a_stream_over_http_1_0_ends_with_the_connection() -> None:
    async def test() -> None:
        async with serving() as served:
            stream = await begin(served, "?since=0", version="1.0")
            assert not stream.is_chunked
            await stream.event()
            await put(served, "a")
            assert (await stream.changes())["revision"] == 1
            served.hub.stop("enough")
            assert (await stream.event())["event"] == "error"
            assert await stream.client.is_closed()

    run(test())


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("key=b", ["b"]),
        ("key=b%2f", ["b/"]),
        ("prefix=b", ["b", "b/", "bb"]),
        ("prefix=", ["a", "b", "b/", "bb", "c", "%FF"]),
        ("start=b%2f&end=c", ["b/", "bb"]),
        ("start=c", ["c", "%FF"]),
        ("end=b", ["a"]),
        ("prefix=%ff", ["%FF"]),
        ("events=delete", []),
        ("events=delete,put&prefix=a", ["a"]),
    ],
)
def test_which_changes(query: str, seen: list[str]) -> None:
    async def test() -> None:
        async with serving() as served:
            for key in ("a", "b", "b%2F", "bb", "c", "%ff"):
                await put(served, key)
            polled = await served.ask("GET", f"/v1/watch?{query}&since=0&wait=1ms")
            assert polled.status == 200
            got = [c["key"] for event in polled.json["events"] for c in event["changes"]]
            assert got == seen
            assert polled.json["revision"] <= 6

    run(test())


def test_previous_values_and_a_transaction() -> None:
    async def test() -> None:
        async with serving() as served:
            await put(served, "a", b"1")
            stream = await begin(served, "?prev=true")
            await stream.event()
            body = {
                "success": [
                    {"op": "put", "key": "a", "value": "2"},
                    {"op": "put", "key": "b", "value": "3"},
                ]
            }
            assert (await served.ask("POST", "/v1/txn", json.dumps(body).encode())).status == 200
            got = await stream.changes()
            assert [(c["key"], c["value_base64"]) for c in got["changes"]] == [
                ("a", b64encode(b"2").decode()),
                ("b", b64encode(b"3").decode()),
            ]
            assert got["changes"][0]["previous"]["value_base64"] == b64encode(b"1").decode()
            assert got["changes"][0]["previous"]["revision"] == 1
            assert "previous" not in got["changes"][1]

    run(test())


def test_previous_values_that_are_too_much_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.service.tour.PREVIOUS_SIZE_BYTES_MAX", 1000)

    async def test() -> None:
        async with serving() as served:
            for key in ("a", "b"):
                await put(served, key, b"v" * 500)
            await served.ask("DELETE", "/v1/kv?all=true")
            await put(served, "a", b"v" * 500)
            await served.ask("DELETE", "/v1/kv/a")
            polled = await served.ask("GET", "/v1/watch?since=2&wait=1s&prev=true")
            first, _, last = polled.json["events"]
            assert first["lacks_previous"] is True
            assert first["changes"] == [
                {"event": "delete", "key": "a"},
                {"event": "delete", "key": "b"},
            ]
            assert "lacks_previous" not in last
            assert len(last["changes"][0]["previous"]["value_base64"]) > 500
            plain = await served.ask("GET", "/v1/watch?since=2&wait=1s")
            assert not any("lacks_previous" in event for event in plain.json["events"])

    run(test())


# Long polls.


def test_a_long_poll_answers_at_the_first_change() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.send(request("GET", "/v1/watch?prefix=a&since=0&wait=10m"))
            await until(lambda: served.hub.gauges()["watchers"] == 1)
            await put(served, "b")
            await put(served, "a")
            answer = await client.receive()
            assert answer.headers["content-type"] == "application/json"
            assert answer.json["revision"] == 2
            assert [event["revision"] for event in answer.json["events"]] == [2]
            assert served.hub.gauges()["watchers"] == 0
            answer = await client.ask(request("GET", "/v1/watch?prefix=a&since=2&wait=1ms"))
            assert answer.json == {"revision": 2, "events": []}

    run(test())


def test_a_long_poll_takes_what_fits_and_goes_on_from_there() -> None:
    async def test() -> None:
        async with serving() as served:
            total = POLL_REVISIONS_MAX + 50
            client = await served.connect()
            await client.send(request("PUT", "/v1/kv/a", b"v") * total)
            for _ in range(total):
                await client.receive()
            since, seen = 0, []
            while since < total:
                answer = await client.ask(request("GET", f"/v1/watch?since={since}&wait=10s"))
                revisions = [event["revision"] for event in answer.json["events"]]
                assert 0 < len(revisions) <= POLL_REVISIONS_MAX
                seen += revisions
                since = answer.json["revision"]
            assert seen == list(range(1, total + 1))

    run(test())


def test_a_long_poll_whose_client_leaves() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.send(request("GET", "/v1/watch?wait=10m"))
            await until(lambda: served.hub.gauges()["watchers"] == 1)
            await client.close()
            await until(lambda: served.hub.gauges()["watchers"] == 0)

    run(test())


# How a watch ends.


def test_a_client_that_leaves_is_forgotten_at_once() -> None:
    async def test() -> None:
        async with serving() as served:
            gone, reset, stays = [await begin(served) for _ in range(3)]
            for stream in (gone, reset, stays):
                await stream.event()
            assert served.hub.gauges()["watchers"] == 3
            await gone.client.close()
            reset.client.writer.transport.abort()
            await until(lambda: served.hub.gauges()["watchers"] == 1)
            await put(served, "a")
            assert (await stays.changes())["revision"] == 1

    run(test())


def test_the_connection_goes_on_after_a_watch_was_ended() -> None:
    async def test() -> None:
        async with serving() as served:
            stream = await begin(served)
            await stream.event()
            served.replica.expelled = "it was removed"
            served.hub._tick()
            event = await stream.event()
            assert event["event"] == "error"
            problem = json.loads(event["data"])
            assert (problem["status"], problem["title"]) == (503, "no leader")
            assert "it was removed" in problem["detail"]
            assert await stream.event() == {}
            assert (await stream.client.ask(request("GET", "/livez"))).status == 200

    run(test())


def test_the_server_stops_without_waiting_for_watchers() -> None:
    async def test() -> None:
        async with serving() as served:
            stream = await begin(served)
            await stream.event()
            poll = await served.connect()
            await poll.send(request("GET", "/v1/watch?wait=10m"))
            await until(lambda: served.hub.gauges()["watchers"] == 2)
            served.hub.stop("this node is shutting down")
            await served.server.stop(30.0)  # longer than the test may take
            event = await stream.event()
            assert "shutting down" in json.loads(event["data"])["detail"]
            answer = await poll.receive()
            assert (answer.status, answer.json["title"]) == (503, "no leader")

    run(test())


def test_progress_when_idle() -> None:
    async def test() -> None:
        async with serving() as served:
            stream = await begin(served, "?key=quiet")
            await stream.event()
            await put(served, "a")
            for _ in range(PROGRESS_BEATS):
                served.hub._tick()
            assert await stream.event() == {
                "event": "progress",
                "id": "1",
                "data": '{"revision":1}',
            }

    run(test())


async def begin_without_reading(served: Served) -> socket.socket:
    """A watch over a socket whose buffers are small and never read."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", served.server.listening.port))
    await loop.sock_sendall(client, request("GET", "/v1/watch"))
    await until(lambda: served.hub.gauges()["watchers"] == 1)
    return client


async def read_all(client: socket.socket) -> bytes:
    loop, pieces = asyncio.get_running_loop(), []
    while piece := await loop.sock_recv(client, 1 << 20):
        pieces.append(piece)
        if piece.endswith(b"0\r\n\r\n"):
            break
    return b"".join(pieces)


def test_a_slow_client_is_cut_off_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BACKLOG_EVENTS_MAX", 20)

    async def test() -> None:
        async with serving() as served:
            with await begin_without_reading(served) as slow:
                other = await begin(served)
                await other.event()
                revision, value = 0, b"v" * (UNSENT_SIZE_BYTES_MAX // 2)
                while served.hub.gauges()["watchers_cut_off"] == 0:
                    await put(served, "a", value)
                    revision += 1
                    assert (await other.changes())["revision"] == revision
                assert served.hub.gauges()["watchers"] == 1
                held = [t.get_write_buffer_size() for t in served.server._port.connections.values()]
                assert max(held) < 2 * UNSENT_SIZE_BYTES_MAX
                text = await read_all(slow)
                last = text.split(b"event: error\ndata: ")[1].split(b"\n")[0]
                assert json.loads(last)["status"] == 429
                assert text.endswith(b"0\r\n\r\n")

    run(test())


def test_a_client_that_never_reads_loses_its_connection() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.5) as served:
            with await begin_without_reading(served):
                while served.hub.gauges()["watchers_behind"] == 0:
                    await put(served, "a", b"v" * UNSENT_SIZE_BYTES_MAX)
                await asyncio.sleep(0.02)  # so that a sweep has noted it
                served.clock.now_s += 1
                await until(lambda: served.hub.gauges()["watchers"] == 0)
                assert served.counters.connections_stalled == 1

    run(test())


class Unread:
    """A transport that has so many bytes to send."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes, self.is_aborted = size_bytes, False

    def get_write_buffer_size(self) -> int:
        return self.size_bytes

    def abort(self) -> None:
        self.is_aborted = True


def test_a_client_that_reads_as_much_as_it_is_sent_is_not_taken_for_one_that_stands_still() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=10.0) as served:
            stream = await begin(served)
            await stream.event()
            (connection,) = served.server._port.connections
            assert connection.stream is not None
            transport: Any = Unread(100)
            for second in range(30):
                connection.stream.written_size_bytes += PROGRESS_SIZE_BYTES
                connection.check(transport, 2000.0 + second)
            assert not transport.is_aborted
            for second in range(30, 42):
                connection.check(transport, 2000.0 + second)
            assert transport.is_aborted

    run(test())


def test_a_client_that_reads_late_gets_everything() -> None:
    async def test() -> None:
        async with serving() as served:
            with await begin_without_reading(served) as slow:
                while served.hub.gauges()["watchers_behind"] == 0:
                    await put(served, "a", b"v" * (UNSENT_SIZE_BYTES_MAX // 2))
                await put(served, "a", b"last")
                text, last = b"", served.kv.machine.revision
                while b"\nid: %d\n" % last not in text:
                    text += await asyncio.get_running_loop().sock_recv(slow, 1 << 20)
                ids = [int(part.split(b"\n")[0]) for part in text.split(b"\nid: ")[1:]]
                assert ids == list(range(last + 1))  # 0: where it began

    run(test())


# What is refused.


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("key=", "the key is empty"),
        ("key=a&prefix=a", "key excludes prefix"),
        ("key=a&start=a&end=b", "key excludes start and end"),
        ("prefix=a&start=b", "prefix excludes start and end"),
        ("start=b&end=a", "a range starts before its end"),
        ("start=b&end=b", "a range starts before its end"),
        ("prefix=" + "a" * 1025, "prefix has at most 1024 bytes"),
        ("start=" + "a" * 1025, "start has at most 1024 bytes"),
        ("key=" + "a" * 1025, "key: a key has at most 1024 bytes"),
        ("prefix=%2", "broken percent-encoding"),
        ("since=x", "since must be a revision"),
        ("since=-1", "since must be a revision"),
        ("since=", "since must be a revision"),
        ("since=9223372036854775808", "since must be a revision"),
        ("since=99", "since=99 has not been yet: the store is at revision 1"),
        ("since=1&since=1", "given twice"),
        ("events=", "is none of put, delete, expire, evict"),
        ("events=put,gone", "events='gone' is none of put, delete, expire, evict"),
        ("prev=yes", "prev must be true or false"),
        ("wait=soon", "is no duration"),
        ("wait=0s", "is not from 1 ms"),
        ("wait=11m", "wait='11m' is over 10m"),
        ("pretty=1", "unknown query parameter 'pretty'"),
    ],
)
def test_bad_input(query: str, detail: str) -> None:
    async def test() -> None:
        async with serving() as served:
            await put(served, "a")
            for more in ("", "&wait=1s") if "wait" not in query else ("",):
                response = await served.ask("GET", f"/v1/watch?{query}{more}")
                assert response.status == 400
                assert detail in response.json["detail"]
            assert served.hub.gauges()["watchers"] == 0

    run(test())


@pytest.mark.parametrize("text", ["", "x", "1,2", "-1"])
def test_a_bad_last_event_id(text: str) -> None:
    async def test() -> None:
        async with serving() as served:
            response = await served.ask("GET", "/v1/watch", headers={"Last-Event-ID": text})
            assert response.status == 400
            assert "Last-Event-ID must be a revision" in response.json["detail"]

    run(test())


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "HEAD"])
def test_other_methods(method: str) -> None:
    async def test() -> None:
        async with serving() as served:
            response = await served.ask(method, "/v1/watch")
            assert (response.status, response.headers["allow"]) == (405, "GET")

    run(test())


def test_limits_and_a_node_without_a_leader() -> None:
    async def test() -> None:
        async with serving(watchers_max=1) as served:
            await begin(served)
            response = await served.ask("GET", "/v1/watch")
            assert response.status == 429
            assert response.headers["retry-after"] == "1"
            assert "this node has 1 watchers already" in response.json["detail"]
        async with serving() as served:
            served.replica.confirms = None
            assert (await served.ask("GET", "/v1/watch?wait=1s")).status == 503
            assert (await served.ask("GET", "/v1/watch?since=0&wait=1ms")).status == 200

    run(test())


def test_history_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 4)

    async def test() -> None:
        async with serving() as served:
            for _ in range(6):
                await put(served, "a")
            response = await served.ask("GET", "/v1/watch?since=0")
            assert response.status == 410
            oldest = response.json["oldest_revision"]
            assert oldest == served.kv.machine.history.first_revision > 0
            assert f"oldest known here is {oldest}" in response.json["detail"]
            assert (await served.ask("GET", f"/v1/watch?since={oldest}&wait=1s")).status == 200

    run(test())
