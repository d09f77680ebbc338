"""Channels of one node: who is told what, in which order, and who is cut off."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from raftcache.command.calls import Calls
from raftcache.command.words import Delete, Put
from raftcache.errors import BadRequest, NotLeader, Overloaded, RaftcacheError
from raftcache.service import lateness, pubsub
from raftcache.service.lateness import Vigil
from raftcache.service.pubsub import Delivery, PubSub, Scope
from tests.support.fake_kv import FakeKv
from tests.support.watching import FakeReplica, HandLoop
from tests.unit.test_machine import at, do
from tests.unit.test_redis_core import copy


class Listener:
    """A Subscriber; what it was told, in words."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.cut = ""
        self.fails = False
        self.objects: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        if self.fails:
            raise RuntimeError("on purpose")
        self.objects.append(delivery)
        self.heard.append(" ".join(part.decode() for part in delivery.parts))

    def cut_off(self, why: str) -> None:
        self.cut = why

    def take(self) -> list[str]:
        heard, self.heard = self.heard, []
        return heard


class Bench:
    def __init__(self, key_events: str = "") -> None:
        self.kv, self.loop = FakeKv(), HandLoop()
        self.machine = self.kv.machine
        self.hub = PubSub(self.kv, self.machine, self.loop, key_events)

    def subscribe(self, *names: bytes, scope: Scope = Scope.CHANNEL) -> Listener:
        listener = Listener()
        assert self.try_to(listener, names, scope) == [None]
        return listener

    def try_to(
        self, listener: Listener, names: Sequence[bytes], scope: Scope = Scope.CHANNEL
    ) -> list[RaftcacheError | None]:
        done: list[RaftcacheError | None] = []
        self.hub.subscribe(scope, names, listener, done.append)
        return done

    def publish(self, *lines: str) -> None:
        """One batch of `channel payload`, or of `! channel payload` for shard channels."""
        calls = []
        for line in lines:
            *sharded, channel, payload = line.encode().split()
            calls.append((b"SPUBLISH" if sharded else b"PUBLISH", channel, payload))
        do(self.machine, Calls(tuple(calls), 1000))

    def run(self) -> int:
        return self.loop.run()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_subscribers_are_told_in_order(bench: Bench) -> None:
    one, both = bench.subscribe(b"a"), bench.subscribe(b"a", b"b")
    bench.publish("a 1", "b 2", "c 3")
    bench.publish("a 4")
    assert one.heard == []
    bench.run()
    assert one.take() == ["message a 1", "message a 4"]
    assert both.take() == ["message a 1", "message b 2", "message a 4"]
    assert bench.hub.gauges()["pubsub_deliveries"] == 5


def test_one_object_is_told_to_all(bench: Bench) -> None:
    one, other = bench.subscribe(b"a"), bench.subscribe(b"a")
    bench.publish("a 1")
    bench.run()
    assert one.objects[0] is other.objects[0]


def test_patterns_come_after_channels(bench: Bench) -> None:
    listener = bench.subscribe(b"a.b")
    bench.try_to(listener, [b"a.*", b"*"], Scope.PATTERN)
    bench.publish("a.b 1", "x 2")
    bench.run()
    assert listener.take() == [
        "message a.b 1",
        "pmessage a.* a.b 1",
        "pmessage * a.b 1",
        "pmessage * x 2",
    ]


def test_shard_channels_are_a_world_of_their_own(bench: Bench) -> None:
    plain, sharded = bench.subscribe(b"a"), bench.subscribe(b"a", scope=Scope.SHARD)
    every = bench.subscribe(b"*", scope=Scope.PATTERN)
    bench.publish("a 1", "! a 2")
    bench.run()
    assert plain.take() == ["message a 1"]
    assert sharded.take() == ["smessage a 2"]
    assert every.take() == ["pmessage * a 1"]
    assert bench.hub.receivers((b"PUBLISH", b"a", b"")) == 2
    assert bench.hub.receivers((b"SPUBLISH", b"a", b"")) == 1
    assert bench.hub.receivers((b"PUBLISH", b"b", b"")) == 1
    assert bench.hub.receivers((b"SPUBLISH", b"b", b"")) == 0


def test_what_was_published_before_is_not_told(bench: Bench) -> None:
    """Nor what waits for others when the subscription is confirmed."""
    early = bench.subscribe(b"a")
    bench.publish("a 1")
    late = bench.subscribe(b"a")
    bench.publish("a 2")
    bench.run()
    assert early.take() == ["message a 1", "message a 2"]
    assert late.take() == ["message a 2"]


