"""The servers that are compared: Debian's redis-server, and one node of raftcache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.differential.play import Side
from tests.differential.search import Pair
from tests.support.redis_server import redis_server

REDIS_OPTIONS = ("--proto-max-bulk-len", "1mb")
"""Values may be as long as those of raftcache by default."""


@contextlib.contextmanager
def servers(folder: Path, port: str | None = None) -> Iterator[Pair]:
    """Both, running. port: of what to compare, instead of a node of raftcache."""
    with (
        redis_server(folder, *REDIS_OPTIONS) as address,
        _node(folder, port) as other,
        contextlib.closing(Pair(Side(address), Side(other))) as pair,
    ):
        yield pair


@contextlib.contextmanager
def _node(folder: Path, port: str | None) -> Iterator[int]:
    if port:
        yield int(port)
        return
    raise NotImplementedError
