"""redis-benchmark: closed loops over the Redis protocol, values of 64 bytes, random keys."""

from __future__ import annotations

import re
import subprocess

from scripts.measuring.model import Tool
from scripts.measuring.rounds import Reading
from scripts.measuring.systems.base import Node

TOOL = Tool("redis-benchmark", "redis-tools")

KEYS = 10_000
VALUE_BYTES = 64


def key(i: int) -> bytes:
    """As redis-benchmark calls its keys."""
    return b"key:%012d" % i


def load(node: Node, operation: str, connections: int, pipeline: int, count: int) -> Reading:
    """So many requests: it cannot be told how long to go on."""
    done = subprocess.run(
        [
            TOOL.program,
            "-p",
            str(node.ports["resp"]),
            "-t",
            operation.lower(),
            "-c",
            str(connections),
        ]
        + ["-P", str(pipeline), "-n", str(count), "-r", str(KEYS), "-d", str(VALUE_BYTES), "--csv"],
        check=True,
        capture_output=True,
        text=True,
    )
    return parse(done.stdout, count)


def parse(out: str, count: int) -> Reading:
    """The last line of its CSV. Errors end redis-benchmark, so that there are none in a reading."""
    numbers = [float(n) for n in re.findall(r'"([\d.]+)"', out.strip().splitlines()[-1])]
    rate, _, _, p50_ms, _, p99_ms = numbers[:6]
    return {"rate": rate, "p50_ms": p50_ms, "p99_ms": p99_ms, "operations": count, "errors": 0}
