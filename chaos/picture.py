"""One picture of a run, as SVG without anything from elsewhere. Pure.

From above: faults as bars, one lane for each that lasts at the same time; how long each operation
took (logarithmic), coloured by outcome; operations a second by outcome. Time runs to the right;
faults shade all of it, anomalies are red lines through all of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from chaos.history import Anomaly, Operation, Outcome
from chaos.nemesis import Struck

WIDTH: Final = 1100
LEFT: Final = 64
RIGHT: Final = 16
LANE_HEIGHT: Final = 18
LATENCY_HEIGHT: Final = 260
RATE_HEIGHT: Final = 120
GAP: Final = 34

POINTS_MAX: Final = 6000
"""Of operations that went well; of others all are drawn, up to as many again."""

LATENCY_MS: Final = (0.1, 10_000.0)

COLOURS: Final = {Outcome.OK: "#2b6cb0", Outcome.FAIL: "#d08a00", Outcome.UNKNOWN: "#8e44ad"}
FAULT_COLOURS: Final = {
    "kill": "#c0392b",
    "pause": "#d35400",
    "partition": "#16a085",
    "slow": "#7f8c8d",
    "lossy": "#95a5a6",
    "clock": "#8e44ad",
}
OTHER_FAULT: Final = "#34495e"
ANOMALY: Final = "#e3000f"


class _Frame:
    """Where things are, for a run of so many seconds with so many lanes of faults."""

    def __init__(self, end_ns: int, lanes: int) -> None:
        self.end_ns = max(end_ns, 1)
        self.lanes_top = 24
        self.latency_top = self.lanes_top + lanes * LANE_HEIGHT + GAP
        self.rate_top = self.latency_top + LATENCY_HEIGHT + GAP
        self.bottom = self.rate_top + RATE_HEIGHT
        self.height = self.bottom + 40

    def x(self, at_ns: float) -> float:
        return LEFT + at_ns / self.end_ns * (WIDTH - LEFT - RIGHT)

    def latency_y(self, span_ns: float) -> float:
        low, high = (math.log10(ms) for ms in LATENCY_MS)
        ms = min(max(span_ns / 1e6, LATENCY_MS[0]), LATENCY_MS[1])
        share = (math.log10(ms) - low) / (high - low)
        return self.latency_top + LATENCY_HEIGHT * (1 - share)


def draw(
    operations: Sequence[Operation], struck: Sequence[Struck], anomalies: Sequence[Anomaly]
) -> str:
    """The whole SVG document."""
    ends = [op.completed_ns or op.invoked_ns for op in operations]
    ends += [one.healed_ns or one.began_ns for one in struck]
    lanes = _lanes(struck)
    frame = _Frame(max(ends, default=1), max(lanes, default=-1) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {frame.height}"'
        ' font-family="system-ui, sans-serif" font-size="11" fill="#444">',
        f'<rect width="{WIDTH}" height="{frame.height}" fill="#fff"/>',
        *_faults(frame, struck, lanes),
        *_latencies(frame, operations),
        *_rates(frame, operations),
        *_time_axis(frame),
        *_anomalies(frame, anomalies),
        *_legend(frame),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _lanes(struck: Sequence[Struck]) -> list[int]:
    """For each fault the first lane that is free when it begins."""
    free_ns: list[int] = []
    lanes = []
    for one in struck:
        lane = next((i for i, at in enumerate(free_ns) if at <= one.began_ns), len(free_ns))
        if lane == len(free_ns):
            free_ns.append(0)
        free_ns[lane] = one.healed_ns or 2**63
        lanes.append(lane)
    return lanes


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#444") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
    )


def _faults(frame: _Frame, struck: Sequence[Struck], lanes: Sequence[int]) -> Iterator[str]:
    yield _text(LEFT, frame.lanes_top - 8, "faults")
    for one, lane in zip(struck, lanes, strict=True):
        x = frame.x(one.began_ns)
        width = max(2.0, frame.x(one.healed_ns or frame.end_ns) - x)
        colour = FAULT_COLOURS.get(one.fault, OTHER_FAULT)
        y = frame.lanes_top + lane * LANE_HEIGHT
        title = f"<title>{escape(one.detail)}, {one.began_ns / 1e9:.2f} s</title>"
        yield (
            f'<rect x="{x:.1f}" y="{frame.latency_top}" width="{width:.1f}" fill="{colour}"'
            f' height="{frame.bottom - frame.latency_top}" opacity="0.07"/>'
        )
        yield (
            f'<g><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LANE_HEIGHT - 3}"'
            f' fill="{colour}" rx="2"/>{title}</g>'
        )
        if width > 6 * len(one.fault):
            yield _text(x + 3, y + 11, one.fault, fill="#fff")


def _latencies(frame: _Frame, operations: Sequence[Operation]) -> Iterator[str]:
    yield _text(LEFT, frame.latency_top - 8, "time from invocation to answer, ms")
    ms = LATENCY_MS[0]
    while ms <= LATENCY_MS[1]:
        y = frame.latency_y(ms * 1e6)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield _text(LEFT - 6, y + 4, f"{ms:g}", "end")
        ms *= 10
    for outcome, colour in COLOURS.items():
        chosen = [op for op in operations if op.outcome is outcome and op.completed_ns is not None]
        stride = max(1, len(chosen) // POINTS_MAX)
        dots = "".join(
            f"M{frame.x(op.completed_ns or 0):.1f} "
            f"{frame.latency_y((op.completed_ns or 0) - op.invoked_ns):.1f}h0"
            for op in chosen[::stride]
        )
        yield (
            f'<path d="{dots}" stroke="{colour}" stroke-width="2.4" stroke-linecap="round"'
            ' opacity="0.55"/>'
        )


def _rates(frame: _Frame, operations: Sequence[Operation]) -> Iterator[str]:
    counts = {outcome: Counter[int]() for outcome in COLOURS}
    for op in operations:
        if op.completed_ns is not None:
            counts[op.outcome][op.completed_ns // 10**9] += 1
    highest = max((n for of in counts.values() for n in of.values()), default=1)
    yield _text(LEFT, frame.rate_top - 8, "operations a second")
    for share in (0.0, 0.5, 1.0):
        y = frame.bottom - RATE_HEIGHT * share
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield _text(LEFT - 6, y + 4, f"{highest * share:.0f}", "end")
    for outcome, colour in COLOURS.items():
        points = (
            f"{frame.x(min((s + 0.5) * 1e9, frame.end_ns)):.1f},"
            f"{frame.bottom - RATE_HEIGHT * counts[outcome][s] / highest:.1f}"
            for s in range(frame.end_ns // 10**9 + 1)
        )
        yield (
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"'
            ' stroke-width="1.5"/>'
        )


def _time_axis(frame: _Frame) -> Iterator[str]:
    end_s = frame.end_ns / 1e9
    step_s = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300) if end_s / s <= 20), 600)
    for at_s in range(0, int(end_s) + 1, step_s):
        yield _text(frame.x(at_s * 1e9), frame.bottom + 14, f"{at_s} s", "middle")


def _anomalies(frame: _Frame, anomalies: Sequence[Anomaly]) -> Iterator[str]:
    for anomaly in anomalies:
        if anomaly.at_ns is None:
            continue
        x = frame.x(anomaly.at_ns)
        title = f"<title>{escape(f'{anomaly.key}: {anomaly.sentence}')}</title>"
        yield (
            f'<g><path d="M{x:.1f} {frame.lanes_top}V{frame.bottom}" stroke="{ANOMALY}"'
            f' stroke-width="1.5"/>{title}</g>'
        )
        for op in anomaly.evidence:
            if op.completed_ns is not None:
                y = frame.latency_y(op.completed_ns - op.invoked_ns)
                yield (
                    f'<circle cx="{frame.x(op.completed_ns):.1f}" cy="{y:.1f}" r="5" fill="none"'
                    f' stroke="{ANOMALY}" stroke-width="1.5"/>'
                )


def _legend(frame: _Frame) -> Iterator[str]:
    x, y = LEFT, frame.bottom + 32
    entries = [(str(outcome), colour) for outcome, colour in COLOURS.items()]
    for name, colour in [*entries, ("anomaly", ANOMALY)]:
        yield f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{colour}"/>'
        yield _text(x + 8, y, name)
        x += 90
