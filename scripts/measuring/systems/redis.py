"""Redis with `appendfsync always`: alone, and with a replica that does the same."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from scripts.measuring.processes import free_ports, until
from scripts.measuring.systems.base import HOST, Cluster, Node


class Redis(Cluster):
    """One node: what it acknowledges is on one disk."""

    name: ClassVar[str] = "redis"
    programs = ("redis-server", "redis-cli")
    package = "redis-server redis-tools"

    @classmethod
    def version(cls) -> str:
        done = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
        return f"Redis {done.stdout.split('v=')[1].split()[0]}"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports: dict[str, int] = {}
        self._options: dict[str, list[str]] = {}

    def start(self) -> None:
        self.leader = self._found("n0")

    def _found(self, name: str, *options: str) -> Node:
        """A new node, which serves on return."""
        (self._ports[name],) = free_ports(1)
        self._options[name] = list(options)
        node = self.start_node(name)
        until(lambda: self.serves(node), "redis-server")
        return node

    def start_node(self, name: str) -> Node:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        port = self._ports[name]
        command = ["redis-server", "--port", str(port), "--bind", HOST, "--dir", str(folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        pid = self.processes.start(name, command + self._options[name])
        return self._add(Node(name, pid, {"resp": port}))

    def find_leader(self) -> Node:
        return self.nodes[0]

    def serves(self, node: Node) -> bool:
        return _said(node.ports["resp"], "ping") == "PONG"


class RedisPair(Redis):
    """A primary and a replica; WAIT 1 waits until that has received a write, not for its disk."""

    name: ClassVar[str] = "redis-pair"
    HASTE = ("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0")
    """Else it waits five seconds for further replicas, and ten for this one when it is stopped."""

    def start(self) -> None:
        self.leader = self._found("n0", *self.HASTE)
        port = self.leader.ports["resp"]
        replica = self._found("n1", "--replicaof", f"{HOST} {port}", *self.HASTE)
        until(lambda: _said(port, "wait", "1", "100") == "1", "a replica of redis-server")
        until(lambda: _has_its_log(replica), "the log of a replica of redis-server")


def _has_its_log(node: Node) -> bool:
    """It writes one anew when it has the primary's data, and until then it cannot be stopped."""
    said = _said(node.ports["resp"], "info", "persistence").split()
    return {"aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"} <= set(said)


def _said(port: int, *command: str) -> str:
    done = subprocess.run(["redis-cli", "-p", str(port), *command], capture_output=True, text=True)
    return done.stdout.strip()
