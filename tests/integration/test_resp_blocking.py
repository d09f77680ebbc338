"""Redis clients that wait, on real processes: at any node, and through the loss of a leader."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, running, until
from tests.support.resp_wire import Reply, RespWire, packed

pytestmark = pytest.mark.cluster

ITEMS = 300
CONSUMERS = 9


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("blocking")) as cluster:
        yield cluster


def wire(cluster: Cluster, name: str) -> RespWire:
    return RespWire(cluster.nodes[name].resp_port)


def bulk(*words: bytes) -> Reply:
    return "*", [("$", word) for word in words]


def waiting(cluster: Cluster, name: str) -> float:
    return cluster.metric(name, "places_in_lines")


def test_who_waits_at_any_node_is_served_what_comes_through_any_other(cluster: Cluster) -> None:
    names = list(cluster.nodes)
    for number, name in enumerate(names):
        waits, pushes = wire(cluster, name), wire(cluster, names[number - 1])
        waits.send(packed([b"BLPOP", b"none", b"list", b"0"]) + packed([b"LLEN", b"list"]))
        until(lambda name=name: waiting(cluster, name) == 2, f"nobody waits at {name}")
        assert pushes.call(b"RPUSH", b"list", b"a", b"b") == (":", 2)
        assert [waits.read(), waits.read()] == [bulk(b"list", b"a"), (":", 1)]
        assert pushes.call(b"BRPOP", b"list", b"0") == bulk(b"list", b"b")
        assert waits.call(b"BZPOPMIN", b"z", b"0.01") == ("*", None)
        waits.close()
        pushes.close()


def test_who_goes_takes_nothing(cluster: Cluster) -> None:
    leader, other = cluster.leader(), cluster.followers()[0]
    gone, stays, pushes = wire(cluster, other), wire(cluster, other), wire(cluster, leader)
    gone.send(packed([b"BLPOP", b"left", b"0"]))
    until(lambda: waiting(cluster, other) == 1, "nobody waits")
    stays.send(packed([b"BLPOP", b"left", b"0"]))
    until(lambda: waiting(cluster, other) == 2, "nobody else waits")
    gone.close()
    until(lambda: waiting(cluster, other) == 1, "the one that went still waits")
    pushes.call(b"RPUSH", b"left", b"a")
    assert stays.read() == bulk(b"left", b"a")
    stays.close()
    pushes.close()


def test_who_goes_before_it_waits_takes_nothing_either(cluster: Cluster) -> None:
    """It leaves while a call before the one that waits is under way."""
    leader, other = cluster.leader(), cluster.followers()[0]
    pushes = wire(cluster, leader)
    for number in range(10):
        gone, counter, key = wire(cluster, other), b"counter%d" % number, b"kept%d" % number
        gone.send(packed([b"INCR", counter]) + packed([b"BLPOP", key, b"0"]))
        gone.close()
        until(lambda counter=counter: pushes.call(b"GET", counter)[1], "nothing was done for it")
    until(lambda: waiting(cluster, other) == 0, "some still wait")
    for number in range(10):
        assert pushes.call(b"RPUSH", b"kept%d" % number, b"a") == (":", 1)
        assert pushes.call(b"LLEN", b"kept%d" % number) == (":", 1)
    pushes.close()


def test_a_node_alone_does_not_say_that_nothing_came(cluster: Cluster) -> None:
    cluster.settled()
    alone, *others = cluster.nodes
    waits = wire(cluster, alone)
    waits.send(packed([b"BLPOP", b"silent", b"1"]))
    until(lambda: waiting(cluster, alone) == 1, "nobody waits")
    with cluster.suspended(*others):
        sign, text = waits.read()
    assert sign == "-"
    assert text.startswith(b"CLUSTERDOWN")
    waits.close()


class Consumer(threading.Thread):
    """Takes elements, one by one, until it is told to end, or its connection is lost."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(daemon=True)
        self._wire = wire(cluster, name)
        self.taken: list[bytes] = []
        self.doubts = 0

    def run(self) -> None:
        with contextlib.closing(self._wire):
            self._take()

    def _take(self) -> None:
        while True:
            try:
                sign, content = self._wire.call(b"BLPOP", b"work", b"0")
            except (OSError, EOFError):
                self.doubts += 1  # it may have taken one
                return
            if sign == "*":
                (_, item) = content[1]
                if item == b"end":
                    return
                self.taken.append(item)
            elif content.startswith(b"UNKNOWN"):
                self.doubts += 1
            else:
                assert content.startswith((b"CLUSTERDOWN", b"TRYAGAIN")), content


