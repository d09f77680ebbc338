"""The cluster under test, from outside: real processes, killed by their ids and started again.

`OwnCluster` starts its nodes through the command line. `DemoCluster` finds those of a running
`raftcache demo` in its demo.json, and leaves it to the demo to start them again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from raftcache.client import NodeStatus, RaftcacheClient

PATIENCE_S: Final = 60.0
"""For anything that a healthy cluster does by itself in a few seconds."""

POLL_S: Final = 0.02
STOP_TIMEOUT_S: Final = 15.0

T = TypeVar("T")


class Trouble(Exception):
    """The cluster did not do what it must, or cannot be used."""


class Cluster(Protocol):
    """What a nemesis needs."""

    @property
    def urls(self) -> dict[str, str]:
        """name -> where it serves HTTP."""
        ...

    def kill(self, name: str) -> None:
        """SIGKILL; on return the process is gone, or as good as gone."""
        ...

    async def revive(self, name: str) -> None:
        """On return a new process of that name was started."""
        ...


class OwnCluster:
    """Nodes n1, n2, ... on free ports, with their data below a folder; use it with `with`."""

    def __init__(self, folder: Path, size: int) -> None:
        ports = _free_ports(2 * size)
        self._names = [f"n{i}" for i in range(1, size + 1)]
        self._http = dict(zip(self._names, ports, strict=False))
        self._raft = dict(zip(self._names, ports[size:], strict=True))
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> OwnCluster:
        with ExitStack() as stack:
            stack.push(self.__exit__)
            for name in self._names:
                self._start(name)
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://127.0.0.1:{port}" for name, port in self._http.items()}

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()

    async def revive(self, name: str) -> None:
        self._start(name)

    def _start(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        members = ",".join(f"{n}=127.0.0.1:{port}" for n, port in self._raft.items())
        command = [sys.executable, "-m", "raftcache", "serve"]
        command += ["--name", name, "--data-dir", str(folder), "--cluster", members]
        command += ["--http", f"127.0.0.1:{self._http[name]}"]
        command += ["--raft", f"127.0.0.1:{self._raft[name]}"]
        with (folder / "node.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process: it stops the nodes
            )


class DemoCluster:
    """The nodes of a running `raftcache demo`, which starts again what ends."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "demo.json"
        self._pids = {name: node["pid"] for name, node in self._nodes().items()}

    @property
    def urls(self) -> dict[str, str]:
        return {name: node["http"] for name, node in self._nodes().items()}

    def kill(self, name: str) -> None:
        pid = self._nodes()[name]["pid"]
        _check_is_node(pid, name)
        self._pids[name] = pid
        os.kill(pid, signal.SIGKILL)

    async def revive(self, name: str) -> None:
        async def started() -> bool:
            return bool(self._nodes()[name]["pid"] != self._pids[name])

        await until(started, f"the demo did not start {name} again; does it run with --no-restart?")

    def _nodes(self) -> dict[str, dict[str, Any]]:
        try:
            state = json.loads(self._state.read_text())
        except FileNotFoundError:
            raise Trouble(f"there is no {self._state}: no demo runs there") from None
        return {node["name"]: node for node in state["nodes"]}


def _check_is_node(pid: int, name: str) -> None:
    """A process id may have passed on to a stranger; Linux tells, elsewhere the demo is trusted."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self").exists():
            raise Trouble(f"{name}, process {pid}, does not run") from None
        return
    if b"serve" not in words or name.encode() not in words:
        raise Trouble(f"process {pid} is not {name}: {b' '.join(words)!r}")


async def statuses(client: RaftcacheClient) -> dict[str, NodeStatus]:
    """What the nodes that answer say about themselves, by name."""
    answers = (await client.statuses()).values()
    return {said.node: said for said in answers if isinstance(said, NodeStatus)}


async def settled(client: RaftcacheClient) -> dict[str, NodeStatus]:
    """Waits until every node is there, they agree on a leader, and all have what it committed."""

    async def agreed() -> dict[str, NodeStatus] | None:
        seen = await statuses(client)
        leaders = {status.leader for status in seen.values()}
        leader = seen.get(leaders.pop() or "") if len(leaders) == 1 else None
        whole = len(seen) == len(client.endpoints)
        return seen if whole and leader is not None and leader.role == "leader" else None

    async def caught_up() -> dict[str, NodeStatus] | None:
        seen = await agreed()
        if seen is None or any(s.applied_index < committed for s in seen.values()):
            return None
        return seen

    seen = await until(agreed, "the nodes did not agree on a leader")
    committed = max(status.commit_index for status in seen.values())
    return await until(caught_up, f"not every node came to index {committed}")


async def until(look: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    """What look finds, as soon as it is something true; Trouble after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (got := await look()):
        if time.monotonic() > deadline:
            raise Trouble(f"{otherwise} (waited {PATIENCE_S:g} s)")
        await asyncio.sleep(POLL_S)
    return got


def _free_ports(count: int) -> list[int]:
    """From a random one on, below those that systems give to outgoing connections.

    Among those, a client that tries to reach a dead node may be given the node's own port.
    """
    free: list[int] = []
    for port in range(random.randrange(20_000, 31_000), 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise Trouble("there are not enough free ports")
