"""The cluster under test, from outside: real processes, stopped by their ids and started again.

`OwnCluster` starts its nodes through the command line. `DemoCluster` finds those of a running
`raftcache demo` in its demo.json, and leaves it to the demo to start them again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from chaos.places import Place
from chaos.waiting import Trouble, until

STOP_TIMEOUT_S: Final = 15.0


class Cluster(Protocol):
    """What killing the leader needs."""

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
    """Nodes in their places, with their data below a folder; use it with `with`.

    size: so many found the cluster; the other places are empty, for nodes that join it later.
    options: for every node, after those it needs.
    """

    def __init__(
        self,
        folder: Path,
        places: Mapping[str, Place],
        *,
        size: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.places = places
        self.names = list(places)[:size]
        """Of the nodes there are just now."""
        self._began_with = ",".join(f"{name}={places[name].advertised}" for name in self.names)
        self._joined_at: dict[str, str] = {}
        self.environ: dict[str, dict[str, str]] = {name: {} for name in places}
        """Variables for the next process of each node, besides this process's own."""
        self._folder = folder
        self._options = list(options)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._may_end: set[str] = set()
        self.deaths: list[str] = []
        """A sentence for each process that ended though nobody told it to."""

    def __enter__(self) -> OwnCluster:
        with ExitStack() as stack:
            stack.push(self.__exit__)
            for name in self.names:
                self.start(name)
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        for name, process in self._processes.items():
            self._may_end.add(name)
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            _wait(process)

    @property
    def urls(self) -> dict[str, str]:
        return {name: self.places[name].url for name in self.names}

    def folder(self, name: str) -> Path:
        """A node's data and log."""
        return self._folder / name

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def is_running(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def start(self, name: str) -> None:
        """A new process; notes if the last one ended by itself."""
        self.look_after(name)
        folder = self.folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "node.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._command(name, folder),
                env=os.environ | self.environ[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process: it stops the nodes
            )
        self._may_end.discard(name)

    def _command(self, name: str, folder: Path) -> list[str]:
        place, at = self.places[name], self._joined_at.get(name)
        command = [*place.prefix, sys.executable, "-m", "raftcache", "serve"]
        command += ["--name", name, "--data-dir", str(folder / "data")]
        command += ["--join", at] if at else ["--cluster", self._began_with]
        command += ["--http", place.http, "--raft", place.raft, "--resp", place.resp]
        command += ["--raft-advertise", place.advertised, *place.options]
        return command + self._options

    def join(self, name: str, at: str) -> None:
        """Start a node with nothing, which asks another one to let it in.

        It may end until it is let in: call `start` again.
        """
        self._joined_at[name] = self.places[at].url
        self.start(name)
        self.may_end(name)
        if name not in self.names:
            self.names.append(name)

    def leave(self, name: str) -> None:
        """SIGKILL, and its data is gone; its place is free for another one."""
        self.kill(name)
        self.names.remove(name)
        for path in (self.folder(name) / "data").iterdir():  # itself, it may be a mount point
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def must_run(self, name: str) -> None:
        """From now on its end is a surprise."""
        self._may_end.discard(name)

    def kill(self, name: str) -> None:
        self.look_after(name)
        self._may_end.add(name)
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for the end; SIGKILL if it does not come."""
        self.look_after(name)
        self._may_end.add(name)
        self._processes[name].terminate()
        _wait(self._processes[name])

    def send(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    async def revive(self, name: str) -> None:
        self.start(name)

    def may_end(self, name: str) -> None:
        """From now on until it is started again, its end is no surprise."""
        self._may_end.add(name)

    def look_after(self, name: str) -> None:
        """Note it if the node ended by itself."""
        process = self._processes.get(name)
        if process is None or process.poll() is None or name in self._may_end:
            return
        self._may_end.add(name)
        log = (self.folder(name) / "node.log").read_text(errors="replace").splitlines()
        last = log[-1] if log else "nothing"
        self.deaths.append(f"{name} ended by itself with {process.returncode}; it said: {last}")


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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


@contextmanager
def scratch_folder(say: Callable[[str], None]) -> Iterator[Path]:
    """A new one, for data and logs; it stays, and that is said, if something goes wrong."""
    folder = Path(tempfile.mkdtemp(prefix="raftcache-chaos-"))
    try:
        yield folder
    except Exception:
        say(f"data and logs are kept in {folder}")
        raise
    except BaseException:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