def test_a_subscription_waits_until_the_node_is_fresh(bench: Bench) -> None:
    bench.kv.holding = True
    listener = Listener()
    done = bench.try_to(listener, [b"a"])
    bench.publish("a 1")
    bench.run()
    assert done == []
    bench.kv.release()
    assert done == [None]
    bench.publish("a 2")
    bench.run()
    assert listener.take() == ["message a 2"]


def test_a_node_that_cannot_be_fresh_subscribes_nobody(bench: Bench) -> None:
    bench.kv.error = NotLeader("nobody leads")
    listener = Listener()
    assert bench.try_to(listener, [b"a"]) == [bench.kv.error]
    assert bench.hub.listeners(Scope.CHANNEL, b"a") == 0


def test_who_unsubscribes_is_told_nothing_more(bench: Bench) -> None:
    stays, leaves = bench.subscribe(b"a"), bench.subscribe(b"a")
    bench.publish("a 1")
    bench.hub.unsubscribe(Scope.CHANNEL, [b"a", b"nothing"], leaves)
    bench.hub.unsubscribe(Scope.PATTERN, [b"a"], leaves)
    bench.run()
    assert (stays.take(), leaves.take()) == (["message a 1"], [])
    bench.publish("a 2")
    bench.try_to(leaves, [b"a"])
    bench.run()
    assert (stays.take(), leaves.take()) == (["message a 2"], [])


def test_a_second_subscription_of_the_same_is_none(bench: Bench) -> None:
    listener = bench.subscribe(b"a", b"a")
    bench.publish("a 1")
    bench.try_to(listener, [b"a"])
    bench.run()
    assert listener.take() == ["message a 1"]
    assert bench.hub.gauges()["subscriptions"] == 1
    bench.hub.unsubscribe(Scope.CHANNEL, [b"a"], listener)
    assert bench.hub.gauges()["subscriptions"] == 0


def test_who_listens_to_what(bench: Bench) -> None:
    bench.subscribe(b"news", b"weather")
    listener = bench.subscribe(b"news")
    bench.try_to(listener, [b"n*", b"*"], Scope.PATTERN)
    bench.subscribe(b"n*", scope=Scope.PATTERN)
    bench.subscribe(b"shard", scope=Scope.SHARD)
    assert sorted(bench.hub.channels(Scope.CHANNEL)) == [b"news", b"weather"]
    assert bench.hub.channels(Scope.CHANNEL, b"w*") == [b"weather"]
    assert bench.hub.channels(Scope.SHARD) == [b"shard"]
    assert bench.hub.listeners(Scope.CHANNEL, b"news") == 2
    assert bench.hub.listeners(Scope.SHARD, b"news") == 0
    assert len(bench.hub.channels(Scope.PATTERN)) == 2
    bench.hub.unsubscribe(Scope.PATTERN, [b"n*", b"*"], listener)
    assert len(bench.hub.channels(Scope.PATTERN)) == 1


def test_many_deliveries_take_many_turns(bench: Bench) -> None:
    listeners = [bench.subscribe(b"a") for _ in range(3 * pubsub.STEPS_PER_TURN)]
    bench.publish("a 1")
    assert bench.run() >= 3
    assert all(listener.take() == ["message a 1"] for listener in listeners)


def test_who_comes_and_goes_between_two_turns(bench: Bench) -> None:
    listeners = [bench.subscribe(b"a") for _ in range(2 * pubsub.STEPS_PER_TURN)]
    bench.publish("a 1")
    bench.loop.turn()
    gone, come = listeners[-1], Listener()
    bench.hub.unsubscribe(Scope.CHANNEL, [b"a"], gone)
    bench.try_to(come, [b"a"])
    again = listeners[-2]
    bench.hub.unsubscribe(Scope.CHANNEL, [b"a"], again)
    bench.try_to(again, [b"a"])
    bench.publish("a 2")
    bench.run()
    assert listeners[0].take() == ["message a 1", "message a 2"]
    assert (gone.take(), come.take(), again.take()) == ([], ["message a 2"], ["message a 2"])


def test_a_turn_is_longer_when_more_waits(bench: Bench) -> None:
    """Else who publishes fast would fill the memory."""
    listener = bench.subscribe(b"a")
    for _ in range(20):
        bench.publish(*["a 1"] * 200)
    assert bench.run() <= 20
    assert len(listener.take()) == 4000


