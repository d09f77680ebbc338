"""Messages, events of keys and invalidations between real nodes, with raw sockets and redis-py."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final

import pytest
from redis import Redis, ResponseError

from raftcache.cli.local import HOST
from tests.support.cluster import PATIENCE_S, Cluster, running, until
from tests.support.resp_wire import Reply, RespWire, packed, plain

pytestmark = pytest.mark.cluster

OPTIONS: Final = (
    *("--notify-keyspace-events", "KEA", "--log-format", "json"),
    *("--resp-pubsub-counts", "cluster"),
)
NODES: Final = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("pubsub"), *OPTIONS) as cluster:
        yield cluster


def wire(cluster: Cluster, name: str, protocol: int = 2) -> RespWire:
    made = RespWire(cluster.nodes[name].resp_port)
    assert made.call(b"HELLO", b"%d" % protocol)[0] != "-"
    return made


def client(cluster: Cluster, name: str, **options: Any) -> Redis:
    return Redis(HOST, cluster.nodes[name].resp_port, socket_timeout=PATIENCE_S, **options)


def test_what_is_published_at_one_node_is_heard_at_all_in_one_order(cluster: Cluster) -> None:
    listeners = [wire(cluster, name) for name in NODES]
    for listener in listeners:
        assert plain(listener.call(b"SUBSCRIBE", b"news")) == [b"subscribe", b"news", 1]

    def publish(name: str) -> None:
        with closing(wire(cluster, name)) as publisher:
            for number in range(50):
                said = publisher.call(b"PUBLISH", b"news", f"{name} {number}".encode())
                assert said == (":", 1)

    publishers = [threading.Thread(target=publish, args=(name,)) for name in NODES]
    for each in publishers:
        each.start()
    heard = [[plain(listener.read())[2] for _ in range(150)] for listener in listeners]
    for each in publishers:
        each.join()
    assert heard[0] == heard[1] == heard[2]
    for name in NODES:
        own = [line for line in heard[0] if line.startswith(name.encode())]
        assert own == [f"{name} {number}".encode() for number in range(50)]
    for listener in listeners:
        listener.close()


def test_a_real_client_subscribes(cluster: Cluster) -> None:
    leader, *others = cluster.leader(), *cluster.followers()
    for protocol in (2, 3):
        with (
            client(cluster, others[0], protocol=protocol) as reader,
            client(cluster, others[1], protocol=protocol) as writer,
            reader.pubsub(ignore_subscribe_messages=True) as listening,
        ):
            listening.subscribe("news")
            listening.psubscribe("w*")
            writer.ping()
            # Both are confirmed once something is heard of each.
            for channel in ("news", "weather"):
                assert until(lambda c=channel: _heard(writer, listening, c), "nothing was heard")
            pipe = client(cluster, leader).pipeline(transaction=True)
            pipe.set("a", "1").publish("news", "in a transaction").get("a")
            assert pipe.execute()[::2] == [True, b"1"]
            told = until(lambda: listening.get_message(timeout=1), "the message did not come")
            assert told["data"] == b"in a transaction"
            pipe.reset()


def _heard(writer: Redis, listening: Any, channel: str) -> bool:
    writer.publish(channel, "hello")
    message = listening.get_message(timeout=1)
    while message is not None and message["channel"] != channel.encode():
        message = listening.get_message(timeout=1)
    while message is not None and listening.get_message(timeout=0.05):
        pass
    return message is not None


def test_events_of_keys_come_from_every_door_and_node(cluster: Cluster) -> None:
    with closing(wire(cluster, "n1")) as listening, closing(wire(cluster, "n2")) as writing:
        listening.call(b"PSUBSCRIBE", b"__keyspace@0__:event:*")
        writing.call(b"SET", b"event:1", b"1")
        writing.call(b"RPUSH", b"event:2", b"1")
        cluster.write("n3", "event:3", "1")
        writing.call(b"PEXPIRE", b"event:1", b"50")
        told = [plain(listening.read())[2:] for _ in range(5)]
        prefix = b"__keyspace@0__:event:"
        assert told[:4] == [
            [prefix + b"1", b"set"],
            [prefix + b"2", b"rpush"],
            [prefix + b"3", b"set"],
            [prefix + b"1", b"expire"],
        ]
        assert told[4] == [prefix + b"1", b"expired"]


def test_events_are_switched_on_and_off_at_one_node(cluster: Cluster) -> None:
    with (
        closing(wire(cluster, "n1")) as asking,
        closing(wire(cluster, "n1")) as listening,
        closing(wire(cluster, "n2")) as elsewhere,
    ):
        name = b"notify-keyspace-events"
        for each in (listening, elsewhere):
            each.call(b"SUBSCRIBE", b"__keyspace@0__:switched", b"end")
            each.read()
        assert asking.call(b"CONFIG", b"SET", name, b"Elg") == ("+", b"OK")
        assert plain(asking.call(b"CONFIG", b"GET", name)) == [name, b"glE"]
        assert asking.call(b"CONFIG", b"SET", name, b"?")[0] == "-"
        asking.call(b"SET", b"switched", b"1")
        assert asking.call(b"CONFIG", b"SET", name, b"KEA") == ("+", b"OK")
        asking.call(b"DEL", b"switched")
        asking.call(b"PUBLISH", b"end", b"")
        heard = [_until_end(each) for each in (listening, elsewhere)]
        assert heard == [[b"del"], [b"set", b"del"]]


def _until_end(listening: RespWire) -> list[bytes]:
    heard: list[bytes] = []
    while (message := plain(listening.read()))[1] != b"end":
        heard.append(message[2])
    return heard


def invalidated(reply: Reply) -> list[bytes] | None:
    sign, parts = reply
    assert (sign, parts[0]) == (">", ("$", b"invalidate")), reply
    keys: list[bytes] | None = plain(parts[1])
    return keys


def test_copies_are_invalid_wherever_and_however_the_key_changed(cluster: Cluster) -> None:
    with closing(wire(cluster, "n1", 3)) as cache, closing(wire(cluster, "n2")) as other:
        assert cache.call(b"CLIENT", b"TRACKING", b"ON") == ("+", b"OK")
        other.call(b"MSET", b"t1", b"1", b"t2", b"1", b"t3", b"1")
        changes = {
            b"t1": lambda: other.call(b"SET", b"t1", b"2"),
            b"t2": lambda: cluster.write("n3", "t2", "2"),
            b"t3": lambda: other.call(b"PEXPIRE", b"t3", b"30"),
        }
        for key, change in changes.items():
            assert plain(cache.call(b"GET", key)) == b"1"
            change()
            assert invalidated(cache.read()) == [key]
        plain(cache.call(b"GET", b"t3"))  # it expires, or has
        cache.send(b"*1\r\n$4\r\nPING\r\n")
        told = [cache.read()]
        if told[0][0] == ">":
            told.append(cache.read())
        other.call(b"FLUSHALL")
        while (told_last := cache.read()) and invalidated(told_last) is not None:
            pass


class Cache:
    """A client that keeps what it reads until it is told that it is invalid."""

    def __init__(self, cluster: Cluster, name: str, *options: bytes) -> None:
        self.wire = wire(cluster, name, 3)
        assert self.wire.call(b"CLIENT", b"TRACKING", b"ON", *options) == ("+", b"OK")
        self.copies: dict[bytes, Any] = {}
        self.is_deaf_to_itself = b"NOLOOP" in options

    def take(self, reply: Reply) -> bool:
        """Whether it was an invalidation."""
        if reply[0] != ">":
            return False
        keys = invalidated(reply)
        for key in list(self.copies) if keys is None else keys:
            self.copies.pop(key, None)
        return True

    def do(self, calls: list[list[bytes]]) -> None:
        """A pipeline; what GET and MGET show is kept."""
        self.wire.send(b"".join(packed(call) for call in calls))
        for call in calls:
            while self.take(reply := self.wire.read()):
                pass
            if call[0] == b"GET":
                self.copies[call[1]] = plain(reply)
            elif call[0] == b"MGET":
                self.copies.update(zip(call[1:], plain(reply), strict=True))
            elif call[0] in (b"SET", b"DEL") and self.is_deaf_to_itself:
                self.copies.pop(call[1], None)


def test_no_copy_stays_stale(cluster: Cluster) -> None:
    """Readers with pipelines that write too, at all nodes, and writers at both doors of all."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    keys = [b"stale:%d" % number for number in range(8)]
    options = [(), (b"BCAST", b"PREFIX", b"stale:"), (b"NOLOOP",)]
    caches = [Cache(cluster, name, *option) for name in NODES for option in options]
    stop = threading.Event()

    def write_http(name: str, dice: random.Random) -> None:
        while not stop.is_set():
            cluster.put(name, dice.choice(keys).decode(), str(dice.random()))

    def read(cache: Cache, dice: random.Random) -> None:
        for _ in range(150):
            calls = [_some_call(keys, dice) for _ in range(dice.randrange(1, 12))]
            cache.do(calls)

    threads = [
        threading.Thread(target=read, args=(cache, random.Random(seed + number)))
        for number, cache in enumerate(caches)
    ]
    writers = [
        threading.Thread(target=write_http, args=(name, random.Random(seed - number)))
        for number, name in enumerate(NODES, 1)
    ]
    for thread in threads + writers:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    for thread in writers:
        thread.join()
    with closing(wire(cluster, "n1")) as asking:
        actual = dict(zip(keys, plain(asking.call(b"MGET", *keys)), strict=True))

    def all_true(cache: Cache) -> bool:
        cache.do([[b"PING"]])
        return all(actual[key] == copy for key, copy in cache.copies.items())

    for cache in caches:
        until(lambda c=cache: all_true(c), f"a copy stays stale; seed {seed}")
        cache.wire.close()


