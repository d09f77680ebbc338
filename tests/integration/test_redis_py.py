"""redis-py on three real nodes, in both versions of the protocol."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from raftcache.command.calls import CALLS_MAX, WATCHED_MAX
from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.metrics_table import COUNTERS, GAUGES
from raftcache.server.resp.transactions import QUEUE_SIZE_BYTES_MAX
from tests.support.cluster import PATIENCE_S, Cluster, running, until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.settled()
        yield cluster


@contextlib.contextmanager
def connected(cluster: Cluster, name: str, protocol: int = 2, **options: Any) -> Iterator[Any]:
    """A client of one connection."""
    pool = redis.BlockingConnectionPool(
        max_connections=1,
        port=cluster.nodes[name].resp_port,
        protocol=protocol,
        socket_timeout=PATIENCE_S,
        **options,
    )
    with contextlib.closing(redis.Redis.from_pool(pool)) as client:
        yield client


@pytest.fixture(params=[2, 3])
def protocol(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_every_node_takes_every_call(cluster: Cluster, protocol: int) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(cluster, n, protocol)) for n in cluster.nodes]
        for number, writer in enumerate(clients):
            writer.set("shared", f"{number}", ex=600)
            assert [client.get("shared") for client in clients] == [b"%d" % number] * 3
            assert 590 < writer.ttl("shared") <= 600


def test_types(cluster: Cluster, protocol: int) -> None:
    with connected(cluster, "n2", protocol, decode_responses=True) as client:
        client.delete("h", "l", "s", "z")
        assert client.hset("h", mapping={"a": "1", "b": "2"}) == 2
        assert client.hgetall("h") == {"a": "1", "b": "2"}
        assert client.rpush("l", "a", "b", "c") == 3
        assert client.lrange("l", 0, -1) == ["a", "b", "c"]
        assert client.sadd("s", "a", "b") == 2
        assert client.smembers("s") == {"a", "b"}
        assert client.zadd("z", {"a": 1, "b": 2.5}) == 2
        assert client.zscore("z", "b") == 2.5
        pairs = client.zrange("z", 0, -1, withscores=True)
        assert [tuple(pair) for pair in pairs] == [("a", 1.0), ("b", 2.5)]
        assert sorted(client.scan_iter(match="[hlsz]")) == ["h", "l", "s", "z"]
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.get("h")


def test_streams(cluster: Cluster, protocol: int) -> None:
    with (
        connected(cluster, "n1", protocol, decode_responses=True) as adds,
        connected(cluster, "n2", protocol, decode_responses=True) as reads,
    ):
        adds.delete("stream", "results")
        first = adds.xadd("stream", {"a": "1", "b": "2"})
        second = adds.xadd("stream", {"a": "3"}, nomkstream=True)
        assert reads.xrange("stream") == [(first, {"a": "1", "b": "2"}), (second, {"a": "3"})]
        assert reads.xrevrange("stream", count=1) == [(second, {"a": "3"})]
        told = reads.xread({"stream": first, "none": "0"}, count=5)
        assert dict(told) in (
            {"stream": [(second, {"a": "3"})]},
            {"stream": [[(second, {"a": "3"})]]},  # so redis-py reads a map
        )
        assert reads.xread({"stream": "$"}) in ([], {})
        assert reads.xinfo_stream("stream")["last-generated-id"] == second
        assert adds.xdel("stream", first) == 1
        assert reads.xlen("stream") == 1
        assert adds.xtrim("stream", maxlen=0) == 1
        assert (reads.exists("stream"), reads.type("stream")) == (1, "stream")
        refused = cluster.get("n3", "stream")
        assert (refused.status, refused.json["value_type"]) == (409, "stream")
        with adds.pipeline() as transaction:
            for number in range(12):
                transaction.xadd("results", {"n": number}, maxlen=10, approximate=False)
            transaction.xlen("results")
            assert transaction.execute()[-1] == 10
        assert [fields["n"] for _, fields in reads.xrange("results")] == [
            str(number) for number in range(2, 12)
        ]


def test_who_waits_for_a_stream_at_any_node_reads_what_comes_through_any_other(
    cluster: Cluster,
) -> None:
    names = list(cluster.nodes)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(cluster, n)) for n in names]
        clients[0].delete("news")
        for number, adder in enumerate(clients):
            told: list[Any] = []
            threads = [
                threading.Thread(
                    target=lambda each=each, told=told: told.append(
                        each.xread({"news": "$", "other": "0"}, block=0)
                    )
                )
                for each in clients
                if each is not adder
            ]
            for thread in threads:
                thread.start()
            others = [name for name in names if name != names[number]]
            until(
                lambda others=others: all(
                    cluster.metric(name, "places_at_streams") == 2 for name in others
                ),
                "nobody waits",
            )
            made = adder.xadd("news", {"n": number})
            for thread in threads:
                thread.join(PATIENCE_S)
            assert told == [[[b"news", [(made, {b"n": b"%d" % number})]]]] * 2
        assert clients[1].xread({"news": "$"}, block=10) in ([], {})


def test_a_group_of_consumers(cluster: Cluster, protocol: int) -> None:
    with (
        connected(cluster, "n1", protocol, decode_responses=True) as one,
        connected(cluster, "n2", protocol, decode_responses=True) as other,
    ):
        one.delete("jobs")
        assert one.xgroup_create("jobs", "crew", id="0", mkstream=True)
        with pytest.raises(redis.exceptions.ResponseError, match="BUSYGROUP"):
            other.xgroup_create("jobs", "crew")
        ids = [one.xadd("jobs", {"n": number}) for number in range(3)]
        assert _given(other.xreadgroup("crew", "a", {"jobs": ">"}, count=2)) == ids[:2]
        assert _given(one.xreadgroup("crew", "b", {"jobs": ">"})) == ids[2:]
        assert other.xack("jobs", "crew", ids[0]) == 1
        assert one.xpending("jobs", "crew") == {
            "pending": 2,
            "min": ids[1],
            "max": ids[2],
            "consumers": [{"name": "a", "pending": 1}, {"name": "b", "pending": 1}],
        }
        told = other.xautoclaim("jobs", "crew", "b", min_idle_time=0, justid=True)
        assert told == ids[1:]
        [mine] = one.xpending_range("jobs", "crew", ids[1], ids[1], 9, consumername="b")
        assert (mine["message_id"], mine["times_delivered"]) == (ids[1], 1)
        assert _given(one.xreadgroup("crew", "b", {"jobs": "0"})) == ids[1:]
        [group] = other.xinfo_groups("jobs")
        assert (group["consumers"], group["pending"], group["lag"]) == (2, 2, 0)
        assert [each["name"] for each in other.xinfo_consumers("jobs", "crew")] == ["a", "b"]
        full = other.xinfo_stream("jobs", full=True)
        assert full["length"] == 3
        assert other.xgroup_delconsumer("jobs", "crew", "b") == 2
        assert one.xgroup_destroy("jobs", "crew") == 1


def _given(told: Any) -> list[str]:
    """The ids of what was given of one stream, as redis-py reads either protocol."""
    [entries] = told.values() if isinstance(told, dict) else [told[0][1]]
    entries = entries[0] if isinstance(told, dict) else entries
    return [id for id, _ in entries]


def test_consumers_that_wait_at_any_node_are_each_given_what_no_other_is(cluster: Cluster) -> None:
    names, given = list(cluster.nodes), list[tuple[str, bytes]]()
    with contextlib.ExitStack() as stack:
        clients = {n: stack.enter_context(connected(cluster, n)) for n in names}
        clients["n1"].delete("work")
        clients["n1"].xgroup_create("work", "crew", mkstream=True)

        def consume(name: str) -> None:
            while True:
                waits = {"block": 0, "count": 1}
                [[_, entries]] = clients[name].xreadgroup("crew", name, {"work": ">"}, **waits)
                for id, fields in entries:
                    given.append((name, fields[b"n"]))
                    clients[name].xack("work", "crew", id)
                    if fields[b"n"] == b"end":
                        return

        threads = [threading.Thread(target=consume, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        until(
            lambda: all(cluster.metric(name, "places_in_lines") == 1 for name in names),
            "nobody waits",
        )
        with connected(cluster, "n2") as adds:
            for number in [*range(60), *["end"] * len(names)]:
                adds.xadd("work", {"n": number})
            for thread in threads:
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
            numbers = [n for _, n in given if n != b"end"]
            assert sorted(numbers, key=int) == [b"%d" % number for number in range(60)]
            assert {name for name, _ in given} == set(names)
            assert adds.xpending("work", "crew")["pending"] == 0
            waiting = stack.enter_context(connected(cluster, "n3"))
            until(lambda: cluster.metric("n3", "places_in_lines") == 0, "somebody waits still")
            told: list[str] = []

            def wait() -> None:
                try:
                    waiting.xreadgroup("crew", "late", {"work": ">"}, block=0)
                except redis.exceptions.ResponseError as error:
                    told.append(str(error))

            thread = threading.Thread(target=wait)
            thread.start()
            until(lambda: cluster.metric("n3", "places_in_lines") == 1, "nobody waits")
            adds.xgroup_destroy("work", "crew")
            thread.join(PATIENCE_S)
            assert told == [
                "NOGROUP the consumer group this client was blocked on no longer exists"
            ]


def test_places_and_hyperloglogs(cluster: Cluster, protocol: int) -> None:
    with contextlib.ExitStack() as stack:
        one, two, three = (
            stack.enter_context(connected(cluster, n, protocol, decode_responses=True))
            for n in cluster.nodes
        )
        three.flushall()
        places = (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")
        assert one.geoadd("sicily", places) == 2
        [(name, distance, place)] = two.geosearch(
            "sicily", longitude=15, latitude=37, radius=100, unit="km", withdist=1, withcoord=1
        )
        assert (name, distance) == ("Catania", 56.4413)
        assert place == pytest.approx((15.087267, 37.502668), abs=1e-6)
        with three.pipeline() as pipe:
            pipe.geosearchstore(
                "near", "sicily", member="Palermo", radius=200, unit="km", storedist=True
            )
            pipe.pfadd("names", *"abcdefg")
            pipe.pfcount("names")
            assert pipe.execute() == [2, 1, 7]
        stored = [client.zscore("near", "Catania") for client in (one, two, three)]
        assert stored == [pytest.approx(166.2741516, abs=1e-7)] * 3
        assert len(set(stored)) == 1
        two.pfadd("more", "g", "h")
        assert one.pfmerge("all", "names", "more")
        assert [client.pfcount("all") for client in (one, two, three)] == [8, 8, 8]


def test_a_pipeline(cluster: Cluster, protocol: int) -> None:
    for name in cluster.nodes:
        with connected(cluster, name, protocol) as client:
            client.delete("n")
            pipeline = client.pipeline(transaction=False)
            for _ in range(1500):
                pipeline.incr("n")
            pipeline.get("n")
            pipeline.execute_command("nothing")
            pipeline.lpush("n", "x")
            pipeline.get("n")
            values = pipeline.execute(raise_on_error=False)
            assert values[:1501] == [*range(1, 1501), b"1500"]
            assert [type(value) for value in values[1501:]] == [redis.ResponseError] * 2 + [bytes]


def test_transactions(cluster: Cluster, protocol: int) -> None:
    with connected(cluster, "n1", protocol) as one, connected(cluster, "n3", protocol) as other:
        one.delete("t")
        with one.pipeline() as transaction:
            transaction.incr("t")
            transaction.ping()
            transaction.incr("t")
            assert transaction.execute() == [1, True, 2]
        with one.pipeline() as transaction:
            transaction.watch("t")
            number = int(transaction.get("t"))
            transaction.multi()
            transaction.set("t", number * 2)
            assert transaction.execute() == [True]
        with one.pipeline() as transaction:
            transaction.watch("t")
            other.incr("t")
            transaction.multi()
            transaction.set("t", 0)
            with pytest.raises(redis.WatchError):
                transaction.execute()
        assert other.get("t") == b"5"
        with one.pipeline() as transaction:
            transaction.watch("absent")
            other.set("absent", "1")
            other.delete("absent")
            transaction.multi()
            transaction.set("t", 0)
            with pytest.raises(redis.WatchError):
                transaction.execute()
        assert other.get("t") == b"5"


def test_a_transaction_that_fits_in_no_entry_is_refused(cluster: Cluster) -> None:
    """Each of its parts is within its limits; a node that tried to send it on would end."""
    with connected(cluster, "n1") as client:
        keys = [f"{number:04}".ljust(KEY_SIZE_BYTES_MAX, "w") for number in range(WATCHED_MAX)]
        value = b"x" * (QUEUE_SIZE_BYTES_MAX // CALLS_MAX - 100)
        with client.pipeline() as transaction:
            transaction.watch(*keys)
            transaction.multi()
            for key in keys:
                transaction.set(key[:4], value)
            with pytest.raises(redis.ResponseError, match="it takes 6"):
                transaction.execute()
        assert client.exists("0000") == 0
        assert client.set("0000", "1")


def test_optimistic_counters_lose_nothing(cluster: Cluster) -> None:
    """Three clients at three nodes, in turns that get in each other's way."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(cluster, n)) for n in cluster.nodes]
        clients[0].set("o", 0)
        done = failed = 0
        for _ in range(20):
            begun = []
            for client in clients:
                transaction = client.pipeline()
                transaction.watch("o")
                begun.append((transaction, int(transaction.get("o"))))
            for transaction, number in begun:
                transaction.multi()
                transaction.set("o", number + 1)
                try:
                    transaction.execute()
                    done += 1
                except redis.WatchError:
                    failed += 1
                transaction.reset()
        assert (done, failed) == (20, 40)
        assert clients[1].get("o") == b"20"


