"""What the nodes stand on here: one thread, time that stands still, bytes that go by hand.

Each node has an event loop of its own, so that what is done for it is known; all of them take their
turns one after the other. Time passes only when nobody has anything left to do. So the same work
is done in the same order, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol, TypeAlias

TURNS_MAX: Final = 100_000
"""Of all loops, before something must have happened."""

WALL_MS: Final = 1_700_000_000_000

Within: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""What a turn of the named node is taken in."""


def unwatched(name: str) -> AbstractContextManager[None]:
    """A Within that does nothing."""
    return nullcontext()


class End(Protocol):
    """Takes what the other end of a pipe wrote."""

    def receive(self, data: bytes) -> None: ...
    def lost(self) -> None: ...


class _Socket:
    """Nothing can be asked of it, and any option may be set."""

    family = socket.AF_UNIX

    def setsockopt(self, *option: int) -> None: ...


class Pipe(asyncio.Transport):
    """One end of a connection, at a node: what came since the last turn is heard in one piece."""

    def __init__(self, loop: Loop, protocol: Any, far: End | None = None) -> None:
        super().__init__({"socket": _Socket()})
        self._loop, self._protocol = loop, protocol
        self.far = far
        self._inbox: list[bytes] = []
        self._is_paused = self._is_closing = False

    def receive(self, data: bytes) -> None:
        if not self._inbox and not self._is_paused:
            self._loop.call_soon(self._deliver)
        self._inbox.append(data)

    def _deliver(self) -> None:
        if self._inbox and not self._is_paused and not self._is_closing:
            data, self._inbox = b"".join(self._inbox), []
            self._protocol.data_received(data)

    def write(self, data: Any) -> None:
        if not self._is_closing:
            assert self.far is not None
            self.far.receive(bytes(data))

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self.lost()
            assert self.far is not None
            self.far.lost()

    abort = close

    def lost(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)


class Caller:
    """A client: the far end of a pipe to a node."""

    def __init__(self, ground: Ground, port: int) -> None:
        self.heard: list[bytes] = []
        self._near = ground.connect(port, self)

    def send(self, data: bytes) -> None:
        self._near.receive(data)

    def receive(self, data: bytes) -> None:
        self.heard.append(data)

    def lost(self) -> None:
        raise AssertionError("a client was hung up on")


class _Listener:
    """An asyncio.Server, as far as it is asked."""

    def __init__(self, ground: Ground, port: int) -> None:
        self._ground, self._port = ground, port
        self.sockets = [self]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def close(self) -> None:
        self._ground.listeners.pop(self._port, None)

    async def wait_closed(self) -> None: ...


class Loop(asyncio.BaseEventLoop):
    """The event loop of one node; asyncio's, without sockets, threads and time."""

    def __init__(self, ground: Ground, name: str) -> None:
        super().__init__()
        self.name = name
        self._ground = ground
        self._clock_resolution = 1e-9  # what is due now is due
        self._selector = self

    def select(self, timeout_s: float | None) -> tuple[()]:
        """What a selector would do: there is nothing to wait for."""
        return ()

    def _process_events(self, events: object) -> None: ...

    def time(self) -> float:
        return self._ground.now_s

    @property
    def has_work(self) -> bool:
        return bool(self._ready) or self.next_due_s <= self._ground.now_s

    @property
    def next_due_s(self) -> float:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        return self._scheduled[0]._when if self._scheduled else float("inf")

    def turn(self) -> None:
        asyncio._set_running_loop(self)
        try:
            self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=self)

    async def create_server(self, factory: Any, host: str, port: int, **_: Any) -> Any:
        assert port not in self._ground.listeners
        self._ground.listeners[port] = self, factory
        return _Listener(self._ground, port)

    async def create_connection(self, factory: Any, host: str, port: int, **_: Any) -> Any:
        protocol = factory()
        pipe = Pipe(self, protocol)
        pipe.far = self._ground.connect(port, pipe)
        protocol.connection_made(pipe)
        return pipe, protocol


class Ground:
    """All loops, and what is between them. It is the clock and the dice of every node, too."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.loops: list[Loop] = []
        self.listeners: dict[int, tuple[Loop, Callable[[], Any]]] = {}
        chance = random.Random(7)
        self.random, self.token = chance.random, chance.randbytes

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return WALL_MS + int(self.now_s * 1000)

    def loop(self, name: str) -> Loop:
        self.loops.append(Loop(self, name))
        return self.loops[-1]

    def connect(self, port: int, far: End) -> Pipe:
        """The end at whoever listens there."""
        if port not in self.listeners:
            raise ConnectionRefusedError(port)
        loop, factory = self.listeners[port]
        protocol = factory()
        pipe = Pipe(loop, protocol, far)
        loop.call_soon(protocol.connection_made, pipe)
        return pipe

    def run(self, within: Within) -> None:
        """Until nobody has anything to do now."""
        for _ in range(TURNS_MAX):
            busy = [loop for loop in self.loops if loop.has_work]
            if not busy:
                return
            for loop in busy:
                with within(loop.name):
                    loop.turn()
        raise AssertionError("there is no end to it")

    def run_until(self, is_done: Callable[[], object], within: Within) -> None:
        """Let time pass, from timer to timer, until it is done."""
        for _ in range(TURNS_MAX):
            self.run(within)
            if is_done():
                return
            self.now_s = min(loop.next_due_s for loop in self.loops)
        raise AssertionError("it is never done")


class Lane:
    """A ports.Lane: does its work in the next turn of the loop it was made on, and tells after."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()

    def submit(self, work: Callable[[], Any], done: Callable[..., None]) -> None:
        self._loop.call_soon(self._do, work, done)

    def _do(self, work: Callable[[], Any], done: Callable[..., None]) -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as e:  # as ThreadLane: the caller decides what it means
            error = e
        self._loop.call_soon(done, result, error)

    def close(self) -> None: ...