def test_each_element_is_taken_once_though_the_leader_is_killed(cluster: Cluster) -> None:
    leader, followers = cluster.leader(), cluster.followers()
    consumers = [Consumer(cluster, [leader, *followers][n % 3]) for n in range(CONSUMERS)]
    for consumer in consumers:
        consumer.start()
    pushes, pushed, maybe = wire(cluster, followers[0]), set[bytes](), set[bytes]()
    for number in range(ITEMS):
        if number == ITEMS // 2:
            cluster.send(leader, signal.SIGKILL)
        item = b"%d" % number

        def push(item: bytes = item) -> bool:
            sign, content = pushes.call(b"RPUSH", b"work", item)
            if sign == "-" and content.startswith((b"CLUSTERDOWN", b"TRYAGAIN")):
                return False
            (pushed if sign == ":" else maybe).add(item)
            return True

        until(push, "nothing can be pushed")
    for _ in consumers:
        until(lambda: pushes.call(b"RPUSH", b"work", b"end")[0] == ":", "nothing can be pushed")
    for consumer in consumers:
        consumer.join(30)
        assert not consumer.is_alive()
    taken = [item for consumer in consumers for item in consumer.taken]
    assert len(taken) == len(set(taken))
    assert set(taken) <= pushed | maybe
    assert len(pushed - set(taken)) <= sum(consumer.doubts for consumer in consumers)
    pushes.close()


class Follower(threading.Thread):
    """Reads a stream to its end, each time what is behind the last entry that it has seen."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(daemon=True)
        self._wire = wire(cluster, name)
        self.read: list[tuple[bytes, bytes]] = []

    def run(self) -> None:
        last = b"0"
        with contextlib.closing(self._wire):
            while not self.read or self.read[-1][1] != b"end":
                call = (b"XREAD", b"BLOCK", b"0", b"STREAMS", b"log", last)
                sign, content = self._wire.call(*call)
                if sign == "-":
                    assert content.startswith(b"CLUSTERDOWN"), content
                    continue
                [(_, [_, (_, entries)])] = content
                for _, [(_, last), (_, [_, (_, item)])] in entries:
                    self.read.append((last, item))


def test_a_stream_is_read_whole_and_in_order_though_the_leader_is_killed(cluster: Cluster) -> None:
    cluster.start_all()
    cluster.settled()
    leader, followers = cluster.leader(), cluster.followers()
    readers = [Follower(cluster, name) for name in followers]
    for reader in readers:
        reader.start()
    adds, added = wire(cluster, followers[0]), list[tuple[bytes, bytes]]()
    maybe = set[bytes]()
    for number in range(ITEMS + 1):
        if number == ITEMS // 2:
            cluster.send(leader, signal.SIGKILL)
        item = b"end" if number == ITEMS else b"%d" % number

        def add(item: bytes = item) -> bool:
            sign, content = adds.call(b"XADD", b"log", b"*", b"n", item)
            if sign == "$":
                added.append((content, item))
            elif content.startswith(b"UNKNOWN"):
                maybe.add(item)
            else:
                assert content.startswith((b"CLUSTERDOWN", b"TRYAGAIN")), content
            return sign == "$" or (item in maybe and item != b"end")

        until(add, "nothing can be added")
    for reader in readers:
        reader.join(30)
        assert not reader.is_alive()
        assert [each for each in reader.read if each[1] not in maybe] == [
            each for each in added if each[1] not in maybe
        ]
        ids = [tuple(map(int, each.split(b"-"))) for each, _ in reader.read]
        assert ids == sorted(set(ids))
    adds.close()
