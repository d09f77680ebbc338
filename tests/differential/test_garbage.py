"""What is no request: raftcache answers with Redis' words, and closes when Redis closes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.differential.garbage import garbage
from tests.differential.peers import REDIS_OPTIONS
from tests.differential.search import Pair
from tests.differential.test_commands import SEED, TIMES
from tests.support.redis_server import redis_server
from tests.support.resp_wire import Reply, RespWire, packed

MARK: Final = packed([b"ECHO", b"mark"])
"""Sent behind everything: who has closed before, does not answer it."""

EXAMPLES: Final = 300

OF_HTTP: Final = (b"POST", b"HOST:")
"""Behind these both close without a word, and what they have not said yet is lost."""

PROTOCOL_ERROR: Final = b"ERR Protocol error"

Heard: TypeAlias = tuple[list[Reply], bool]
"""Replies, and whether the connection was closed from the other side."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with redis_server(tmp_path_factory.mktemp("redis"), *REDIS_OPTIONS) as address:
        yield address


def hear_all(address: Path, data: bytes) -> Heard:
    """What a redis-server says to data: it answers all of it, also if nothing else will come."""
    with contextlib.closing(RespWire(address)) as wire:
        wire.send(data + MARK)
        wire.end()
        replies = list(wire.rest())
    is_closed = bool(replies) and replies[-1][0] == "-" and PROTOCOL_ERROR in replies[-1][1]
    return replies, is_closed


def hear(address: Path | int, data: bytes, expected: Heard) -> Heard:
    """What another one says to it, in two pieces, with time for what is expected."""
    count, is_closed = len(expected[0]), expected[1]
    with contextlib.closing(RespWire(address)) as wire:
        ends = is_closed or any(word in data.upper() for word in OF_HTTP)
        half = 0 if ends else len(data) // 2  # who closes may not read the rest
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(data[:half])
            wire.send(data[half:] + MARK)
        try:
            replies = [wire.read() for _ in range(count)]
        except (EOFError, ConnectionResetError):
            return [], True
        if not is_closed:
            with contextlib.suppress(OSError):
                wire.end()
        rest = list(wire.rest())
    return replies + rest, is_closed


def compare(redis: Path, other: Path | int, count: int) -> None:
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @seed(SEED)
    @given(garbage())
    def look(data: bytes) -> None:
        expected = hear_all(redis, data)
        assert hear(other, data, expected) == expected

    look()


@pytest.mark.cluster
def test_a_node_reads_garbage_as_redis_does(node: Pair) -> None:
    assert isinstance(node.redis.address, Path)
    compare(node.redis.address, node.other.address, round(EXAMPLES * TIMES))


def test_redis_agrees_with_itself(redis: Path) -> None:
    compare(redis, redis, EXAMPLES)


def test_what_is_sent_is_refused_often_and_read_often(redis: Path) -> None:
    """The garbage is worth its name: a good part is no request, a good part is."""
    closed, kept = set[bytes](), 0

    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @seed(SEED)
    @given(garbage())
    def look(data: bytes) -> None:
        nonlocal kept
        replies, is_closed = hear_all(redis, data)
        if is_closed:
            closed.add(replies[-1][1])
        kept += not is_closed

    look()
    assert len(closed) >= 5, closed
    assert kept >= 50
