"""Throughput and latency over HTTP: three nodes with fsync on this machine, and etcd's gateway.

Everything runs on loopback and shares the machine's cores with the load generator (wrk), so only
ratios from one run mean anything. Rounds alternate between the systems; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

VALUE = b"x" * 64
KEYS = 10_000

PUT_LUA = """
local n = {keys}
request = function()
  return wrk.format("PUT", "/v1/kv/key" .. math.random(n), nil, string.rep("x", 64))
end
"""
FILL_LUA = """
local i, n = 0, {keys}
request = function()
  i = i % n + 1
  return wrk.format("PUT", "/v1/kv/key" .. i, nil, string.rep("x", 64))
end
"""
GET_LUA = """
local n = {keys}
request = function() return wrk.format("GET", "/v1/kv/key" .. math.random(n)) end
"""
ETCD_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local b = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function b64(s)
  return ((s:gsub(".", function(x)
    local r, c = "", x:byte()
    for i = 8, 1, -1 do r = r .. (c % 2 ^ i - c % 2 ^ (i - 1) > 0 and "1" or "0") end
    return r
  end) .. "0000"):gsub("%d%d%d?%d?%d?%d?", function(x)
    if #x < 6 then return "" end
    local c = 0
    for i = 1, 6 do c = c + (x:sub(i, i) == "1" and 2 ^ (6 - i) or 0) end
    return b:sub(c + 1, c + 1)
  end) .. ({{ "", "==", "=" }})[#s % 3 + 1])
end
local keys = {{}}
for i = 1, {keys} do keys[i] = b64("key" .. i) end
local value = b64(string.rep("x", 64))
request = function()
  local key = keys[math.random({keys})]
  return wrk.format("POST", "{path}", nil, {body})
end
"""
ETCD_PUT = ETCD_LUA.format(
    keys=KEYS,
    path="/v3/kv/put",
    body="""'{"key":"' .. key .. '","value":"' .. value .. '"}'""",
)
ETCD_GET = ETCD_LUA.format(keys=KEYS, path="/v3/kv/range", body="""'{"key":"' .. key .. '"}'""")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class System:
    """Three processes of one kind, and the URL of their leader."""

    name = ""
    put_lua = ""
    get_lua = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.url = ""

    def spawn(self, command: list[str], label: str) -> None:
        log = (self.folder / f"{label}.log").open("wb")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def cpu_s(self) -> float:
        """Processor seconds used so far by all three processes."""
        ticks = 0
        for process in self.processes:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Raftcache(System):
    name = "raftcache"
    put_lua = PUT_LUA.format(keys=KEYS)
    get_lua = GET_LUA.format(keys=KEYS)

    def start(self) -> None:
        ports = free_ports(6)
        members = ",".join(f"n{i}=127.0.0.1:{ports[3 + i]}" for i in range(3))
        for i in range(3):
            self.spawn(
                [sys.executable, "-m", "raftcache", "serve", "--name", f"n{i}"]
                + ["--data-dir", str(self.folder / f"n{i}"), "--cluster", members]
                + ["--http", f"127.0.0.1:{ports[i]}", "--raft", f"127.0.0.1:{ports[3 + i]}"],
                f"n{i}",
            )
        urls = [f"http://127.0.0.1:{port}" for port in ports[:3]]

        def leader() -> str | None:
            for url in urls:
                if get_json(f"{url}/v1/cluster").get("role") == "leader":
                    return url
            return None

        self.url = wait_for(leader, "a leader of raftcache")


class Etcd(System):
    name = "etcd"
    put_lua = ETCD_PUT
    get_lua = ETCD_GET

    def start(self) -> None:
        ports = free_ports(6)
        peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
        urls = [f"http://127.0.0.1:{port}" for port in ports[:3]]
        cluster = ",".join(f"n{i}={peer}" for i, peer in enumerate(peers))
        for i in range(3):
            self.spawn(
                ["etcd", "--name", f"n{i}", "--data-dir", str(self.folder / f"n{i}")]
                + ["--listen-client-urls", urls[i], "--advertise-client-urls", urls[i]]
                + ["--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i]]
                + ["--initial-cluster", cluster, "--log-level", "error"],
                f"n{i}",
            )

        def leader() -> str | None:
            for url in urls:
                status = get_json(f"{url}/v3/maintenance/status", b"{}")
                if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                    return url
            return None

        self.url = wait_for(leader, "a leader of etcd")


def get_json(url: str, body: bytes | None = None) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, body, timeout=2) as reply:
            return dict(json.load(reply))
    except OSError:
        return {}


def wait_for(look: Callable[[], str | None], what: str, timeout_s: float = 30) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"{what} did not appear in {timeout_s:g} s")


def wrk(
    url: str, lua: str, connections: int, seconds: float, folder: Path, threads: int = 2
) -> dict[str, float]:
    script = folder / "wrk.lua"
    script.write_text(lua)
    threads = min(threads, connections)
    out = subprocess.run(
        ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{seconds:g}s", "--latency"]
        + ["-s", str(script), url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])  # type: ignore[index]
    found = {p: _ms(out, p) for p in ("50%", "99%")}
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    return {"rate": rate, "p50_ms": found["50%"], "p99_ms": found["99%"], "errors": errors}


def _ms(out: str, percentile: str) -> float:
    value, unit = re.search(rf"\s{percentile}\s+([\d.]+)(us|ms|s)", out).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def measure(
    systems: list[System], connections: list[int], rounds: int, seconds: float, folder: Path
) -> list[dict[str, Any]]:
    """One row per system, operation and number of connections; medians over alternating rounds."""
    rows = []
    for operation in ("PUT", "GET"):
        for count in connections:
            found: dict[str, list[dict[str, float]]] = {s.name: [] for s in systems}
            for turn in range(rounds):
                for system in systems:
                    print(
                        f"{operation} {count} connections, round {turn + 1}: {system.name}",
                        file=sys.stderr,
                    )
                    lua = system.put_lua if operation == "PUT" else system.get_lua
                    cpu_s = system.cpu_s()
                    run = wrk(system.url, lua, count, seconds, folder)
                    run["cpu_us"] = (system.cpu_s() - cpu_s) * 1e6 / (run["rate"] * seconds)
                    found[system.name].append(run)
            for name, runs in found.items():
                medians = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
                rows.append(
                    {"operation": operation, "connections": count, "system": name} | medians
                )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| operation | connections | system | per second | p50 ms | p99 ms | CPU µs each | errors |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    lines += [
        f"| {r['operation']} | {r['connections']} | {r['system']} | {r['rate']:,.0f} "
        f"| {r['p50_ms']:.2f} | {r['p99_ms']:.2f} | {r['cpu_us']:.0f} | {r['errors']:.0f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", default="1,64")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without-etcd", action="store_true")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    kinds: list[type[System]] = [Raftcache]
    if not args.without_etcd and shutil.which("etcd"):
        kinds.append(Etcd)
    else:
        print("etcd is left out: not asked for, or not installed", file=sys.stderr)
    connections = [int(c) for c in args.connections.split(",")]
    with tempfile.TemporaryDirectory(prefix="raftcache-bench-") as name:
        systems = [kind(Path(name)) for kind in kinds]
        try:
            for system in systems:
                system.start()  # type: ignore[attr-defined]
                if isinstance(system, Raftcache):  # etcd answers 200 for keys that do not exist
                    wrk(system.url, FILL_LUA.format(keys=KEYS), 32, 3, Path(name), threads=1)
            rows = measure(systems, connections, args.rounds, args.seconds, Path(name))
        finally:
            for system in systems:
                system.stop()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
