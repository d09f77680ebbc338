"""Tables of the report, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from scripts.measuring.model import Row


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; numbers are to be words already."""
    return "\n".join(
        f"| {' | '.join(line)} |" for line in [list(head), ["---"] * len(head), *lines]
    )


def comparison(rows: Sequence[Row], columns: Mapping[str, str], peer: str) -> str:
    """Throughput, latency and cost of rows of `rounds.in_turns`, with what each rate is of the
    peer's in the same cell (nothing where the peer is missing). `columns` says what tells the cells
    apart, by field, and how that is called.
    """
    head = [*columns.values(), "system", "per second", "from - to", f"of {peer}", "p50 ms"]
    head += ["p99 ms", "CPU µs each", "MiB", "errors"]
    lines = []
    for row in rows:
        beside = find(rows, row["cell"], peer)
        ratio = "" if beside is None else _of(row["rate"], beside["rate"])
        lines.append(
            [*(str(row[field]) for field in columns), row["system"], f"{row['rate']:,.0f}"]
            + [f"{min(row['rates']):,.0f} - {max(row['rates']):,.0f}", ratio]
            + [f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['cpu_us']:.1f}"]
            + [f"{row['rss_bytes'] >> 20:,}", f"{row['errors']:.0f}"]
        )
    return markdown(head, lines)


def ratios(rows: Sequence[Row], ours: str) -> str:
    """Ours, divided by each peer's, in every cell of one row for each system: throughput is better
    above 1, all else below.
    """
    counts = Counter((row["cell"], row["system"]) for row in rows)
    lines = []
    for row in rows:
        beside = find(rows, row["cell"], ours)
        if beside is None or row["system"].startswith(ours) or "rates" not in row:
            continue
        if counts[row["cell"], row["system"]] == counts[row["cell"], ours] == 1:
            fields = ("rate", "p50_ms", "p99_ms", "cpu_us")
            shown = (_of(beside[field], row[field]) for field in fields)
            lines.append([row["cell"], row["system"], *shown])
    return markdown(["cell", "peer", "throughput", "p50", "p99", "CPU of an operation"], lines)


def _of(number: float, peers: float) -> str:
    """Nothing of a peer that did nothing: on a busy machine, that happens in a short round."""
    return f"{number / peers:.2f}" if peers else ""


def find(rows: Sequence[Row], cell: str, system: str) -> Row | None:
    """What that system reached in that cell."""
    found = (row for row in rows if row["cell"] == cell and row["system"] == system)
    return next(found, None)
