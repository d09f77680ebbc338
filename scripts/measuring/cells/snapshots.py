"""What snapshots cost those who write: with many keys, light writes, and a follower that was away.

Writes are due at even distances, and count from then. Each belongs to the state that the cluster
was in when it was due, by the nodes' own logs: a node was taking a snapshot, one was on its way to
a follower that had missed too much, a follower was down or starting, or nothing of the kind
(quiet). The follower is killed until the leader's log has lost what it lacks, and started again.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from scripts.measuring.cells.memory import PIPELINE, keys_of
from scripts.measuring.lab import Lab
from scripts.measuring.loads.asks import Asks
from scripts.measuring.loads.openloop import Running, Spec, load_all, read, spread
from scripts.measuring.model import Cell, Row, Section
from scripts.measuring.processes import until
from scripts.measuring.systems.base import HOST
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.tables import markdown

SECONDS: Final = 60.0
"""Of writes before the follower is killed for the first time."""
ABSENCES: Final = 2
RATE: Final = 500.0
CONNECTIONS: Final = 48
PATIENCE_S: Final = 150.0
CALM_S: Final = 5.0
ENTRIES: Final = 10_000
"""Between two snapshots: some twenty seconds."""
QUIET, TAKING, SENDING, DOWN = "quiet", "taking a snapshot", "sending a snapshot", "a node down"

Span = tuple[float, float]
"""From when to when, in seconds of the wall clock."""


class Log:
    """What the nodes wrote, as JSON."""

    def __init__(self, system: Raftcache) -> None:
        self._system = system

    def times(self, name: str, what: str) -> list[float]:
        """When a node said so."""
        return [at for at, said in self._events(name) if said == what]

    def since(self, begun_s: float, what: str) -> list[float]:
        """When any node said so, from then on, in order."""
        times = (at for node in self._system.nodes for at in self.times(node.name, what))
        return sorted(at for at in times if at >= begun_s)

    def spans(self) -> dict[str, list[Span]]:
        """In which a node took a snapshot, and in which one was on its way to another."""
        names = [node.name for node in self._system.nodes]
        found: dict[str, list[Span]] = {SENDING: [], TAKING: []}
        for name in names:
            installed = [
                at for n in names if n != name for at in self.times(n, "installed a snapshot")
            ]
            found[SENDING] += pairs(self.times(name, SENDING), installed)
            found[TAKING] += pairs(self.times(name, TAKING), self.times(name, "took a snapshot"))
        return found

    def _events(self, name: str) -> Iterator[tuple[float, str]]:
        for line in (self._system.folder / f"{name}.log").read_text().splitlines():
            event = json.loads(line)
            yield datetime.fromisoformat(event["time"]).timestamp(), event["event"]


def pairs(begun: Sequence[float], ended: Sequence[float]) -> list[Span]:
    """Each beginning with the end that follows; what has not ended is left out."""
    return [(at, min(e for e in ended if e >= at)) for at in begun if at <= max(ended, default=0)]


def by_state(
    samples: Sequence[tuple[float, int]], spans: dict[str, list[Span]]
) -> dict[str, list[int]]:
    """Latencies by what went on when they were due; where several things did, the first counts."""
    found: dict[str, list[int]] = defaultdict(list)
    for due_s, latency_ns in samples:
        inside = (s for s, some in spans.items() if any(a <= due_s <= b for a, b in some))
        found[next(inside, QUIET)].append(latency_ns)
    return found


def fall_behind(system: Raftcache, log: Log) -> Span:
    """Keeps a follower down until the leader's log no longer has what it lacks, then starts it.

    Returns when it was down, and starting; on return it has installed a snapshot.
    """
    leader = system.find_leader().name
    late = next(node.name for node in system.nodes if node.name != leader)

    def count(name: str, what: str) -> int:
        return len(log.times(name, what))

    taken, installed = count(leader, "took a snapshot"), count(late, "installed a snapshot")
    system.kill_node(late)
    begun_s = time.time()
    until(lambda: count(leader, "took a snapshot") >= taken + 2, "two snapshots", PATIENCE_S)
    system.start_node(late)
    sent = until(lambda: log.since(begun_s, SENDING), "a transfer", PATIENCE_S)
    until(lambda: count(late, "installed a snapshot") > installed, "an installation", PATIENCE_S)
    return begun_s, sent[0]


def measure(lab: Lab, cell: Cell) -> list[Row]:
    """A row for each state that was seen."""
    keys, down = keys_of(lab), []
    entries = str(max(1000, round(ENTRIES * lab.scale)))
    options = ("--snapshot-entries", entries, "--trailing-entries", "100", "--log-format", "json")
    with lab.own(Raftcache(lab.folder / "snapshots", options=options)) as system:
        log = Log(system)
        load_all(Asks("resp", "PUT", keys, pipeline=PIPELINE), (HOST, system.leader.ports["resp"]))
        samples = system.folder / "samples"
        spec = Spec(
            Asks("http", "PUT", keys),
            [(HOST, system.leader.ports["http"])],
            CONNECTIONS,
            PATIENCE_S * ABSENCES,
            RATE,
            samples=str(samples),
        )
        with Running(spec) as writes:
            time.sleep(max(10.0, SECONDS * lab.scale))
            for _ in range(ABSENCES):
                down.append(fall_behind(system, log))
                time.sleep(CALM_S)
            found = writes.stop()
        # what comes first counts: a node that starts takes a core, whatever else goes on
        spans = {DOWN: down, **log.spans()}
        ahead_s = time.time() - time.monotonic()
        due = [(due_ns / 1e9 + ahead_s, ns) for due_ns, ns in read(samples)]
        latencies = by_state(due, spans)
    return [
        {
            "system": system.name,
            "state": state,
            "keys": keys,
            "count": len(latencies[state]),
            "times_s": [round(b - a, 2) for a, b in spans.get(state, [])],
            **asdict(spread(latencies[state])),
            "errors": found.failed + found.unanswered,
        }
        for state in (QUIET, TAKING, SENDING, DOWN)
        if latencies[state]
    ]


def tables(rows: Sequence[Row]) -> str:
    """With what each p99 is of the quiet one."""
    head = [
        "PUT while",
        "requests",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "longest ms",
        "p99, of quiet's",
    ]
    head += ["it took s", "times", "errors"]
    quiet = next((r for r in rows if r["state"] == QUIET), None)
    lines = [
        [
            *(r["state"], f"{r['count']:,}"),
            *(f"{r[name]:.1f}" for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")),
            f"{r['p99_ms'] / quiet['p99_ms']:.2f}" if quiet else "",
            f"{statistics.median(r['times_s']):.1f}" if r["times_s"] else "",
            *(str(len(r["times_s"])), str(r["errors"])),
        ]
        for r in rows
    ]
    return markdown(head, lines)


SECTION = Section(
    name="snapshots",
    title="Writes while snapshots are taken and sent",
    intro=__doc__,
    cells=(Cell("snapshots", (), measure, starts=("raftcache",)),),
    tables=tables,
)