def _some_call(keys: list[bytes], dice: random.Random) -> list[bytes]:
    key = dice.choice(keys)
    return dice.choice(
        [
            [b"GET", key],
            [b"GET", key],
            [b"MGET", *dice.sample(keys, 3)],
            [b"SET", key, b"%d" % dice.randrange(1 << 30)],
            [b"DEL", key],
            [b"PING"],
            [b"EXISTS", key],
        ]
    )


def test_every_node_tells_who_listens_at_all_of_them(cluster: Cluster) -> None:
    asked = cluster.followers()[0]
    with closing(client(cluster, asked)) as asking, ExitStack() as stack:
        for name in NODES:
            listener = stack.enter_context(closing(wire(cluster, name)))
            listener.call(b"SUBSCRIBE", b"counted", name.encode())
            listener.call(b"PSUBSCRIBE", b"counted*")
        counts = [(b"counted", 3), (b"n2", 1), (b"n9", 0)]
        told(lambda: asking.pubsub_numsub("counted", "n2", "n9") == counts)
        told(lambda: sorted(asking.pubsub_channels("n?")) == [b"n1", b"n2", b"n3"])
        told(lambda: asking.pubsub_numpat() == 1)
    with closing(client(cluster, asked)) as asking:
        told(lambda: asking.pubsub_numsub("counted") == [(b"counted", 0)])


