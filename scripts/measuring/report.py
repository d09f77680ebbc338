"""The pages of a run: one for each section that was measured, and a summary of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.measuring import aims, plots, tables
from scripts.measuring.catalogue import SECTIONS
from scripts.measuring.model import Row, Section

NOTE = "<!-- Written by scripts/bench; do not edit. -->"

RATIOS = """raftcache's number, divided by the peer's in the same cell: above 1 is better for
throughput, below 1 for all else."""


@dataclass
class Run:
    """Everything that a run found, as its JSON has it."""

    machine: dict[str, str]
    rounds: int
    seconds: int
    rows: list[Row]
    scale: float = 1.0
    """Of the cells that do not go in rounds: see `lab.Lab`."""
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def loaded(cls, path: Path) -> Run:
        return cls(**json.loads(path.read_text()))

    def renewed_by(self, newer: Run) -> Run:
        """The newer one, with cells that it does not have from this one. A cell is never mixed."""
        measured = {row["cell"] for row in newer.rows}
        kept = [row for row in self.rows if row["cell"] not in measured]
        failed = {cell: why for cell, why in self.failed.items() if cell not in measured}
        return Run(
            newer.machine or self.machine,
            newer.rounds if newer.rows else self.rounds,
            newer.seconds if newer.rows else self.seconds,
            kept + newer.rows,
            newer.scale if newer.rows else self.scale,
            {**self.left_out, **newer.left_out},
            {**failed, **newer.failed},
        )


def write(run: Run, folder: Path) -> None:
    """summary.md, <section>.md and their plots; pages of sections that have no rows stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for section, rows in measured(run):
        names = []
        for name, figure in _figures(section, rows).items():
            plots.save(figure, folder / f"{section.name}-{name}.svg")
            names.append(name)
        (folder / f"{section.name}.md").write_text(page(run, section, rows, names))
    (folder / "summary.md").write_text(summary(run))


def measured(run: Run) -> list[tuple[Section, list[Row]]]:
    """The sections that have rows, in the catalogue's order, the rows in that of their cells."""
    found = []
    for section in SECTIONS:
        order = {cell.name: at for at, cell in enumerate(section.cells)}
        rows = [row for row in run.rows if row["cell"] in order]
        if rows:
            found.append((section, sorted(rows, key=lambda row: order[row["cell"]])))
    return found


def page(run: Run, section: Section, rows: Sequence[Row], plot_names: Sequence[str]) -> str:
    pictures = [f"![{name}]({section.name}-{name}.svg)" for name in plot_names]
    parts = [f"# {section.title}", NOTE, how(run), section.intro, *pictures, section.tables(rows)]
    return "\n\n".join([*parts, *_remarks(run, section)]) + "\n"


def summary(run: Run) -> str:
    """What was aimed at, and where the rest is."""
    links = [f"- [{section.title}]({section.name}.md)" for section, _ in measured(run)]
    parts = ["# Benchmarks: the summary of a run", NOTE, how(run), aims.table(run.rows)]
    parts += ["\n".join(links), *_remarks(run), "## Ratios", RATIOS]
    return "\n\n".join([*parts, tables.ratios(run.rows, aims.OURS)]) + "\n"


def how(run: Run) -> str:
    machine = run.machine
    return (
        f"Measured {machine['date']} at commit {machine['commit']}, medians of {run.rounds}"
        f" alternating rounds of {run.seconds} s (scale {run.scale:g}), everything on loopback and"
        f" on one machine: {machine['machine']}; {machine['system']}; {machine['versions']}."
        " Servers and load share the cores, so only ratios from one run mean anything."
    )


def _remarks(run: Run, section: Section | None = None) -> list[str]:
    """What could not be measured, and why."""
    own = None if section is None else {cell.name for cell in section.cells}
    needed = (
        None if section is None else {s for c in section.cells for s in (*c.systems, *c.starts)}
    )
    lines = [
        f"- left out: {name}, {why}"
        for name, why in run.left_out.items()
        if needed is None or name in needed
    ]
    lines += [
        f"- errors: {row['errors']:.0f} in {row['cell']}, {row['system']}"
        for row in run.rows
        if row.get("errors") and (own is None or row["cell"] in own)
    ]
    lines += [f"- failed: {c}: {why}" for c, why in run.failed.items() if own is None or c in own]
    return ["\n".join(dict.fromkeys(lines))] if lines else []


def _figures(section: Section, rows: Sequence[Row]) -> dict[str, plots.Figure]:
    return section.plots(rows)
