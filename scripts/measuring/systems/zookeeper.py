"""Debian's ZooKeeper: three servers, fsync of the log before every answer, as it is by default."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path
from typing import ClassVar

from scripts.measuring.processes import free_ports, until
from scripts.measuring.systems.base import HOST, Node, System

JARS = Path("/usr/share/java")
LOGGING = """log4j.rootLogger=WARN, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
"""


class ZooKeeper(System):
    """Connections are not limited; all else is as in its own example."""

    name: ClassVar[str] = "zookeeper"
    programs = ("java",)
    package = "zookeeper"

    @classmethod
    def missing(cls) -> str | None:
        if not (JARS / "zookeeper.jar").exists():
            return "no zookeeper.jar (Debian: zookeeper)"
        return super().missing()

    @classmethod
    def version(cls) -> str:
        (jar,) = JARS.glob("zookeeper-[0-9]*.jar")
        return f"ZooKeeper {jar.stem.removeprefix('zookeeper-')}"

    def start(self) -> None:
        clients, quorum, election = (free_ports(9)[i::3] for i in range(3))
        members = [f"server.{i + 1}={HOST}:{quorum[i]}:{election[i]}" for i in range(3)]
        for i in range(3):
            folder = self.folder / f"n{i}"
            folder.mkdir(parents=True)
            (folder / "myid").write_text(str(i + 1))
            (folder / "log4j.properties").write_text(LOGGING)
            (folder / "zoo.cfg").write_text(
                "\n".join(
                    ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={folder}"]
                    + [f"clientPort={clients[i]}", f"clientPortAddress={HOST}"]
                    + ["maxClientCnxns=0", "admin.enableServer=false"]
                    + ["4lw.commands.whitelist=srvr", *members, ""]
                )
            )
            pid = self.processes.start(
                f"n{i}",
                [shutil.which("java") or "java", "-cp", f"{folder}:{JARS / 'zookeeper.jar'}"]
                + ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(folder / "zoo.cfg")],
            )
            self.nodes.append(Node(f"n{i}", pid, {"zookeeper": clients[i]}))
        self.leader = until(self._look_for_leader, "a leader of ZooKeeper")

    def _look_for_leader(self) -> Node | None:
        modes = [_mode(node.ports["zookeeper"]) for node in self.nodes]
        if sorted(modes) != ["follower", "follower", "leader"]:
            return None
        return self.nodes[modes.index("leader")]


def _mode(port: int) -> str:
    """leader or follower; nothing of a server that does not serve yet."""
    try:
        with socket.create_connection((HOST, port), 1) as link:
            link.sendall(b"srvr")
            said = b""
            while more := link.recv(4096):
                said += more
    except OSError:
        return ""
    found = re.search(rb"Mode: (\w+)", said)
    return found[1].decode() if found else ""
