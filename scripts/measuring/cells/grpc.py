"""etcd's native protocol, loaded by h2load, beside raftcache over HTTP/1.1, loaded by the same."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from scripts.measuring import plots, tables
from scripts.measuring.lab import Lab
from scripts.measuring.loads import h2load
from scripts.measuring.loads.h2load import Call
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.rounds import Contender, Reading, in_turns
from scripts.measuring.systems import System
from scripts.measuring.systems.base import HOST

KEY = b"grpc"
VALUE = b"x" * 64

INTRO = """h2load, one thread, written in C, keeps so many connections busy with one request at a
time on each: `etcdserverpb.KV/Put` and `/Range` over gRPC (HTTP/2), and raftcache's `PUT` and `GET`
of `/v1/kv/KEY` over HTTP/1.1. A client library of either would cost more than the server. Values of
64 bytes. h2load repeats one request, so that there is one key; to both a write is a write. All
reads are linearizable, and all go to the leader."""


def grpc_message(*fields: bytes) -> bytes:
    """Length-prefixed, not compressed; fields 1, 2, ... are of bytes (wire type 2 of protobuf)."""
    body = b"".join(
        bytes([number << 3 | 2]) + _varint(len(field)) + field
        for number, field in enumerate(fields, 1)
    )
    return struct.pack(">BI", 0, len(body)) + body


def _varint(number: int) -> bytes:
    more, low = number >> 7, number & 127
    return bytes([low | 128]) + _varint(more) if more else bytes([low])


def _call(system: System, operation: str) -> Call:
    """What each asks of the leader. etcd's Range is linearizable unless it says otherwise."""
    if system.name == "raftcache":
        url = f"{system.leader.url}/v1/kv/{KEY.decode()}"
        return Call(url, operation, VALUE if operation == "PUT" else b"")
    url = f"http://{HOST}:{system.leader.ports['grpc']}/etcdserverpb.KV/"
    if operation == "PUT":
        return Call(url + "Put", "POST", grpc_message(KEY, VALUE), is_grpc=True)
    return Call(url + "Range", "POST", grpc_message(KEY), is_grpc=True)


def _measure(lab: Lab, cell: Cell) -> list[Row]:
    contenders = []
    for system in lab.contending(cell.systems):
        put = _call(system, "PUT")
        system.fill_once("grpc", partial(h2load.load, put, 1, 1, system.folder))
        call = _call(system, cell.options["operation"])
        load = partial(_load, call, cell.options["connections"], system.folder)
        contenders.append(Contender(system.name, system, load))
    return in_turns(lab, contenders, cell.options)


def _load(call: Call, connections: int, folder: Path, seconds: int, turn: int) -> Reading:
    return h2load.load(call, connections, seconds, folder)


def _cell(operation: str, connections: int) -> Cell:
    return Cell(
        f"grpc-{operation.lower()}-c{connections}",
        ("raftcache", "etcd"),
        _measure,
        h2load.TOOL,
        is_quick=connections == 64 and operation == "PUT",
        options={"operation": operation, "connections": connections},
    )


def _tables(rows: Sequence[Row]) -> str:
    return tables.comparison(rows, {"operation": "", "connections": "connections"}, "etcd")


def _plots(rows: Sequence[Row]) -> dict[str, plots.Figure]:
    return plots.by_connections(rows, "raftcache's HTTP, etcd's gRPC, 64-byte values")


SECTION = Section(
    "grpc",
    "Beside etcd's native gRPC",
    INTRO,
    tuple(_cell(operation, n) for operation in ("PUT", "GET") for n in (1, 64, 256)),
    _tables,
    _plots,
)
