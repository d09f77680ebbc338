"""Watches on real processes: through a killed node, an installed snapshot and a lost leader."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from raftcache.cli.local import HOST
from raftcache.client import SyncClient
from raftcache.raft.window import WINDOW_MESSAGES_MAX
from tests.support.cluster import PATIENCE_S, Cluster, running, until
from tests.support.command_line import succeeds

pytestmark = pytest.mark.cluster

TRAILING_ENTRIES = 10

SMALL = (
    *("--snapshot-entries", "40", "--trailing-entries", f"{TRAILING_ENTRIES}"),
    *("--log-format", "json"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("watch"), *SMALL) as cluster:
        yield cluster


class Events:
    """The events of one stream, read as they come."""

    def __init__(self, cluster: Cluster, name: str, query: str) -> None:
        self._socket = socket.create_connection((HOST, cluster.nodes[name].http_port), PATIENCE_S)
        head = f"GET /v1/watch?{query} HTTP/1.0\r\nHost: x\r\n\r\n"
        self._socket.sendall(head.encode())
        self._file = self._socket.makefile("rb")
        assert b" 200 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass

    def next(self) -> tuple[str, Any]:
        """(its kind, its data); ("end", None) when the stream is over."""
        kind, data = "change", None
        while (line := self._file.readline()) not in (b"\n", b""):
            name, _, text = line.decode().rstrip("\n").partition(": ")
            kind = text if name == "event" else kind
            data = json.loads(text) if name == "data" else data
        return (kind, data) if line else ("end", None)

    def change(self) -> dict[str, Any]:
        """The next that is no progress."""
        while (event := self.next())[0] == "progress":
            pass
        assert event[0] == "change", event
        data: dict[str, Any] = event[1]
        return data

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def seen(events: Events, count: int) -> list[tuple[int, str]]:
    got = [events.change() for _ in range(count)]
    return [(change["revision"], change["changes"][0]["key"]) for change in got]


def test_all_nodes_tell_the_same_and_a_killed_one_is_left_without_a_gap(cluster: Cluster) -> None:
    since = cluster.settled()["revision"]
    leader, followers = cluster.leader(), cluster.followers()
    watches = {name: Events(cluster, name, f"prefix=k:&since={since}") for name in cluster.nodes}
    for i in range(10):
        cluster.write(leader, f"k:{i}", "v")
        cluster.write(leader, f"other:{i}", "v")
    told = {name: seen(events, 10) for name, events in watches.items()}
    first = told[leader]
    assert [key for _, key in first] == [f"k:{i}" for i in range(10)]
    assert all(got == first for got in told.values())

    cluster.kill(leader)
    kind, data = watches[leader].next()
    while kind == "progress":
        kind, data = watches[leader].next()
    assert (kind, data) == ("end", None)
    other = followers[0]
    for i in range(10, 15):
        cluster.write(other, f"k:{i}", "v")
    resumed = Events(cluster, other, f"prefix=k:&since={first[-1][0]}")
    expected = [f"k:{i}" for i in range(10, 15)]
    assert [key for _, key in seen(resumed, 5)] == expected
    assert [key for _, key in seen(watches[other], 5)] == expected
    for events in (*watches.values(), resumed):
        events.close()
    cluster.start_all()


def test_a_client_goes_on_at_another_node_by_itself(cluster: Cluster) -> None:
    """Its node is killed, the next one stops, and none of them is missed or told twice."""
    leader, (first, second) = cluster.leader(), cluster.followers()
    urls = [cluster.nodes[name].url for name in (first, second, leader)]
    keys: list[bytes] = []
    with SyncClient(urls) as client, client.watch(prefix=b"c:") as changes:
        for i in range(60):
            if i == 20:
                cluster.send(first, signal.SIGKILL)
            elif i == 40:
                cluster.start_all()
                cluster.send(second, signal.SIGTERM)
            cluster.write(leader, f"c:{i}", "v")
            if i % 3 == 0:
                keys += [change.key for change in next(changes).changes]
        keys += [change.key for _ in range(60 - len(keys)) for change in next(changes).changes]
        assert keys == [f"c:{i}".encode() for i in range(60)]
    cluster.exit_code(second)
    cluster.start_all()


def test_the_command_line(cluster: Cluster) -> None:
    name = cluster.leader()
    endpoint = ("--endpoints", cluster.nodes[name].url)
    since = cluster.settled()["revision"]
    cluster.write(name, "line", "1")
    cluster.write(name, "line", "2")
    ran = succeeds("watch", "line", "--since", since, "--limit", 2, *endpoint)
    lines = [line.split("\t") for line in ran.out.decode().splitlines()]
    assert [line[1:] for line in lines] == [["put", "line", "1"], ["put", "line", "2"]]
    command = [sys.executable, "-m", "raftcache", "watch", "line", "--since", f"{since}", *endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout
        assert watching.stdout.readline().split(b"\t")[3] == b"1\n"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
        assert watching.stderr
        assert watching.stderr.read() == b""


def test_a_watch_that_begins_after_an_answer_sees_what_comes_after_it(cluster: Cluster) -> None:
    leader, (follower, _) = cluster.leader(), cluster.followers()
    for i in range(20):
        revision = cluster.write(leader, "begin", f"{i}").json["revision"]
        events = Events(cluster, follower, "key=begin")
        kind, data = events.next()
        assert kind == "progress"
        assert data["revision"] >= revision
        later = cluster.write(leader, "begin", f"{i} later").json["revision"]
        assert events.change()["revision"] == later
        events.close()


def test_a_node_that_got_a_snapshot_does_not_hide_what_it_missed(cluster: Cluster) -> None:
    leader, (late, _) = cluster.leader(), cluster.followers()
    before = cluster.settled()["revision"]
    events = Events(cluster, late, f"prefix=s:&since={before}")
    cluster.write(leader, "s:0", "v")
    assert events.change()["changes"][0]["key"] == "s:0"
    # Its socket still takes what a window holds: only what was forgotten after that is missed.
    forgotten = int(cluster.metric(leader, "raft_last_index")) + WINDOW_MESSAGES_MAX + 2

    def has_forgotten() -> bool:
        taken = cluster.logged(leader, "took a snapshot")
        return bool(taken and taken[-1]["index"] >= forgotten + TRAILING_ENTRIES)

    with cluster.suspended(late):
        for i in range(130):
            cluster.write(leader, f"s:{i}", "v")
        until(has_forgotten, "no snapshot that is new enough")
    until(lambda: cluster.logged(late, "installed a snapshot"), "no snapshot was installed")
    cluster.settled()
    # What it missed was forgotten here, or its state was too old meanwhile: it is told.
    last = before
    while True:
        kind, data = events.next()
        if kind == "error":
            break
        assert data["revision"] >= last
        last = data["revision"]
    assert data["status"] in (410, 503)
    refused = cluster.call(late, "GET", f"/v1/watch?prefix=s:&since={before}&wait=1s")
    assert refused.status == 410
    oldest = refused.json["oldest_revision"]
    assert oldest > before
    assert cluster.call(late, "GET", f"/v1/watch?since={oldest}&wait=1ms").status == 200
    other = Events(cluster, leader, f"prefix=s:&since={before}")
    assert [key for _, key in seen(other, 130)] == [f"s:{i}" for i in range(130)]
    for stream in (events, other):
        stream.close()


def test_a_node_without_the_others_ends_its_watches(cluster: Cluster) -> None:
    leader, followers = cluster.leader(), cluster.followers()
    cluster.settled()
    events = Events(cluster, leader, "prefix=x:")
    assert events.next()[0] == "progress"
    with cluster.suspended(*followers):
        kind, data = events.next()
        while kind == "progress":
            kind, data = events.next()
        assert kind == "error"
        assert data["status"] == 503
        assert "old" in data["detail"]
        assert cluster.call(leader, "GET", "/v1/watch?since=0&wait=1ms").status == 503
    events.close()
    cluster.leader()


def test_a_node_that_is_told_to_stop_says_so(cluster: Cluster) -> None:
    name = cluster.followers()[0]
    events = Events(cluster, name, "prefix=x:")
    assert events.next()[0] == "progress"
    cluster.send(name, signal.SIGTERM)
    assert cluster.exit_code(name) == 0
    kind, data = events.next()
    while kind == "progress":
        kind, data = events.next()
    assert (kind, data["status"]) == ("error", 503)
    assert "shutting down" in data["detail"]
    events.close()
    cluster.start_all()
