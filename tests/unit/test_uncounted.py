"""Calls that ask for gigabytes are refused, and no entry of the log brings them to other nodes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from raftcache.command.calls import CALLS_MAX, Call, Calls, CallsRehearsed, as_calls
from raftcache.service.uncounted import apart, are_uncounted
from raftcache.state.redis.store import BYTES_READ_MAX
from raftcache.state.rows import NAME_SIZE_BYTES_MAX
from tests.support.raw_http import run
from tests.support.raw_resp import RespClient
from tests.support.redis_door import Door, redis_door
from tests.support.resp_wire import packed
from tests.unit.test_redis_service import lines

LIMIT = 1 << 20  # in place of BYTES_READ_MAX
MANY = LIMIT // NAME_SIZE_BYTES_MAX + 1
TOO_MUCH = f"-ERR what is read at once has at most {LIMIT} bytes\r\n".encode()
SET = packed([b"SET", b"a", b"1"])
OK, QUEUED = b"+OK\r\n", b"+QUEUED\r\n"
NAME = "n" * NAME_SIZE_BYTES_MAX

READS = [
    f"SRANDMEMBER s -{MANY}",
    f"HRANDFIELD h -{MANY} WITHVALUES",
    f"ZRANDMEMBER z -{MANY}",
    "SORT g BY nosort" + " GET lon*" * MANY,
    "SORT_RO l BY nosort" + " GET *->long" * MANY,
    f"XPENDING x g - + {MANY}",
    "XINFO STREAM x FULL COUNT 0",
]


@pytest.fixture
def _low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("state.redis.store", "state.redis.execute", "service.uncounted"):
        monkeypatch.setattr(f"raftcache.{module}.BYTES_READ_MAX", LIMIT)
    monkeypatch.setattr("raftcache.state.redis.execute.TURN_SIZE_BYTES", 0)


@contextlib.asynccontextmanager
async def filled() -> AsyncIterator[tuple[Door, RespClient]]:
    """A door of a node that has a few long names and values, and a client of it."""
    async with redis_door() as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        give = f"XREADGROUP GROUP g {NAME} STREAMS x >"
        fill = [f"SADD s {NAME}", f"ZADD z 1 {NAME}", f"HSET h {NAME} v long {NAME}", "RPUSH g g"]
        fill += [f"SET long {NAME}", "RPUSH l h", "XADD x 1-0 f v"] + ["XADD x * f v"] * MANY
        calls = lines(*fill, "XGROUP CREATE x g 0", give)
        try:
            for at in range(0, len(calls), CALLS_MAX):
                door.kv.write(as_calls(calls[at : at + CALLS_MAX], 1 << 20), lambda _: None)
            door.kv.commands.clear()
            yield door, RespClient(reader, writer)
        finally:
            writer.close()


def travelled(door: Door) -> list[Call]:
    """Calls of the entries."""
    return [call for word in door.kv.commands if isinstance(word, Calls) for call in word.calls]


@pytest.mark.usefixtures("_low_limit")
@pytest.mark.parametrize("text", READS)
def test_what_only_reads_is_read_and_refused(text: str) -> None:
    async def test() -> None:
        async with filled() as (door, client):
            await client.call(*text.split(), answer=TOO_MUCH)
            one, write = packed([word.encode() for word in text.split()]), SET
            await client.expect(write + one + write + one + one, (OK + TOO_MUCH) * 2 + TOO_MUCH)
            assert [call[0] for call in travelled(door)] == [b"SET"] * 2

    run(test())


@pytest.mark.usefixtures("_low_limit")
@pytest.mark.parametrize("text", READS)
def test_in_a_transaction_it_is_refused_before_the_log_has_it(text: str) -> None:
    async def test() -> None:
        async with filled() as (door, client):
            one = packed([word.encode() for word in text.split()])
            begin, end = packed([b"MULTI"]), packed([b"EXEC"])
            told = OK + QUEUED * 3 + b"*3\r\n" + OK + TOO_MUCH + OK
            await client.expect(begin + SET + one + SET + end, told)
            assert travelled(door) == [(b"SET", b"a", b"1")] * 2
            script = f"return redis.pcall({', '.join(repr(word) for word in text.split())})"
            await client.call("EVAL", script, "0", answer=TOO_MUCH)

    run(test())


@pytest.mark.usefixtures("_low_limit")
def test_what_writes_is_rehearsed() -> None:
    async def test() -> None:
        async with filled() as (door, client):
            store = f"SORT g BY nosort {'GET lon* ' * MANY} STORE d".split()
            await client.call(*store, answer=TOO_MUCH)
            assert travelled(door) == []
            calls = ["SADD t x", "SORT g ALPHA GET lon* STORE d", f"SPOP t {MANY}", "LLEN d"]
            sent = [packed([word.encode() for word in call.split()]) for call in calls]
            popped = b"*1\r\n$1\r\nx\r\n"
            await client.expect(b"".join(sent), b":1\r\n:1\r\n" + popped + b":1\r\n")
            kinds = [type(word) for word in door.kv.commands if isinstance(word, Calls)]
            assert kinds == [Calls, CallsRehearsed, CallsRehearsed]
            # Numbered it is done once.
            await client.call("SADD", "t", "x", answer=b":1\r\n")
            for _ in range(2):
                await client.call("CLIENT", "IDEMPOTENCY", "me", "1", answer=OK)
                await client.expect(sent[2], popped)
            await client.expect(sent[2], b"*0\r\n")

    run(test())


@pytest.mark.usefixtures("_low_limit")
def test_getex_is_counted_with_a_transaction() -> None:
    async def test() -> None:
        async with filled() as (door, client):
            many = MANY - 2
            begin, end = packed([b"MULTI"]), packed([b"EXEC"])
            asked = (
                packed([b"GETEX", b"long"]) * many + packed([b"GETEX", b"long", b"EX", b"9"]) * 2
            )
            got = f"${len(NAME)}\r\n{NAME}\r\n".encode()
            told = OK + QUEUED * (many + 2) + b"*%d\r\n" % (many + 2) + got * (many + 1) + TOO_MUCH
            await client.expect(begin + asked + end, told)
            assert len(travelled(door)) == many + 1

    run(test())


def test_as_many_share_an_entry_as_it_may_answer() -> None:
    most_names = BYTES_READ_MAX // NAME_SIZE_BYTES_MAX
    few, most, more = "SRANDMEMBER s -600", f"SPOP s {most_names}", f"HRANDFIELD h {most_names + 1}"
    assert len(apart(lines(few, "INCR a", few, "INCR a"))) == 2
    assert len(apart(lines("INCR a", most, "INCR a", "SPOP s"))) == 3, "one more is too much"
    assert len(apart(lines(more, more, "INCR a", more))) == 2
    assert len(apart(lines("SORT l BY w_* STORE d", more))) == 1
    plain = lines(
        "SORT l DESC", "SPOP s", "SRANDMEMBER s 3", "SORT l STORE d", "SPOP s x", "GETEX a"
    )
    assert apart(plain) == plain
    assert not are_uncounted(plain)
    assert not are_uncounted(lines(*["GETEX a"] * 16))
    assert are_uncounted(lines(*["GETEX a"] * 17))
    assert are_uncounted(lines("HSCAN h 0"))
