"""A cluster whose majority is lost for good: the command, and what is left, as n1 alone."""

from __future__ import annotations

from raftcache.cli.local import HOST, LocalNode
from tests.support.cluster import Cluster
from tests.support.command_line import Ran, raftcache


class Alone(Cluster):
    """The same nodes; n1 is started as the only member, the others join it."""

    def _command(self, node: LocalNode) -> list[str]:
        command = super()._command(node)
        at = command.index("--cluster")
        if node.name == "n1":
            command[at + 1] = f"n1={HOST}:{node.raft_port}"
        else:
            command[at : at + 2] = ["--join", self.nodes["n1"].url]
        return command


def recover(cluster: Cluster, name: str, *more: str) -> Ran:
    node = cluster.nodes[name]
    place = ("--data-dir", node.folder, "--members", f"{name}={HOST}:{node.raft_port}")
    return raftcache("recover", *place, *more)
