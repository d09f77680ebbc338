"""The bytes of requests, of the same keys and values for every system and protocol."""

from __future__ import annotations

import math
import random
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final, Literal

Wire = Literal["http", "etcd", "resp"]
"""raftcache's HTTP, etcd's JSON gateway, and the Redis protocol of either."""

Operation = Literal["PUT", "GET", "LIVE"]
"""PUT and GET are SET and GET in the Redis protocol; LIVE is /livez, and has no key."""

STRIDE: Final = 1_000_003
"""Of a walk; a prime."""
READY_MADE_MAX: Final = 200_000
READY_MADE_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True)
class Asks:
    """What is asked for."""

    wire: Wire
    operation: Operation
    keys: int
    value_size_bytes: int = 64
    pipeline: int = 1
    """Requests in one; of the Redis protocol only."""
    is_walk: bool = False
    """Every key once, in no order that an index could profit from, instead of any at random."""


def key_of(i: int) -> bytes:
    """16 bytes, as redis-benchmark calls its keys."""
    return b"key:%012d" % i


def value_of(i: int, size_bytes: int) -> bytes:
    """Printable, and different for each key."""
    return (b"%d " % i).ljust(size_bytes, b"x")[:size_bytes]


def request(asks: Asks, i: int) -> bytes:
    """For the key of this number."""
    key = key_of(i)
    value = value_of(i, asks.value_size_bytes) if asks.operation == "PUT" else b""
    if asks.operation == "LIVE":
        return b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    return {"http": _http, "etcd": _etcd, "resp": _resp}[asks.wire](key, value)


def _http(key: bytes, value: bytes) -> bytes:
    if not value:
        return b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n\r\n" % key
    head = b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (key, len(value))
    return head + value


def _etcd(key: bytes, value: bytes) -> bytes:
    body = b'{"key":"%b"' % b64encode(key)
    body += b',"value":"%b"}' % b64encode(value) if value else b"}"
    head = b"POST /v3/kv/%b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return head % (b"put" if value else b"range") + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _resp(key: bytes, value: bytes) -> bytes:
    words = [b"SET", key, value] if value else [b"GET", key]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def good_answer(asks: Asks) -> tuple[bytes, int]:
    """How it begins for one request of the Redis protocol, and its length in bytes."""
    if asks.operation == "PUT":
        return b"+OK\r\n", 5
    head = b"$%d\r\n" % asks.value_size_bytes
    return head, len(head) + asks.value_size_bytes + 2


def requests(asks: Asks) -> Iterator[bytes]:
    """One after the other: those of a walk once for each key, the others without end.

    Those at random are made before it returns.
    """
    if asks.is_walk:
        return _walk(asks)
    size_bytes = (asks.value_size_bytes + 200) * asks.pipeline
    count = max(1, min(4 * asks.keys, READY_MADE_MAX, READY_MADE_BYTES_MAX // size_bytes))
    dice = random.Random(0)  # the same for every system
    numbers = (dice.randrange(asks.keys) for _ in range(count * asks.pipeline))
    return cycle([_next(asks, numbers) for _ in range(count)])


def _walk(asks: Asks) -> Iterator[bytes]:
    assert asks.keys % asks.pipeline == 0, "the last pipeline would be shorter"
    assert math.gcd(STRIDE, asks.keys) == 1, "some keys would be left out"
    numbers = (i * STRIDE % asks.keys for i in range(asks.keys))
    return (_next(asks, numbers) for _ in range(asks.keys // asks.pipeline))


def _next(asks: Asks, numbers: Iterator[int]) -> bytes:
    return b"".join(request(asks, i) for i in islice(numbers, asks.pipeline))
