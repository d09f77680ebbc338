"""The servers that are compared: Debian's redis-server, and one node of raftcache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.differential.machine_side import MachineSide
from tests.differential.play import Side
from tests.differential.search import Pair
from tests.support.cluster import running
from tests.support.redis_server import redis_server
from tests.support.resp_wire import RespWire

NODE: Final = "node"
STATE: Final = "state"

EVENTS: Final = ("--notify-keyspace-events", "KEA")

REDIS_OPTIONS: Final = (
    *("--proto-max-bulk-len", "1mb", "--databases", "1", "--hz", "100"),
    *EVENTS,
)
"""Values may be as long as those of raftcache by default, and there is one database; who waits is
looked after often."""


@contextlib.contextmanager
def servers(folder: Path, peer: str = NODE) -> Iterator[Pair]:
    """Both, running. peer: a NODE, only its STATE machine, or the port of any other server."""
    with (
        redis_server(folder, *REDIS_OPTIONS) as address,
        _other(folder, peer) as other,
        contextlib.closing(Pair(Side(address), other)) as pair,
    ):
        yield pair


@contextlib.contextmanager
def _other(folder: Path, peer: str) -> Iterator[Side]:
    if peer == STATE:
        yield MachineSide()
    elif peer == NODE:
        with running(folder / "node", *EVENTS, size=1) as cluster:
            port = cluster.nodes["n1"].resp_port
            with contextlib.closing(RespWire(port)) as wire:
                # The first transaction that watches an absent key may be refused needlessly.
                wire.pipeline([(b"WATCH", b"absent"), (b"MULTI",), (b"EXEC",)])
            yield Side(port)
    else:
        yield Side(int(peer))
