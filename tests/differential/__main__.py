"""Compares raftcache with a redis-server for as long as you like, and tells every difference.

Exits 1 if there was one that docs/REDIS.md does not list.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.differential.events import Listening
from tests.differential.families import FAMILIES
from tests.differential.judge import DIFFERENCES
from tests.differential.peers import NODE, servers
from tests.differential.search import search

DIFFERENCES_MAX = 50


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no server is left
    failed, meant = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), args.peer) as pair:
        compared = Listening(*pair) if args.events else pair
        for name in args.families.split(","):
            family = FAMILIES[name]
            count = round(args.examples * family.weight)
            found = search(compared, family, count, args.seed, DIFFERENCES_MAX)
            failed += len(found.differences)
            meant += found.meant
            told = f"{len(found.differences)} differences, {sum(found.meant.values())} meant"
            print(f"# {name}: {found.examples} examples, {found.steps} calls: {told}", flush=True)
            if found.differences:
                print(found, flush=True)
    for difference in DIFFERENCES:
        print(f"{meant[difference.name]:6} times meant: {difference.name}")
    return 1 if failed else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/differential", description=__doc__)
    parser.add_argument("--families", default=",".join(FAMILIES), help="some, with commas")
    parser.add_argument("--examples", type=int, default=1000, help="of each family; 1000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peer",
        default=NODE,
        help="what is compared: a node of raftcache (node),"
        " its state machine alone (state), or the server at a port",
    )
    parser.add_argument("--events", action="store_true", help="compare notifications, not replies")
    args = parser.parse_args(argv)
    for name in args.families.split(","):
        if name not in FAMILIES:
            parser.error(f"there is no family {name!r}: there are {', '.join(FAMILIES)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
