"""Debian's etcd: three members, fsync by default, its JSON gateway and gRPC on one port."""

from __future__ import annotations

import subprocess
from typing import ClassVar

from scripts.measuring.processes import free_ports, until
from scripts.measuring.systems.base import HOST, Node, System
from scripts.measuring.systems.http import get_json

QUOTA_BYTES = 8 << 30
"""It keeps every version until it is told to compact: the default of 2 GiB ends a run of 64 KiB
values in the middle."""


class Etcd(System):
    name: ClassVar[str] = "etcd"
    programs = ("etcd",)
    package = "etcd-server"

    @classmethod
    def version(cls) -> str:
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
        return f"etcd {said.stdout.split()[2]}"

    def start(self) -> None:
        ports = free_ports(6)
        urls = [f"http://{HOST}:{port}" for port in ports[:3]]
        peers = [f"http://{HOST}:{port}" for port in ports[3:]]
        cluster = ",".join(f"n{i}={peer}" for i, peer in enumerate(peers))
        for i in range(3):
            pid = self.processes.start(
                f"n{i}",
                ["etcd", "--name", f"n{i}", "--data-dir", str(self.folder / f"n{i}")]
                + ["--listen-client-urls", urls[i], "--advertise-client-urls", urls[i]]
                + ["--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i]]
                + ["--initial-cluster", cluster, "--log-level", "error"]
                + ["--quota-backend-bytes", str(QUOTA_BYTES)],
            )
            self.nodes.append(Node(f"n{i}", pid, {"http": ports[i], "grpc": ports[i]}))
        self.leader = until(self._look_for_leader, "a leader of etcd")

    def _look_for_leader(self) -> Node | None:
        for node in self.nodes:
            status = get_json(f"{node.url}/v3/maintenance/status", b"{}")
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return node
        return None
