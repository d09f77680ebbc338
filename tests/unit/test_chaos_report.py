"""What a run leaves behind: the history as it was, a verdict, and a picture that stands alone."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from chaos import history, report
from chaos.__main__ import main
from chaos.controls import CONTROLS
from chaos.history import Anomaly, History, Operation, Outcome
from chaos.nemesis import Struck
from chaos.picture import draw
from chaos.run import Plan, Result

MS = 10**6


def an_operation(end: int | None = 5, outcome: Outcome = Outcome.OK) -> Operation:
    end_ns = None if end is None else end * MS
    return Operation(1, "write", "register:0", "<a&b>", 0, end_ns, outcome, 7)


def a_result(anomalies: list[Anomaly], problems: list[str]) -> Result:
    plan = Plan(seed=4, time_s=1, workloads=("register",), faults=("kill",))
    operations = [
        an_operation(),
        an_operation(9, Outcome.FAIL),
        an_operation(None, Outcome.UNKNOWN),
    ]
    struck = [
        Struck("kill", "kill leader: n<1>", 1 * MS, 8 * MS),
        Struck("pause", "pause random: n2", 2 * MS, None),
    ]
    skipped = ["clock is left out: why"]
    return Result(plan, operations, struck, anomalies, problems, skipped, "links of string", 0.1)


def test_a_history_counts_from_its_begin() -> None:
    ticks = iter([1000, 1007, 1019])
    grown = History(lambda: next(ticks))
    operation = grown.invoke(3, "read", "k")
    grown.complete(operation, Outcome.OK, 1)
    assert (operation.invoked_ns, operation.completed_ns, operation.ok) == (7, 19, True)
    with pytest.raises(AssertionError):
        grown.complete(operation, Outcome.OK)


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    operations = [an_operation(), an_operation(None, Outcome.UNKNOWN)]
    history.write(tmp_path / "h", operations)
    assert history.read(tmp_path / "h") == operations
    (tmp_path / "h").write_text('{"process": 1}\n')
    with pytest.raises(msgspec.MsgspecError):
        history.read(tmp_path / "h")


def test_the_picture_is_xml_and_needs_nothing_from_elsewhere() -> None:
    anomaly = Anomaly("register:0", "<broken> & seen", (an_operation(),))
    result = a_result([anomaly], [])
    picture = draw(result.operations, result.struck, [anomaly])
    ET.fromstring(picture)
    assert set(re.findall(r"https?://[^\"' ]+", picture)) == {"http://www.w3.org/2000/svg"}
    assert "&lt;broken&gt; &amp; seen" in picture
    assert "kill leader: n&lt;1&gt;" in picture
    ET.fromstring(draw([], [], []))


@pytest.mark.parametrize("broken", [False, True])
def test_the_report_directory(tmp_path: Path, broken: bool) -> None:
    anomaly = Anomaly("register:0", "it is broken", (an_operation(),))
    saved = report.save(a_result([anomaly] if broken else [], []), tmp_path / "r")
    verdict = json.loads((tmp_path / "r" / "verdict.json").read_text())
    assert (verdict["holds"], verdict["seed"]) == (not broken, 4)
    assert verdict["outcomes"] == {"write fail": 1, "write ok": 1, "write unknown": 1}
    assert len(history.read(tmp_path / "r" / "history.jsonl")) == 3
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<svg" in page
    assert ("a promise was broken" in page) == broken
    assert ("ANOMALY: register:0: it is broken" in report.summary(saved)) == broken


def test_a_problem_of_the_cluster_breaks_a_promise_too() -> None:
    assert not a_result([], ["n1 ended by itself"]).holds


def test_a_saved_history_can_be_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("")
    assert CliRunner().invoke(main, ["--judge", str(path)]).exit_code == 0
    stale = Operation(1, "read", "register:0", None, 0, 5, Outcome.OK, ["ghost", 3])
    history.write(path, [stale])
    again = CliRunner().invoke(main, ["--judge", str(path)])
    assert (again.exit_code, "register:0: no order" in again.output) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workload", "nonsense"], "'nonsense' is none of register"),
        (["--faults", "kill,none"], "'none' is none of kill"),
        (["--endpoints", "http://127.0.0.1:1"], "faults need a cluster of its own"),
        (["--workload", "set,ttl", "--clients", "1"], "2 workloads need as many --clients"),
    ],
)
def test_what_cannot_be_done_is_said(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2
    assert message in result.output


def test_the_list_names_everything() -> None:
    said = CliRunner().invoke(main, ["--list"]).output
    assert all(f"  {name} " in said for name in ("register", "stale", "partition", *CONTROLS))
