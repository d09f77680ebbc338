"""A real redis-server to compare with, as Debian has it: a test's own, on a unix socket."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import until
from tests.support.resp_wire import RespWire


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[Path]:
    """Its socket, once it answers; skips the test where there is no redis-server.

    folder: with a short path, as names of sockets are.
    """
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the path: Debian's package is called redis-server")
    address = folder / "redis.sock"
    log = folder / "redis.log"
    command = [program, "--port", "0", "--unixsocket", str(address), "--save", ""]
    command += ["--dir", str(folder), "--logfile", str(log), *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        until(
            lambda: _answers(address) or process.poll() is not None, "redis-server does not start"
        )
        assert process.poll() is None, log.read_text()
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: Path) -> bool:
    try:
        wire = RespWire(address)
    except OSError:
        return False
    with contextlib.closing(wire):
        return wire.call(b"PING") == ("+", b"PONG")
