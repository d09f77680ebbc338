"""The Redis protocol for our generator: the keys of redis-benchmark, values of 64 bytes."""

from __future__ import annotations

import random

from scripts.measuring.loads.plan import KEYS, VALUE, Plan
from scripts.measuring.loads.redis_benchmark import key

PACKETS = 2_000
"""Pipelines that are built, each of random keys, where a pipeline has more than one."""


def command(*words: bytes) -> bytes:
    """As clients send it."""
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join(parts))


def plan(operation: str, pipeline: int) -> Plan:
    """FILL (every key once), SET, GET, or SET+WAIT: a pipeline, then WAIT 1 for all of it."""
    if operation == "FILL":
        return _answered([command(b"SET", key(i), VALUE) for i in range(KEYS)], b"+OK\r\n")
    is_read = operation == "GET"
    one = [
        command(b"GET", key(i)) if is_read else command(b"SET", key(i), VALUE) for i in range(KEYS)
    ]
    answer = b"$%d\r\n%b\r\n" % (len(VALUE), VALUE) if is_read else b"+OK\r\n"
    dice = random.Random(pipeline)
    many = (
        one if pipeline == 1 else [b"".join(dice.choices(one, k=pipeline)) for _ in range(PACKETS)]
    )
    if operation == "SET+WAIT":
        wait = command(b"WAIT", b"1", b"0")
        return _answered([packet + wait for packet in many], answer * pipeline + b":1\r\n")
    return _answered(many, answer * pipeline)


def _answered(packets: list[bytes], answer: bytes) -> Plan:
    return Plan(packets, len(answer), answer.__eq__)
