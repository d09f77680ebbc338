"""Debian's etcd: three members, fsync by default, its JSON gateway and gRPC on one port."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from raftcache.cli.local import anywhere
from scripts.measuring.processes import until
from scripts.measuring.systems.base import HOST, Cluster, Node
from scripts.measuring.systems.http import get_json, is_ok

QUOTA_BYTES = 8 << 30
"""It keeps every version until it is told to compact: the default of 2 GiB ends a run of 64 KiB
values in the middle."""


class Etcd(Cluster):
    name: ClassVar[str] = "etcd"
    programs = ("etcd",)
    package = "etcd-server"

    @classmethod
    def version(cls) -> str:
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
        return f"etcd {said.stdout.split()[2]}"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._places = {place.name: place for place in anywhere(folder, 3)}
        self._members = ",".join(
            f"{place.name}=http://{HOST}:{place.raft_port}" for place in self._places.values()
        )

    def start(self) -> None:
        for name in self._places:
            self.start_node(name)
        self.leader = self.find_leader()

    def start_node(self, name: str) -> Node:
        place = self._places[name]
        url, peer = place.url, f"http://{HOST}:{place.raft_port}"
        pid = self.processes.start(
            name,
            ["etcd", "--name", name, "--data-dir", str(self.folder / name)]
            + ["--listen-client-urls", url, "--advertise-client-urls", url]
            + ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            + ["--initial-cluster", self._members, "--log-level", "error"]
            + ["--quota-backend-bytes", str(QUOTA_BYTES)],
        )
        return self._add(Node(name, pid, {"http": place.http_port, "grpc": place.http_port}))

    def find_leader(self) -> Node:
        return until(self._look_for_leader, "a leader of etcd")

    def serves(self, node: Node) -> bool:
        return is_ok(f"{node.url}/health")

    def _look_for_leader(self) -> Node | None:
        """The one that all nodes name."""
        seen = [get_json(f"{node.url}/v3/maintenance/status", b"{}") for node in self.nodes]
        named = {status.get("leader") for status in seen}
        if len(named) != 1 or None in named:
            return None
        ids = [status["header"]["member_id"] for status in seen]
        return dict(zip(ids, self.nodes, strict=True)).get(named.pop())
