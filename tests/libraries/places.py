"""Where the nodes are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from raftcache.cli.local import HOST

PORTS: Final = "RAFTCACHE_TEST_PORTS"
"""The variable that has them, for the processes of workers too."""

PATIENCE_S: Final = 60


def ports() -> list[int]:
    """Of all nodes."""
    return list(map(int, os.environ[PORTS].split(",")))


def port(number: int) -> int:
    """Of a client with this number; the next one's is another node's."""
    every = ports()
    return every[number % len(every)]


def url(number: int) -> str:
    return f"redis://{HOST}:{port(number)}/0"


@contextmanager
def worker(*command: str) -> Iterator[None]:
    """A process of Python that works, until it is told to end, which it does as it should."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=sys.stderr)
    try:
        yield
    finally:
        process.terminate()
        ended = process.wait(PATIENCE_S)
    assert ended == 0, f"the worker ended with {ended}"
