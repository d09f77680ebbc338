"""The client's watch: resuming elsewhere, without gap or repeat, and when it gives up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from raftcache.client import Change, Changes, RaftcacheClient, SyncClient
from raftcache.client.sse import Event, EventParser
from raftcache.errors import BadRequest, Compacted, NotLeader, Refused
from tests.support.fake_node import FakeNode, Mood, fake_cluster, fake_cluster_aside, problem, says
from tests.support.raw_http import Served, run, serving, until


def put(revision: int, key: str = "a") -> bytes:
    return (
        b'id: %d\ndata: {"revision":%d,"changes":[{"event":"put","key":"%b","value_base64":"dg==",'
        b'"revision":%d,"create_revision":1,"version":2,"content_type":null,"ttl_ms":null}]}\n\n'
    ) % (revision, revision, key.encode(), revision)


def progress(revision: int) -> bytes:
    return b'event: progress\nid: %d\ndata: {"revision":%d}\n\n' % (revision, revision)


def error(status: int, **more: object) -> bytes:
    body = problem(status, "it ends", **more).body
    return b"event: error\ndata: %b\n\n" % bytes(body)  # type: ignore[arg-type]


def streams(*pieces: bytes, hangs: bool = False) -> Mood:
    """Sends these, then breaks off, or sends nothing any more."""

    async def mood(node: FakeNode, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if hangs:
            await asyncio.Event().wait()
        assert request.transport
        request.transport.close()
        return response

    return mood


async def take(watch: Any, count: int) -> list[int]:
    return [(await anext(watch)).revision for _ in range(count)]


def sinces(*nodes: FakeNode) -> list[str | None]:
    return [request.query.get("since") for node in nodes for request in node.seen]


def test_a_stream_in_any_pieces() -> None:
    text = b": a comment\n\nevent: x\r\ndata: 1\r\ndata:2\r\n\r\nid: 7\ndata: \n\n\n\n"
    whole = EventParser().feed(text)
    assert whole == [Event("x", b"1\n2"), Event("message", b"")]
    for at in range(len(text)):
        parser = EventParser()
        assert parser.feed(text[:at]) + parser.feed(text[at:]) == whole
    parser = EventParser()
    assert [e for i in range(len(text)) for e in parser.feed(text[i : i + 1])] == whole


def test_it_resumes_elsewhere_without_gap_or_repeat() -> None:
    async def test() -> None:
        async with fake_cluster() as (n1, n2, n3):
            n1.moods = [streams(progress(4), put(5), put(7)[:20])]
            n2.moods = [streams(progress(5), put(7), progress(9), hangs=False)]
            n3.moods = [streams(progress(9), put(9), put(12), hangs=True)]
            async with (
                RaftcacheClient([n1.url, n2.url, n3.url]) as client,
                client.watch(prefix=b"a/\xff", events=["put"], previous=True) as watch,
            ):
                assert watch.revision == 4
                assert await take(watch, 3) == [5, 7, 12]
                assert (watch.revision, watch.endpoint) == (12, n3.url)
            assert sinces(n1, n2, n3) == [None, "5", "9"]
            assert n1.seen[0].raw_path == "/v1/watch?prefix=a%2F%FF&events=put&prev=true"

    run(test())


def test_what_it_gives() -> None:
    async def test() -> None:
        body = (
            b'data: {"revision":5,"changes":[{"event":"delete","key":"%FF","previous":{"key":"%FF",'
            b'"value_base64":"/w==","content_type":"x/y","revision":4,"create_revision":3,'
            b'"version":2,"ttl_ms":7}}]}\n\n'
        )
        async with fake_cluster(1) as (node,):
            node.moods = [streams(progress(4), body)]
            async with (
                RaftcacheClient([node.url]) as client,
                client.watch(key=b"\xff") as watch,
            ):
                (change,) = (await anext(watch)).changes
        assert (change.kind, change.key, change.entry) == ("delete", b"\xff", None)
        assert change.previous is not None
        assert (change.previous.value, change.previous.ttl_ms) == (b"\xff", 7)

    run(test())


def test_a_node_that_does_not_begin_is_left() -> None:
    async def test() -> None:
        async with fake_cluster() as (n1, n2, n3):
            n1.always = says(503, "no leader", definite=True)
            n2.always = says(429, "too many requests")
            n3.moods = [streams(progress(1), put(2))]
            async with (
                RaftcacheClient([n1.url, n2.url, n3.url]) as client,
                client.watch(since=1) as watch,
            ):
                assert await take(watch, 1) == [2]

    run(test())


def test_an_error_at_the_end_of_a_stream_is_a_reason_to_go_elsewhere() -> None:
    async def test() -> None:
        async with fake_cluster(2) as (n1, n2):
            n1.moods = [streams(progress(1), put(2), error(503))]
            n2.moods = [streams(progress(2), put(3))]
            async with (
                RaftcacheClient([n1.url, n2.url]) as client,
                client.watch() as watch,
            ):
                assert await take(watch, 2) == [2, 3]

    run(test())


def test_what_one_node_has_forgotten_another_may_know() -> None:
    async def test() -> None:
        async with fake_cluster(2) as (n1, n2):
            n1.moods = [streams(progress(1), error(410, oldest_revision=9))]
            n2.moods = [streams(progress(1), put(2), error(410, oldest_revision=8))]
            n1.always = says(410, "compacted", oldest_revision=9)
            n2.always = says(410, "compacted", oldest_revision=8)
            async with (
                RaftcacheClient([n1.url, n2.url]) as client,
                client.watch() as watch,
            ):
                assert await take(watch, 1) == [2]
                with pytest.raises(Compacted) as raised:
                    await anext(watch)
                assert raised.value.oldest_revision == 8
                with pytest.raises(Compacted):
                    async with client.watch(since=1):
                        pass

    run(test())


def test_nobody_goes_on_with_it() -> None:
    async def test() -> None:
        async with fake_cluster(2) as (n1, n2):
            n1.moods = [streams(progress(1))]
            n1.always = n2.always = says(503, "no leader", definite=True)
            async with (
                RaftcacheClient([n1.url, n2.url], timeout_s=0.2) as client,
                client.watch(patience_s=0.2) as watch,
            ):
                with pytest.raises(NotLeader):
                    await anext(watch)
                with pytest.raises(NotLeader):
                    async with client.watch():
                        pass

    run(test())


def test_a_silent_node_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.client.watch.SILENCE_S", 0.1)
    monkeypatch.setattr("raftcache.client.watch.BEGIN_TIMEOUT_S", 0.1)

    async def test() -> None:
        async with fake_cluster() as (n1, n2, n3):
            n1.moods = [streams(hangs=True)]
            n2.moods = [streams(progress(1), put(2), hangs=True)]
            n3.moods = [streams(progress(2), put(3), hangs=True)]
            async with (
                RaftcacheClient([n1.url, n2.url, n3.url]) as client,
                client.watch() as watch,
            ):
                assert await take(watch, 2) == [2, 3]

    run(test())


def test_some_other_server() -> None:
    async def test() -> None:
        async with fake_cluster(1) as (node,):
            for mood in (streams(b"data: x\n\n"), streams(b"<html>"), says(302, "moved")):
                node.always = mood
                async with RaftcacheClient([node.url], timeout_s=0.1) as client:
                    with pytest.raises(Refused, match=r"no raftcache node|broke off"):
                        async with client.watch():
                            pass

    run(test())


def test_bad_input() -> None:
    async def test() -> None:
        async with RaftcacheClient(["http://127.0.0.1:9"]) as client:
            with pytest.raises(BadRequest):
                client.watch(key=b"a", prefix=b"a")
            with pytest.raises(BadRequest):
                client.watch(prefix=b"a", end=b"b")
            with pytest.raises(BadRequest):
                client.watch(key=b"")
            with pytest.raises(Refused, match="use `async with`"):
                await client.watch(patience_s=0)._receive()
        async with serving() as served, _client(served) as client:
            with pytest.raises(BadRequest, match="has not been yet"):
                async with client.watch(since=9):
                    pass

    run(test())


@contextlib.asynccontextmanager
async def _client(served: Served) -> AsyncIterator[RaftcacheClient]:
    async with RaftcacheClient([f"http://127.0.0.1:{served.server.listening.port}"]) as client:
        yield client


def test_against_the_real_front_door() -> None:
    async def test() -> None:
        async with serving() as served, _client(served) as client:
            async with client.watch(prefix=b"\xff") as watch, client.watch(key=b"b") as other:
                await client.put(b"\xff\n", b"\x00\xff", content_type="text/x", ttl_ms=60_000)
                await client.put(b"b", b"")
                await client.delete(b"\xff\n")
                first, second = await anext(watch), await anext(watch)
                assert (first.revision, second.revision) == (1, 3)
                (change,) = first.changes
                assert change.entry is not None
                assert (change.key, change.entry.value) == (b"\xff\n", b"\x00\xff")
                assert (change.entry.content_type, change.entry.ttl_ms) == ("text/x", 60_000)
                assert second.changes == (Change("delete", b"\xff\n"),)
                (change,) = (await anext(other)).changes
                assert change.entry is not None
                assert change.entry.value == b""
            await until(lambda: served.hub.gauges()["watchers"] == 0)

    run(test())


def test_the_blocking_one() -> None:
    with fake_cluster_aside(2) as (n1, n2):
        n1.moods = [streams(progress(1), put(2))]
        n2.moods = [streams(progress(2), put(3, "b"), hangs=True)]
        with SyncClient([n1.url, n2.url]) as client, client.watch() as watch:
            assert watch.revision == 1
            got: list[Changes] = []
            for changes in watch:
                got.append(changes)
                if len(got) == 2:
                    break
            assert [c.revision for c in got] == [2, 3]
            assert got[1].changes[0].key == b"b"
