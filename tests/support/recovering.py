"""A cluster whose majority is lost for good: the command, and what is left, as one node alone."""

from __future__ import annotations

from raftcache.cli.local import HOST, LocalNode
from tests.support.cluster import Cluster
from tests.support.command_line import Ran, raftcache


class Alone(Cluster):
    """The same nodes; who is left is started as the only member, the others join it."""

    left = "n1"

    def _command(self, node: LocalNode) -> list[str]:
        command = super()._command(node)
        at = command.index("--cluster")
        if node.name == self.left:
            command[at + 1] = f"{self.left}={HOST}:{node.raft_port}"
        else:
            command[at : at + 2] = ["--join", self.nodes[self.left].url]
        return command


def recover(cluster: Cluster, name: str, *more: str) -> Ran:
    node = cluster.nodes[name]
    place = ("--data-dir", node.folder, "--members", f"{name}={HOST}:{node.raft_port}")
    return raftcache("recover", *place, *more)
