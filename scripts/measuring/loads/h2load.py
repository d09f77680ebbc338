"""h2load (Debian: nghttp2-client): closed loops, gRPC to etcd and HTTP/1.1 to raftcache.

A unary call of gRPC is a POST over HTTP/2 whose body is a length and a message, so that h2load,
written in C, can make it; a client library would cost more than the server. All requests are
alike: one key. One request at a time on each connection.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.measuring.loads.percentiles import reading
from scripts.measuring.model import Tool
from scripts.measuring.rounds import Reading

TOOL = Tool("h2load", "nghttp2-client")


@dataclass(frozen=True)
class Call:
    """One request; a body that is empty is none."""

    url: str
    method: str
    body: bytes = b""
    is_grpc: bool = False


def load(call: Call, connections: int, seconds: int, folder: Path) -> Reading:
    """Raises RuntimeError for a gRPC call that was answered without a message: it failed."""
    body, log = folder / "h2load.body", folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = [TOOL.program, "-c", str(connections), "-m", "1", "-D", str(seconds)]
    command += ["--log-file", str(log)]
    if call.body:
        body.write_bytes(call.body)
        command += ["-d", str(body), "-H", f":method: {call.method}"]
    if call.is_grpc:
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    else:
        command += ["--h1"]
    done = subprocess.run([*command, call.url], check=True, capture_output=True, text=True)
    found = parse(done.stdout, log.read_text(), seconds)
    if call.is_grpc and data_bytes(done.stdout) < 5 * found["operations"]:
        raise RuntimeError(f"{call.url} was answered with errors:\n{done.stdout}")
    return found


def parse(out: str, log: str, seconds: int) -> Reading:
    """Its log has a line for each answer: when it was asked, the status, and microseconds."""
    lines = [line.split() for line in log.splitlines()]
    good = [float(us) for _, status, us in lines if status.startswith("2")]
    counted = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    if counted is None:
        raise RuntimeError(f"h2load said something else:\n{out}")
    return {**reading(good, 1, seconds), "errors": sum(int(n) for n in counted.groups())}


def data_bytes(out: str) -> int:
    """Of all bodies of answers."""
    counted = re.search(r"\((\d+)\) data", out)
    return int(counted[1]) if counted else 0
