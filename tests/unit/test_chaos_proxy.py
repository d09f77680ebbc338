"""The network between nodes, with plain echoing servers in their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from chaos.links import Weather
from chaos.places import local
from chaos.proxy import Proxy

PATIENCE_S = 5.0


def hello(name: str) -> bytes:
    body = msgspec.msgpack.encode({"type": "hello", "name": name, "to": "b", "more": 1})
    return len(body).to_bytes(4, "little") + body


def port_of(address: str) -> int:
    return int(address.partition(":")[2])


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
async def between_a_and_b() -> AsyncIterator[tuple[Proxy, int]]:
    """A network in front of a and b, of whom only b listens, and b's advertised port."""
    places = local("ab", proxied=True)
    listening, advertised = port_of(places["b"].raft), port_of(places["b"].advertised)
    server = await asyncio.start_server(echo, "127.0.0.1", listening)
    async with server, Proxy(places, seed=1) as network:
        yield network, advertised


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
        async with network.cut(wires), network.cut(wires):  # twice, as two faults may
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
            async with network.cut([("a", "b")]), dialled(port, name="stranger") as link:
                await link.ends()
            async with dialled(port) as link:
                await link.hears(hello("a"))

    asyncio.run(play())


def test_severed_connections_break_and_cannot_be_made() -> None:
    async def play() -> None:
        async with between_a_and_b() as (network, port):
            async with dialled(port) as link:
                await link.hears(hello("a"))
                async with network.severed([("b", "a")]):
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
            slow, broken = Weather(delay_s=0.05), Weather(break_chance=1.0)
            async with network.weather(pairs, slow), dialled(port) as link:
                begin_s = loop.time()
                await link.hears(hello("a"))
                assert loop.time() - begin_s >= 0.1, "there and back"
            async with network.weather(pairs, broken), dialled(port) as link:
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
