"""Flame graphs of the leader of three nodes with fsync, while wrk loads it with PUT, then with GET.

py-spy looks at the stacks of the running node, of those of its threads that do something. What is
done in C (the loop and its system calls, parsers, hashes) belongs to the Python function that
called it; what the loop itself does, reading from sockets above all, is the part of `run` with
nothing below it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from scripts.measuring.loads import wrk
from scripts.measuring.loads.wrk import Mixture, Request
from scripts.measuring.systems.raftcache import Raftcache

KEYS: Final = [f"/v1/kv/key{number}" for number in range(10_000)]
OPERATIONS: Final = {
    "put": Mixture([Request("PUT", key, "value") for key in KEYS], "x" * 64),
    "get": Mixture([Request("GET", key) for key in KEYS], "x" * 64),
}
AROUND_S: Final = 2
"""Of load before the recording, and so much longer than it."""


def main() -> int:
    args = _arguments()
    if gone := [program for program in ("py-spy", wrk.TOOL.program) if not shutil.which(program)]:
        print(f"not on the path: {', '.join(gone)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="raftcache-flame-") as folder:
        nodes = Raftcache(Path(folder))
        try:
            nodes.start()
            for operation in OPERATIONS:
                _record(nodes, operation, args)
        finally:
            nodes.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/flame", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("docs/benchmarks"), metavar="FOLDER")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=200, help="of looks, in a second")
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args()


def _record(nodes: Raftcache, operation: str, args: argparse.Namespace) -> None:
    script = nodes.folder / f"{operation}.lua"
    OPERATIONS[operation].write(script, [nodes.leader])
    wrk.load(script, [nodes.leader], args.connections, AROUND_S, 0)
    target = args.report / f"flame-{operation}.svg"
    spy = subprocess.Popen(
        [
            *("py-spy", "record", "--format", "flamegraph", "--function"),
            *("--duration", str(args.seconds), "--rate", str(args.rate)),
            *("--pid", str(nodes.leader.pid), "--output", str(target)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    done = wrk.load(script, [nodes.leader], args.connections, args.seconds + AROUND_S, 1)
    _, said = spy.communicate()
    if spy.returncode:
        raise SystemExit(f"py-spy: {said.strip()}")
    rate = f"{done['rate']:,.0f} {operation.upper()}/s"
    _set_title(target, f"the leader of three, {args.connections} connections, {rate}")
    print(f"{target}: {target.stat().st_size >> 10} KiB, {rate} meanwhile", flush=True)


def _set_title(target: Path, title: str) -> None:
    """In place of the command that was run."""
    drawn = target.read_text()
    target.write_text(re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", drawn))


if __name__ == "__main__":
    sys.exit(main())
