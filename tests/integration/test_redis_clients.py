"""Redis clients as they are shipped find the next leader by themselves, and nothing is lost.

One cluster, a program for each client, and one failover that all of them live through: the leader
is killed while they write. What each of them went through is then looked at one by one.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from raftcache.cli.local import HOST
from tests.support.cluster import PATIENCE_S, Cluster, running, until
from tests.support.redis_writers import (
    NODE,
    PYTHON,
    End,
    NodePrograms,
    PythonWriter,
    Writer,
    install,
    needs_node,
    node_is_there,
)
from tests.support.resp_wire import RespWire, plain

pytestmark = pytest.mark.cluster

WRITES_MIN: Final = 30
"""Before the leader dies, and again afterwards."""

LEFT_TO_USER: Final = {
    **dict.fromkeys(("redis-py", "ioredis", "node-redis"), ("UNKNOWN", "CLUSTERDOWN")),
    "redis-py-sentinel": ("ConnectionError",),
    "node-redis-cluster": ("Socket closed", "ECONNRESET", "Disconnects client"),
}
"""Errors that the user of a client has to do with: those who know one node are told how it was,
and two clients give up the calls that were in flight. The others are to hide it all."""


SPREAD: Final = ("redis-py-cluster", "ioredis-cluster", "node-redis-cluster")
"""Those who see where the slots are."""

LEFT_BY_OTHERS: Final = ("UNKNOWN", "CLUSTERDOWN")
"""Where slots are spread, most calls that the leader's end befalls are under way at other nodes,
which tell how it was; some clients hide one of these."""


@dataclass(frozen=True)
class Story:
    """What one program went through. kept: of its acknowledged writes, what is there at the end."""

    acknowledged: int
    kept: int
    end: End


@dataclass(frozen=True)
class Told:
    cluster: Cluster
    stories: dict[str, Story]


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Told]:
    cache = request.config.cache
    assert cache is not None
    with running(tmp_path_factory.mktemp("trio")) as cluster:
        yield Told(cluster, _live_through_a_failover(cluster, cache.mkdir))


def _live_through_a_failover(
    cluster: Cluster, cache: Callable[[str], Path], kinds: Collection[str] = (*PYTHON, *NODE)
) -> dict[str, Story]:
    """Of programs of these kinds."""
    killed = cluster.leader()
    # Those who know but one node know a follower: the leader is about to die.
    names = sorted(cluster.nodes, key=lambda name: name == killed)
    ports = [cluster.nodes[name].resp_port for name in names]
    with ExitStack() as stack:
        writers: dict[str, Writer] = {}
        if node_is_there():
            node = [kind for kind in NODE if kind in kinds]
            writers |= stack.enter_context(NodePrograms(node, ports, install(cache)))
            _all_write(writers)  # it takes a while to begin, the longer the busier it is here
        writers |= {kind: PythonWriter(kind, ports) for kind in PYTHON if kind in kinds}
        _all_write(writers)
        cluster.kill(killed)
        _all_write(writers)
        leader = cluster.leader()
        ends = {kind: writer.stop() for kind, writer in writers.items()}
        counts = {kind: writer.acknowledged for kind, writer in writers.items()}
    return {k: Story(n, _kept(cluster, leader, k, n), ends[k]) for k, n in counts.items()}


def _all_write(writers: dict[str, Writer]) -> None:
    before = {kind: writer.acknowledged for kind, writer in writers.items()}

    def all_did() -> bool:
        return all(w.acknowledged >= before[kind] + WRITES_MIN for kind, w in writers.items())

    until(all_did, f"not all write; before: {before}")


def _kept(cluster: Cluster, at: str, kind: str, count: int) -> int:
    with closing(_wire(cluster, at)) as wire:
        calls = [(b"GET", f"{kind}:{n}".encode()) for n in range(1, count + 1)]
        replies = wire.pipeline(calls)
    return sum(reply == ("$", b"%d" % n) for n, reply in enumerate(replies, 1))


@pytest.mark.parametrize("kind", [*PYTHON, *(pytest.param(k, marks=needs_node) for k in NODE)])
def test_a_client_goes_on_with_the_next_leader_and_nothing_is_lost(told: Told, kind: str) -> None:
    story = told.stories[kind]
    assert story.kept == story.acknowledged >= 2 * WRITES_MIN
    # One that asked while nobody led for long took the node it asked for the master, and stays with
    # it: that serves it as well, and node-redis asks again only when it breaks.
    if kind.endswith(("cluster", "sentinel")) and kind != "node-redis-cluster":
        assert story.end.role == "master", "it does not talk to the leader itself"
    expected = LEFT_TO_USER.get(kind, ())
    assert [error for error in story.end.errors if not any(e in error for e in expected)] == []


def test_copies_are_told_as_they_are(told: Told) -> None:
    """WAIT and WAITAOF, at a leader and at a follower, while one follower stands still."""
    cluster = told.cluster
    cluster.start_all()
    leader, (asked, halted) = cluster.leader(), cluster.followers()
    with closing(_wire(cluster, leader)) as first, closing(_wire(cluster, asked)) as second:
        for wire, others in ((first, 2), (second, 1)):
            wire.call(b"SET", b"copied", b"1")
            assert wire.call(b"WAIT", b"2", b"%d" % (PATIENCE_S * 1000)) == (":", others)
            wire.call(b"SET", b"copied", b"2")
            aof = wire.call(b"WAITAOF", b"1", b"2", b"%d" % (PATIENCE_S * 1000))
            assert plain(aof) == [1, others]
        with cluster.suspended(halted):
            first.call(b"SET", b"copied", b"3")
            assert first.call(b"WAIT", b"2", b"50") == (":", 1)
            assert plain(first.call(b"WAITAOF", b"1", b"2", b"50")) == [1, 1]
            assert second.call(b"GET", b"copied") == ("$", b"3")


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli on the path")
def test_tools_find_nothing_wrong_with_the_cluster(told: Told) -> None:
    told.cluster.start_all()
    ports = [node.resp_port for node in told.cluster.nodes.values()]

    def check(port: int) -> str | None:
        """What it says; None while a link is not there yet."""
        command = ["redis-cli", "--cluster", "check", f"{HOST}:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        return done.stdout if done.returncode == 0 and "2 slaves" in done.stdout else None

    for port in ports:
        said = until(lambda at=port: check(at), "redis-cli finds something wrong")
        assert "All nodes agree about slots configuration." in said
        assert "All 16384 slots covered." in said


def test_who_listens_at_any_node_is_told_of_the_next_leader(told: Told) -> None:
    cluster = told.cluster
    cluster.start_all()
    before = cluster.leader()
    with ExitStack() as stack:
        wires = [stack.enter_context(closing(_wire(cluster, name))) for name in cluster.nodes]
        for wire in wires:
            assert plain(wire.call(b"SUBSCRIBE", b"+switch-master"))[0] == b"subscribe"
        assert cluster.call(before, "POST", "/v1/cluster/leader").status == 200
        old, new = (cluster.nodes[name].resp_port for name in (before, cluster.leader()))
        message = f"raftcache {HOST} {old} {HOST} {new}".encode()
        for wire in wires:
            assert plain(wire.read()) == [b"message", b"+switch-master", message]


def test_where_slots_are_spread_clients_go_on_at_the_survivors(
    told: Told, request: pytest.FixtureRequest
) -> None:
    """Each voter is a master: that of a part of the keys dies, and leads as it does."""
    cluster, cache = told.cluster, request.config.cache
    assert cache is not None
    cluster.stop()
    cluster.options += ["--resp-cluster-map", "spread"]
    cluster.start_all()
    with closing(_wire(cluster, cluster.leader())) as wire:
        until(lambda: len(plain(wire.call(b"CLUSTER", b"SLOTS"))) == 3, "not all have slots")
    for kind, story in _live_through_a_failover(cluster, cache.mkdir, SPREAD).items():
        assert story.kept == story.acknowledged >= 2 * WRITES_MIN
        expected = LEFT_TO_USER.get(kind, ()) + LEFT_BY_OTHERS
        assert [e for e in story.end.errors if not any(word in e for word in expected)] == []


def _wire(cluster: Cluster, name: str) -> RespWire:
    return RespWire(cluster.nodes[name].resp_port)
