"""The plots of the report: one colour for each system, axes from zero or with their scale named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.measuring.model import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Figure

COLOURS = {
    "raftcache": "#0072b2",
    "raftcache, follower": "#56b4e9",
    "etcd": "#d55e00",
    "zookeeper": "#009e73",
    "redis": "#cc79a7",
    "redis-pair": "#e69f00",
}
"""Of Okabe and Ito, which the colour-blind can tell apart."""
MARGIN = 1.08
"""Above the largest number: an axis that begins at zero does not grow with what is drawn later."""
SIZE_INCHES = (9.0, 4.0)


def save(figure: Figure, path: Path) -> None:
    """As SVG, the same bytes for the same numbers, letters as letters."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "raftcache", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def by_connections(rows: Sequence[Row], title: str) -> dict[str, Figure]:
    """`throughput` against connections, and `latency` against throughput, for each operation.

    Rows have `operation` and `connections`, beside what `rounds.in_turns` says.
    """
    if not rows:
        return {}
    return {
        "throughput": _panels(rows, f"Throughput: {title}", _throughput),
        "latency": _panels(rows, f"Latency against throughput: {title}", _latency),
    }


def panels(title: str, names: Sequence[str]) -> tuple[Figure, Sequence[Axes]]:
    """A figure with a titled place for each name, side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        axis.set_title(name, fontsize=11)
        axis.grid(visible=True, alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def colour(system: str) -> str:
    return COLOURS.get(system, "#555555")


def _panels(
    rows: Sequence[Row], title: str, draw: Callable[[Axes, str, Sequence[Row]], None]
) -> Figure:
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    figure, axes = panels(title, operations)
    for axis, operation in zip(axes, operations, strict=True):
        here = [row for row in rows if row["operation"] == operation]
        for system in dict.fromkeys(row["system"] for row in here):
            own = [row for row in here if row["system"] == system]
            draw(axis, system, sorted(own, key=lambda row: row["connections"]))
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center", ncols=4, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _throughput(axis: Axes, system: str, rows: Sequence[Row]) -> None:
    """Medians; the bars go from the slowest round to the fastest."""
    counts = [row["connections"] for row in rows]
    rates = [row["rate"] for row in rows]
    below = [row["rate"] - min(row["rates"]) for row in rows]
    fastest = [max(row["rates"]) for row in rows]
    above = [top - rate for top, rate in zip(fastest, rates, strict=True)]
    axis.errorbar(
        counts, rates, [below, above], marker="o", capsize=3, color=colour(system), label=system
    )
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_ylim(0, max(axis.get_ylim()[1], MARGIN * max(fastest)))
    axis.set_xlabel("connections (log)")
    axis.set_ylabel("operations per second")
    _thousands(axis.yaxis)


def _latency(axis: Axes, system: str, rows: Sequence[Row]) -> None:
    """A point for each number of connections, which stands beside it; up is slower."""
    rates = [row["rate"] for row in rows]
    for field, style, name in (("p50_ms", "-", "p50"), ("p99_ms", ":", "p99")):
        latencies = [row[field] for row in rows]
        axis.plot(
            rates, latencies, style, marker="o", color=colour(system), label=f"{system} {name}"
        )
    for row in rows:
        axis.annotate(
            str(row["connections"]),
            (row["rate"], row["p50_ms"]),
            xytext=(3, -11),
            textcoords="offset points",
            fontsize=8,
            color=colour(system),
        )
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
    axis.set_xlim(0, max(axis.get_xlim()[1], MARGIN * max(rates)))
    axis.set_xlabel("operations per second (beside the points: connections)")
    axis.set_ylabel("latency, ms (log)")
    _thousands(axis.xaxis)


def _thousands(axis: Axis) -> None:
    axis.set_major_formatter(lambda number, _: f"{number:,.0f}")