def told(holds: Callable[[], bool]) -> None:
    """A node that is busy for seconds is not waited for: then they are asked again."""

    def asked() -> bool:
        try:
            return holds()
        except ResponseError as refused:
            if "no answer who listens" not in str(refused):
                raise
            return False

    until(asked, "it is told otherwise")


def test_a_slow_subscriber_is_cut_off_and_the_others_are_not(cluster: Cluster) -> None:
    slow, quick = wire(cluster, "n1"), wire(cluster, "n1")
    for each in (slow, quick):
        each.call(b"SUBSCRIBE", b"flood")
    payload = b"x" * (1 << 19)
    with closing(wire(cluster, "n2")) as publisher, closing(wire(cluster, "n1")) as asking:

        def one_left() -> bool:
            publisher.call(b"PUBLISH", b"flood", payload)
            assert plain(quick.read())[2] == payload
            return plain(asking.call(b"PUBSUB", b"NUMSUB", b"flood")) == [b"flood", 1]

        until(one_left, "the slow subscriber was not cut off")
    assert len(list(slow.rest())) > 0
    quick.close()
    slow.close()


def test_a_node_that_starts_again_repeats_nothing(cluster: Cluster) -> None:
    name, other = cluster.followers()[0], cluster.leader()
    with closing(wire(cluster, other)) as publisher:
        for number in range(100):
            publisher.call(b"PUBLISH", b"again", b"old %d" % number)
        cluster.send(name, signal.SIGKILL)
        cluster.exit_code(name)
        for number in range(100, 200):
            publisher.call(b"PUBLISH", b"again", b"old %d" % number)
        cluster.start(name)
        listening = until(lambda: _subscribed(cluster, name, b"again"), "nobody may subscribe")
        publisher.call(b"PUBLISH", b"again", b"new")
        assert plain(listening.read())[2] == b"new"
        listening.close()


def _subscribed(cluster: Cluster, name: str, channel: bytes) -> RespWire | None:
    """A subscriber, as soon as the node takes one."""
    try:
        made = wire(cluster, name)
    except OSError:
        return None
    if made.call(b"SUBSCRIBE", channel)[0] == "*":
        return made
    made.close()
    return None


def test_who_listens_at_a_node_that_lost_touch_is_sent_away(cluster: Cluster) -> None:
    leader = cluster.leader()
    lost, *others = [name for name in NODES if name != leader]
    with closing(wire(cluster, lost)) as listening, closing(wire(cluster, lost, 3)) as caching:
        listening.call(b"SUBSCRIBE", b"news")
        caching.call(b"CLIENT", b"TRACKING", b"ON")
        with cluster.suspended(leader, *others):
            for each in (listening, caching):
                assert list(each.rest()) == []
    cluster.leader()