def test_a_large_value(cluster: Cluster, protocol: int) -> None:
    value = bytes(range(256)) * 4096
    with connected(cluster, "n1", protocol) as one, connected(cluster, "n2", protocol) as other:
        assert one.set("large", value)
        assert other.get("large") == value
        with pytest.raises(redis.ResponseError):
            one.set("large", value + b"x")
        assert other.strlen("large") == len(value)


def number_writes(client: Any, id: str, number: int) -> None:
    assert client.execute_command("CLIENT", "IDEMPOTENCY", id, number) in ("OK", b"OK", True)


def test_writes_sent_again_through_another_node_are_applied_once(cluster: Cluster) -> None:
    def send(client: Any) -> list[Any]:
        number_writes(client, "me", 1)
        pipeline = client.pipeline(transaction=False)
        pipeline.incr("once")
        pipeline.get("once")
        pipeline.rpush("once-list", "a")
        values: list[Any] = pipeline.execute()
        transaction = client.pipeline()
        transaction.incr("once")
        transaction.rpush("once-list", "b")
        return [*values, transaction.execute()]

    with connected(cluster, "n1") as one, connected(cluster, "n2") as other:
        one.delete("once", "once-list")
        assert send(one) == [1, b"1", 1, [2, 2]]
        assert send(other) == [1, b"2", 1, [2, 2]]  # reads are done anew
        assert other.lrange("once-list", 0, -1) == [b"a", b"b"]
        number_writes(other, "me", 1)
        with pytest.raises(redis.ResponseError, match="stands for another"):
            other.incrby("once", 5)
        assert one.get("once") == b"2"


