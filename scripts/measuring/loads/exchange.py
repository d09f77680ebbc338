"""A generator of ours, for what no other can ask: SET with WAIT, and ZooKeeper's own protocol.

A process of its own (uvloop, one core), the same for both sides of a comparison. Packets are built
before the run, and every answer has a size that is known, so that an answer costs a comparison and
no parser. Closed loops: a connection sends its next packet when it has the answer to the last one.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from scripts.measuring.loads import jute, resp
from scripts.measuring.loads.percentiles import reading
from scripts.measuring.loads.plan import Plan
from scripts.measuring.rounds import Reading
from scripts.measuring.systems.base import HOST

DIALECTS = {"resp": resp.plan, "zookeeper": jute.plan}
PATIENCE_S = 20.0
"""For answers that are due when the time is over."""
FILL_PATIENCE_S = 120.0
NUDGE_EVERY_S = 0.01
"""Rarely beside the load, often beside how long a run takes."""


@dataclass(frozen=True)
class Order:
    """What to load, and how. Connections go to the ports in turn."""

    dialect: str
    operation: str
    ports: tuple[int, ...]
    connections: int
    pipeline: int
    seconds: int
    seed: int


def load(order: Order) -> Reading:
    """Carry it out in a process of its own; raises RuntimeError with its words if it failed."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(asdict(order))], capture_output=True, text=True
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{order.dialect} {order.operation} at {order.ports}: {why}")
    return cast("Reading", json.loads(done.stdout))


class Wire(asyncio.Protocol):
    """One connection: greets, and asks from `begin` until the packets or the time end."""

    def __init__(self, plan: Plan, packets: Iterator[bytes]) -> None:
        self._plan, self._packets = plan, packets
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_closed = False
        self.got = b""
        """Of the answer that is awaited."""
        self._awaited_bytes = plan.greeting_answer_bytes
        self._sent_s = self._end_s = 0.0
        self.latencies_s: list[float] = []
        self.errors = 0
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._plan.greeting:
            self._transport.write(self._plan.greeting)
        else:
            self.greeted.set_result(None)

    def begin(self, end_s: float) -> None:
        self._awaited_bytes, self._end_s = self._plan.answer_bytes, end_s
        self._next()

    def close(self) -> None:
        """What was written still goes out."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self.got += data
        if len(self.got) < self._awaited_bytes:
            return
        answer, self.got = self.got, b""
        if not self.greeted.done():
            self.greeted.set_result(None)
            return
        if self._plan.is_good(answer):
            self.latencies_s.append(time.perf_counter() - self._sent_s)
        else:
            self.errors += 1
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        for waited in (self.greeted, self.ended):
            if not waited.done() and not self._is_closed:
                waited.set_exception(error or ConnectionError("the server closed the connection"))
        self.lost.set_result(None)

    def _next(self) -> None:
        """The time that is over is looked at here: what was sent before counts, however late."""
        now_s = time.perf_counter()
        packet = next(self._packets, None) if now_s < self._end_s else None
        assert self._transport is not None
        if packet is None:
            self.ended.set_result(None)
            self._transport.write(self._plan.farewell)
        else:
            self._sent_s = now_s
            self._transport.write(packet)


async def _nudge(plan: Plan, port: int) -> None:
    """Until cancelled, on a connection of its own; what is answered is not looked at."""
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, HOST, port)
    try:
        transport.write(plan.greeting)
        while True:
            await asyncio.sleep(NUDGE_EVERY_S)
            transport.write(plan.nudge)
    finally:
        transport.write(plan.farewell)
        transport.close()


async def carry_out(order: Order, patience_s: float = PATIENCE_S) -> Reading:
    """Latencies count from when a packet was written to when its answer was complete."""
    plan = DIALECTS[order.dialect](order.operation, order.pipeline)
    is_fill = order.operation == "FILL"
    packets = iter(plan.packets) if is_fill else _drawn(plan, random.Random(order.seed))
    loop = asyncio.get_running_loop()
    nudges = [loop.create_task(_nudge(plan, port)) for port in set(order.ports) if plan.nudge]
    wires: list[Wire] = []
    try:
        for i in range(order.connections):
            port = order.ports[i % len(order.ports)]
            _, wire = await loop.create_connection(lambda: Wire(plan, packets), HOST, port)
            wires.append(wire)
        await _all(wires, [wire.greeted for wire in wires], patience_s)
        begun_s = time.perf_counter()
        for wire in wires:
            wire.begin(math.inf if is_fill else begun_s + order.seconds)
        limit_s = FILL_PATIENCE_S if is_fill else order.seconds + patience_s
        await _all(wires, [wire.ended for wire in wires], limit_s)
        took_s = time.perf_counter() - begun_s
    finally:
        for task in nudges:
            task.cancel()
        await asyncio.gather(*nudges, return_exceptions=True)
        for wire in wires:
            wire.close()
            await wire.lost
    errors = sum(wire.errors for wire in wires)
    if is_fill and errors:
        raise RuntimeError(f"{errors} of {len(plan.packets)} keys were refused")
    latencies_us = [s * 1e6 for wire in wires for s in wire.latencies_s]
    return {**reading(latencies_us, order.pipeline, took_s), "errors": errors}


async def _all(wires: list[Wire], futures: list[asyncio.Future[None]], limit_s: float) -> None:
    """An answer that is shorter than it must be, as an error's may be, never completes."""
    _, pending = await asyncio.wait(futures, timeout=limit_s, return_when=asyncio.FIRST_EXCEPTION)
    for error in [future.exception() for future in futures if future.done()]:
        if error is not None:
            raise error
    if pending:
        got = max((wire.got for wire in wires), key=len)
        raise TimeoutError(f"{len(pending)} of {len(wires)} wait after {limit_s:g} s; got {got!r}")


def _drawn(plan: Plan, dice: random.Random) -> Iterator[bytes]:
    while True:
        yield dice.choice(plan.packets)


if __name__ == "__main__":
    said = json.loads(sys.argv[1])
    print(json.dumps(uvloop.run(carry_out(Order(**{**said, "ports": tuple(said["ports"])})))))
