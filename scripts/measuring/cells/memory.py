"""Memory and cold start: keys of 16 bytes with values of 64, beside a Redis with `appendonly`.

The cost of a key is what the resident memory of the largest node grew by, just after loading, and
again after a restart. A restart is a SIGKILL, and the time until the node serves again; a cold
start is a SIGKILL of all nodes, and the time until a write is acknowledged. Snapshots are taken
more often than by default, so that a start reads both, a snapshot and the log that follows it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks, request
from scripts.measuring.loads.openloop import load_all
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.processes import rss_bytes, until
from scripts.measuring.systems.base import HOST, Cluster, Node
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.systems.redis import Redis
from scripts.measuring.tables import markdown

KEYS: Final = 1_000_000
PIPELINE: Final = 32
START_S_MAX: Final = 300.0
SETTLED_S: Final = 2.0
"""Without a change of memory worth naming: what was loaded is applied everywhere then."""
SNAPSHOTS: Final = ("--snapshot-entries", "2000", "--trailing-entries", "200")


def keys_of(lab: Lab) -> int:
    """Whole pipelines, and never so few that they disappear beside the program itself."""
    return max(32_000, round(KEYS * lab.scale) // PIPELINE * PIPELINE)


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each system."""
    rows: list[Row] = []
    with lab.own(Raftcache(lab.folder / "memory", options=SNAPSHOTS)) as raftcache:
        rows.append(in_memory(raftcache, keys_of(lab)))
    if lab.has(Redis):
        with lab.own(Redis(lab.folder / "memory-redis")) as redis:
            rows.append(in_memory(redis, keys_of(lab)))
    return rows


def in_memory(system: Cluster, keys: int) -> Row:
    """Loads, restarts one node, then all."""
    empty = {node.name: rss_bytes(node.pid) for node in system.nodes}
    asks = Asks("resp", "PUT", keys, pipeline=PIPELINE)
    rate = load_all(asks, (HOST, system.leader.ports["resp"]))
    settled(system)
    loaded = {node.name: rss_bytes(node.pid) for node in system.nodes}
    one = [*system.followers, system.leader][0].name
    restart_s = timed(lambda: restarted(system, [one]))
    settled(system)
    again = next(rss_bytes(node.pid) for node in system.nodes if node.name == one)
    cold_s = timed(lambda: restarted(system, [node.name for node in system.nodes]))
    return {
        "system": system.name,
        "keys": keys,
        "load_rate": rate,
        "rss_bytes": max(loaded.values()),
        "key_bytes": max(loaded[name] - empty[name] for name in loaded) / keys,
        "restarted_key_bytes": (again - empty[one]) / keys,
        "restart_ms": restart_s * 1000,
        "cold_start_ms": cold_s * 1000,
    }


def settled(system: Cluster) -> None:
    """Wait until no node's memory changes any more by a hundredth."""

    def is_calm() -> bool:
        before = [rss_bytes(node.pid) for node in system.nodes]
        time.sleep(SETTLED_S)
        after = [rss_bytes(node.pid) for node in system.nodes]
        return all(abs(b - a) < a / 100 for a, b in zip(before, after, strict=True))

    until(is_calm, "memory that stays as it is", START_S_MAX)


def restarted(system: Cluster, names: Sequence[str]) -> None:
    """SIGKILL, start, and wait until they serve and a write is taken."""
    for name in names:
        system.kill_node(name)
    for name in names:
        system.start_node(name)
    started = [node for node in system.nodes if node.name in names]
    until(lambda: all(system.serves(node) for node in started), "all nodes again", START_S_MAX)
    until(lambda: takes_a_write(started[0]), "a write", START_S_MAX)


def takes_a_write(node: Node) -> bool:
    """Whether it was acknowledged, in the Redis protocol."""
    try:
        with socket.create_connection((HOST, node.ports["resp"]), 2) as link:
            link.sendall(request(Asks("resp", "PUT", 1), 0))
            return link.recv(100) == b"+OK\r\n"
    except OSError:
        return False


def timed(work: Callable[[], None]) -> float:
    """In seconds."""
    begun_s = time.monotonic()
    work()
    return time.monotonic() - begun_s


def tables(rows: Sequence[Row]) -> str:
    """The cost of a key, and what of Redis's it is."""
    head = ["system", "keys", "loaded/s", "largest node MiB", "bytes a key", "of Redis's"]
    head += ["restarted, bytes a key", "of Redis's", "restart of one s", "cold start s"]
    redis = next((r for r in rows if r["system"] == "redis"), None)
    return markdown(head, [line(row, redis) for row in rows])


def line(row: Row, redis: Row | None) -> list[str]:
    def cost(field: str) -> list[str]:
        return [f"{row[field]:.0f}", f"{row[field] / redis[field]:.2f}" if redis else ""]

    return [
        *(row["system"], f"{row['keys']:,}", f"{row['load_rate']:,.0f}"),
        *(f"{row['rss_bytes'] >> 20:,}", *cost("key_bytes"), *cost("restarted_key_bytes")),
        *(f"{row['restart_ms'] / 1000:.2f}", f"{row['cold_start_ms'] / 1000:.2f}"),
    ]


SECTION = Section(
    name="memory",
    title="Memory and cold start",
    intro=__doc__,
    cells=(Cell("memory", (), measure, starts=("raftcache", "redis")),),
    tables=tables,
)
