"""How long a node's event loop stands still, with many keys, under load, while snapshots are taken.

Every node is asked for /livez each 10 ms, in an open loop of its own: the longest answer is the
longest stall that a client sees, the garbage collector, snapshots and growing tables included. But
it also has what the machine does to everybody who shares its cores. So a process that only answers
is asked in the same way (`idle`), and from each answer's time is taken, by the kernel's own book
(/proc/PID/schedstat), what the node's main thread spent waiting for a processor: what is left is
the node's own doing, the work of other threads that hold its interpreter included. The probers go
before everybody else where they may (as root), and what they came late is taken off, too. The
nodes have no such metric themselves. They are asked while the keys are loaded, as fast as they are
taken, and then under writes at half of what the cluster takes.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from scripts.measuring.cells.memory import PIPELINE, keys_of
from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks
from scripts.measuring.loads.openloop import Found, Running, Spec, load_all, run
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.processes import Processes, free_ports, until
from scripts.measuring.systems.base import HOST
from scripts.measuring.systems.http import is_ok
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.tables import markdown

SECONDS: Final = 60.0
PROBE_RATE: Final = 100.0
CONNECTIONS: Final = 64
CLOSED_S: Final = 3.0
ENTRIES: Final = 2_000
"""Between two snapshots: so few that one is under way most of the time."""
IDLE: Final = "idle"
PROBE_S_MAX: Final = 3600.0


@dataclass(frozen=True)
class Door:
    """Who answers /livez, and where."""

    pid: int
    port: int

    def spec(self, asks: Asks) -> Spec:
        """Enough connections for each request to be sent when it is due."""
        return Spec(asks, [(HOST, self.port)], 16, PROBE_S_MAX, PROBE_RATE, pid=self.pid)


Doors = dict[str, Door]
"""By name."""


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each node, and for the idle process, in both phases."""
    keys, seconds = keys_of(lab), max(10.0, SECONDS * lab.scale)
    with contextlib.ExitStack() as stack:
        entries = ("--snapshot-entries", str(max(100, round(ENTRIES * lab.scale))))
        nodes = Raftcache(lab.folder / "stalls", options=(*entries, "--trailing-entries", "100"))
        system = stack.enter_context(lab.own(nodes))
        doors = {node.name: Door(node.pid, node.ports["http"]) for node in system.nodes}
        doors[IDLE] = stack.enter_context(idle(lab))
        rows = _loading(system, doors, keys)
        at = (HOST, system.leader.ports["http"])
        closed = Spec(Asks("http", "PUT", keys), [at], CONNECTIONS, CLOSED_S)
        rate = run(closed).rate / 2
        rows += _writing(system, doors, replace(closed, rate=rate, seconds=seconds))
    leads = system.leader.name
    return [{**row, "keys": keys, "leads": row["node"] == leads} for row in rows]


@contextlib.contextmanager
def idle(lab: Lab) -> Iterator[Door]:
    """A process that only answers."""
    processes, (port,) = Processes(lab.folder / IDLE), free_ports(1)
    try:
        command = [sys.executable, "-m", "scripts.measuring.loads.idle", str(port)]
        door = Door(processes.start(IDLE, command), port)
        until(lambda: is_ok(f"http://{HOST}:{port}/livez"), "the idle process")
        yield door
    finally:
        processes.stop()


def _loading(system: Raftcache, doors: Doors, keys: int) -> list[Row]:
    """As fast as they are taken, in the Redis protocol."""
    asks = Asks("resp", "PUT", keys, pipeline=PIPELINE)
    before = snapshots(system)
    with probed(doors) as probes:
        rate = load_all(asks, (HOST, system.leader.ports["resp"]))
        found = {name: probe.stop() for name, probe in probes.items()}
    return _rows("loading", found, rate, snapshots(system) - before)


def _writing(system: Raftcache, doors: Doors, spec: Spec) -> list[Row]:
    """At half of what it takes."""
    before = snapshots(system)
    with probed(doors) as probes:
        puts = run(spec)
        found = {name: probe.stop() for name, probe in probes.items()}
    rows = _rows("writes at half load", found, puts.rate, snapshots(system) - before)
    return [{**row, "put_p999_ms": puts.latency.p999_ms} for row in rows]


@contextlib.contextmanager
def probed(doors: Doors) -> Iterator[dict[str, Running]]:
    """Every door is asked for /livez all the time."""
    live = Asks("http", "LIVE", keys=1)
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Running(door.spec(live))) for name, door in doors.items()}


def _rows(phase: str, found: dict[str, Found], rate: float, taken: int) -> list[Row]:
    return [
        {
            "system": IDLE if name == IDLE else Raftcache.name,
            "node": name,
            "phase": phase,
            "rate": rate,
            "snapshots": taken,
            "p99_ms": each.latency.p99_ms,
            "max_ms": each.latency.max_ms,
            "stall_p99_ms": each.stalls.p99_ms,
            "stall_max_ms": each.stalls.max_ms,
            "late_max_ms": each.late.max_ms,
            "errors": each.failed + each.unanswered,
        }
        for name, each in found.items()
    ]


def snapshots(system: Raftcache) -> int:
    """So many were taken, by all nodes, as their logs have it."""
    logs = (system.folder / f"{node.name}.log" for node in system.nodes)
    return sum(log.read_text(errors="replace").count("took a snapshot") for log in logs)


def tables(rows: Sequence[Row]) -> str:
    head = ["while", "node", "writes/s", "snapshots", "answered p99 ms", "longest ms"]
    head += ["of its own doing p99 ms", "longest ms", "prober late, longest ms", "errors"]
    lines = [
        [
            *(r["phase"], f"{r['node']}{', leads' if r['leads'] else ''}"),
            *(f"{r['rate']:,.0f}", str(r["snapshots"])),
            *(f"{r[name]:.1f}" for name in ("p99_ms", "max_ms", "stall_p99_ms", "stall_max_ms")),
            *(f"{r['late_max_ms']:.1f}", str(r["errors"])),
        ]
        for r in rows
    ]
    return markdown(head, lines)


SECTION = Section(
    name="stalls",
    title="The longest pause of an event loop",
    intro=__doc__,
    cells=(Cell("stalls", (), measure, starts=("raftcache",)),),
    tables=tables,
)