def test_one_that_fails_costs_the_others_nothing(bench: Bench) -> None:
    bad, good = bench.subscribe(b"a"), bench.subscribe(b"a")
    bad.fails = True
    bench.publish("a 1")
    bench.run()
    assert bad.cut
    assert good.take() == ["message a 1"]


def test_too_much_that_waits_cuts_everybody_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "WAITING_SIZE_BYTES_MAX", 5 * pubsub.NOTE_COST_BYTES)
    listener = bench.subscribe(b"a")
    bench.publish(*["a 1"] * 6)
    bench.run()
    assert "wait to be delivered" in listener.cut
    assert listener.heard == []
    again = bench.subscribe(b"a")
    bench.publish("a 2")
    bench.run()
    assert again.take() == ["message a 2"]


def test_a_loaded_image_cuts_everybody_off(bench: Bench) -> None:
    listener = bench.subscribe(b"a")
    bench.try_to(listener, [b"*"], Scope.PATTERN)
    bench.publish("a 1")
    loader = bench.machine.loader()
    for piece in copy(bench.machine).dump():
        loader.feed(piece)
    loader.install()
    bench.run()
    assert "snapshot" in listener.cut
    assert bench.hub.gauges() == {
        "subscriptions": 0,
        "subscribed_channels": 0,
        "subscribed_patterns": 0,
        "subscribed_shard_channels": 0,
        "pubsub_deliveries": 0,
        "subscribers_cut_off": 1,
    }


def test_a_node_that_lags_cuts_everybody_off(bench: Bench) -> None:
    replica = FakeReplica()
    vigil = Vigil(replica, bench.loop, [bench.hub.cut_off_all])
    vigil.start()
    listener = bench.subscribe(b"a")
    replica.state_age_s = lateness.LATE_S_MAX
    bench.loop.beat()
    assert listener.cut == ""
    replica.state_age_s += 1
    bench.loop.beat()
    assert listener.cut == "the state here may be 6 s old"
    vigil.stop()
    bench.loop.beat()
    assert bench.loop.later == []


def test_limits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "SUBSCRIPTIONS_MAX", 3)
    monkeypatch.setattr(pubsub, "PATTERNS_MAX", 1)
    listener = bench.subscribe(b"a", b"b")
    assert isinstance(bench.try_to(listener, [b"c", b"d"])[0], Overloaded)
    assert isinstance(bench.try_to(listener, [b"c*", b"d*"], Scope.PATTERN)[0], Overloaded)
    assert bench.try_to(listener, [b"c*"], Scope.PATTERN) == [None]
    assert isinstance(bench.try_to(listener, [b"*" * 1025], Scope.PATTERN)[0], BadRequest)


def test_events_of_keys() -> None:
    bench = Bench("g$xKE")
    listener = bench.subscribe(b"__key*__:*", scope=Scope.PATTERN)
    at(bench.machine, 1000, Put(b"a", b"1"), Delete(b"a"), Put(b"b", b"1", ttl_ms=5))
    at(bench.machine, 1005)
    bench.run()
    told = [line.removeprefix("pmessage __key*__:* ") for line in listener.take()]
    assert told == [
        "__keyspace@0__:a set",
        "__keyevent@0__:set a",
        "__keyspace@0__:a del",
        "__keyevent@0__:del a",
        "__keyspace@0__:b set",
        "__keyevent@0__:set b",
        "__keyspace@0__:b expire",
        "__keyevent@0__:expire b",
        "__keyspace@0__:b expired",
        "__keyevent@0__:expired b",
    ]


@pytest.mark.parametrize(
    ("letters", "told"),
    [
        ("", []),
        ("g$", []),
        ("KE", []),
        ("K$", ["message __keyspace@0__:a set"]),
        ("E$", ["message __keyevent@0__:set a"]),
        ("gKE", []),
    ],
)
def test_which_events_are_told(letters: str, told: list[str]) -> None:
    bench = Bench()
    listener = bench.subscribe(b"__keyspace@0__:a", b"__keyevent@0__:set")
    bench.hub.key_events = letters
    do(bench.machine, Put(b"a", b"1"))
    bench.run()
    assert listener.take() == told


def test_nothing_is_noted_while_nobody_listens() -> None:
    bench = Bench("g$KE")
    assert bench.machine.notes.wanted == ""
    listener = bench.subscribe(b"any")
    assert bench.machine.notes.wanted == "g$"
    bench.hub.unsubscribe(Scope.CHANNEL, [b"any"], listener)
    assert bench.machine.notes.wanted == ""
