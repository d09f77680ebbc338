"""HTTP servers that answer as the design says a node does, and misbehave when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import web

T = TypeVar("T")

Mood = Callable[["FakeNode", web.Request], Awaitable[web.StreamResponse]]
"""How a node answers one request; without one it answers well."""


@dataclass
class FakeStore:
    """What all nodes of a fake cluster share."""

    values: dict[bytes, tuple[bytes, int, int | None]] = field(default_factory=dict)
    """key -> value, revision, ttl_ms"""
    remembered: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=dict)
    revision: int = 0
    applied: int = 0
    clients: int | None = None
    """How many have registered; None: nodes are of a version that knows none."""
    requests_max: int = 1024


class FakeNode:
    """One node: its moods are used up first, one per request."""

    def __init__(self, name: str, store: FakeStore) -> None:
        self.name, self.store = name, store
        self.moods: list[Mood] = []
        self.always: Mood | None = None
        self.seen: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/clients" and self.store.clients is None:
            return problem(404, "not found")
        self.seen.append(request)
        mood = self.moods.pop(0) if self.moods else self.always
        return await (mood(self, request) if mood else self.answer(request))

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/v1/cluster":
            return web.json_response(self.status())
        if request.path == "/v1/clients" and self.store.clients is not None:
            self.store.clients += 1
            registered = {"client": self.store.clients, "requests_max": self.store.requests_max}
            return web.json_response(registered, status=201)
        key = unquote_to_bytes(request.raw_path.split("?")[0].removeprefix("/v1/kv/"))
        if request.method in ("GET", "HEAD"):
            return self._read(key)
        token = request.headers["Idempotency-Key"]
        body = await request.read()
        replayed = token in self.store.remembered
        if not replayed:
            self.store.remembered[token] = self._write(key, request, body)
        status, reply, headers = self.store.remembered[token]
        more = {"X-Raftcache-Served-By": self.name}
        if replayed:
            more["Idempotency-Replayed"] = "true"
        return web.json_response(reply, status=status, headers=headers | more)

    def status(self) -> dict[str, Any]:
        return {
            "cluster_id": "c1",
            "node": self.name,
            "role": "leader" if self.name == "n1" else "follower",
            "leader": "n1",
            "term": 3,
            "commit_index": 10,
            "applied_index": 9,
            "revision": self.store.revision,
            "digest": "00ff",
            "memory": {"size_bytes": 3 << 19, "size_bytes_max": 64 << 20, "more": 0},
            "members": [{"name": self.name, "raft": "127.0.0.1:1", "http": self.url, "lag": 1}],
            "more": "than asked",
        }

    def _read(self, key: bytes) -> web.Response:
        if key not in self.store.values:
            return problem(404, "no such key", headers={"X-Raftcache-Served-By": self.name})
        value, revision, ttl_ms = self.store.values[key]
        headers = {
            "ETag": f'"{revision}"',
            "X-Raftcache-Create-Revision": "1",
            "X-Raftcache-Version": "2",
            "X-Raftcache-Served-By": self.name,
        }
        if ttl_ms is not None:
            headers["X-Raftcache-TTL-Ms"] = str(ttl_ms)
        return web.Response(body=value, headers=headers, content_type="text/x-test")

    def _write(
        self, key: bytes, request: web.Request, body: bytes
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        store, query = self.store, request.query
        value, revision, ttl_ms = store.values.get(key, (b"", 0, None))
        want = request.headers.get("If-Match")
        if (want and want != f'"{revision}"') or ("If-None-Match" in request.headers and revision):
            title = "precondition failed"
            return 412, {"type": kind(title), "title": title}, {"ETag": f'"{revision}"'}
        reply: dict[str, Any] = {}
        status = 200 if revision else 201
        match (request.method, query.get("op")):
            case ("PUT", None):
                value, ttl_ms = body, _ms(query.get("ttl"))
            case ("DELETE", None):
                store.values.pop(key, None)
                return 200, {"deleted": int(revision > 0), "revision": store.revision}, {}
            case ("POST", "incr"):
                value = str(int(value or b"0") + int(query["by"])).encode()
                reply["value"], status = int(value), 200
            case ("POST", "append"):
                value += body
                reply["size"], status = len(value), 200
            case ("POST", "expire" | "persist" as op):
                if not revision:
                    return 404, {"type": kind("no such key"), "title": "no such key"}, {}
                if op == "persist" and ttl_ms is None:
                    return 200, {"revision": store.revision, "ttl_ms": None}, {}
                ttl_ms = _ms(query.get("ttl")) if op == "expire" else None
        store.revision += 1
        store.applied += 1
        store.values[key] = (value, store.revision, ttl_ms)
        reply["revision"] = store.revision
        return status, reply, {"ETag": f'"{store.revision}"'}


def _ms(text: str | None) -> int | None:
    return None if text is None else int(text.removesuffix("ms"))


def kind(title: str) -> str:
    """The type of a problem, as nodes have it."""
    return "urn:raftcache:" + title.replace(" ", "-")


def problem(
    status: int, title: str, *, headers: dict[str, str] | None = None, **more: object
) -> web.Response:
    """An RFC 9457 answer."""
    body = {"type": kind(title), "title": title, "status": status, "detail": title, **more}
    response = web.json_response(body, status=status, headers=headers)
    response.content_type = "application/problem+json"
    return response


def says(status: int, title: str, **more: Any) -> Mood:
    """Answers with a problem, and does nothing."""

    async def mood(node: FakeNode, request: web.Request) -> web.StreamResponse:
        return problem(status, title, **more)

    return mood


async def hangs(node: FakeNode, request: web.Request) -> web.StreamResponse:
    """Never answers, and does nothing."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def breaks_off(node: FakeNode, request: web.Request) -> web.StreamResponse:
    """Closes the connection without an answer, and does nothing."""
    assert request.transport
    request.transport.abort()
    return web.Response()


async def acts_and_breaks_off(node: FakeNode, request: web.Request) -> web.StreamResponse:
    """Does what it was asked, and closes the connection before the answer."""
    await node.answer(request)
    return await breaks_off(node, request)


async def babbles(node: FakeNode, request: web.Request) -> web.StreamResponse:
    """Some other server."""
    return web.Response(text="<html>It works!</html>", content_type="text/html")


@asynccontextmanager
async def fake_cluster(size: int = 3) -> AsyncIterator[list[FakeNode]]:
    """Nodes on free ports of loopback, sharing one store."""
    store = FakeStore()
    nodes = [FakeNode(f"n{i}", store) for i in range(1, size + 1)]
    runners = []
    try:
        for node in nodes:
            server = web.Server(node.handle, handler_cancellation=True)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            await runner.setup()
            runners.append(runner)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            node.url = f"http://{host}:{port}"
        yield nodes
    finally:
        for runner in runners:
            await runner.cleanup()


@contextmanager
def fake_cluster_aside(size: int = 3) -> Iterator[list[FakeNode]]:
    """As fake_cluster, on a thread with a loop of its own, for callers that block."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
        loop = runner.get_loop()
        thread.submit(loop.run_forever)

        def call(work: Coroutine[Any, Any, T]) -> T:
            return asyncio.run_coroutine_threadsafe(work, loop).result(10)

        context = fake_cluster(size)
        try:
            yield call(context.__aenter__())
        finally:
            call(context.__aexit__(None, None, None))
            loop.call_soon_threadsafe(loop.stop)
