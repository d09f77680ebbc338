"""The Redis front door in this process over a FakeRedis, and a client that sends bytes as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raftcache.config import Address, Config, Limits
from raftcache.metrics import RespCounters
from raftcache.server.resp.client import Clients
from raftcache.server.resp.commands import CommandCalls
from raftcache.server.resp.configuration import ConfigurationCalls
from raftcache.server.resp.greetings import Greetings
from raftcache.server.resp.manners import Manners
from raftcache.server.resp.people import People
from raftcache.server.resp.port import Port
from raftcache.server.resp.server import RespServer, Room
from raftcache.server.resp.transactions import Transactions
from tests.support.fake_redis import FakeRedis
from tests.support.raw_http import HandClock
from tests.support.resp_wire import packed


class RespClient:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, size: int) -> bytes:
        return await self.reader.readexactly(size)

    async def expect(self, data: bytes, answer: bytes) -> None:
        """Send data; answer is what comes next."""
        if data:
            await self.send(data)
        got = await self.reader.read(1) if answer else b""
        while len(got) < len(answer) and answer.startswith(got):
            got += await self.reader.read(len(answer) - len(got)) or b"<the end>"
        assert got == answer

    async def call(self, *call: bytes | str, answer: bytes) -> None:
        """One call, and its answer."""
        words = [word.encode() if isinstance(word, str) else word for word in call]
        await self.expect(packed(words), answer)

    async def line(self, *call: bytes | str) -> bytes:
        """One call; the first line of its answer."""
        words = [word.encode() if isinstance(word, str) else word for word in call]
        await self.send(packed(words))
        return (await self.reader.readuntil(b"\r\n"))[:-2]

    async def bulk(self, *call: bytes | str) -> bytes:
        """One call; its answer, which is a string."""
        head = await self.line(*call)
        assert head[:1] == b"$", head
        return (await self.receive(int(head[1:]) + 2))[:-2]

    async def is_closed(self) -> bool:
        """Whether the server closes the connection and sends nothing before; waits for it."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        if self.writer.transport.get_write_buffer_size():
            self.writer.transport.abort()  # the server may never read it
        self.writer.close()
        with contextlib.suppress(ConnectionError):  # the server was faster
            await self.writer.wait_closed()


@dataclass
class ServedResp:
    """A running front door and its surroundings."""

    server: RespServer
    redis: FakeRedis
    clock: HandClock
    counters: RespCounters
    clients: Clients
    connected: list[RespClient] = field(default_factory=list)

    @property
    def port(self) -> Port:
        assert self.server._port is not None
        return self.server._port

    async def connect(self, **options: Any) -> RespClient:
        client = RespClient(
            *await asyncio.open_connection("127.0.0.1", self.server.listening.port, **options)
        )
        self.connected.append(client)
        return client


@contextlib.asynccontextmanager
async def serving_resp(
    *rooms: Room, password: str = "", **limits: Any
) -> AsyncIterator[ServedResp]:
    """A front door on a free port, with these Limits; rooms besides greetings and transactions."""
    here = Address("127.0.0.1", 0)
    config = Config(
        "n1",
        Path("unused"),
        *[here] * 6,
        resp_password=password,
        limits=Limits(**limits),
    )
    redis, clock, counters, clients = FakeRedis(), HandClock(), RespCounters(), Clients()
    standard = (
        Greetings(password, lambda: True).add_to,
        Transactions(redis).add_to,
        People(clients, clock.monotonic_s).add_to,
        Manners().add_to,
        CommandCalls().add_to,
        ConfigurationCalls(config, counters, lambda: 1_800_000_000_123, {}).add_to,
    )
    server = RespServer(redis, config, clock, counters, clients, (*standard, *rooms))
    server.listening.sweep_s = 0.005  # often by the wall's clock, which is not the node's
    await server.start()
    served = ServedResp(server, redis, clock, counters, clients)
    try:
        yield served
    finally:
        for client in served.connected:
            await client.close()
        await server.stop(1.0)
