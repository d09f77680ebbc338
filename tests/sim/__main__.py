"""Plays many seeds, or one with its trace: python -m tests.sim --seeds 1-500 --jobs 2"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

from tests.sim import profile as profiles
from tests.sim.member import Member
from tests.sim.play import play
from tests.sim.stock import StockMember, as_installed
from tests.sim.world import Result, World

SHOWN_MAX = 5
CHUNK = 4


def main() -> int:
    """The exit code: 1 if any seed failed."""
    args = _arguments()
    logging.disable(logging.CRITICAL)
    seeds = _seeds(args.seeds)
    if args.trace:
        return _trace(seeds, args)
    print(f"seeds {args.seeds}, profile {args.profile}, engine {args.engine}", flush=True)
    failed: dict[str, list[Result]] = defaultdict(list)
    total: Counter[str] = Counter()
    for done, result in enumerate(_play(seeds, args), 1):
        total += result.count
        if result.verdict is not None:
            failed[result.verdict.kind].append(result)
            print(f"seed {result.seed} ({result.size} nodes): {result.verdict.kind}", flush=True)
        if done % 100 == 0:
            print(f"{done} of {len(seeds)}", flush=True)
    _report(len(seeds), failed, total)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", default="1-40", help="one, or first-last")
    parser.add_argument("--profile", default="mixed", choices=profiles.NAMES)
    parser.add_argument("--engine", default="ours", choices=("ours", "stock"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    return parser.parse_args()


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _trace(seeds: range, args: argparse.Namespace) -> int:
    make = StockMember if args.engine == "stock" else Member
    with as_installed() if args.engine == "stock" else contextlib.nullcontext():
        results = [World(seed, args.profile, make, tell=print).run() for seed in seeds]
    for result in results:
        print(result)
    return 1 if any(r.verdict for r in results) else 0


def _play(seeds: Iterable[int], args: argparse.Namespace) -> Iterator[Result]:
    one = partial(play, profile=args.profile, engine=args.engine)
    if args.jobs == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        yield from pool.imap_unordered(one, seeds, CHUNK)


def _report(seeds: int, failed: dict[str, list[Result]], total: Counter[str]) -> None:
    print(", ".join(f"{value} {name}" for name, value in sorted(total.items())))
    print(f"{sum(map(len, failed.values()))} of {seeds} seeds failed")
    for kind, results in sorted(failed.items(), key=lambda kr: -len(kr[1])):
        print(f"{len(results):6} {kind}")
        for result in sorted(results, key=lambda r: r.seed)[:SHOWN_MAX]:
            assert result.verdict is not None
            print(f"       seed {result.seed} ({result.size} nodes): {result.verdict.detail}")


if __name__ == "__main__":
    sys.exit(main())
