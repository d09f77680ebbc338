"""The network between nodes, with plain echoing servers in their place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from chaos.proxy import Network, Weather

PATIENCE_S = 5.0


def hello(name: str) -> bytes:
    body = msgspec.msgpack.encode({"type": "hello", "name": name, "to": "b", "more": 1})
    return len(body).to_bytes(4, "little") + body


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


class Link:
    """What the dialling node holds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def hears(self, expected: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert await self.reader.readexactly(len(expected)) == expected

    async def ends(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            try:
                assert await self.reader.read(1) == b""
            except ConnectionError:
                return


@asynccontextmanager
async def between_a_and_b() -> AsyncIterator[tuple[Network, int]]:
    """A network in front of a and b, of whom only b listens, and b's advertised port."""
    ports = free_ports(4)
    advertised, listening = (
        dict(zip("ab", ports[:2], strict=True)),
        dict(zip("ab", ports[2:], strict=True)),
    )
    server = await asyncio.start_server(echo, "127.0.0.1", listening["b"])
    async with server, Network(advertised, listening, seed=1) as network:
        yield network, advertised["b"]


@asynccontextmanager
async def dialled(port: int, name: str = "a") -> AsyncIterator[Link]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(hello(name))
    try:
        yield Link(reader, writer)
    finally:
        writer.close()


async def held(wires: set[tuple[str, str]]) -> None:
    """What goes over a cut wire comes when it is mended, and nothing is lost."""
    async with between_a_and_b() as (network, port), dialled(port) as link:
        await link.hears(hello("a"))
        with network.cut(wires), network.cut(wires):  # twice, as two faults may
            link.writer.write(b"held")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await link.reader.read(1)
        await link.hears(b"held")


@pytest.mark.parametrize("wire", [("a", "b"), ("b", "a")])
def test_one_direction_can_be_cut(wire: tuple[str, str]) -> None:
    asyncio.run(held({wire}))


def test_a_cut_elsewhere_does_not_matter() -> None:
    async def play() -> None:
        async with between_a_and_b() as (network, port):
            with network.cut([("a", "b")]):
                async with dialled(port, name="stranger") as link:
                    await link.ends()
            async with dialled(port) as link:
                await link.hears(hello("a"))

    asyncio.run(play())


def test_severed_connections_break_and_cannot_be_made() -> None:
    async def play() -> None:
        async with between_a_and_b() as (network, port):
            async with dialled(port) as link:
                await link.hears(hello("a"))
                with network.severed([("b", "a")]):
                    await link.ends()
                    async with dialled(port) as again:
                        await again.ends()
            async with dialled(port) as link:
                await link.hears(hello("a"))

    asyncio.run(play())


def test_weather_passes() -> None:
    async def play() -> None:
        async with between_a_and_b() as (network, port):
            loop, pairs = asyncio.get_running_loop(), [("a", "b"), ("b", "a")]
            with network.weather(pairs, Weather(delay_s=0.05)):
                async with dialled(port) as link:
                    begin_s = loop.time()
                    await link.hears(hello("a"))
                    assert loop.time() - begin_s >= 0.1, "there and back"
            with network.weather(pairs, Weather(break_chance=1.0)):
                async with dialled(port) as link:
                    await link.ends()
            assert not any(wire.weather for wire in network.wires.values())

    asyncio.run(play())


@pytest.mark.parametrize("first", [b"\xff\xff\xff\xff", b"\x02\0\0\0{}", b""])
def test_whoever_does_not_greet_is_sent_away(first: bytes) -> None:
    async def play() -> None:
        async with between_a_and_b() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            writer.write_eof()
            await Link(reader, writer).ends()
            writer.close()

    asyncio.run(play())
