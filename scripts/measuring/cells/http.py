"""PUT and GET over HTTP/1.1, loaded by wrk: raftcache's own API, and etcd's JSON gateway."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from scripts.measuring import plots, tables
from scripts.measuring.lab import Lab
from scripts.measuring.loads import wrk
from scripts.measuring.loads.wrk import Mixture, Request
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.rounds import Contender, in_turns
from scripts.measuring.systems import System

SYSTEMS = ("raftcache", "etcd")
CONNECTIONS = (1, 64, 256)
SIZES = {64: "64B", 1024: "1KiB", 65536: "64KiB"}
KEYS = {64: 10_000, 1024: 10_000, 65536: 200}
"""By size: fewer of the large ones, since wrk holds each request that it will send."""
ZIPF = 0.99
"""The exponent of YCSB."""
MIX_READS = 0.9
MIX_DRAWS = 50_000
FILL_CONNECTIONS = 32

INTRO = """wrk, one thread (three where reads go to all nodes, one for each), keeps so many
connections busy over HTTP/1.1: `PUT` and `GET /v1/kv/KEY` of raftcache, `/v3/kv/put` and
`/v3/kv/range` of etcd's JSON gateway. Requests are built before the run. 10,000 keys by chance (200
for 64 KiB); `mix` is nine reads to one write with Zipf keys (exponent 0.99). All reads are
linearizable. Everything shares the cores: with more than 16 connections, wrk takes up to one of
the two. etcd stores every version until it is told to compact, raftcache one; neither was told."""


@dataclass(frozen=True)
class Dialect:
    """How a system is asked over HTTP."""

    put: Callable[[str], Request]
    get: Callable[[str], Request]
    value: Callable[[int], str]
    """Of so many bytes, as it goes into the body."""


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


DIALECTS = {
    "raftcache": Dialect(
        lambda key: Request("PUT", f"/v1/kv/{key}", "value"),
        lambda key: Request("GET", f"/v1/kv/{key}"),
        lambda size: "x" * size,
    ),
    "etcd": Dialect(
        lambda key: Request(
            "POST", "/v3/kv/put", f"""'{{"key":"{_encoded(key)}","value":"' .. value .. '"}}'"""
        ),
        lambda key: Request("POST", "/v3/kv/range", f"""'{{"key":"{_encoded(key)}"}}'"""),
        lambda size: _encoded("x" * size),
    ),
}


def _keys(size: int) -> list[str]:
    return [f"{SIZES[size]}-{i}" for i in range(KEYS[size])]


def _mixture(system: str, operation: str, size: int) -> Mixture:
    dialect, keys = DIALECTS[system], _keys(size)
    puts, gets = [dialect.put(key) for key in keys], [dialect.get(key) for key in keys]
    value = dialect.value(size)
    if operation == "FILL":
        return Mixture(puts, value, is_walk=True)
    if operation == "PUT":
        return Mixture(puts, value)
    if operation == "GET":
        return Mixture(gets, value)
    return Mixture(gets + puts, value, zipf_order(len(keys)))


def zipf_order(count: int, draws: int = MIX_DRAWS) -> list[int]:
    """Places among `count` reads and then `count` writes of the same keys, one write in ten."""
    dice = random.Random(count)
    weights = [1 / (i + 1) ** ZIPF for i in range(count)]
    keys = dice.choices(range(count), weights, k=draws)
    return [key if dice.random() < MIX_READS else count + key for key in keys]


def _fill(system: System, size: int) -> None:
    """Every key once, before anyone reads: etcd answers 200 for keys that do not exist."""
    script = system.folder / "fill.lua"
    _mixture(system.name, "FILL", size).write(script, [system.leader])
    for seconds in (1, 2, 4, 8, 16, 32):
        done = wrk.load(script, [system.leader], FILL_CONNECTIONS, seconds, 0)
        if done["operations"] >= KEYS[size] + FILL_CONNECTIONS:
            return
    raise RuntimeError(f"{system.name} did not take {KEYS[size]} keys of {size} bytes")


def _measure(lab: Lab, cell: Cell) -> list[Row]:
    size, operation = cell.options["value_bytes"], cell.options["operation"]
    contenders = []
    for system in lab.contending(cell.systems):
        system.fill_once(f"http {size}", partial(_fill, system, size))
        nodes = system.nodes if cell.options["at"] == "all nodes" else [system.leader]
        script = system.folder / f"{cell.name}.lua"
        _mixture(system.name, operation, size).write(script, nodes)
        load = partial(wrk.load, script, nodes, cell.options["connections"])
        contenders.append(Contender(system.name, system, load))
    return in_turns(lab, contenders, cell.options)


def _cell(operation: str, size: int, connections: int, at: str = "leader") -> Cell:
    words = [
        operation.lower(),
        SIZES[size],
        *(["all"] if at != "leader" else []),
        f"c{connections}",
    ]
    return Cell(
        f"http-{'-'.join(words)}",
        SYSTEMS,
        _measure,
        wrk.TOOL,
        is_quick=size == 64 and connections in (1, 64) and at == "leader" and operation != "mix",
        options={
            "operation": operation,
            "value_bytes": size,
            "at": at,
            "connections": connections // 3 * 3 if at != "leader" else connections,
        },
    )


def _cells() -> tuple[Cell, ...]:
    """By size, so that a system has what is read; the small ones in more places, for the plots."""
    found = []
    for size in SIZES:
        counts = (1, 16, 64, 256) if size == 64 else CONNECTIONS
        found += [_cell(operation, size, n) for operation in ("PUT", "GET") for n in counts]
    found += [_cell("GET", 64, n, "all nodes") for n in (64, 256)]
    found += [_cell("mix", 64, n) for n in (64, 256)]
    return tuple(found)


def _tables(rows: Sequence[Row]) -> str:
    columns = {"operation": "", "value_bytes": "bytes", "at": "at", "connections": "connections"}
    return tables.comparison(rows, columns, "etcd")


def _plots(rows: Sequence[Row]) -> dict[str, plots.Figure]:
    small = [r for r in rows if r["value_bytes"] == 64 and r["at"] == "leader"]
    return plots.by_connections(
        [r for r in small if r["operation"] != "mix"], "HTTP, 64-byte values"
    )


SECTION = Section(
    "http",
    "HTTP, beside etcd's gateway",
    INTRO,
    _cells(),
    _tables,
    _plots,
)
