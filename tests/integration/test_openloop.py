"""The generator of open loops as it runs: who stands still pays for every request that was due."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

from scripts.measuring.loads.asks import Asks
from scripts.measuring.loads.idle import Door
from scripts.measuring.loads.openloop import Found, Running, Spec, read, run

RATE, PAUSE_S, HALF_NS = 500, 0.4, 200_000_000


def test_a_pause_is_paid_by_every_request_that_was_due_in_it(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    asked = count()

    class Sleeper(Door):
        def data_received(self, data: bytes) -> None:
            if next(asked) == 100:
                time.sleep(PAUSE_S)
            super().data_received(data)

    async def measured() -> Found:
        server = await asyncio.get_running_loop().create_server(Sleeper, "127.0.0.1", 0)
        async with server:
            at = ("127.0.0.1", server.sockets[0].getsockname()[1])
            spec = Spec(Asks("http", "LIVE", 1), [at], 1, 1.0, RATE, samples=str(samples))
            return await asyncio.to_thread(run, spec)

    found = asyncio.run(measured())
    assert (found.count, found.failed, found.unanswered) == (RATE, 0, 0)
    # one connection: in a closed loop a single request would have been slow
    slow = sum(latency_ns >= HALF_NS for _, latency_ns in read(samples))
    assert slow >= RATE * PAUSE_S / 2


def test_a_loop_that_is_stopped_says_what_it_found() -> None:
    async def measured() -> Found:
        begun = asyncio.Event()

        class Bell(Door):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                begun.set()

        async with await asyncio.get_running_loop().create_server(Bell, "127.0.0.1", 0) as server:
            at = ("127.0.0.1", server.sockets[0].getsockname()[1])
            with Running(Spec(Asks("http", "LIVE", 1), [at], 4, 3600.0, RATE)) as running:
                await asyncio.wait_for(begun.wait(), 30)
                return await asyncio.to_thread(running.stop)

    found = asyncio.run(measured())
    assert found.count > 0
    assert found.failed == found.unanswered == 0
