"""A cluster of real processes whose members come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from chaos.tally import Verdict, judge
from chaos.writers import Writers
from raftcache.cli.local import HOST, LocalNode, anywhere
from raftcache.cli.root import main
from raftcache.client import RaftcacheClient
from tests.support.cluster import PATIENCE_S, Answer, Cluster, until

MEMBERS = "/v1/cluster/members"


class Growing(Cluster):
    """The first nodes found the cluster, the others join it; `n1` to the last have their places."""

    def __init__(self, folder: Path, founders: int, size: int, *options: str) -> None:
        super().__init__(folder, size, options)
        self.founders = list(self.nodes)[:founders]
        self._members = ",".join(f"{n}={self.raft(n)}" for n in self.founders)
        self.join_at = self.founders[0]

    def raft(self, name: str) -> str:
        return f"{HOST}:{self.nodes[name].raft_port}"

    def __enter__(self) -> Growing:
        return self

    def _command(self, node: LocalNode) -> list[str]:
        command = super()._command(node)
        if node.name not in self.founders:
            at = command.index("--cluster")
            command[at : at + 2] = ["--join", self.nodes[self.join_at].url]
        return command

    # -- nodes -----------------------------------------------------------------------------------

    def found(self) -> str:
        """Start the founders; returns who leads them."""
        for name in self.founders:
            self.start(name)
        return self.leader(self.founders)

    def join(self, name: str, at: str) -> None:
        """Start a node, which becomes a learner by itself, until it is ready."""
        self.join_at = at
        if name in self.founders:
            self.founders.remove(name)
        self.start(name)
        self.ready(name)

    def ready(self, name: str) -> None:
        def is_ready() -> bool:
            assert self.is_running(name), self.said(name)
            return self.status(name) is not None and self.readiness(name)[0] == 200

        until(is_ready, f"{name} did not get ready")

    def wipe(self, name: str) -> None:
        """Its disk is lost; what it said is not."""
        for path in self.nodes[name].folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self.nodes[name].log:
                path.unlink()

    def move(self, name: str) -> str:
        """From its next start on it listens elsewhere for its peers, and for Redis clients.

        Returns the address for its peers.

        A founder is then started as one that joined: its --cluster would name its old address.
        """
        self.founders = [founder for founder in self.founders if founder != name]
        taken = {node.raft_port for node in self.nodes.values()}  # by those that are down, too
        taken |= {node.resp_port for node in self.nodes.values()}
        taken |= {node.http_port for node in self.nodes.values()}
        places = (anywhere(self.nodes[name].folder, 1)[0] for _ in range(100))
        new = next(p for p in places if taken.isdisjoint((p.raft_port, p.resp_port)))
        ports = {"raft_port": new.raft_port, "resp_port": new.resp_port}
        self.nodes[name] = replace(self.nodes[name], **ports)
        return self.raft(name)

    def readiness(self, name: str) -> tuple[int, str]:
        answer = self.call(name, "GET", "/readyz?verbose")
        return answer.status, answer.body.decode()

    def out(self, name: str, why: str) -> None:
        """Waits until this node says that it is out of the cluster, and serves nothing."""
        until(lambda: why in self.readiness(name)[1], f"{name} does not know that it is out")
        assert self.readiness(name)[0] == 503
        for path in ("?consistency=stale", "?consistency=lease", ""):
            answer = self.get(name, "anything", path)
            assert answer.status == 503
            assert why in answer.json["detail"]
        answer = self.put(name, "anything", "x")
        assert (answer.status, answer.json["definite"]) == (503, True)
        assert why in answer.json["detail"]
        assert "this node is out of the cluster" in self.said(name)
        status = self.status(name)
        assert status is not None
        assert why in status["expelled"]
        assert status["role"] != "leader"
        until(lambda: not self._answers_peers(name), f"{name} goes on with its links")

    def _answers_peers(self, name: str) -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((HOST, self.nodes[name].raft_port), PATIENCE_S).close()
            return True
        return False

    # -- members ---------------------------------------------------------------------------------

    def served(self, name: str) -> dict[str, str]:
        """Where each member serves Redis clients, as this node shows it."""
        status = self.status(name)
        assert status is not None
        return {m["name"]: m["resp"] for m in status["members"]}

    def members(self, name: str) -> dict[str, dict[str, Any]]:
        view = self.call(name, "GET", MEMBERS).json
        return {m["name"]: m for m in view["members"]}

    def voters(self, name: str) -> set[str]:
        return {n for n, m in self.members(name).items() if m["voter"]}

    def change(self, via: str, method: str, path: str, body: object = None) -> Answer:
        """One attempt."""
        data = None if body is None else json.dumps(body).encode()
        return self.call(via, method, MEMBERS + path, data)

    def changed(self, via: str, method: str, path: str, body: object = None) -> Answer:
        """Until it is done: tries again while it is too early, or nobody could take it."""

        def done() -> Answer | None:
            answer = self.change(via, method, path, body)
            assert answer.status in (200, 409, 503), answer
            return answer if answer.status == 200 else None

        return until(done, f"{via} could not {method} {path}")

    def promote(self, name: str, via: str) -> None:
        self.changed(via, "POST", f"/{name}?op=promote")

    def remove(self, name: str, via: str) -> None:
        """A removal may have happened although its answer was lost."""

        def gone() -> bool:
            answer = self.change(via, "DELETE", f"/{name}")
            assert answer.status in (200, 404, 409, 503), answer
            return answer.status in (200, 404)

        until(gone, f"{name} could not be removed")

    def cli(self, *args: str, ask: str | None = None) -> Result:
        """`raftcache ...`, in this process, with all that run, or one node, as endpoints."""
        urls = [self.nodes[name].url for name in ([ask] if ask else self.running)]
        return CliRunner().invoke(main, [*args, "--endpoints", ",".join(urls)])


@contextmanager
def growing(folder: Path, founders: int, size: int, *options: str) -> Iterator[Growing]:
    """The founders run and have a leader; shows what the nodes wrote if the test fails."""
    with Growing(folder, founders, size, *options) as cluster:
        try:
            cluster.found()
            yield cluster
        except BaseException:
            print(cluster.log_tails(40))
            raise


class Load:
    """Writers on a loop of their own, who keep book of what they were told."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.writers: Writers

    def __enter__(self) -> Load:
        self._thread.start()
        self._run(self._begin())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self.writers.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5 * PATIENCE_S)

    async def _begin(self) -> None:
        self.writers = Writers(self._urls, "load:")
        await self.writers.__aenter__()
        self.writers.start()

    def more(self, count: int = 20) -> None:
        """Waits until so many more writes were acknowledged."""
        goal = self.writers.acknowledged + count
        until(lambda: self.writers.acknowledged >= goal, "writes are not acknowledged any more")
        self.writers.check()

    def stop(self) -> None:
        """Ends the writers; every outcome is known then."""
        self._run(self.writers.stop())

    def verdict(self, urls: dict[str, str]) -> Verdict:
        """Compares what was acknowledged with what each of these nodes shows."""

        async def values(url: str) -> dict[str, int]:
            async with RaftcacheClient([url], timeout_s=PATIENCE_S) as client:
                keys = [*self.writers.puts, *self.writers.increments]
                found = [await client.get(key.encode()) for key in keys]
            return {k: 0 if f is None else int(f.value) for k, f in zip(keys, found, strict=True)}

        final = {name: self._run(values(url)) for name, url in urls.items()}
        return judge(self.writers.puts, self.writers.increments, final)
