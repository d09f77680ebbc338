"""Programs that write through Redis clients as their authors ship them, until they are stopped.

Each makes one write after the other, key KIND:number, and makes one again that its client gave up:
what a client does not do by itself is told at the end. Those for node run in one process of their
own, tests/clients/writer.mjs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from redis import Redis, RedisError
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterDownError, ConnectionError, TimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

from raftcache.cli.local import HOST
from tests.support.cluster import PATIENCE_S

SERVICE: Final = "raftcache"
GIVEN_UP_S: Final = 0.02
"""Between a write that its client gave up and the next attempt."""

CLIENTS: Final = Path(__file__).parents[1] / "clients"

Opened = tuple[Callable[[str, str], Any], Callable[[], str], Callable[[], None]]
"""How to set a key, what role the node has that the client talks to, and how to close."""


@dataclass(frozen=True)
class End:
    """What a program tells when it is stopped."""

    role: str
    errors: list[str]


class Writer(Protocol):
    """A program that runs. acknowledged: its writes up to this number were."""

    @property
    def acknowledged(self) -> int: ...

    def stop(self) -> End: ...


# -- redis-py ----------------------------------------------------------------------------------


def _patience(attempts: int = 15) -> Retry[Any]:
    """About two seconds: longer than an election takes."""
    return Retry(ExponentialBackoff(cap=0.2, base=0.01), attempts)


def _one(ports: Sequence[int]) -> Opened:
    """One node, whichever it is: it knows the leader."""
    failures = [ConnectionError, TimeoutError, ClusterDownError]
    client = Redis(HOST, ports[0], retry=_patience(), retry_on_error=failures)
    return client.set, lambda: _role(client.role()), client.close


def _cluster(ports: Sequence[int]) -> Opened:
    nodes = [ClusterNode(HOST, port) for port in ports]  # type: ignore[no-untyped-call]
    client = RedisCluster(startup_nodes=nodes, retry=_patience())

    def role() -> str:
        primary, *_ = client.get_primaries()  # type: ignore[no-untyped-call]
        return _role(client.get_redis_connection(primary).role())

    return client.set, role, client.close


def _sentinel(ports: Sequence[int]) -> Opened:
    """A call in flight is tried again at the node that died: a few times will do."""
    sentinel: Any = Sentinel([(HOST, p) for p in ports])  # type: ignore[no-untyped-call]
    failures = [ConnectionError, TimeoutError, ClusterDownError]
    client = sentinel.master_for(SERVICE, retry=_patience(3), retry_on_error=failures)

    def close() -> None:
        client.close()
        for each in sentinel.sentinels:
            each.close()

    return client.set, lambda: _role(client.role()), close


def _role(said: Any) -> str:
    return said[0].decode() if isinstance(said[0], bytes) else str(said[0])


PYTHON: Final[dict[str, Callable[[Sequence[int]], Opened]]] = {
    "redis-py": _one,
    "redis-py-cluster": _cluster,
    "redis-py-sentinel": _sentinel,
}


class PythonWriter:
    """In a thread."""

    def __init__(self, kind: str, ports: Sequence[int]) -> None:
        self.acknowledged = 0
        self._kind, self._ends = kind, False
        self._errors: list[str] = []
        self._set, self._role, self._close = PYTHON[kind](ports)
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while not self._ends:
            number = self.acknowledged + 1
            try:
                self._set(f"{self._kind}:{number}", str(number))
            except RedisError as error:
                self._errors.append(f"{type(error).__name__}: {error}")
                time.sleep(GIVEN_UP_S)
            else:
                self.acknowledged = number

    def stop(self) -> End:
        self._ends = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        try:
            return End(self._role(), self._errors)
        finally:
            self._close()


# -- node --------------------------------------------------------------------------------------

NODE: Final = (
    "ioredis",
    "ioredis-cluster",
    "ioredis-sentinel",
    "node-redis",
    "node-redis-cluster",
    "node-redis-sentinel",
)


def node_is_there() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


needs_node = pytest.mark.skipif(
    not node_is_there(), reason="neither node nor npm here: Debian's packages are nodejs and npm"
)


def install(cache: Callable[[str], Path]) -> Path:
    """The folder that has the clients, as the lock file has them; installed once a machine."""
    files = {name: (CLIENTS / name).read_bytes() for name in ("package.json", "package-lock.json")}
    folder = cache(f"clients-{sha256(b''.join(files.values())).hexdigest()[:16]}")
    done = folder / "installed"
    if not done.exists():
        for name, content in files.items():
            (folder / name).write_bytes(content)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert said.returncode == 0, said.stdout + said.stderr
        done.touch()
    for program in CLIENTS.glob("*.mjs"):
        shutil.copy(program, folder)
    return folder


class NodePrograms:
    """Several of them, in one process."""

    def __init__(self, kinds: Sequence[str], ports: Sequence[int], folder: Path) -> None:
        self.acknowledged = dict.fromkeys(kinds, 0)
        self._last_line, self._ends = "", dict[str, End]()
        seeds = ",".join(f"{HOST}:{port}" for port in ports)
        self._process = subprocess.Popen(
            ["node", "writer.mjs", ",".join(kinds), seeds],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> dict[str, Writer]:
        return {kind: _NodeWriter(self, kind) for kind in self.acknowledged}

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join(PATIENCE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last_line = line
            kind, _, number = line.partition(" ")
            if kind in self.acknowledged:
                self.acknowledged[kind] = int(number)

    def check(self) -> None:
        assert self._process.poll() is None, f"it ended: {self._process.poll()}"

    def stop(self) -> dict[str, End]:
        """Of all; asked again, the same."""
        if not self._ends:
            assert self._process.stdin is not None
            self._process.stdin.write("end\n")
            self._process.stdin.flush()
            self._thread.join(PATIENCE_S)
            told = json.loads(self._last_line)
            self._ends = {kind: End(**said) for kind, said in told.items()}
        return self._ends


class _NodeWriter:
    """One of them."""

    def __init__(self, programs: NodePrograms, kind: str) -> None:
        self._programs, self._kind = programs, kind

    @property
    def acknowledged(self) -> int:
        return self._programs.acknowledged[self._kind]

    def stop(self) -> End:
        return self._programs.stop()[self._kind]
