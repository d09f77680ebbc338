"""EVAL and its kin at the Redis door: over real services, and a state machine without a log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from hashlib import sha1

from raftcache.errors import NotLeader, Unknown
from raftcache.service.wording import NOT_BEGUN
from tests.support.raw_http import run
from tests.support.raw_resp import RespClient
from tests.support.redis_door import Door, redis_door
from tests.support.resp_wire import packed

INCREMENT = "return redis.call('INCR', KEYS[1])"
NAME = sha1(INCREMENT.encode()).hexdigest()
NO_SCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
OK, QUEUED = b"+OK\r\n", b"+QUEUED\r\n"


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Door, RespClient]]:
    """A door, and a client of it."""
    async with redis_door() as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        try:
            yield door, RespClient(reader, writer)
        finally:
            writer.close()


def test_scripts_by_source_and_by_name() -> None:
    async def test() -> None:
        async with served() as (_, client):
            await client.call("EVALSHA", NAME, "1", "a", answer=NO_SCRIPT)
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":1\r\n")
            await client.call("EVALSHA", NAME.upper(), "1", "a", answer=b":2\r\n")
            await client.call("SCRIPT", "EXISTS", NAME, "x", answer=b"*2\r\n:1\r\n:0\r\n")
            await client.call("SCRIPT", "FLUSH", "ASYNC", answer=OK)
            await client.call("EVALSHA", NAME, "1", "a", answer=NO_SCRIPT)
            name = f"$40\r\n{NAME}\r\n".encode()
            await client.call("SCRIPT", "LOAD", INCREMENT, answer=name)
            await client.call("EVALSHA", NAME, "1", "a", answer=b":3\r\n")
            assert (await client.line("SCRIPT", "LOAD", "return (")).startswith(b"-ERR Error comp")

    run(test())


def test_within_multi() -> None:
    async def test() -> None:
        async with served() as (_, client):
            await client.call("MULTI", answer=OK)
            await client.call("SET", "a", "5", answer=QUEUED)
            await client.call("EVALSHA", NAME, "1", "a", answer=QUEUED)
            await client.call("PING", answer=QUEUED)
            await client.call("EVAL", INCREMENT, "1", "a", answer=QUEUED)
            await client.call("EVAL", INCREMENT, "x", answer=QUEUED)
            await client.call("INCR", "a", answer=QUEUED)
            wrong = b"-ERR value is not an integer or out of range\r\n"
            told = OK + NO_SCRIPT + b"+PONG\r\n:6\r\n" + wrong + b":7\r\n"
            await client.call("EXEC", answer=b"*6\r\n" + told)

    run(test())


def test_a_numbered_script() -> None:
    async def test() -> None:
        async with served() as (door, client):
            numbered = ("CLIENT", "IDEMPOTENCY", "me", "1")
            await client.call(*numbered, answer=OK)
            await client.call("EVALSHA", NAME, "1", "a", answer=NO_SCRIPT)  # has no number
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":1\r\n")
            await client.call("SET", "b", "x", answer=OK)
            await client.call("EVAL_RO", "return 7", "0", answer=b":7\r\n")  # nor has this
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":2\r\n")
            # All of it once more, the first one by its name.
            await client.call(*numbered, answer=OK)
            await client.call("EVALSHA", NAME, "1", "a", answer=b":1\r\n")
            await client.call("SET", "b", "x", answer=OK)
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":2\r\n")
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":3\r\n")
            assert door.kv.machine.revision_of(b"b") == 2
            await client.call(*numbered, answer=OK)
            other = b"-ERR this idempotency number stands for another command\r\n"
            await client.call("EVAL", INCREMENT, "1", "other", answer=other)

    run(test())


def test_what_stands_behind_an_unknown_script_waits_for_it() -> None:
    """Else it would have another number at a node that knows the script, and be done twice."""

    async def test() -> None:
        async with served() as (door, client):
            held = f"-{NOT_BEGUN.text}\r\n".encode()
            await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
            data = packed([b"EVALSHA", NAME.encode(), b"1", b"a"]) + packed([b"INCR", b"b"])
            await client.expect(data, NO_SCRIPT + held)
            await client.call("GET", "b", answer=b"$-1\r\n")
            await client.call("EVALSHA_RO", "0" * 40, "0", answer=NO_SCRIPT)
            await client.call("EVALSHA", NAME, "1", "a", answer=NO_SCRIPT)
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":1\r\n")
            await client.call("INCR", "b", answer=b":1\r\n")
            await client.call("EVALSHA_RO", "0" * 40, "0", answer=NO_SCRIPT)  # has no number
            await client.call("SET", "c", "x", answer=OK)
            # A client may also do without the script.
            await client.call("EVALSHA", "0" * 40, "0", answer=NO_SCRIPT)
            await client.call("INCR", "b", answer=held)
            await client.call("CLIENT", "IDEMPOTENCY", "me", "4", answer=OK)
            await client.call("INCR", "b", answer=b":2\r\n")
            assert door.kv.machine.revision_of(b"b") == 4

    run(test())


def test_other_scripts_behind_an_unknown_one_wait_for_it_too() -> None:
    """They would take its number; and have the next one at a node that knows it: done twice."""

    async def test() -> None:
        async with served() as (door, client):
            held = f"-{NOT_BEGUN.text}\r\n".encode()
            twice = INCREMENT + " + redis.call('INCR', KEYS[1])"
            await client.call("EVAL", twice, "1", "a", answer=b":3\r\n")
            await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
            await client.call("EVALSHA", NAME, "1", "b", answer=NO_SCRIPT)
            await client.call("EVAL", twice, "1", "a", answer=held)
            await client.call("EVALSHA", sha1(twice.encode()).hexdigest(), "1", "a", answer=held)
            await client.call("SCRIPT", "LOAD", INCREMENT, answer=f"$40\r\n{NAME}\r\n".encode())
            await client.call("EVALSHA", NAME, "1", "a", answer=held)  # others may load it, too
            await client.call("EVALSHA", NAME.upper(), "1", "b", answer=b":1\r\n")
            await client.call("EVAL", twice, "1", "a", answer=b":7\r\n")
            assert door.kv.machine.revision_of(b"a") == 3

    run(test())


def test_a_numbered_transaction_with_a_script() -> None:
    async def test() -> None:
        async with served() as (_, client):
            for _ in range(2):
                await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
                await client.call("MULTI", answer=OK)
                await client.call("INCR", "a", answer=QUEUED)
                await client.call("EVAL", INCREMENT, "1", "a", answer=QUEUED)
                await client.call("EXEC", answer=b"*2\r\n:1\r\n:2\r\n")
            await client.call("INCR", "a", answer=b":3\r\n")

    run(test())


def test_a_numbered_transaction_is_the_same_wherever_its_script_is_known() -> None:
    async def test() -> None:
        async with served() as (_, client):
            for _ in range(2):
                await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
                await client.call("MULTI", answer=OK)
                await client.call("INCR", "b", answer=QUEUED)
                await client.call("EVALSHA", NAME.upper(), "1", "a", answer=QUEUED)
                await client.call("EXEC", answer=b"*2\r\n:1\r\n" + NO_SCRIPT)
                await client.call("EVAL", INCREMENT, "1", "a", answer=b":1\r\n")

    run(test())


def test_nothing_is_done_behind_a_script_without_an_answer() -> None:
    async def test() -> None:
        async with served() as (door, client):
            for error, begins in ((Unknown("?"), b"-UNKNOWN"), (NotLeader("?"), b"-CLUSTERDOWN")):
                await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
                door.kv.error = error
                assert (await client.line("EVAL", INCREMENT, "1", "a")).startswith(begins)
                door.kv.error = None
                held = f"-{NOT_BEGUN.text}\r\n".encode()
                await client.call("EVAL", INCREMENT, "1", "a", answer=held)
                await client.call("SET", "b", "x", answer=held)
                await client.call("EVAL_RO", "return 7", "0", answer=b":7\r\n")
            await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
            await client.call("EVAL", INCREMENT, "1", "a", answer=b":1\r\n")

    run(test())


def test_keys_that_a_script_declares_are_tracked() -> None:
    async def test() -> None:
        async with served() as (_, client):
            await client.send(b"HELLO 3\r\n")
            await client.reader.readuntil(b"$7\r\nmodules\r\n*0\r\n")
            await client.call("CLIENT", "TRACKING", "ON", answer=OK)
            await client.call(
                "EVAL", "return redis.call('GET', KEYS[1])", "1", "a", answer=b"_\r\n"
            )
            told = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
            await client.call("SET", "a", "1", answer=OK + told)

    run(test())
