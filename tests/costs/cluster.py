"""Three nodes, each as node.py composes it, on the ground of this room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from raftcache import node as composition
from raftcache.config.load import load
from raftcache.node import Node
from raftcache.state import history
from tests.costs.ground import Caller, Ground, Lane, Within, unwatched

NAMES: Final = ("n1", "n2", "n3")
HTTP_PORT, RESP_PORT, RAFT_PORT = 7400, 6400, 7500

HISTORY_EVENTS_MAX: Final = 255
"""Fewer than an operation warms up with: when counting begins it is full of the operation's own
kind, and forgets as much as it takes: four at a time, or a whole run of writes."""


class Cluster:
    """Serves; leader and followers do not change."""

    def __init__(self, ground: Ground, nodes: dict[str, Node]) -> None:
        self._ground, self._nodes = ground, nodes
        leading = [name for name, node in nodes.items() if node._replica.is_leader]
        (self.leader,) = leading
        self.followers = tuple(name for name in nodes if name != self.leader)

    def caller(self, door_port: int) -> Caller:
        """A client of the leader."""
        caller = Caller(self._ground, door_port + NAMES.index(self.leader))
        self._ground.run(unwatched)
        return caller

    def ask(
        self, asked: list[tuple[Caller, bytes]], answers: int, sign: bytes, within: Within | None
    ) -> None:
        """All at once; on return each has had so many answers, which begin with this sign."""
        for caller, data in asked:
            caller.send(data)

        def is_answered() -> bool:
            return all(b"".join(c.heard).count(sign) == answers for c, _ in asked)

        self._ground.run_until(is_answered, within or unwatched)
        for caller, _ in asked:
            caller.heard.clear()


@contextmanager
def serving(folder: Path) -> Iterator[Cluster]:
    """A cluster with its data here, which has a leader, and in which all are linked."""
    ground = Ground()
    stood_on: dict[str, Any] = {
        "SystemClock": lambda: ground,
        "SystemDice": lambda: ground,
        "ThreadLane": Lane,
    }
    with (
        mock.patch.multiple(composition, **stood_on),
        mock.patch.object(history, "HISTORY_EVENTS_MAX", HISTORY_EVENTS_MAX),
    ):
        nodes: dict[str, Node] = {}
        for name in NAMES:
            ground.loop(name).begin(_start(nodes, folder, name))
        ground.run_until(lambda: len(nodes) == len(NAMES) and _is_whole(nodes), unwatched)
        yield Cluster(ground, nodes)
        for loop in ground.loops:
            loop.begin(nodes[loop.name].stop())
        ground.run_until(lambda: not any(asyncio.all_tasks(x) for x in ground.loops), unwatched)
        for loop in ground.loops:
            loop.close()


async def _start(nodes: dict[str, Node], folder: Path, name: str) -> None:
    at = NAMES.index(name)
    peers = ",".join(f"{n}=127.0.0.1:{RAFT_PORT + i}" for i, n in enumerate(NAMES))
    flags = {
        "name": name,
        "data-dir": str(folder / name),
        "http": f"127.0.0.1:{HTTP_PORT + at}",
        "resp": f"127.0.0.1:{RESP_PORT + at}",
        "raft": f"127.0.0.1:{RAFT_PORT + at}",
        "cluster": peers,
        "durability": "os",  # as fsync in all but the one call of the system that takes its time
    }
    node = Node(load(flags, {}))
    await node.start()
    nodes[name] = node


def _is_whole(nodes: dict[str, Node]) -> bool:
    linked = all(len(node._links.linked) == len(NAMES) - 1 for node in nodes.values())
    return linked and len({node._replica.leader for node in nodes.values()} - {None}) == 1
