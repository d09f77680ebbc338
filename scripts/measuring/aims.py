"""What was to be reached, as ratios of one run, and what was: the summary of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scripts.measuring import tables
from scripts.measuring.model import Row

OURS = "raftcache"


@dataclass(frozen=True)
class Aim:
    """A number that is to be at least, or at most, so much."""

    text: str
    found: Callable[[Sequence[Row]], float | None]
    """From all rows; None where it was not measured."""
    bound: float
    is_least: bool = True
    """Else the bound is what must not be passed."""

    def line(self, rows: Sequence[Row]) -> list[str] | None:
        """A line of the table."""
        found = self.found(rows)
        if found is None:
            return None
        is_met = found >= self.bound if self.is_least else found <= self.bound
        bound = f"{'at least' if self.is_least else 'at most'} {self.bound:.4g}"
        return [self.text, bound, f"{found:.2f}", "yes" if is_met else "**no**"]


def ratio(
    cell: str, peer: str, field: str = "rate", ours: str = OURS
) -> Callable[[Sequence[Row]], float | None]:
    """Ours, divided by the peer's, in that cell."""

    def found(rows: Sequence[Row]) -> float | None:
        mine, theirs = tables.find(rows, cell, ours), tables.find(rows, cell, peer)
        if mine is None or theirs is None or not theirs[field]:
            return None
        return float(mine[field] / theirs[field])

    return found


def number(cell: str, field: str, **said: str) -> Callable[[Sequence[Row]], float | None]:
    """Ours in that cell: the largest of the rows that say so."""

    def found(rows: Sequence[Row]) -> float | None:
        own = (row for row in rows if row["cell"] == cell and row["system"] == OURS)
        fitting = (row for row in own if all(row[name] == word for name, word in said.items()))
        return max((float(row[field]) for row in fitting), default=None)

    return found


def slowest(prefix: str, peer: str, field: str) -> Callable[[Sequence[Row]], float | None]:
    """The highest ratio of a latency among the cells whose names begin so."""

    def found(rows: Sequence[Row]) -> float | None:
        cells = dict.fromkeys(row["cell"] for row in rows if row["cell"].startswith(prefix))
        ratios = [ratio(cell, peer, field)(rows) for cell in cells]
        return max((r for r in ratios if r is not None), default=None)

    return found


def worst(prefix: str, peer: str) -> Callable[[Sequence[Row]], float | None]:
    """The lowest ratio of the rates among the cells whose names begin so."""

    def found(rows: Sequence[Row]) -> float | None:
        cells = dict.fromkeys(row["cell"] for row in rows if row["cell"].startswith(prefix))
        ratios = [ratio(cell, peer)(rows) for cell in cells]
        return min((r for r in ratios if r is not None), default=None)

    return found


AIMS: tuple[Aim, ...] = (
    Aim("PUT, HTTP, 64 connections, times etcd's gateway", ratio("http-put-64B-c64", "etcd"), 4),
    Aim("PUT, HTTP, 256 connections, times etcd's", ratio("http-put-64B-c256", "etcd"), 4),
    Aim(
        "PUT, HTTP, one client: median latency, of etcd's",
        ratio("http-put-64B-c1", "etcd", "p50_ms"),
        1,
        is_least=False,
    ),
    Aim("GET, HTTP, 64 connections, leader, times etcd's", ratio("http-get-64B-c64", "etcd"), 8),
    Aim("GET, HTTP, 256 connections, leader, times etcd's", ratio("http-get-64B-c256", "etcd"), 8),
    Aim("GET, HTTP, 64 over all nodes, times etcd's", ratio("http-get-64B-all-c64", "etcd"), 10),
    Aim("GET, HTTP, 256 over all nodes, times etcd's", ratio("http-get-64B-all-c256", "etcd"), 10),
    Aim(
        "GET, HTTP, one client: median latency, of etcd's",
        ratio("http-get-64B-c1", "etcd", "p50_ms"),
        1 / 3,
        is_least=False,
    ),
    Aim("every cell over HTTP, times etcd's gateway: the lowest", worst("http-", "etcd"), 1),
    Aim("every cell, times etcd's native gRPC: the lowest", worst("grpc-", "etcd"), 1),
    Aim("SET, -P 1, of Redis alone", ratio("resp-set-p1", "redis"), 0.6),
    Aim("SET, -P 32, of Redis alone", ratio("resp-set-p32", "redis"), 0.6),
    Aim("GET, -P 1, of Redis alone", ratio("resp-get-p1", "redis"), 1.0),
    Aim("GET, -P 32, of Redis alone", ratio("resp-get-p32", "redis"), 0.6),
    Aim("SET, times Redis with WAIT 1: the lowest cell", worst("wait-set-", "redis-pair"), 1),
    Aim("GET, times Redis with WAIT 1: the lowest cell", worst("wait-get-", "redis-pair"), 1),
    Aim("SET, times ZooKeeper: the lowest cell", worst("zookeeper-set-", "zookeeper"), 1),
    Aim("GET, times ZooKeeper: the lowest cell", worst("zookeeper-get-", "zookeeper"), 1),
    Aim(
        "p99 at half load, each at its own, of etcd's: the highest",
        slowest("half-http-", "etcd", "p99_ms"),
        1,
        is_least=False,
    ),
    Aim("failover, median ms", number("failover", "median_ms"), 500, is_least=False),
    Aim("failover, worst ms", number("failover", "worst_ms"), 1500, is_least=False),
    Aim("terms begun under full load", number("elections", "terms_begun"), 0, is_least=False),
    Aim(
        "memory of a key, of Redis's, just loaded",
        ratio("memory", "redis", "key_bytes"),
        1.6,
        is_least=False,
    ),
    Aim(
        "memory of a key, of Redis's, after a restart",
        ratio("memory", "redis", "restarted_key_bytes"),
        1.6,
        is_least=False,
    ),
    Aim(
        "longest stall of a loop under writes, of its own doing, ms",
        number("stalls", "stall_max_ms", phase="writes at half load"),
        20,
        is_least=False,
    ),
)


def table(rows: Sequence[Row]) -> str:
    """Every aim that was measured."""
    lines = [line for aim in AIMS if (line := aim.line(rows)) is not None]
    return tables.markdown(["", "aim", "reached", "met"], lines)
