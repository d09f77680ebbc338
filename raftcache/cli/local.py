"""A cluster on this machine: one process per node, each with its own folder and log file.

Processes are started by `sys.executable -m raftcache serve`, and stopped by the ids they were
given, never by name. `<folder>/demo.json` says who runs where, for programs that watch or kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

from raftcache.errors import BadConfig, Corrupt

HOST: Final = "127.0.0.1"
STATE_FILE: Final = "demo.json"
NODES_MAX: Final = 9
PORT_MIN: Final = 20_000
PORT_MAX: Final = 32_000
STOP_TIMEOUT_S: Final = 15.0
"""For a node that was asked to stop; longer than the shutdown timeout of its own."""


@dataclass(frozen=True)
class LocalNode:
    """Where one node lives."""

    name: str
    http_port: int
    raft_port: int
    resp_port: int
    folder: Path

    @property
    def ports(self) -> tuple[int, int, int]:
        """Of HTTP, Raft and RESP."""
        return self.http_port, self.raft_port, self.resp_port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    @property
    def redis_url(self) -> str:
        return f"redis://{HOST}:{self.resp_port}"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"


def planned(
    folder: Path, size: int, base_http: int, base_raft: int, base_resp: int
) -> list[LocalNode]:
    """n1, n2, ... at the bases plus 1, 2, ...; raises BadConfig if a port is taken or no port."""
    nodes = [
        LocalNode(f"n{i}", base_http + i, base_raft + i, base_resp + i, folder / f"n{i}")
        for i in range(1, size + 1)
    ]
    bases = {"HTTP": base_http, "Raft": base_raft, "RESP": base_resp}
    for (one, low), (other, high) in combinations(bases.items(), 2):
        if abs(low - high) < size:
            raise BadConfig(f"--base-{one.lower()} {low} and --base-{other.lower()} {high} overlap")
    for node in nodes:
        for (what, base), port in zip(bases.items(), node.ports, strict=True):
            _check_free(port, f"{what} of {node.name}", f"--base-{what.lower()} {base}")
    return nodes


def anywhere(folder: Path, size: int) -> list[LocalNode]:
    """n1, n2, ... on ports that are free now; raises BadConfig if there are none."""
    ports = iter(_free_ports(3 * size))
    return [
        LocalNode(f"n{i}", next(ports), next(ports), next(ports), folder / f"n{i}")
        for i in range(1, size + 1)
    ]


def _free_ports(count: int) -> list[int]:
    """From a random one on, below those that systems give to outgoing connections.

    Among those, a client that tries to reach a dead node may be given the node's own port.
    """
    free: list[int] = []
    first = random.randrange(PORT_MIN, PORT_MAX - 1000)
    for port in range(first, PORT_MAX):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise BadConfig(
        f"there are no {count} free ports from {first} on: use --base-http, --base-raft,"
        " --base-resp"
    )


def _check_free(port: int, what: str, option: str) -> None:
    if not 1 <= port <= 65535:
        raise BadConfig(f"{option} leads to port {port} for {what}; ports end at 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node itself does
        try:
            probe.bind((HOST, port))
        except OSError as e:
            raise BadConfig(
                f"port {port}, {what}, cannot be used: {e.strerror or e}; "
                f"choose others with {option.split()[0]}"
            ) from None


def refuse_another(folder: Path, nodes: Sequence[LocalNode]) -> None:
    """Raise BadConfig if the folder holds another cluster than that of these nodes."""
    from raftcache.node import disk_of
    from raftcache.raft.datadir import cluster_id_of, read_identity

    def id_of(raft_ports: Sequence[int], origin: str) -> str:
        """Clusters differ by the names and addresses that they begin with."""
        addresses = {f"n{i}": f"{HOST}:{port}" for i, port in enumerate(raft_ports, 1)}
        return cluster_id_of(addresses, origin)

    ports = [node.raft_port for node in nodes]
    in_a_row = range(ports[0], ports[0] + NODES_MAX)
    for node in nodes:
        try:
            held = read_identity(disk_of(node.folder))
        except Corrupt as e:
            raise BadConfig(f"{node.folder}: {e.detail}") from None
        if held is None or held.joined or held.cluster_id == id_of(ports, held.origin):
            continue  # who joined asks the others who they are
        sizes = range(1, NODES_MAX + 1)
        size = next((n for n in sizes if held.cluster_id == id_of(in_a_row[:n], held.origin)), 0)
        began = f"with --nodes {size}" if size else "at other ports (--base-raft)"
        raise BadConfig(
            f"{folder} holds a cluster that began {began}:"
            " say so, or take another folder with --dir, or remove this one"
        )


class LocalCluster:
    """Starts, kills and stops the processes; use it with `with`, which stops what still runs."""

    def __init__(self, folder: Path, nodes: Sequence[LocalNode]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._members = ",".join(f"{n.name}={HOST}:{n.raft_port}" for n in nodes)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes.values()]

    def start(self, name: str) -> None:
        """Start a node that does not run; its output goes to the end of its log file."""
        assert not self.is_running(name), f"{name} runs already"
        node = self.nodes[name]
        node.folder.mkdir(parents=True, exist_ok=True)
        with node.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the nodes.
            self._processes[name] = subprocess.Popen(
                self._command(node),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._write_state()

    def is_running(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def ended(self) -> dict[str, int]:
        """Nodes that were started and have ended, with their exit codes."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def stop(self) -> None:
        """SIGTERM to all, wait, SIGKILL to those that remain; then nothing of it runs."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        (self._folder / STATE_FILE).unlink(missing_ok=True)

    def log_tails(self, lines: int = 15) -> str:
        """The last lines that each node wrote."""
        return "\n".join(
            f"--- {node.log}\n" + "\n".join(_last_lines(node.log, lines))
            for node in self.nodes.values()
        )

    def _command(self, node: LocalNode) -> list[str]:
        return [
            *(sys.executable, "-m", "raftcache", "serve"),
            *("--name", node.name),
            *("--data-dir", str(node.folder)),
            *("--http", f"{HOST}:{node.http_port}"),
            *("--raft", f"{HOST}:{node.raft_port}"),
            *("--resp", f"{HOST}:{node.resp_port}"),
            *("--cluster", self._members),
        ]

    def _write_state(self) -> None:
        """Replaced as a whole, so that a reader never sees half of it."""
        state = {
            "pid": os.getpid(),
            "nodes": [
                {
                    "name": name,
                    "pid": process.pid,
                    "http": self.nodes[name].url,
                    "redis": self.nodes[name].redis_url,
                    "data_dir": str(self.nodes[name].folder),
                    "log": str(self.nodes[name].log),
                }
                for name, process in self._processes.items()
            ],
        }
        new = self._folder / f"{STATE_FILE}.new"
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self._folder / STATE_FILE)


def _last_lines(path: Path, lines: int) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return ["(no log)"]
