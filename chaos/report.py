"""The report directory: history.jsonl, verdict.json, picture.svg, and report.html around it."""

from __future__ import annotations

import html
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from chaos import history
from chaos.history import Operation
from chaos.nemesis import Struck
from chaos.picture import draw
from chaos.run import Result
from chaos.tally import longest_gap_s

RECOVERY_S: Final = 3.0
"""After a fault is healed, writes are looked at for so much longer."""

WRITES: Final = ("write", "cas", "incr", "add", "put")


def save(result: Result, folder: Path) -> dict[str, Any]:
    """Writes everything; returns the verdict."""
    folder.mkdir(parents=True, exist_ok=True)
    verdict = verdict_of(result)
    history.write(folder / "history.jsonl", result.operations)
    (folder / "verdict.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(verdict), indent=1)
    )
    picture = draw(result.operations, result.struck, result.anomalies)
    (folder / "picture.svg").write_text(picture)
    (folder / "report.html").write_text(_page(verdict, picture))
    return verdict


def verdict_of(result: Result) -> dict[str, Any]:
    """All of it but the history, for machines."""
    counts = Counter((op.kind, str(op.outcome)) for op in result.operations)
    return {
        "holds": result.holds,
        "seed": result.plan.seed,
        "plan": result.plan,
        "operations": len(result.operations),
        "outcomes": {f"{kind} {said}": count for (kind, said), count in sorted(counts.items())},
        "anomalies": [
            {
                "key": anomaly.key,
                "sentence": anomaly.sentence,
                "evidence": [str(op) for op in anomaly.evidence],
            }
            for anomaly in result.anomalies
        ],
        "problems": result.problems,
        "network": result.network,
        "skipped": result.skipped,
        "without_writes_ms": without_writes_ms(result.operations, result.struck),
        "faults": result.struck,
        "judged_s": round(result.judged_s, 3),
    }


def without_writes_ms(
    operations: Sequence[Operation], struck: Sequence[Struck]
) -> dict[str, dict[str, int]]:
    """The longest time without an acknowledged write for each kind of fault: median and worst.

    Faults overlap, and one that is healed at the end of another counts for both.
    """
    ends = [op.completed_ns for op in operations if op.ok and op.kind in WRITES]
    done_s = sorted(end_ns / 1e9 for end_ns in ends if end_ns is not None)
    gaps: dict[str, list[float]] = {}
    for one in struck:
        if one.healed_ns is not None:
            end_s = one.healed_ns / 1e9 + RECOVERY_S
            gap_s = longest_gap_s(done_s, one.began_ns / 1e9, end_s)
            gaps.setdefault(one.detail.partition(":")[0], []).append(gap_s)
    return {
        kind: {
            "times": len(seen),
            "median": round(statistics.median(seen) * 1000),
            "worst": round(max(seen) * 1000),
        }
        for kind, seen in sorted(gaps.items())
    }


def summary(verdict: dict[str, Any]) -> str:
    """For people, on a terminal."""
    lines = [
        f"seed {verdict['seed']}: {verdict['operations']} operations, ",
        verdict["network"],
        *verdict["skipped"],
    ]
    lines[0] += f"{len(verdict['faults'])} faults, judged in {verdict['judged_s']:.1f} s"
    lines += [f"PROBLEM: {problem}" for problem in verdict["problems"]]
    for anomaly in verdict["anomalies"]:
        lines.append(f"ANOMALY: {anomaly['key']}: {anomaly['sentence']}")
        lines += [f"    {line}" for line in anomaly["evidence"][:20]]
    lines.append("every promise held" if verdict["holds"] else "A PROMISE WAS BROKEN")
    return "\n".join(lines)


_STYLE: Final = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; color: #222 }
pre { background: #f6f6f4; padding: 1em; overflow: auto }
td, th { padding: 0 1em 0 0; text-align: left }
.good { color: #176a2c } .bad { color: #b3001b }
svg { width: 100%; height: auto }
"""


def _page(verdict: dict[str, Any], picture: str) -> str:
    holds, plan = verdict["holds"], verdict["plan"]
    title = "every promise held" if holds else "a promise was broken"
    loads, faults = ", ".join(plan.workloads), ", ".join(plan.faults) or "no faults"
    rows = "".join(
        f"<tr><td>{html.escape(kind)}</td><td>{seen['times']}</td>"
        f"<td>{seen['median']}</td><td>{seen['worst']}</td></tr>"
        for kind, seen in verdict["without_writes_ms"].items()
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>raftcache chaos: {title}</title>
<style>{_STYLE}</style>
<h1 class="{"good" if holds else "bad"}">{title}</h1>
<p>{html.escape(loads)} under {html.escape(faults)},
{plan.nodes} nodes, {plan.time_s:g} s, seed {plan.seed}</p>
{picture}
<pre>{html.escape(summary(verdict))}</pre>
<h2>Time without writes</h2>
<table><tr><th>fault</th><th>times</th><th>median ms</th><th>worst ms</th></tr>{rows}</table>
<h2>Outcomes</h2>
<pre>{html.escape(msgspec.json.format(msgspec.json.encode(verdict["outcomes"])).decode())}</pre>
</html>
"""
