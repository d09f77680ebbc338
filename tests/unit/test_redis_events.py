"""What happens to keys is told as Redis tells it: the same events of the same keys, in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import pytest

from raftcache.command.calls import Calls
from raftcache.command.replies import CallsReply
from raftcache.state.machine import Machine
from raftcache.state.notes import KeyEvent, Note
from tests.support.redis_server import redis_server
from tests.support.resp_wire import RespWire
from tests.unit.test_machine import at

SIZE_BYTES_MAX: Final = 1 << 20
PREFIX: Final = b"__keyevent@0__:"
SENTINEL: Final = b"that was all"

STRINGS: Final = """
SET a 1 | SET a 2 | SET a 3 EX 100 | SET a 3 PX 100000 | SET a 4 KEEPTTL | SET b 1 NX | SET b 2 NX
SET a 1 | SET a 2 XX GET | SET c 1 XX
SET a 1 | GET a | GETSET a 2 | GETSET b 1 | GETDEL a | GETDEL a
SET a 1 | GETEX a | GETEX a EX 100 | GETEX a PERSIST | GETEX a PERSIST | GETEX a EXAT 1000
SETEX a 100 1 | PSETEX a 100000 1 | SETNX a 1 | SETNX b 1
MSET a 1 b 2 a 3 | MSETNX c 1 a 1 | MSETNX c 1 d 1
APPEND a x | APPEND a y | APPEND a %
INCR a | INCRBY a 5 | DECR a | DECRBY a 5 | INCRBYFLOAT a 1.5 | INCR a | SET a x | INCR a
SETRANGE a 2 xy | SETRANGE a 0 % | SETRANGE b 0 % | GETRANGE a 0 -1 | STRLEN a
SETBIT a 7 1 | SETBIT a 7 1 | GETBIT a 7 | BITCOUNT a | BITOP NOT b a | BITOP AND b a nothing
SET a x | BITOP OR b nothing also | BITOP OR a nothing also | BITOP AND b nothing
BITFIELD a SET u8 0 255 | BITFIELD a GET u8 0 | BITFIELD a INCRBY u8 0 1 SET u8 8 1
LPUSH a x | SET a 1 | GETSET a 2 | SETNX a 1
"""

KEYS: Final = """
SET a 1 | DEL a | DEL a | SET a 1 | SET b 1 | DEL a nothing b | SET a 1 | UNLINK a
SET a 1 | EXPIRE a 100 | EXPIRE a 100 NX | PEXPIRE a 100000 | EXPIREAT a 99999999999 | PERSIST a
SET a 1 | EXPIRE a -1 | SET a 1 | EXPIREAT a 1000 | SET a 1 | PEXPIREAT a 1000 | PERSIST a
SET a 1 | EXPIRE nothing 100 | PERSIST nothing | PERSIST a | EXPIRE a 100 XX
SET a 1 | RENAME a b | RENAME b b | SET a 2 | RENAME a b | SET a 3 | RENAMENX a b | RENAMENX a c
HSET a f 1 | RENAME a b | COPY b c | COPY b c | COPY b c REPLACE | SET d 1 | COPY b d REPLACE
SET a 1 EX 100 | COPY a b | RENAME a c | TOUCH c | EXISTS c | TYPE c | OBJECT ENCODING c
RPUSH a 3 1 2 | SORT a | SORT a STORE b | SORT nothing STORE b | SORT nothing STORE b | SET a 1
RPUSH a 3 1 2 | SET b 1 | SORT a STORE b | SORT a STORE a
SET a 1 | FLUSHALL | SET a 1 | FLUSHDB
"""

HASHES: Final = """
HSET a f 1 | HSET a f 2 g 3 | HSETNX a f 1 | HSETNX a h 1 | HMSET a f 1 | HGETALL a
HINCRBY a f 1 | HINCRBY a f 1 | HINCRBYFLOAT a f 1.5 | HINCRBYFLOAT b f 1 | HSET b g x | HINCRBY b g 1
HSET a f 1 g 2 | HDEL a f nothing | HDEL a nothing | HDEL a g | HDEL a g
HSET a f 1 | HRANDFIELD a | HSCAN a 0 | HGET a f | EXPIRE a 100 | HSET a g 2 | HDEL a f g
"""  # noqa: E501

LISTS: Final = """
RPUSH a 1 2 3 | LPUSH a 0 | LPUSHX a 9 | RPUSHX a 9 | LPUSHX nothing 1 | LPOP a | RPOP a | LPOP a 9
RPUSH a 1 2 3 | LSET a 0 x | LSET a 9 x | LINSERT a BEFORE 2 y | LINSERT a AFTER nothing y | LREM a 0 y
RPUSH a 1 1 | LREM a 0 7 | LREM a 0 1 | RPUSH a 1 2 3 | LTRIM a 0 1 | LTRIM a 5 9 | LTRIM a 0 1
RPUSH a 1 2 3 | RPOPLPUSH a b | LMOVE a b LEFT RIGHT | LMOVE a a LEFT RIGHT | LMOVE a b LEFT LEFT
RPUSH a 1 | RPOPLPUSH a a | RPOPLPUSH nothing a | LMPOP 2 nothing a LEFT COUNT 5 | LMPOP 1 a RIGHT
RPUSH a 1 2 3 | LMPOP 1 a RIGHT COUNT 2 | LRANGE a 0 -1 | LPOS a 1 | LINDEX a 0 | LLEN a | LPOP a 0
RPUSH a 1 2 | BLPOP a 1 | BRPOP a 1 | RPUSH a 1 | BLMOVE a b LEFT LEFT 1 | BLMPOP 1 1 b LEFT
"""  # noqa: E501

SETS: Final = """
SADD a 1 2 3 | SADD a 1 | SREM a 9 | SREM a 1 9 | SPOP a | SPOP a 0 | SPOP a 5 | SPOP a
SADD a 1 2 | SADD b 3 | SMOVE a b 1 | SMOVE a b 1 | SMOVE a b 3 | SMOVE a c 2 | SMOVE c b 2
SADD a 1 | SMOVE a a 1 | SADD b 1 | SMOVE a b 1
SADD a 1 2 | SADD b 2 3 | SINTERSTORE c a b | SUNIONSTORE c a b | SDIFFSTORE c a b | SDIFFSTORE c a a
SADD a 1 2 | SINTERSTORE c a nothing | SUNIONSTORE a a | SRANDMEMBER a | SET s 1 | SUNIONSTORE s a
SADD a 1 | SPOP a 1 | SADD a 1 2 | SREM a 1 2
"""  # noqa: E501

ZSETS: Final = """
ZADD a 1 x 2 y | ZADD a 1 x | ZADD a 3 x | ZADD a NX 5 x | ZADD a XX 5 q | ZADD a INCR 1 x
ZADD a 1 x | ZINCRBY a 2 x | ZINCRBY a 1 new | ZINCRBY a 0 x | ZADD a XX INCR 1 nothing | ZREM a q
ZADD a 1 x 2 y 3 z | ZREM a x q | ZPOPMIN a | ZPOPMAX a | ZPOPMIN a | ZADD a 1 x | ZREM a x
ZADD a 1 x 2 y 3 z 4 w | ZREMRANGEBYSCORE a 1 1 | ZREMRANGEBYRANK a 0 0 | ZREMRANGEBYLEX a - (w
ZADD a 1 x | ZREMRANGEBYSCORE a 5 9 | ZREMRANGEBYSCORE a 0 9 | ZREMRANGEBYRANK a 0 -1
ZADD a 1 x 2 y | ZADD b 3 y | ZUNIONSTORE c 2 a b | ZINTERSTORE c 2 a b | ZDIFFSTORE c 2 a b
ZADD a 1 x | ZUNIONSTORE c 1 a | ZINTERSTORE c 2 a nothing | ZDIFFSTORE c 2 a a | ZINTERSTORE a 2 a q
ZADD a 1 x 2 y | ZRANGESTORE b a 0 -1 | ZRANGESTORE b a 5 9 | ZRANGESTORE b a 5 9 | ZMPOP 1 a MIN COUNT 9
ZADD a 1 x 2 y | ZMPOP 2 nothing a MAX | BZPOPMIN a 1 | ZADD a 1 x | BZPOPMAX a 1 | ZADD a 1 x | BZMPOP 1 1 a MIN
ZADD a 1 x | ZADD a GT 5 x | ZADD a LT 9 x | ZADD a CH 5 x | ZADD a 5 x | SET s 1 | ZUNIONSTORE s 1 a
"""  # noqa: E501

SCENARIOS: Final = [
    line
    for lines in (STRINGS, KEYS, HASHES, LISTS, SETS, ZSETS)
    for line in lines.split("\n")
    if line
]


class Redis:
    """A redis-server, and a connection that listens to its events."""

    def __init__(self, wire: RespWire, listening: RespWire) -> None:
        self._wire, self._listening = wire, listening
        wire.call(b"CONFIG", b"SET", b"notify-keyspace-events", b"EAn")
        listening.call(b"PSUBSCRIBE", PREFIX + b"*")
        listening.call(b"SUBSCRIBE", SENTINEL)

    def events(self, call: list[bytes]) -> list[tuple[bytes, bytes]]:
        """What a call says."""
        self._wire.call(*call)
        self._wire.call(b"PUBLISH", SENTINEL, b"")
        told: list[tuple[bytes, bytes]] = []
        while True:
            parts = [part for _, part in self._listening.read()[1]]
            if parts[1] == SENTINEL:
                return told
            told.append((parts[2].removeprefix(PREFIX), parts[3]))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with (
        redis_server(tmp_path_factory.mktemp("redis")) as address,
        contextlib.closing(RespWire(address)) as wire,
        contextlib.closing(RespWire(address)) as listening,
    ):
        yield Redis(wire, listening)


class Node:
    """A state machine, and what it says."""

    def __init__(self) -> None:
        self._machine = Machine()
        self._machine.notes.wanted = "g$lshzxen"
        self._machine.note_listeners.append(self._hear)
        self._heard: list[tuple[bytes, bytes]] = []

    def _hear(self, notes: list[Note] | None) -> None:
        assert notes is not None
        self._heard += [(note.event, note.key) for note in notes if isinstance(note, KeyEvent)]

    def events(self, call: list[bytes]) -> list[tuple[bytes, bytes]]:
        word = Calls((tuple(call),), SIZE_BYTES_MAX)
        (reply,) = at(self._machine, 1_700_000_000_000, word)
        assert isinstance(reply, CallsReply)
        assert "internal error" not in str(reply.values)
        assert "unknown command" not in str(reply.values), call
        heard, self._heard = self._heard, []
        return heard


def without_new(events: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [each for each in events if each[0] != b"new"]


def words(text: str) -> list[bytes]:
    """% stands for no bytes."""
    return [b"" if word == "%" else word.encode() for word in text.split()]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_events_are_those_of_redis(redis: Redis, scenario: str) -> None:
    redis.events([b"FLUSHALL"])
    node, said = Node(), 0
    for line in scenario.split("|"):
        call = words(line)
        theirs, ours = redis.events(call), node.events(call)
        if call[0] == b"RENAME" or call[0].endswith(b"STORE"):
            # What takes the place of a key is new to RENAME in Redis, and to *STORE here.
            theirs, ours = without_new(theirs), without_new(ours)
        assert ours == theirs, line
        said += len(theirs)
    assert said
