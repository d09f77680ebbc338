"""The HTTP front door in this process over a FakeKv, and a client that sends bytes as told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop

from raftcache.config import Address, Config, Limits
from raftcache.errors import RaftcacheError
from raftcache.metrics import HttpCounters, Metrics
from raftcache.server.clients import ClientRoutes
from raftcache.server.http import HttpServer
from raftcache.server.leases import LeaseRoutes
from raftcache.server.locks import LockRoutes
from raftcache.server.members import MemberRoutes
from raftcache.server.quotas import QuotaRoutes
from raftcache.server.ranges import RangeRoutes
from raftcache.server.status import StatusRoutes
from raftcache.server.txn import TxnRoutes
from raftcache.server.watch import WatchRoutes
from raftcache.service.leases import LeaseService
from raftcache.service.locks import LockService
from raftcache.service.quotas import QuotaService
from raftcache.service.ranges import RangeService
from raftcache.service.vivify import VivifyService
from raftcache.service.watch import WatchHub
from raftcache.system import SystemClock
from tests.support.fake_kv import FakeKv
from tests.support.watching import FakeReplica

T = TypeVar("T")

DEADLINE_S = 20.0
"""For everything a test waits for; only a broken server needs so long."""


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test on the loop that nodes run on, for DEADLINE_S at most."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await test

    return uvloop.run(bounded())


class HandClock:
    """A Clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return 1_800_000_000_000


class FakeNode:
    """A NodeView."""

    def __init__(self) -> None:
        self.checks = [("leader", True, "n1 leads"), ("disk", True, "is there")]
        self.error: Exception | None = None

    def cluster_status(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"node": "n1", "role": "leader", "revision": 7}

    def readiness(self) -> list[tuple[str, bool, str]]:
        return self.checks

    def gauges(self) -> dict[str, float]:
        return {"raft_term": 3, "raftcache_store_keys": 11}


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def plain(self) -> tuple[int, dict[str, str], bytes]:
        """Without what may differ between two ways through the server."""
        ignored = ("date", "server", "connection")
        headers = {name: text for name, text in self.headers.items() if name not in ignored}
        return self.status, headers, self.body


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, *, bare: bool = False) -> Response:
        """The next response; bare: it answers HEAD, so that no body follows."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        headers = {}
        for text in lines:
            name, _, value = text.partition(": ")
            assert name.lower() not in headers, f"{name} is there twice"
            headers[name.lower()] = value
        version, status = line.split(" ")[0], int(line.split(" ")[1])
        size = 0 if bare or status in (100, 304) else int(headers["content-length"])
        return Response(status, headers, await self.reader.readexactly(size), version)

    async def ask(self, data: bytes, *, bare: bool = False) -> Response:
        await self.send(data)
        return await self.receive(bare=bare)

    async def is_closed(self) -> bool:
        """Whether the server closes the connection and sends nothing before; waits for it."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):  # the server was faster
            await self.writer.wait_closed()


def request(
    method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """One HTTP/1.1 request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class Served:
    """A running front door and its surroundings."""

    server: HttpServer
    kv: FakeKv = field(default_factory=FakeKv)
    node: FakeNode = field(default_factory=FakeNode)
    operator: FakeOperator = field(default_factory=lambda: FakeOperator())
    clock: HandClock = field(default_factory=HandClock)
    counters: HttpCounters = field(default_factory=HttpCounters)
    clients: list[Client] = field(default_factory=list)
    hub: WatchHub = field(kw_only=True)
    locks: LockService = field(kw_only=True)
    vivifier: VivifyService = field(kw_only=True)
    replica: FakeReplica = field(kw_only=True)

    async def connect(self, **options: Any) -> Client:
        client = Client(
            *await asyncio.open_connection("127.0.0.1", self.server.listening.port, **options)
        )
        self.clients.append(client)
        return client

    async def connect_unread(self) -> Client:
        """A client with small buffers, which takes nothing that it does not receive()."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        here = ("127.0.0.1", self.server.listening.port)
        await asyncio.get_running_loop().sock_connect(sock, here)
        client = Client(*await asyncio.open_connection(sock=sock, limit=4096))
        self.clients.append(client)
        return client

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Response:
        """One request on a connection of its own."""
        client = await self.connect()
        bare = method == "HEAD"
        answer = await client.ask(request(method, target, body, headers), bare=bare)
        await client.close()
        return answer


class FakeOperator:
    """Remembers what was asked, and answers with it; raises `refusal` if there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.refusal: RaftcacheError | None = None

    def view(self) -> dict[str, Any]:
        return {"cluster_id": "c", "version": 0, "members": []}

    async def add(self, *said: object) -> dict[str, Any]:
        return self._note("add", *said)

    async def promote(self, *said: object) -> dict[str, Any]:
        return self._note("promote", *said)

    async def remove(self, *said: object) -> dict[str, Any]:
        return self._note("remove", *said)

    async def update(self, *said: object) -> dict[str, Any]:
        return self._note("update", *said)

    async def transfer(self, to: str) -> str:
        self._note("transfer", to)
        return to or "n2"

    def _note(self, *said: object) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(said)
        return {"asked": list(said)}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until condition() holds; the test's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 (nobody tells a test)
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Served]:
    """A front door on a free port, with these Limits."""
    here = Address("127.0.0.1", 0)
    config = Config("n1", Path("unused"), here, here, here, here, limits=Limits(**limits))
    kv, node, clock, counters = FakeKv(), FakeNode(), HandClock(), HttpCounters()
    operator = FakeOperator()
    hub = WatchHub(
        replica := FakeReplica(),
        kv.machine,
        asyncio.get_running_loop(),
        config.limits.watchers_max,
    )
    hub.start()
    ranges, locks = RangeService(kv, kv.machine), LockService(kv, kv.machine)
    vivifier = VivifyService(kv, kv.machine, SystemClock(), asyncio.get_running_loop())
    rooms = (
        StatusRoutes(node, Metrics(counters, node.gauges)).add_to,
        MemberRoutes(operator).add_to,
        QuotaRoutes(QuotaService(kv, kv.machine)).add_to,
        WatchRoutes(hub, kv.now_ms, "n1").add_to,
        RangeRoutes(ranges, kv).add_to,
        TxnRoutes(ranges, kv, config.limits.value_size_bytes_max).add_to,
        LeaseRoutes(LeaseService(kv, kv.machine), kv).add_to,
        LockRoutes(locks, kv).add_to,
        ClientRoutes(kv).add_to,
    )
    server = HttpServer(kv, vivifier, config, clock, counters, rooms)
    server.listening.sweep_s = 0.005  # often by the wall's clock, which is not the node's
    await server.start()
    waited_for = {"hub": hub, "locks": locks, "vivifier": vivifier, "replica": replica}
    served = Served(server, kv, node, operator, clock, counters, **waited_for)
    try:
        yield served
    finally:
        for client in served.clients:
            await client.close()
        hub.stop("the test is over")
        await server.stop(1.0)
