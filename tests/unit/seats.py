"""Nodes and strangers for the tests of links; loopback sockets, free ports.

n2 dials n1, and n3 dials both. A `Seat` is one node: its links, and everything they reported.
A `Wire` is a stranger with a socket, who says whatever the test wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from raftcache.command import versions
from raftcache.config import Address
from raftcache.raft.frames import FrameDecoder, encode
from raftcache.raft.greetings import Identity
from raftcache.raft.messages import HOLDS_ALL, Message
from raftcache.raft.pace import Pace
from raftcache.raft.peer import LinkCounters
from raftcache.raft.stock import Node
from raftcache.raft.transport import Links

DEADLINE_S = 20.0
PATIENT = Pace(redial_min_s=0.001, redial_max_s=0.02)
"""Silences last longer than any test that is not about them."""
HASTY = Pace(
    beat_s=0.01,
    alive_after_s=0.02,
    silence_timeout_s=0.15,
    handshake_timeout_s=0.15,
    redial_min_s=0.001,
    redial_max_s=0.02,
)
CLUSTER = "c0ffee"


class StoppedClock:
    """Moves when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return 0


class SeededDice:
    def __init__(self) -> None:
        self._random = random.Random(1)

    def random(self) -> float:
        return self._random.random()

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)


@dataclass
class Seat:
    """One node's end of its links."""

    name: str
    links: Links
    clock: StoppedClock
    counters: LinkCounters
    events: list[tuple[str, str]] = field(default_factory=list)
    received: list[tuple[str, Message]] = field(default_factory=list)
    activity: int = 0
    up: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    doubled: list[str] = field(default_factory=list)

    def on_up(self, node: Node) -> None:
        assert node.id not in self.up, "connected twice"
        self.up.add(node.id)
        self.events.append(("up", node.id))

    def on_down(self, node: Node) -> None:
        assert node.id in self.up, "disconnected without being connected"
        self.up.remove(node.id)
        self.events.append(("down", node.id))

    def on_message(self, node: Node, message: Message) -> None:
        assert node.id in self.up, "a message without a link"
        self.received.append((node.id, message))

    def on_activity(self) -> None:
        self.activity += 1

    def knows(self, *others: Seat | Wire) -> None:
        for other in others:
            self.links.set_address(other.name, other.address)
            self.links.addNode(Node(other.name))

    @property
    def address(self) -> Address:
        return self.links.listening

    def say(self, to: str, number: int) -> bool:
        sent = self.links.send(Node(to), {"type": "term", "term": number})
        self.links.flush()
        return sent

    def numbers(self, sender: str) -> list[int]:
        return [m["term"] for name, m in self.received if name == sender]


def seat(
    name: str,
    *,
    cluster: str = CLUSTER,
    incarnation: int = 1,
    member_id: str = "",
    life: str = "",
    pace: Pace = PATIENT,
    port: int = 0,
    elsewhere: Mapping[str, Address] | None = None,
) -> Seat:
    clock, counters = StoppedClock(), LinkCounters()
    made: Seat
    links = Links(
        Identity(name, cluster, incarnation, member_id, life=life),
        Address("127.0.0.1", port),
        clock=clock,
        dice=SeededDice(),
        counters=counters,
        on_activity=lambda: made.on_activity(),
        pace=pace,
        elsewhere=elsewhere,
    )
    made = Seat(name, links, clock, counters)
    links.doubled = made.doubled.append
    links.gone = lambda node: made.gone.add(node.id)
    links.setOnNodeConnectedCallback(made.on_up)
    links.setOnNodeDisconnectedCallback(made.on_down)
    links.setOnMessageReceivedCallback(made.on_message)
    return made


@contextlib.asynccontextmanager
async def started(*seats: Seat) -> AsyncIterator[None]:
    """Started, and stopped at the end: then every connection has had its end reported."""
    try:
        for one in seats:
            await one.links.start()
        yield
    finally:
        for one in seats:
            async with asyncio.timeout(DEADLINE_S):
                await one.links.stop()
            assert not one.links.ready
            assert not one.up


def introduce(*seats: Seat) -> None:
    """Each knows all others."""
    for one in seats:
        one.knows(*(other for other in seats if other is not one))


@contextlib.asynccontextmanager
async def linked(*seats: Seat) -> AsyncIterator[None]:
    """Started, and each is up with all others."""
    async with started(*seats):
        introduce(*seats)
        await until(lambda: all(len(one.up) == len(seats) - 1 for one in seats))
        yield


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110  # any condition, not one event
            await asyncio.sleep(0.002)


class Wire:
    """The other end of a connection to a node, in the hands of the test."""

    name = "n2"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = FrameDecoder()
        self._ready: list[Message] = []

    @classmethod
    async def to(cls, address: Address) -> Wire:
        return cls(*await asyncio.open_connection(address.host, address.port))

    async def greet(self, **changes: Any) -> None:
        self.writer.write(encode(hello(**changes)))
        await self.writer.drain()

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def next(self) -> Message:
        """The next frame; EOFError when the node closed the connection."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._ready:
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                self._ready += self._decoder.feed(data)
            return self._ready.pop(0)

    async def ends(self) -> None:
        """Wait until the node has closed the connection, whatever it says before."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                await self.next()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def wire(address: Address) -> AsyncIterator[Wire]:
    opened = await Wire.to(address)
    try:
        yield opened
    finally:
        await opened.close()


@contextlib.asynccontextmanager
async def met(n1: Seat) -> AsyncIterator[Wire]:
    """n1 is started, and its member n2, in the hands of the test, has greeted it."""
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as n2:
            await n2.greet()
            await until(lambda: n1.up)
            yield n2


@contextlib.asynccontextmanager
async def listener(wires: list[Wire]) -> AsyncIterator[Address]:
    """A socket that a node may dial; every connection to it joins `wires`."""
    server = await asyncio.start_server(lambda r, w: wires.append(Wire(r, w)), "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for one in wires:
            await one.close()


def hello(**changes: Any) -> Message:
    return {
        "type": "hello",
        "magic": "raftcache",
        "version_min": 1,
        "version_max": versions.PROTOCOL_MAX,
        "commands_version": versions.COMMANDS,
        "cluster_id": CLUSTER,
        "name": "n2",
        "incarnation": 1,
        "members_version": 0,
        "member_id": "",
        "raft": "",
        "http": "",
        "resp": "",
        "life": "",
        "holds": HOLDS_ALL,
        "to": "n1",
    } | changes


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on asyncio and on uvloop; nothing may be left over at its end."""

    async def checked(**parameters: Any) -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        await test(**parameters)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        gc.collect()  # an unclosed socket would warn, and a warning is an error
        assert not faults

    def wrapper(run: Callable[[Awaitable[None]], None], **parameters: Any) -> None:
        run(checked(**parameters))

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    run = inspect.Parameter("run", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [run, *inspect.signature(test).parameters.values()]
    wrapper.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # for pytest
    loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
    return loops(wrapper)