def test_reads_of_other_levels(cluster: Cluster) -> None:
    with connected(cluster, "n1") as one, connected(cluster, "n2") as other:
        one.set("stale", "1")
        other.execute_command("CLIENT", "CONSISTENCY", "STALE")
        until(lambda: other.get("stale") == b"1", "the other node does not learn of a write")
        other.execute_command("CLIENT", "CONSISTENCY", "LEASE")
        one.set("stale", "2")
        assert other.get("stale") == b"2"


def test_what_both_doors_see(cluster: Cluster) -> None:
    with connected(cluster, "n1") as client:
        client.set("both", "redis")
        assert cluster.get("n2", "both").body == b"redis"
        cluster.write("n3", "both", "http")
        assert client.get("both") == b"http"


def test_what_is_no_string_has_its_type_over_http(cluster: Cluster) -> None:
    with connected(cluster, "n1") as client:
        client.delete("typed/hash", "typed/text")
        before = cluster.settled()["revision"]
        client.hset("typed/hash", "field", "value")
        client.set("typed/text", "text")
        refused = cluster.get("n2", "typed/hash")
        assert (refused.status, refused.json["value_type"]) == (409, "hash")
        assert cluster.call("n2", "POST", "/v1/kv/typed/hash?op=incr").status == 409
        items = cluster.call("n3", "GET", "/v1/kv?prefix=typed/").json["items"]
        assert [(item["key"], item.get("type")) for item in items] == [
            ("typed/hash", "hash"),
            ("typed/text", None),
        ]
        assert "value_base64" not in items[0]
        watch = f"/v1/watch?prefix=typed/&since={before}&wait=5s"
        (first, *_) = cluster.call("n2", "GET", watch).json["events"]
        (change,) = first["changes"]
        assert (change["event"], change["type"]) == ("put", "hash")
        assert cluster.call("n3", "DELETE", "/v1/kv/typed/hash").status == 200
        assert client.hgetall("typed/hash") == {}


