"""Counts what the hot operations cost: instructions of the interpreter, and what stays in memory.

Nothing is timed, and every count is the same at every run: a profile without noise. Exits 1 if an
operation costs more than its budget, or much less.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from operator import itemgetter
from typing import Final

from tests.costs.budgets import BUDGETS, PYTHON, Spent, budget, complaints, spent
from tests.costs.controls import CONTROLS
from tests.costs.counting import Function
from tests.costs.measuring import Cost, measure
from tests.costs.operations import OPERATIONS

ADVICE: Final = """
What is dearer: --by function says where. What is cheaper: lower its budget in
tests/costs/budgets.py, or it may become dear again unseen; --budgets writes the lines."""


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    logging.disable(logging.CRITICAL)
    names = [name for name in OPERATIONS if args.only.casefold() in name.casefold()]
    with CONTROLS[args.control]() if args.control else nullcontext():
        costs = measure(names)
    counted = {name: spent(cost) for name, cost in costs.items()}
    if args.budgets:
        _print_budgets(counted)
        return 0
    _print_table(counted)
    if args.by:
        for name, cost in costs.items():
            _print_split(name, cost, args.by, args.top)
    if sys.version_info[:2] != PYTHON:
        print("no budget is for this version of Python")
        return 0
    found = list(complaints(counted, BUDGETS))
    if found:
        print(*found, ADVICE, sep="\n")
    return 1 if found else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/costs", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="operations with this in them")
    parser.add_argument("--by", choices=("module", "function"), help="where they cost it")
    parser.add_argument("--top", type=int, default=25, help="so many of them; 25")
    parser.add_argument("--budgets", action="store_true", help="write the lines of budgets.py")
    parser.add_argument(
        "--control",
        choices=CONTROLS,
        help="add work that must be noticed: " + ", ".join(CONTROLS),
    )
    return parser.parse_args(argv)


def _print_table(counted: Mapping[str, Spent]) -> None:
    print("instructions of each operation, and what stays of it on all nodes together\n")
    print(f"{'':32}{'leader':>9}{'follower':>10}{'blocks':>9}{'objects':>9}")
    for name, (leader, follower, blocks, objects) in counted.items():
        print(f"{name:32}{leader:9.1f}{follower:10.1f}{blocks:9.2f}{objects:9.2f}")
    print()


def _print_split(name: str, cost: Cost, by: str, top: int) -> None:
    for place, each in (("the leader", cost.leader), ("a follower", cost.follower)):
        total = sum(each.values())
        if total:
            print(f"{name}, on {place}: {total:.1f}")
            split = sorted(_split(each, by).items(), key=itemgetter(1), reverse=True)
            for where, count in split[:top]:
                print(f"{count:12.2f} {count / total:6.1%}  {where}")
            print()


def _split(counts: Mapping[Function, float], by: str) -> dict[str, float]:
    split: defaultdict[str, float] = defaultdict(float)
    for function, count in counts.items():
        split[function.module if by == "module" else ".".join(function)] += count
    return split


def _print_budgets(counted: Mapping[str, Spent]) -> None:
    for name, costs in counted.items():
        leader, follower, blocks, objects = budget(costs)
        print(f'    "{name}": Spent({leader:_}, {follower:_}, {blocks:g}, {objects:g}),')


if __name__ == "__main__":
    sys.exit(main())
