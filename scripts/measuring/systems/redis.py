"""Redis with `appendfsync always`: alone, and with a replica that does the same."""

from __future__ import annotations

import subprocess
from typing import ClassVar

from scripts.measuring.processes import free_ports, until
from scripts.measuring.systems.base import HOST, Node, System


class Redis(System):
    """One node: what it acknowledges is on one disk."""

    name: ClassVar[str] = "redis"
    programs = ("redis-server", "redis-cli")
    package = "redis-server redis-tools"

    @classmethod
    def version(cls) -> str:
        done = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
        return f"Redis {done.stdout.split('v=')[1].split()[0]}"

    def start(self) -> None:
        self.leader = self._start_node("n0")

    def _start_node(self, name: str, *options: str) -> Node:
        (port,) = free_ports(1)
        folder = self.folder / name
        folder.mkdir(parents=True)
        pid = self.processes.start(
            name,
            ["redis-server", "--port", str(port), "--bind", HOST, "--dir", str(folder)]
            + ["--appendonly", "yes", "--appendfsync", "always", "--save", "", *options],
        )
        self.nodes.append(Node(name, pid, {"resp": port}))
        until(lambda: _said(port, "ping") == "PONG", "redis-server")
        return self.nodes[-1]


class RedisPair(Redis):
    """A primary and a replica; WAIT 1 waits until that has received a write, not for its disk."""

    name: ClassVar[str] = "redis-pair"

    def start(self) -> None:
        self.leader = self._start_node("n0")
        port = self.leader.ports["resp"]
        self._start_node("n1", "--replicaof", f"{HOST} {port}")
        until(lambda: _said(port, "wait", "1", "100") == "1", "a replica of redis-server")


def _said(port: int, *command: str) -> str:
    done = subprocess.run(["redis-cli", "-p", str(port), *command], capture_output=True, text=True)
    return done.stdout.strip()