def test_exports_leave_nothing_out_in_silence(cluster: Cluster) -> None:
    def exported(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raftcache", "export", "-", "--prefix", "out/", *options]
        endpoint = f"http://127.0.0.1:{cluster.nodes['n1'].http_port}"
        return subprocess.run(
            [*command, "--endpoints", endpoint], capture_output=True, text=True, timeout=60
        )

    with connected(cluster, "n1") as client:
        client.delete("out/list", "out/text")
        client.rpush("out/list", "a")
        client.set("out/text", "text")
    refused = exported()
    assert refused.returncode != 0
    assert "out%2Flist holds a list" in refused.stderr
    told = exported("--only-strings")
    assert (told.returncode, json.loads(told.stdout)["key"]) == (0, "out/text")


def test_metrics_and_connections(cluster: Cluster) -> None:
    with connected(cluster, "n1", client_name="me", decode_responses=True) as client:
        (mine,) = [each for each in client.client_list() if each["name"] == "me"]
        assert mine["id"] == str(client.client_id())
        assert mine["lib-name"].startswith("redis-py")
        assert client.config_get("databases") == {"databases": "1"}
        assert client.command()["get"]["first_key_pos"] == 1
        assert client.ping()
        assert cluster.metric("n1", "resp_connections") >= 1
        assert cluster.metric("n1", "resp_calls_total") >= 4
        page = cluster.call("n1", "GET", "/metrics").body.decode()
        described = {**GAUGES, **{name: said for name, said in COUNTERS.values()}}
        for family in text_string_to_metric_families(page):
            name = family.name.removeprefix("raftcache_")
            of_doors = name.startswith(("http_", "resp_"))
            assert of_doors or described[name] == family.documentation


def test_info_counts_what_is_listened_to(cluster: Cluster, protocol: int) -> None:
    leader = cluster.leader()
    with (
        connected(cluster, leader, protocol) as client,
        connected(cluster, leader, protocol) as other,
        other.pubsub() as listener,
    ):
        listener.subscribe("info", "other")
        listener.psubscribe("info*")
        listener.ssubscribe("info")
        for _ in range(4):
            assert listener.get_message(timeout=PATIENCE_S) is not None
        told = client.info("stats")
        assert (told["pubsub_channels"], told["pubsub_patterns"]) == (2, 1)
        assert told["pubsubshard_channels"] == 1


def test_info(cluster: Cluster, protocol: int) -> None:
    leader = cluster.leader()
    with connected(cluster, leader, protocol) as client:
        client.set("info", "1", ex=600)
        told = client.info()
        assert told["redis_version"] == "7.0.15"
        assert told["tcp_port"] == cluster.nodes[leader].resp_port
        assert told["role"] == "master"
        assert told["connected_slaves"] == 2
        assert told["connected_clients"] >= 1
        assert told["total_commands_processed"] > 0
        until(lambda: client.info()["total_net_input_bytes"] > 0, "it is counted once a second")
        assert told["used_memory"] > 0
        assert told["maxmemory_policy"] == "noeviction"
        assert told["aof_enabled"] == 1
        assert told["db0"]["keys"] == client.dbsize() > 0
        assert told["db0"]["expires"] >= 1
        assert set(client.info("MEMORY")) >= {"used_memory", "used_memory_human", "maxmemory"}
        assert client.info("nothing") == {}
        some = client.execute_command("INFO", "cpu", "cluster")
        assert "used_cpu_sys" in some
        assert "role" not in some
    (other, *_) = cluster.followers()
    with connected(cluster, other, protocol) as client:
        told = client.info("replication")
        assert told["role"] == "slave"
        assert told["master_port"] == cluster.nodes[leader].resp_port
        assert told["master_link_status"] == "up"
