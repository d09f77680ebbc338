"""The network between the nodes: every link goes through here, and can be cut, slowed or broken.

Each node is told that the others live at the addresses where this listens. Who dials says its name
in its first frame (4 bytes of size, little endian, then MessagePack), so each of the two directions
between each two nodes has a Wire of its own. A cut wire holds what comes, as TCP does while packets
are lost, and delivers it when it is mended; also when the connection was given up meanwhile, so
that old bytes may arrive beside those of a newer connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Final

import msgspec

from chaos.links import Pair, Weather
from chaos.places import Place

CHUNK_SIZE_BYTES: Final = 1 << 16
HELLO_SIZE_BYTES_MAX: Final = 4096
HELLO_TIMEOUT_S: Final = 5.0

_ENDS: Final = (OSError, EOFError, TimeoutError, msgspec.MsgspecError, asyncio.CancelledError)
"""How a connection may come to its end."""


class _Hello(msgspec.Struct):
    """All that is looked at of a greeting."""

    name: str


class Wire:
    """One direction between two nodes."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._cuts = 0
        self._mended = asyncio.Event()
        self._mended.set()
        self.weather: list[Weather] = []

    def cut(self) -> None:
        """May be cut several times; it is whole when it was mended as often."""
        self._cuts += 1
        self._mended.clear()

    def mend(self) -> None:
        self._cuts -= 1
        assert self._cuts >= 0
        if not self._cuts:
            self._mended.set()

    async def carry(self) -> None:
        """Returns when a chunk has arrived; raises ConnectionResetError if it will not."""
        for weather in self.weather:
            delay_s = weather.delay_s + self._dice.random() * weather.jitter_s
            if self._dice.random() < weather.stall_chance:
                delay_s += weather.stall_s
            if self._dice.random() < weather.break_chance:
                raise ConnectionResetError("bad weather")
            await asyncio.sleep(delay_s)
        await self._mended.wait()


class Proxy:
    """Listens in front of every node; see links.Network."""

    def __init__(self, places: Mapping[str, Place], seed: int) -> None:
        self.places, names = places, list(places)
        self.wires: dict[Pair, Wire] = {
            (a, b): Wire(random.Random(f"{seed}/wire/{a}/{b}"))
            for a in names
            for b in names
            if a != b
        }
        self._servers: list[asyncio.Server] = []
        self._links: dict[asyncio.Task[None], Pair | None] = {}
        """The task that serves each connection, and who dialled whom, once that is known."""
        self._severed: dict[Pair, int] = {}

    async def __aenter__(self) -> Proxy:
        for name, place in self.places.items():
            host, _, port = place.advertised.partition(":")
            self._servers.append(await asyncio.start_server(self._serve(name), host, int(port)))
        return self

    async def __aexit__(self, *error: object) -> None:
        for server in self._servers:
            server.close()
        for task in self._links:
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    # -- faults ----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def cut(self, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        wires = [self.wires[pair] for pair in pairs]
        for wire in wires:
            wire.cut()
        try:
            yield
        finally:
            for wire in wires:
                wire.mend()

    @contextlib.asynccontextmanager
    async def severed(self, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        both = {direction for a, b in pairs for direction in ((a, b), (b, a))}
        for pair in both:
            self._severed[pair] = self._severed.get(pair, 0) + 1
        for task, pair_of in self._links.items():
            if pair_of in both:
                task.cancel()
        try:
            yield
        finally:
            for pair in both:
                self._severed[pair] -= 1

    @contextlib.asynccontextmanager
    async def weather(self, pairs: Iterable[Pair], weather: Weather) -> AsyncIterator[None]:
        wires = [self.wires[pair] for pair in pairs]
        for wire in wires:
            wire.weather.append(weather)
        try:
            yield
        finally:
            for wire in wires:
                wire.weather.remove(weather)

    # -- connections -----------------------------------------------------------------------------

    def _serve(
        self, to: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._links[task] = None
            try:
                with contextlib.suppress(*_ENDS):
                    await self._link(task, to, reader, writer)
            finally:
                del self._links[task]
                writer.close()

        return serve

    async def _link(
        self,
        task: asyncio.Task[None],
        to: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """One connection that somebody opened to this node, until one of its ends closes it."""
        hello = await asyncio.wait_for(_first_frame(reader), HELLO_TIMEOUT_S)
        dialler = msgspec.msgpack.decode(hello[4:], type=_Hello).name
        pair = self._links[task] = (dialler, to)
        if self._severed.get(pair) or pair not in self.wires:
            return
        host, _, port = self.places[to].raft.partition(":")
        inner, outer = await asyncio.open_connection(host, int(port))
        try:
            await _until_first(
                _pump(hello, reader, outer, self.wires[pair]),
                _pump(b"", inner, writer, self.wires[to, dialler]),
            )
        finally:
            outer.close()


async def _first_frame(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(4)
    size_bytes = int.from_bytes(header, "little")
    if size_bytes > HELLO_SIZE_BYTES_MAX:
        raise EOFError
    return header + await reader.readexactly(size_bytes)


async def _pump(
    first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Wire
) -> None:
    """All that comes, chunk by chunk, until its end."""
    chunk = first or await reader.read(CHUNK_SIZE_BYTES)
    while chunk:
        await wire.carry()
        writer.write(chunk)
        await writer.drain()
        chunk = await reader.read(CHUNK_SIZE_BYTES)


async def _until_first(*pumps: Coroutine[None, None, None]) -> None:
    """Until one direction has ended; what the other one still carries is lost."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
