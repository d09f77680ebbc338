"""scripts/bench with real nodes: it measures, tells, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.measuring.loads import exchange, jute
from scripts.measuring.loads.exchange import Order
from scripts.measuring.systems.base import HOST
from tests.support.cluster import PATIENCE_S, until

pytestmark = pytest.mark.cluster


def test_an_answer_that_is_too_short_is_an_error_that_shows_it() -> None:
    """As one of a key that is not there: the generator waits for a value."""

    async def asked() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(10)
            writer.write(b"$-1\r\n")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            order = Order("resp", "GET", (port,), 1, 1, 1, 0)
            with pytest.raises(TimeoutError, match=r"1 of 1 wait .* got b'\$-1\\r\\n'"):
                await exchange.carry_out(order, patience_s=0.1)

    asyncio.run(asked())


def test_a_server_that_sleeps_over_a_request_is_nudged() -> None:
    """As ZooKeeper 3.8.0 does: what it was asked waits until somebody else asks something."""

    async def asked() -> exchange.Reading:
        plan, left = jute.plan("SET", 1), list[asyncio.StreamWriter]()
        good = struct.pack(">iiqi", plan.answer_bytes - 4, 1, 0, 0) + bytes(jute.STAT_BYTES)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(len(plan.greeting))
            writer.write(bytes(plan.greeting_answer_bytes))
            while size := await reader.read(4):
                packet = await reader.readexactly(int.from_bytes(size))
                if packet == plan.nudge[4:]:
                    while left:
                        left.pop().write(good)
                elif packet != plan.farewell[4:]:
                    left.append(writer)
            writer.close()

        async with await asyncio.start_server(serve, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await exchange.carry_out(Order("zookeeper", "SET", (port,), 1, 1, 1, 0))

    reading = asyncio.run(asked())
    assert reading["operations"] > 0
    assert reading["errors"] == 0


def started(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """Of one cell, which needs no generator but ours; its temporary files are below tmp_path."""
    command = [sys.executable, "-m", "scripts.measuring", "--only", "wait-set-p1-c1"]
    return subprocess.Popen(
        [*command, "--seconds", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def left_behind(tmp_path: Path) -> list[str]:
    """Folders, and processes whose command names one."""
    found = [str(path) for path in tmp_path.iterdir()]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes()
        except OSError:  # it has ended
            continue
        if str(tmp_path).encode() in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def test_a_cell_is_measured_and_told_and_everything_is_gone(tmp_path: Path) -> None:
    work, pages = tmp_path / "work", tmp_path / "pages"
    work.mkdir()
    run = tmp_path / "run.json"
    process = started(work, "--rounds", "2", "--json", str(run), "--report", str(pages))
    out, err = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 0, err
    found = json.loads(run.read_text())
    assert found["failed"] == {}
    ours = found["rows"][0]
    assert ours["system"] == "raftcache"
    assert ours["errors"] == 0
    assert len(ours["rates"]) == 2
    assert ours["rate"] > 0
    assert ours["cpu_us"] > 0
    assert "| SET | 1 | 1 | raftcache |" in out
    assert "| SET | 1 | 1 | raftcache |" in (pages / "wait.md").read_text()
    assert left_behind(work) == []


def test_ctrl_c_stops_what_runs_and_tells_what_was_found(tmp_path: Path) -> None:
    process = started(tmp_path, "--rounds", "1000")
    until(lambda: list(tmp_path.glob("*/raftcache-1/n3.log")), "the nodes do not start")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "- the other cells: interrupted" in out
    assert left_behind(tmp_path) == []
