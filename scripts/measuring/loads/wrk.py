"""wrk: closed loops over HTTP/1.1, with requests that are built before it starts.

One thread, since it shares two cores with the servers; for several servers one thread for each.
Connections are divided evenly among the threads, so 64 over three nodes are 63.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.measuring.model import Tool
from scripts.measuring.rounds import Reading
from scripts.measuring.systems.base import HOST, Node

TOOL = Tool("wrk", "wrk")

SCRIPT = """
local ports = {%(ports)s}
local threads = 0
function setup(thread)
  threads = threads + 1
  thread.addr = wrk.lookup("%(host)s", ports[threads])[1]
  thread:set("number", threads)
end

local value = "%(value)s"
local made = {}
local order = {%(order)s}
local count, at = #order, 0
function init(arguments)
  math.randomseed(number + 1000 * tonumber(arguments[1]))
%(requests)s
end
if %(is_walk)s then
  request = function() at = at %% count + 1; return made[order[at]] end
else
  request = function() return made[order[math.random(count)]] end
end

done = function(summary, latency)
  local bad = summary.errors
  print("JSON" .. string.format(
    '{"operations":%%d,"us":%%d,"p50_us":%%d,"p99_us":%%d,"errors":%%d}',
    summary.requests - bad.status, summary.duration, latency:percentile(50), latency:percentile(99),
    bad.connect + bad.read + bad.write + bad.status + bad.timeout))
end
"""


@dataclass(frozen=True)
class Request:
    """`body` is a Lua expression, in which `value` is the value of a PUT."""

    method: str
    path: str
    body: str = "nil"


@dataclass(frozen=True)
class Mixture:
    """Requests, and the order in which they are drawn: by chance, each place being as likely."""

    requests: Sequence[Request]
    value: str
    """As it goes over the wire: printable, without quotes."""
    order: Sequence[int] = ()
    """Places in `requests`, as often as their share is; without it all alike."""
    is_walk: bool = False
    """In this order, again and again, instead of by chance."""

    def write(self, path: Path, nodes: Sequence[Node]) -> None:
        requests = "\n".join(
            f'made[{i}] = wrk.format("{r.method}", "{r.path}", nil, {r.body})'
            for i, r in enumerate(self.requests, 1)
        )
        order = self.order or range(len(self.requests))
        words = {
            "host": HOST,
            "ports": ", ".join(f'"{node.ports["http"]}"' for node in nodes),
            "value": self.value,
            "order": ",".join(str(i + 1) for i in order),
            "requests": requests,
            "is_walk": str(self.is_walk).lower(),
        }
        path.write_text(SCRIPT % words)


def load(script: Path, nodes: Sequence[Node], connections: int, seconds: int, turn: int) -> Reading:
    """Run a script that `Mixture.write` wrote for the same nodes; each turn draws differently."""
    threads = min(len(nodes), connections)
    out = subprocess.run(
        [TOOL.program, "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s"]
        + ["--timeout", "10s", "-s", str(script), nodes[0].url, "--", str(turn)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return parse(out)


def parse(out: str) -> Reading:
    """What the script printed last; a refused request (status of 400 and above) is no operation."""
    found = json.loads(out.rsplit("JSON", 1)[1])
    return {
        "rate": found["operations"] / (found["us"] / 1e6),
        "p50_ms": found["p50_us"] / 1000,
        "p99_ms": found["p99_us"] / 1000,
        "operations": found["operations"],
        "errors": found["errors"],
    }
