"""Plays many seeds of some profiles, or one with its trace; exits 1 if a promise was broken."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.sim import profile as profiles
from tests.sim.campaign import Tally, again, jobs_of, play_all
from tests.sim.mutations import BY_SWITCH
from tests.sim.play import play

DEFAULT_SEEDS: Final = "1-40"
PROGRESS_RUNS: Final = 100


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 1 if any seed failed."""
    args = _arguments(argv)
    logging.disable(logging.CRITICAL)
    control = BY_SWITCH.get(args.control)
    names = _profiles(args.profile or (control.profile if control else "mixed"))
    seeds = _seeds(args.seeds) if args.seeds else control.range if control else _seeds("")
    if args.trace:
        return _trace(seeds, names, args.control)
    what = f", without a rule: {control.name}" if control else ""
    print(f"seeds {seeds[0]}-{seeds[-1]}, profile {','.join(names)}{what}", flush=True)
    tally = _play(seeds, names, args)
    print(", ".join(f"{value} {name}" for name, value in sorted(tally.count.items())))
    print(f"{tally.total.failed} of {tally.total.seeds} runs failed")
    for line in tally.failures_by_kind():
        print(line)
    print(tally.table)
    if args.report:
        _write(args.report, tally, seeds, what)
    return 1 if tally.failures else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/sim", description=__doc__)
    parser.add_argument("--seeds", help=f"one, or first-last; {DEFAULT_SEEDS}")
    parser.add_argument(
        "--profile", help=f"some with commas, or all; mixed. There are {', '.join(profiles.NAMES)}"
    )
    parser.add_argument(
        "--control",
        default="",
        choices=sorted(BY_SWITCH),
        metavar="NAME",
        help="take a rule out, which must be noticed: it brings seeds and profile of its own. "
        f"There are {', '.join(BY_SWITCH)}",
    )
    parser.add_argument("--nodes", type=int, default=0, help="only clusters of so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", type=Path, help="write the table of profiles, in Markdown")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    args = parser.parse_args(argv)
    for name in _profiles(args.profile or "all"):
        if name not in profiles.NAMES:
            parser.error(f"there is no profile {name!r}")
    return args


def _profiles(text: str) -> Sequence[str]:
    return profiles.NAMES if text == "all" else text.split(",")


def _seeds(text: str) -> range:
    first, _, last = (text or DEFAULT_SEEDS).partition("-")
    return range(int(first), int(last or first) + 1)


def _trace(seeds: range, names: Sequence[str], control: str) -> int:
    results = [play((name, seed), control, print).result for name in names for seed in seeds]
    for result in results:
        print(result)
    return 1 if any(r.verdict for r in results) else 0


def _play(seeds: range, names: Sequence[str], args: argparse.Namespace) -> Tally:
    tally, begun_s = Tally(), time.monotonic()
    jobs = jobs_of(seeds, names, args.nodes)
    runs = len(jobs)
    for played in play_all(jobs, args.control, args.jobs):
        tally.add(played)
        verdict = played.result.verdict
        if verdict is not None:
            print(f"{again(played)} ({played.result.size} nodes): {verdict.kind}", flush=True)
        done = tally.total.seeds
        if done % PROGRESS_RUNS == 0 and done < runs:
            left_min = (time.monotonic() - begun_s) / done * (runs - done) / 60
            failed = tally.total.failed
            print(f"{done} of {runs}, {failed} failed, {left_min:.0f} min left", flush=True)
    return tally


def _write(path: Path, tally: Tally, seeds: range, what: str) -> None:
    head = f"Seeds {seeds[0]} to {seeds[-1]} of each profile{what}:"
    lines = [head, "", tally.table, *(f"    {line}" for line in tally.failures_by_kind())]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
