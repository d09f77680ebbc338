"""Nodes of this very tree, with everything as it is by default."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from raftcache.cli.local import anywhere
from scripts.measuring.processes import until
from scripts.measuring.systems.base import HOST, Cluster, Node
from scripts.measuring.systems.http import get_json, is_ok


class Raftcache(Cluster):
    """Three nodes, or as many as said, with options beside the defaults where said."""

    name: ClassVar[str] = "raftcache"

    def __init__(self, folder: Path, size: int = 3, options: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self._options = options
        self._places = {place.name: place for place in anywhere(folder, size)}
        self._members = ",".join(f"{p.name}={HOST}:{p.raft_port}" for p in self._places.values())

    @classmethod
    def version(cls) -> str:
        return f"raftcache on Python {sys.version.split()[0]}"

    def start(self) -> None:
        for name in self._places:
            self.start_node(name)
        self.leader = self.find_leader()

    def start_node(self, name: str) -> Node:
        place = self._places[name]
        pid = self.processes.start(
            name,
            [
                *(sys.executable, "-m", "raftcache", "serve", "--name", name),
                *("--data-dir", str(place.folder), "--cluster", self._members),
                *("--http", f"{HOST}:{place.http_port}", "--raft", f"{HOST}:{place.raft_port}"),
                *("--resp", f"{HOST}:{place.resp_port}", *self._options),
            ],
        )
        return self._add(Node(name, pid, {"http": place.http_port, "resp": place.resp_port}))

    def find_leader(self) -> Node:
        def look() -> str | None:
            seen = [get_json(f"{node.url}/v1/cluster").get("leader") for node in self.nodes]
            return str(seen[0]) if seen[0] and len(set(seen)) == 1 else None

        name = until(look, "a leader of raftcache")
        return next(node for node in self.nodes if node.name == name)

    def serves(self, node: Node) -> bool:
        return is_ok(f"{node.url}/readyz")
