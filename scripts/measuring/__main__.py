"""`scripts/bench`: measures what was chosen, prints the tables, and writes the pages if asked."""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

from scripts.measuring import aims, machine, report
from scripts.measuring.catalogue import SECTIONS, chosen
from scripts.measuring.lab import Lab
from scripts.measuring.model import Cell
from scripts.measuring.report import Run
from scripts.measuring.sweep import Sweep

ROUNDS, SECONDS = 5, 1
QUICK_ROUNDS, QUICK_SECONDS, QUICK_SCALE = 3, 1, 0.04


def main() -> None:
    args = _parser().parse_args()
    if args.list:
        print("\n".join(cell.name for section in SECTIONS for cell in section.cells))
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    cells = [] if args.draw and not args.only else chosen(args.only, args.quick)
    if not cells and not args.draw:
        raise SystemExit("no cell is called so: --list names them all")
    run = Run({}, 0, 0, [])
    if cells:
        run = _measured(args, cells)
    if args.draw:
        run = Run.loaded(args.draw).renewed_by(run)
    _tell(run, args)


def _interrupt(*_: object) -> None:
    """Once: whoever is impatient must not keep it from stopping what it has started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _measured(args: argparse.Namespace, cells: list[Cell]) -> Run:
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    with tempfile.TemporaryDirectory(prefix="raftcache-bench-") as name:
        scale = args.scale or (QUICK_SCALE if args.quick else 1.0)
        lab = Lab(Path(name), rounds, seconds, args.quick, scale)
        sweep = Sweep(lab)
        systems = dict.fromkeys(name for cell in cells for name in (*cell.systems, *cell.starts))
        about = machine.described(lab.folder, systems)
        try:
            sweep.measure(cells)
        except KeyboardInterrupt:
            lab.say("interrupted: everything is stopped, and what was found is told")
            lab.left_out["the other cells"] = "interrupted"
    return Run(about, rounds, seconds, sweep.rows, scale, lab.left_out, sweep.failed)


def _tell(run: Run, args: argparse.Namespace) -> None:
    if args.json:  # first: it took long, and --draw can tell it again
        run.save(args.json)
    print(report.how(run))
    for section, rows in report.measured(run):
        print(f"\n## {section.title}\n\n{section.tables(rows)}")
    print(f"\n## Aims\n\n{aims.table(run.rows)}")
    for name, why in {**run.left_out, **run.failed}.items():
        print(f"- {name}: {why}")
    if args.report:
        report.write(run, args.report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the daily form: two minutes")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CELLS",
        help="names of cells, with wildcards: 'http-put-*'; may be repeated",
    )
    parser.add_argument("--list", action="store_true", help="name all cells, and measure none")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--seconds", type=int, help=f"default {SECONDS}, quick {QUICK_SECONDS}")
    parser.add_argument(
        "--scale",
        type=float,
        help="of what is long whatever the rounds, 50 kills, a million keys, ten minutes under full"
        f" load: default 1, quick {QUICK_SCALE}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write pages and plots: docs/benchmarks"
    )
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="FILE",
        help="take the rows of an earlier --json; with --only, those cells are measured anew",
    )
    return parser


if __name__ == "__main__":
    main()
