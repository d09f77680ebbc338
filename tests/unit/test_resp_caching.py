"""Client-side caching through the Redis door: as a redis-server does it, and never a stale copy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache.command.words import Put
from raftcache.service.tracking import PREFIXES_MAX
from tests.support.raw_http import run, until
from tests.support.redis_door import redis_door
from tests.support.redis_server import redis_server
from tests.support.resp_script import Outcome, play
from tests.support.resp_wire import Reply, RespWire, packed, plain
from tests.unit.test_machine import do

SCRIPTS = {
    "pushes": """
        a HELLO 3
        a CLIENT TRACKING ON
        a GET x
        b SET x 1
        b SET x 2
        a MGET x y
        b MSET x 3 y 4
        a STRLEN x
        b DEL x
        a EXISTS x
        b SET x 1
        a SET x 2
        a GET x
        a SET x 3
        a SADD s m
        b SADD s n
        a SCARD s
        b SADD s n
        b SREM s n
        a TTL x
        b EXPIRE x 100
        a CLIENT TRACKING OFF
        b SET x 1
    """,
    "a flush": """
        a HELLO 3
        a CLIENT TRACKING ON
        a GET x
        b FLUSHALL
        a GET x
        b SET x 1
    """,
    "prefixes": """
        a HELLO 3
        a CLIENT TRACKING ON BCAST PREFIX user: PREFIX group:
        b SET user:1 1
        b SET other 1
        b SET group:1 1
        a SET user:2 1
        b MSET user:1 2 other 2 user:3 1
        a CLIENT TRACKINGINFO
        a CLIENT TRACKING ON BCAST PREFIX o
        b SET other 3
        b FLUSHDB
    """,
    "not its own": """
        a HELLO 3
        a CLIENT TRACKING ON NOLOOP
        a GET x
        b SET x 1
        a GET x
        a SET x 2
        a CLIENT TRACKINGINFO
        c HELLO 3
        c CLIENT TRACKING ON BCAST NOLOOP
        c SET z 1
        b SET z 2
        c MULTI
        c SET z 3
        c EXEC
        b SET z 4
    """,
    "opting in": """
        a HELLO 3
        a CLIENT TRACKING ON OPTIN
        a GET x
        b SET x 1
        a CLIENT CACHING YES
        a CLIENT TRACKINGINFO
        a GET x
        a GET y
        b SET x 1
        b SET y 1
        a CLIENT CACHING YES
        a MULTI
        a GET x
        a GET y
        a EXEC
        b SET x 1
        b SET y 1
        a CLIENT CACHING NO
        a CLIENT CACHING MAYBE
        a CLIENT TRACKING ON OPTOUT
    """,
    "opting out": """
        a HELLO 3
        a CLIENT TRACKING ON OPTOUT
        a GET x
        b SET x 1
        a CLIENT CACHING NO
        a CLIENT TRACKINGINFO
        a GET x
        b SET x 1
        a GET x
        b SET x 1
        a CLIENT CACHING NO
        a NOTHING
        a GET x
        b SET x 1
        a CLIENT CACHING NO
        a PING
        a GET x
        b SET x 1
        a CLIENT CACHING YES
    """,
    "redirected": """
        s SUBSCRIBE __redis__:invalidate
        a CLIENT TRACKING ON REDIRECT @s
        a CLIENT GETREDIR
        a CLIENT TRACKINGINFO
        a GET x
        b SET x 1
        a GET x
        b FLUSHALL
        s leaves
        a GET x
        b SET x 1
    """,
    "redirected to one who does not listen": """
        a CLIENT TRACKING ON REDIRECT @s
        a GET x
        b SET x 1
        s PING
    """,
    "redirected to pushes": """
        s HELLO 3
        a CLIENT TRACKING ON REDIRECT @s
        a GET x
        b SET x 1
        c HELLO 3
        c CLIENT TRACKING ON REDIRECT @s BCAST
        b SET x 1
    """,
    "RESP2 without a redirect": """
        a CLIENT TRACKING ON
        a GET x
        b SET x 1
        a CLIENT TRACKINGINFO
    """,
    "RESET": """
        a HELLO 3
        a CLIENT TRACKING ON
        a GET x
        a RESET
        a CLIENT TRACKINGINFO
        a HELLO 3
        b SET x 1
    """,
    "wrong": """
        a CLIENT TRACKINGINFO
        a CLIENT GETREDIR
        a CLIENT CACHING YES
        a CLIENT CACHING
        a CLIENT TRACKING
        a CLIENT TRACKING MAYBE
        a CLIENT TRACKING ON NOTHING
        a CLIENT TRACKING ON REDIRECT
        a CLIENT TRACKING ON REDIRECT x
        a CLIENT TRACKING ON REDIRECT 0
        a CLIENT TRACKING ON REDIRECT 999999
        a CLIENT TRACKING ON REDIRECT @b REDIRECT @b
        a CLIENT TRACKING ON PREFIX x
        a CLIENT TRACKING ON BCAST OPTIN
        a CLIENT TRACKING ON OPTIN OPTOUT
        a CLIENT TRACKING ON BCAST PREFIX a PREFIX ab
        a CLIENT TRACKING ON BCAST PREFIX b
        a CLIENT TRACKING ON BCAST PREFIX bc
        a CLIENT TRACKING ON BCAST PREFIX b
        a CLIENT TRACKING ON BCAST
        a CLIENT TRACKINGINFO
        a CLIENT TRACKING ON
        a CLIENT TRACKING OFF NOTHING
        a CLIENT TRACKING OFF
        a CLIENT TRACKING ON OPTOUT
        a CLIENT TRACKING ON OPTIN
        a CLIENT CACHING MAYBE
        a CLIENT TRACKING OFF
        a CLIENT TRACKINGINFO
    """,
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


def one_by_one(outcome: Outcome) -> Outcome:
    """Invalidations as Redis tells them by default: of one key each."""
    line, received = outcome
    return line, {
        name: [r for each in told for r in _split(each)] for name, told in received.items()
    }


def _split(reply: Reply) -> list[Reply]:
    sign, parts = reply
    if sign in (">", "*") and parts and parts[0] == ("$", b"invalidate") and parts[1][1]:
        return [(sign, [parts[0], ("*", [key])]) for key in sorted(parts[1][1])]
    return [reply]


@pytest.mark.parametrize("name", SCRIPTS)
def test_caches_are_told_what_redis_tells_them(redis: Path, name: str) -> None:
    async def test() -> None:
        async with redis_door() as door:
            ours = await asyncio.to_thread(play, door.port, SCRIPTS[name])
            wipe = await asyncio.to_thread(RespWire, redis)
            await asyncio.to_thread(wipe.call, b"FLUSHALL")
            wipe.close()
            theirs = await asyncio.to_thread(play, redis, SCRIPTS[name])
            for our, their in zip(ours, theirs, strict=True):
                assert one_by_one(our) == one_by_one(their)
            await until(lambda: door.tracking.gauges()["trackers"] == 0)

    run(test())


def test_who_redirects_to_nobody_is_told() -> None:
    async def test() -> None:
        async with redis_door() as door:
            script = """
                a HELLO 3
                a CLIENT TRACKING ON REDIRECT @s
                a GET x
                s leaves
                b SET x 1
                a CLIENT TRACKINGINFO
            """
            *_, told, info = await asyncio.to_thread(play, door.port, script)
            sign, parts = told[1]["a"][0]
            assert (sign, parts[0]) == (">", ("$", b"tracking-redir-broken"))
            assert set(plain(info[1]["a"][0])[b"flags"]) == {b"on", b"broken_redirect"}

    run(test())


def tracking(port: int) -> RespWire:
    """A client that caches what it reads."""
    wire = RespWire(port)
    wire.call(b"HELLO", b"3")
    wire.call(b"CLIENT", b"TRACKING", b"ON")
    return wire


def test_a_change_between_a_read_and_its_answer_is_told_after_it() -> None:
    """A pipeline whose answer to the first call waits for that to the second."""

    async def test() -> None:
        async with redis_door() as door:
            do(door.machine, Put(b"a", b"1"))
            wire = await asyncio.to_thread(tracking, door.port)
            door.kv.holding = True
            wire.send(
                packed([b"GET", b"a"]) + packed([b"GET", b"b"]) + packed([b"SET", b"c", b"1"])
            )
            await until(lambda: door.kv.held == 1)
            do(door.machine, Put(b"a", b"2"))
            do(door.machine, Put(b"b", b"2"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            door.kv.release()

            def read() -> list[Reply]:
                return [wire.read() for _ in range(4)]

            *answers, told = await asyncio.to_thread(read)
            assert [sign for sign, _ in answers] == ["$", "$", "+"]
            assert sorted(plain(told)[1]) == [b"a", b"b"]
            wire.close()

    run(test())


def test_a_change_during_a_transaction_with_scripts_is_told_after_its_answer() -> None:
    """What a script names is read together with what the other calls read, not in its place."""

    async def test() -> None:
        async with redis_door() as door:
            do(door.machine, Put(b"a", b"1"))
            wire = await asyncio.to_thread(tracking, door.port)
            door.kv.holding = True
            script = b"return redis.call('SET', KEYS[1], 1)"
            calls = [b"MULTI"], [b"GET", b"a"], [b"EVAL", script, b"1", b"b"], [b"EXEC"]
            wire.send(b"".join(map(packed, calls)))
            await until(lambda: door.kv.held == 1)
            do(door.machine, Put(b"a", b"2"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            door.kv.release()

            def read() -> list[Reply]:
                return [wire.read() for _ in range(5)]

            *_, answer, told = await asyncio.to_thread(read)
            assert (answer[0], plain(answer)[0]) == ("*", b"2")
            assert b"a" in plain(told)[1]
            wire.close()

    run(test())


def test_a_client_that_has_gone_is_forgotten() -> None:
    async def test() -> None:
        async with redis_door() as door:
            script = """
                a CLIENT TRACKING ON
                a MGET x y
                b CLIENT TRACKING ON BCAST
                b leaves
                a leaves
            """
            await asyncio.to_thread(play, door.port, script)
            await until(lambda: door.tracking.gauges()["trackers"] == 0)
            assert door.tracking.gauges()["tracked_keys"] == 0

    run(test())


def test_who_goes_while_its_transaction_is_done_does_not_begin_to_cache_in_it() -> None:
    async def test() -> None:
        async with redis_door() as door:
            wire = await asyncio.to_thread(RespWire, door.port)
            door.kv.holding = True
            calls = [b"MULTI"], [b"SET", b"a", b"1"], [b"CLIENT", b"TRACKING", b"ON"], [b"EXEC"]
            wire.send(b"".join(map(packed, calls)))
            await until(lambda: door.kv.held == 1)
            next(iter(door.clients)).outlet.cut_off("as by CLIENT KILL")
            await until(lambda: not len(door.clients))
            door.kv.release()
            assert door.machine.revision == 1
            assert door.tracking.gauges()["trackers"] == 0
            wire.close()

    run(test())


def test_switching_it_on_and_off_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with redis_door() as door:
            wire = await asyncio.to_thread(RespWire, door.port)
            for _ in range(3):
                await asyncio.to_thread(wire.call, b"CLIENT", b"TRACKING", b"ON")
                await asyncio.to_thread(wire.call, b"CLIENT", b"TRACKING", b"OFF")
            (client,) = door.clients
            assert client.at_end == []
            wire.close()

    run(test())


def test_the_prefixes_of_a_client_are_limited() -> None:
    async def test() -> None:
        async with redis_door() as door:
            prefixes = " ".join(f"PREFIX {number:05}" for number in range(PREFIXES_MAX + 1))
            script = f"a CLIENT TRACKING ON BCAST {prefixes}"
            ((_, told),) = await asyncio.to_thread(play, door.port, script)
            assert b"at most 200 prefixes" in told["a"][0][1]

    run(test())
