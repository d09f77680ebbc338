"""A cluster of real processes for tests: any options, any signal, and raw HTTP to any node.

It is the demo's LocalCluster with a test's wishes: nodes end by SIGKILL when the test is over,
whatever state they are in. What a test waits for, it waits for with `until`, never for a time.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote
from zlib import crc32

from raftcache.cli.local import HOST, LocalCluster, LocalNode, anywhere

PATIENCE_S: Final = 60.0
"""For anything a healthy cluster does in a few seconds; generous, for the machine is shared."""

POLL_S: Final = 0.02
SMALL_LOG: Final = ("--segment-size", "8MiB")
"""A node takes the room for a segment when it starts: of all clusters of a run together, 4 GB less
than with the default. An option of the test's own counts more."""

ATTEMPTS: Final = 3
"""To start a cluster: others on this machine may take a port that was free a moment ago."""

T = TypeVar("T")


def until(look: Callable[[], T | None], otherwise: str) -> T:
    """What look finds, as soon as it is something true; fails after PATIENCE_S."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (got := look()):
        assert time.monotonic() < deadline_s, f"{otherwise} (waited {PATIENCE_S:g} s)"
        time.sleep(POLL_S)
    return got


@dataclass(frozen=True)
class Answer:
    """One HTTP response, whole."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection to a node, on which a request can be sent now and its answer read later."""

    def __init__(self, port: int) -> None:
        """On return the node has accepted it."""
        self._socket = socket.create_connection((HOST, port), PATIENCE_S)
        self.send("GET", "/livez")
        self._read()

    def send(self, method: str, path: str, body: bytes = b"", once: str = "") -> None:
        """On return the node's machine has all of it, whether or not the node runs."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += f"Idempotency-Key: {once}\r\n" if once else ""
        self._socket.sendall(head.encode() + b"\r\n" + body)

    def close(self) -> None:
        """As a client that dies; the answer is never read."""
        self._socket.close()

    def next(self) -> Answer:
        """The answer; the connection stays."""
        return self._read()

    def answer(self) -> Answer:
        """The answer; it is the last one."""
        with self._socket:
            return self._read()

    def _read(self) -> Answer:
        with http.client.HTTPResponse(self._socket) as got:
            got.begin()
            return Answer(got.status, got.headers, got.read())


class Cluster(LocalCluster):
    """n1, n2, ... with the same options for all; those stopped are started again with the same."""

    def __init__(self, folder: Path, size: int, options: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, anywhere(folder, size))
        self.options = list(options)

    def __enter__(self) -> Cluster:
        return self

    def _command(self, node: LocalNode) -> list[str]:
        return [*super()._command(node), *SMALL_LOG, *self.options]

    def stop(self) -> None:
        """SIGKILL, which also ends a process that is suspended; then nothing of it runs."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    @property
    def lost_a_port(self) -> bool:
        """A node ended because somebody else listens where it should."""
        return any("address already in use" in self.said(name) for name in self.ended())

    # -- processes -------------------------------------------------------------------------------

    def start_all(self) -> str:
        """Start what does not run; returns the leader's name once all agree on it."""
        for name in self.nodes:
            if not self.is_running(name):
                self.start(name)
        return self.leader()

    def send(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    @contextmanager
    def suspended(self, *names: str) -> Iterator[None]:
        """These processes stand still; they go on when the block ends, if they still exist."""
        for name in names:
            self.send(name, signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self.send(name, signal.SIGCONT)

    def exit_code(self, name: str) -> int:
        """Waits for its end."""
        try:
            return self._processes[name].wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end; it said:\n{self.said(name)}") from None

    def said(self, name: str) -> str:
        """Everything that all processes of this node wrote."""
        return self.nodes[name].log.read_text()

    def logged(self, name: str, event: str | None = None) -> list[dict[str, Any]]:
        """Every line of a node with --log-format json, or those of one event; oldest first."""
        lines = [json.loads(line) for line in self.said(name).splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    # -- HTTP ------------------------------------------------------------------------------------

    def call(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own; OSError or HTTPException if none can be had."""
        port = self.nodes[name].http_port
        connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            got = connection.getresponse()
            return Answer(got.status, got.headers, got.read())
        finally:
            connection.close()

    def wire(self, name: str) -> Wire:
        return Wire(self.nodes[name].http_port)

    def put(self, name: str, key: str, value: str, query: str = "", **headers: str) -> Answer:
        """A single attempt; headers with `_` for `-`."""
        lines = {header.replace("_", "-"): said for header, said in headers.items()}
        return self.call(name, "PUT", f"/v1/kv/{quote(key)}{query}", value.encode(), lines)

    def get(self, name: str, key: str, query: str = "") -> Answer:
        return self.call(name, "GET", f"/v1/kv/{quote(key)}{query}")

    def write(self, name: str, key: str, value: str, query: str = "") -> Answer:
        """Put, until this node says that it is done; the same key and value are put once."""
        once = f"{quote(key)}={crc32(value.encode()):x}"

        def done() -> Answer | None:
            answer = self.put(name, key, value, query, Idempotency_Key=once)
            assert answer.status in (200, 201, 503), answer
            return answer if answer.status != 503 else None

        return until(done, f"{name} did not take {key}")

    def read(self, name: str, key: str) -> str | None:
        """The value, linearizable, once this node can answer; None if there is no such key."""

        def answered() -> Answer | None:
            answer = self.get(name, key)
            assert answer.status in (200, 404, 503), answer
            return answer if answer.status != 503 else None

        answer = until(answered, f"{name} did not answer for {key}")
        return answer.body.decode() if answer.status == 200 else None

    def metric(self, name: str, metric: str) -> float:
        """The value of a metric without labels."""
        page = self.call(name, "GET", "/metrics").body.decode().splitlines()
        lines = dict(line.rsplit(" ", 1) for line in page if not line.startswith("#"))
        return float(lines[f"raftcache_{metric}"])

    # -- the cluster -----------------------------------------------------------------------------

    @property
    def running(self) -> list[str]:
        return [name for name in self.nodes if self.is_running(name)]

    def status(self, name: str) -> dict[str, Any] | None:
        """GET /v1/cluster; None while the node does not serve."""
        try:
            answer = self.call(name, "GET", "/v1/cluster")
        except (OSError, http.client.HTTPException):
            return None
        status: dict[str, Any] = answer.json
        return status

    def statuses(self, names: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        seen = {name: self.status(name) for name in names or self.running}
        return {name: status for name, status in seen.items() if status is not None}

    def leader(self, names: Sequence[str] | None = None) -> str:
        """The leader that these nodes (all that run) agree on, itself included."""
        asked = list(names or self.running)

        def agreed() -> str | None:
            assert not (ended := {n: c for n, c in self.ended().items() if n in asked}), ended
            seen = self.statuses(asked)
            leaders = {status["leader"] for status in seen.values()}
            leader = leaders.pop() if len(seen) == len(asked) and len(leaders) == 1 else None
            return leader if leader in seen and seen[leader]["role"] == "leader" else None

        return until(agreed, f"{asked} did not agree on a leader")

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.running if name != leader]

    def settled(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Waits until these nodes (all that run) have applied the same; their states are equal.

        Returns the status of one of them. Only for a cluster that nobody writes to meanwhile.
        """
        asked = list(names or self.running)

        def level() -> dict[str, dict[str, Any]] | None:
            leader = self.leader(asked)
            seen = self.statuses(asked)
            last = self.metric(leader, "raft_last_index")
            equal = all(status["applied_index"] == last for status in seen.values())
            return seen if len(seen) == len(asked) and equal else None

        seen = until(level, f"{asked} did not come to the same index")
        for field in ("digest", "revision", "keys"):
            assert len({status[field] for status in seen.values()}) == 1, seen
        return next(iter(seen.values()))


@contextmanager
def running(folder: Path, *options: str, size: int = 3) -> Iterator[Cluster]:
    """A cluster that has a leader; shows what the nodes wrote if the test fails."""
    for attempt in range(ATTEMPTS):
        with Cluster(folder / f"{attempt}", size, options) as cluster:
            try:
                cluster.start_all()
            except AssertionError:
                if cluster.lost_a_port and attempt + 1 < ATTEMPTS:
                    continue
                print(cluster.log_tails(40))
                raise
            try:
                yield cluster
            except BaseException:
                print(cluster.log_tails(40))
                raise
            return
