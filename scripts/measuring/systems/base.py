"""What every system under measurement can do: start, say where it listens, what it used, stop."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scripts.measuring.processes import Processes

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Node:
    """One server: its process, and its ports by protocol (`http`, `resp`, `grpc`, `zookeeper`)."""

    name: str
    pid: int
    ports: dict[str, int]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"


class System(ABC):
    """Nodes of one kind. Started once, stopped once; whatever it writes is below its folder."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()
    """That must be on the path."""
    package: ClassVar[str] = ""
    """Of Debian, that has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self.leader: Node
        self.nodes: list[Node] = []
        self._filled: set[str] = set()

    @classmethod
    def missing(cls) -> str | None:
        """What keeps it from running on this machine, in words."""
        gone = [program for program in cls.programs if shutil.which(program) is None]
        return f"no {', '.join(gone)} (Debian: {cls.package})" if gone else None

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    @abstractmethod
    def start(self) -> None:
        """Return when it serves: `nodes` and `leader` are known then."""

    def fill_once(self, what: str, fill: Callable[[], object]) -> None:
        """Put there what a cell needs, unless one before it did; the words are theirs."""
        if what not in self._filled:
            fill()
            self._filled.add(what)

    def stop(self) -> None:
        """End all processes, by their ids."""
        self.processes.stop()

    @property
    def followers(self) -> Sequence[Node]:
        return [node for node in self.nodes if node != self.leader]

    def cpu_s(self) -> float:
        """Processor seconds that all nodes have used so far, user and system."""
        return self.processes.cpu_s()

    def rss_bytes(self) -> int:
        """Resident memory of all nodes together."""
        return self.processes.rss_bytes()


class Cluster(System):
    """A system whose nodes can be killed and started again."""

    @abstractmethod
    def start_node(self, name: str) -> Node:
        """Start one that does not run (any more); it may not serve yet on return."""

    @abstractmethod
    def find_leader(self) -> Node:
        """Wait until there is one that all nodes know; raises RuntimeError if none appears."""

    @abstractmethod
    def serves(self, node: Node) -> bool:
        """It is up to date, and takes requests."""

    def kill_node(self, name: str) -> None:
        """SIGKILL; on return the process is gone."""
        self.processes.kill(name)

    def _add(self, node: Node) -> Node:
        """In the place of the one that had its name."""
        others = [other for other in self.nodes if other.name != node.name]
        self.nodes = sorted([*others, node], key=lambda n: n.name)
        return node
