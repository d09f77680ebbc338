"""What no generator of others can ask: Redis with a replica and WAIT 1, and ZooKeeper itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from scripts.measuring import plots, tables
from scripts.measuring.lab import Lab
from scripts.measuring.loads import exchange
from scripts.measuring.loads.exchange import Order
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.rounds import Contender, Reading, in_turns
from scripts.measuring.systems import System

MARK = "ours"
"""Not that of redis-benchmark's cells, though the keys are the same: its values are its own."""

OURS = """A generator of ours, a process of its own on one core, the same for both sides: packets
are built before the run, and an answer is compared with what it must be, not parsed. 10,000 keys by
chance, values of 64 bytes, all asked of the leader. """

WAIT_INTRO = (
    OURS
    + """Redis has one replica, both with `appendfsync always`, and each pipeline of SETs ends with
`WAIT 1 0`: its answer comes when the replica has received them, which is not yet on its disk, and
not yet a promise that a failover keeps. A GET of Redis is answered by the primary alone, that of
raftcache is linearizable."""
)
ZOOKEEPER_INTRO = (
    OURS
    + """ZooKeeper is asked in its own protocol: `setData`, and `sync` followed by `getData`, which
is its linearizable read as long as the leader is one: a leader answers `sync` by itself, and asks
nobody (ZOOKEEPER-1675). raftcache is asked in the Redis protocol: `SET` and `GET`; it asks a
majority for each GET. One request at a time on each connection. ZooKeeper 3.8.0 may sleep over the
request of a client that is alone until somebody else asks something (ZOOKEEPER-4537, mended in
3.8.1): so a session beside the load pings it every 10 ms. A client library in Python (kazoo) would
be slower than the servers, and say nothing about them."""
)


def _order(system: System, operation: str, options: Row, seconds: int, turn: int) -> Order:
    dialect = "zookeeper" if system.name == "zookeeper" else "resp"
    word = "SET+WAIT" if system.name == "redis-pair" and operation == "SET" else operation
    port = system.leader.ports[dialect]
    pipeline = options.get("pipeline", 1)
    return Order(dialect, word, (port,), options["connections"], pipeline, seconds, turn)


def _load(system: System, options: Row, seconds: int, turn: int) -> Reading:
    return exchange.load(_order(system, options["operation"], options, seconds, turn))


def _measure(lab: Lab, cell: Cell) -> list[Row]:
    contenders = []
    for system in lab.contending(cell.systems):
        order = _order(system, "FILL", {"connections": 16}, 0, 0)
        system.fill_once(MARK, partial(exchange.load, order))
        contenders.append(Contender(system.name, system, partial(_load, system, cell.options)))
    return in_turns(lab, contenders, cell.options)


def _wait_cell(operation: str, connections: int, pipeline: int) -> Cell:
    return Cell(
        f"wait-{operation.lower()}-p{pipeline}-c{connections}",
        ("raftcache", "redis-pair"),
        _measure,
        is_quick=(operation, connections, pipeline) == ("SET", 64, 1),
        options={"operation": operation, "pipeline": pipeline, "connections": connections},
    )


def _zookeeper_cell(operation: str, connections: int) -> Cell:
    return Cell(
        f"zookeeper-{operation.lower()}-c{connections}",
        ("raftcache", "zookeeper"),
        _measure,
        options={"operation": operation, "connections": connections},
    )


def _wait_tables(rows: Sequence[Row]) -> str:
    columns = {"operation": "", "pipeline": "in a pipeline", "connections": "connections"}
    return tables.comparison(rows, columns, "redis-pair")


def _zookeeper_tables(rows: Sequence[Row]) -> str:
    return tables.comparison(rows, {"operation": "", "connections": "connections"}, "zookeeper")


def _zookeeper_plots(rows: Sequence[Row]) -> dict[str, plots.Figure]:
    return plots.by_connections(rows, "raftcache (RESP) and ZooKeeper, 64-byte values")


WAIT = Section(
    "wait",
    "The Redis protocol, beside Redis with a replica and WAIT 1",
    WAIT_INTRO,
    tuple(
        _wait_cell(operation, connections, pipeline)
        for operation in ("SET", "GET")
        for connections, pipeline in ((1, 1), (64, 1), (64, 32))
    ),
    _wait_tables,
)

ZOOKEEPER = Section(
    "zookeeper",
    "Beside ZooKeeper",
    ZOOKEEPER_INTRO,
    tuple(_zookeeper_cell(operation, n) for operation in ("SET", "GET") for n in (1, 64, 256)),
    _zookeeper_tables,
    _zookeeper_plots,
)
