"""Pub/sub through the Redis door: what each connection is sent is what a redis-server sends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache.errors import NotLeader
from raftcache.raft.messages import Message
from raftcache.service import census
from raftcache.service.pubsub import Scope
from tests.support.raw_http import run, until
from tests.support.redis_door import redis_door
from tests.support.redis_server import redis_server
from tests.support.resp_script import play
from tests.support.resp_wire import Reply, RespWire, packed, plain

SCRIPTS = {
    "channels": """
        a SUBSCRIBE x
        a SUBSCRIBE y x y
        b PUBLISH x 1
        b PUBLISH z 1
        c SUBSCRIBE x
        b PUBLISH x 2
        a UNSUBSCRIBE x
        a UNSUBSCRIBE nothing
        b PUBLISH x 3
        a UNSUBSCRIBE
        a UNSUBSCRIBE
        a UNSUBSCRIBE x
        a GET k
        b PUBLISH x 4
        c leaves
        b PUBLISH x 5
    """,
    "patterns": """
        a PSUBSCRIBE n* w*s
        b PUBLISH news 1
        a SUBSCRIBE news
        b PUBLISH news 2
        b PUBLISH nothing 3
        b PUBSUB NUMPAT
        a PUNSUBSCRIBE n*
        b PUBLISH news 4
        a PUNSUBSCRIBE
        a PUNSUBSCRIBE
        b PUBLISH news 5
        b PUBSUB NUMPAT
    """,
    "shards": """
        a SSUBSCRIBE x y
        a SUBSCRIBE x
        b SPUBLISH x 1
        b PUBLISH x 2
        a SUNSUBSCRIBE x
        b SPUBLISH x 3
        a GET k
        a UNSUBSCRIBE
        a GET k
        a SUNSUBSCRIBE
        a GET k
        a SUNSUBSCRIBE
        a SUNSUBSCRIBE nothing
    """,
    "RESP3": """
        a HELLO 3
        a SUBSCRIBE x y
        a PSUBSCRIBE x*
        a SSUBSCRIBE x
        b PUBLISH x 1
        b SPUBLISH x 2
        a GET k
        a PING
        a UNSUBSCRIBE x
        a UNSUBSCRIBE
        a UNSUBSCRIBE
        a PUNSUBSCRIBE
        a SUNSUBSCRIBE
    """,
    "what RESP2 allows": """
        a SUBSCRIBE x
        a GET k
        a PING
        a PING hello
        a ECHO x
        a PUBLISH x 1
        a MULTI
        a CLIENT TRACKINGINFO
        a PUBSUB CHANNELS
        a UNSUBSCRIBE x
        a PING
    """,
    "who listens": """
        a SUBSCRIBE x
        b SUBSCRIBE x
        a PSUBSCRIBE x* y*
        b PSUBSCRIBE x*
        b SSUBSCRIBE s
        c PUBSUB NUMPAT
        c PUBSUB NUMSUB x y x
        c PUBSUB NUMSUB
        c PUBSUB CHANNELS
        c PUBSUB CHANNELS x*
        c PUBSUB CHANNELS y*
        c PUBSUB CHANNELS x y
        c PUBSUB SHARDCHANNELS
        c PUBSUB SHARDCHANNELS t*
        c PUBSUB SHARDNUMSUB s x
        c PUBSUB HELP
        c PUBSUB NOTHING
        c PUBSUB
        c PUBSUB NUMPAT x
        c PUBLISH x 1
        c SPUBLISH s 1
        c SPUBLISH x 1
    """,
    "RESET": """
        a SUBSCRIBE x
        a SSUBSCRIBE s
        a RESET
        b PUBLISH x 1
        b SPUBLISH s 1
        a GET k
        a SUBSCRIBE x
        b PUBLISH x 2
    """,
    "MULTI": """
        a SUBSCRIBE x
        b MULTI
        b PUBLISH x 1
        b SET k 1
        b PUBLISH x 2
        b EXEC
        b GET k
        b MULTI
        b PUBLISH x 3
        b DISCARD
    """,
    "odd bytes": """
        a SUBSCRIBE % x
        b PUBLISH % %
        b PUBLISH x %
        a PSUBSCRIBE %
        a PSUBSCRIBE [
        b PUBLISH [ 1
    """,
    "wrong": """
        a SUBSCRIBE
        a PSUBSCRIBE
        a PUBLISH x
        a PUBLISH x 1 2
        a SSUBSCRIBE
    """,
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.mark.parametrize("name", SCRIPTS)
def test_subscribers_are_sent_what_redis_sends(redis: Path, name: str) -> None:
    async def test() -> None:
        async with redis_door() as door:
            ours = await asyncio.to_thread(play, door.port, SCRIPTS[name])
            theirs = await asyncio.to_thread(play, redis, SCRIPTS[name])
            for our, their in zip(ours, theirs, strict=True):
                assert our == their
            await until(lambda: door.pubsub.gauges()["subscriptions"] == 0)

    run(test())


class Peers:
    """Of a node with links to these, of which none has listeners."""

    def __init__(self, *linked: str) -> None:
        self.linked, self.asked = set(linked), list[Message]()

    def pass_on(self, name: str, message: Message) -> bool:
        self.asked.append(message)
        return True


def test_who_listens_at_all_nodes_is_told_as_redis_tells_who_listens(redis: Path) -> None:
    async def test() -> None:
        async with redis_door(peers=Peers()) as door:
            ours = await asyncio.to_thread(play, door.port, SCRIPTS["who listens"])
            theirs = await asyncio.to_thread(play, redis, SCRIPTS["who listens"])
            assert ours == theirs

    run(test())


def test_a_node_that_does_not_say_who_listens_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "LOOKS_MAX", 1)

    def ask(port: int) -> list[Reply]:
        with contextlib.closing(RespWire(port)) as wire:
            calls = [(b"MULTI",), (b"PUBSUB", b"NUMSUB", b"x"), (b"EXEC",)]
            told = [wire.call(*call) for call in calls]
            return [told[-1], wire.call(b"PUBSUB", b"NUMSUB", b"x")]

    async def test() -> None:
        async with redis_door(peers=Peers("n2", "n3")) as door:
            here, refused = await asyncio.to_thread(ask, door.port)
            assert plain(here) == [[b"x", 0]], "within MULTI nobody is waited for"
            assert refused == ("-", b"TRYAGAIN no answer who listens at n2, n3")

    run(test())


@pytest.mark.parametrize(
    "calls",
    [
        "CLIENT REPLY OFF/PING/SUBSCRIBE x x/UNSUBSCRIBE/PSUBSCRIBE x*/PUNSUBSCRIBE/SUNSUBSCRIBE",
        "CLIENT REPLY SKIP/SUBSCRIBE x/PING",
        "CLIENT REPLY SKIP/UNSUBSCRIBE/PING",
        "HELLO 3/CLIENT REPLY OFF/SUBSCRIBE x/PING/UNSUBSCRIBE",
        "CLIENT REPLY SKIP/RESET/PING",
        "CLIENT REPLY OFF/RESET/PING",
    ],
)
def test_confirmations_come_whatever_client_reply_said(redis: Path, calls: str) -> None:
    async def test() -> None:
        async with redis_door() as door:
            heard = [
                await asyncio.to_thread(_hear, address, calls.split("/"))
                for address in (door.port, redis)
            ]
            assert heard[0] == heard[1]

    run(test())


def _hear(address: Path | int, calls: list[str]) -> list[Reply]:
    """What is sent because of these calls, done as one pipeline; but for what HELLO says."""
    with contextlib.closing(RespWire(address)) as wire:
        last = ["RESET", "CLIENT REPLY ON", "ECHO end"]
        wire.send(b"".join(packed(call.encode().split()) for call in (*calls, *last)))
        heard: list[Reply] = []
        while (reply := wire.read()) != ("$", b"end"):
            heard.append(reply)
        return [reply for reply in heard if "server" not in repr(reply)]


def test_a_transaction_subscribes_to_nothing() -> None:
    """Redis lets it, and answers with what no client expects there."""

    async def test() -> None:
        async with redis_door() as door:
            script = """
                a MULTI
                a SUBSCRIBE x
                a EXEC
            """
            outcomes = await asyncio.to_thread(play, door.port, script)
            refused, aborted = outcomes[1][1]["a"][0], outcomes[2][1]["a"][0]
            assert refused == ("-", b"ERR Command not allowed inside a transaction")
            assert aborted[1].startswith(b"EXECABORT")

    run(test())


def test_a_subscription_that_nobody_can_confirm_is_refused() -> None:
    async def test() -> None:
        async with redis_door() as door:
            door.kv.error = NotLeader("nobody leads")
            outcomes = await asyncio.to_thread(play, door.port, "a SUBSCRIBE x")
            assert outcomes[0][1] == {"a": [("-", b"CLUSTERDOWN nobody leads")]}

    run(test())


def test_who_leaves_before_the_confirmation_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with redis_door() as door:
            door.kv.holding = True
            wire = await asyncio.to_thread(RespWire, door.port)
            wire.send(packed([b"SUBSCRIBE", b"x"]))
            await until(lambda: door.kv.held == 1)
            next(iter(door.clients)).outlet.cut_off("on purpose")
            await until(lambda: len(door.clients) == 0)
            door.kv.release()
            wire.close()
            assert door.pubsub.listeners(Scope.CHANNEL, b"x") == 0

    run(test())


def test_a_subscriber_that_does_not_read_is_cut_off_and_the_others_are_not() -> None:
    async def test() -> None:
        async with redis_door(resp_output_size_bytes_max=1 << 20) as door:
            with contextlib.ExitStack() as stack:
                wires = [await asyncio.to_thread(RespWire, door.port) for _ in range(3)]
                for wire in wires:
                    stack.callback(wire.close)
                slow, good, publisher = wires
                for wire in (slow, good):
                    await asyncio.to_thread(wire.call, b"SUBSCRIBE", b"x")
                payload = b"y" * (1 << 16)

                def publish() -> int:
                    """Until only one is reached; how many messages."""
                    count, reached = 0, 2
                    while reached == 2:
                        (_, reached), count = publisher.call(b"PUBLISH", b"x", payload), count + 1
                        assert good.read()[1][2] == ("$", payload)
                    return count

                count = await asyncio.to_thread(publish)
                assert count > 16
                kept = len(list(await asyncio.to_thread(lambda: list(slow.rest()))))
                assert kept < count

    run(test())


def test_messages_come_after_all_answers_given_before() -> None:
    """Even if these wait for the client to read: RESP2 does not tell one from the other."""

    async def test() -> None:
        async with redis_door() as door:
            wire = await asyncio.to_thread(RespWire, door.port)
            other = await asyncio.to_thread(RespWire, door.port)
            value = b"v" * (1 << 18)
            await asyncio.to_thread(other.call, b"SET", b"k", value)
            wire.send(packed([b"GET", b"k"]) * 40 + packed([b"SUBSCRIBE", b"x"]))
            await until(lambda: next(iter(door.clients)).outlet.unsent_size_bytes > 0)

            def read() -> None:
                for _ in range(40):
                    assert wire.read() == ("$", value)
                assert wire.read()[1][0] == ("$", b"subscribe")
                other.call(b"PUBLISH", b"x", b"1")
                assert wire.read()[1][0] == ("$", b"message")

            await asyncio.to_thread(read)
            wire.close()
            other.close()

    run(test())
