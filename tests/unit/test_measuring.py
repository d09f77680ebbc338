"""The measuring stick: what generators say, what becomes of rounds, and what is told."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.measuring import aims, catalogue, plots, report, tables
from scripts.measuring.cells.grpc import grpc_message
from scripts.measuring.cells.http import zipf_order
from scripts.measuring.loads import h2load, jute, redis_benchmark, resp, wrk
from scripts.measuring.loads.percentiles import percentile, reading
from scripts.measuring.report import Run
from scripts.measuring.rounds import medians
from scripts.measuring.systems import KINDS
from scripts.measuring.systems.base import Node


def row(cell: str, system: str, rate: float, **more: Any) -> dict[str, Any]:
    numbers = {"p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 3.0, "rss_bytes": 5 << 20, "errors": 0}
    said = {"operation": "SET", "pipeline": 1}
    return {
        "cell": cell, "system": system, "rate": rate, "rates": [rate - 1, rate], **numbers, **said,
        **more,
    }  # fmt: skip


def run_of(*rows: dict[str, Any], **more: Any) -> Run:
    machine = dict.fromkeys(("date", "machine", "system", "versions", "commit"), "known")
    return Run(machine, 5, 2, list(rows), **more)


# -- numbers ---------------------------------------------------------------------------------------


def test_a_percentile_is_one_of_the_numbers_by_nearest_rank() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, p) for p in (0, 50, 99, 99.9, 100)] == [1, 50, 99, 100, 100]
    assert percentile([7.0], 99) == 7
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 50)


def test_operations_of_one_pipeline_share_its_latency() -> None:
    found = reading([2000.0, 1000.0], each=32, seconds=2)
    assert found == {"rate": 32, "p50_ms": 1, "p99_ms": 2, "operations": 64, "errors": 0}


def test_rounds_become_medians_number_by_number_and_no_error_is_lost() -> None:
    rounds = [
        {"rate": 10.0, "p50_ms": 3.0, "errors": 0},
        {"rate": 30.0, "p50_ms": 1.0, "errors": 2},
        {"rate": 20.0, "p50_ms": 2.0, "errors": 0},
    ]
    assert medians(rounds) == {"rate": 20, "p50_ms": 2, "errors": 2, "rates": [10, 30, 20]}


# -- what generators say ---------------------------------------------------------------------------


def test_wrk_is_read_from_what_its_script_prints_last() -> None:
    said = '{"operations":200,"us":2000000,"p50_us":500,"p99_us":9000,"errors":1}'
    assert wrk.parse(f"Running 1s test\n\nJSON{said}") == {
        "rate": 100, "p50_ms": 0.5, "p99_ms": 9, "operations": 200, "errors": 1,
    }  # fmt: skip


def test_the_script_of_wrk_holds_the_requests_their_order_and_a_port_for_each_thread(
    tmp_path: Path,
) -> None:
    requests = [wrk.Request("GET", "/a"), wrk.Request("PUT", "/b", "value")]
    nodes = [Node("n1", 1, {"http": 8001}), Node("n2", 2, {"http": 8002})]
    path = tmp_path / "wrk.lua"
    wrk.Mixture(requests, "xyz", order=[1, 1, 0]).write(path, nodes)
    said = path.read_text()
    assert 'local ports = {"8001", "8002"}' in said
    assert "local order = {2,2,1}" in said  # Lua counts from 1
    assert 'made[2] = wrk.format("PUT", "/b", nil, value)' in said


def test_redis_benchmark_is_read_from_its_last_line() -> None:
    out = (
        '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms",'
        '"p99_latency_ms","max_latency_ms"\n'
        '"SET","78818.00","0.700","0.080","0.679","1.031","1.231","2.007"\n'
    )
    assert redis_benchmark.parse(out, 500) == {
        "rate": 78818, "p50_ms": 0.679, "p99_ms": 1.231, "operations": 500, "errors": 0,
    }  # fmt: skip


def test_h2load_counts_good_answers_only_and_tells_the_others() -> None:
    out = "requests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout\n"
    log = "1795742233202757\t200\t2000\n1\t200\t1000\n2\t503\t10\n3\t201\t3000\n"
    assert h2load.parse(out, log, 1) == {
        "rate": 3, "p50_ms": 2, "p99_ms": 3, "operations": 3, "errors": 1,
    }  # fmt: skip
    assert h2load.data_bytes("traffic: 1KB (1000) total, 1B (1) headers, 171B (175) data") == 175


# -- what our generator asks -----------------------------------------------------------------------


def test_a_pipeline_is_answered_by_as_many_answers_and_nothing_else_is_good() -> None:
    plan = resp.plan("SET+WAIT", 2)
    assert plan.packets[0].count(b"$3\r\nSET") == 2
    assert plan.packets[0].endswith(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n")
    assert plan.is_good(b"+OK\r\n+OK\r\n:1\r\n")
    assert not plan.is_good(b"+OK\r\n+OK\r\n:0\r\n")  # no replica has it
    assert plan.answer_bytes == len(b"+OK\r\n+OK\r\n:1\r\n")


def test_an_answer_of_zookeeper_is_good_if_none_of_its_parts_is_an_error() -> None:
    plan = jute.plan("GET", 1)
    sync = struct.pack(">iiqi", 16 + 12, 1, 9, 0) + bytes(12)
    data = struct.pack(">iiqi", 16 + 68 + 68, 1, 9, 0) + bytes(68 + 68)
    assert plan.answer_bytes == len(sync + data)
    assert plan.is_good(sync + data)
    assert not plan.is_good(sync + data[:16] + struct.pack(">i", -101) + data[20:])


def test_a_message_of_grpc_is_its_length_and_protobuf() -> None:
    assert grpc_message(b"k", b"v" * 200) == (
        b"\0" + struct.pack(">I", 3 + 3 + 200) + b"\x0a\x01k" + b"\x12\xc8\x01" + b"v" * 200
    )


def test_a_mix_has_one_write_in_ten_and_a_few_keys_that_are_asked_for_most() -> None:
    order = zipf_order(1000, draws=20_000)
    assert 0.08 < sum(place >= 1000 for place in order) / len(order) < 0.12
    often = Counter(place % 1000 for place in order).most_common(10)
    assert sum(count for _, count in often) > len(order) / 4


# -- what is told ----------------------------------------------------------------------------------


def test_a_table_has_the_ratio_to_the_peer_of_the_same_cell() -> None:
    rows = [row("a", "raftcache", 200), row("a", "redis", 400), row("b", "raftcache", 100)]
    lines = tables.comparison(rows, {"operation": "", "pipeline": "-P"}, "redis").splitlines()
    assert lines[2].startswith(
        "| SET | 1 | raftcache | 200 | 199 - 200 | 0.50 | 1.00 | 2.00 | 3.0 |"
    )
    assert "| 1.00 |" in lines[3]
    assert "|  |" in lines[4]  # the peer did not take part
    rows[1]["rate"] = 0.0  # it did, and answered nothing
    assert "|  |" in tables.comparison(rows, {"operation": ""}, "redis").splitlines()[2]


def test_ratios_are_of_cells_that_both_took_part_in_once() -> None:
    rows = [row("a", "raftcache", 200, p50_ms=0.5), row("a", "raftcache, follower", 1)]
    rows += [row("a", "etcd", 100), row("b", "etcd", 100)]
    rows += [row("c", "raftcache", 1), row("c", "raftcache", 2), row("c", "etcd", 1)]
    lines = tables.ratios(rows, "raftcache").splitlines()
    assert lines[2:] == ["| a | etcd | 2.00 | 0.50 | 1.00 | 1.00 |"]


def test_an_aim_is_met_or_not_and_silent_where_nothing_was_measured() -> None:
    rows = [row("a-1", "raftcache", 300), row("a-1", "etcd", 100)]
    rows += [row("a-2", "raftcache", 90), row("a-2", "etcd", 100)]
    least = aims.Aim("x", aims.ratio("a-1", "etcd"), 3)
    assert least.line(rows) == ["x", "at least 3", "3.00", "yes"]
    most = aims.Aim("y", aims.ratio("a-1", "etcd", "p50_ms"), 0.5, is_least=False)
    assert most.line(rows) == ["y", "at most 0.5", "1.00", "**no**"]
    assert aims.Aim("z", aims.worst("a-", "etcd"), 1).line(rows) == [
        "z", "at least 1", "0.90", "**no**",
    ]  # fmt: skip
    assert aims.Aim("z", aims.worst("b-", "etcd"), 1).line(rows) is None


def test_cells_that_were_measured_again_replace_the_old_ones_whole(tmp_path: Path) -> None:
    old = run_of(row("a", "raftcache", 1), row("a", "etcd", 1), row("b", "etcd", 1))
    old.failed["a"] = "no luck"
    old.save(tmp_path / "run.json")
    both = Run.loaded(tmp_path / "run.json").renewed_by(run_of(row("a", "raftcache", 2)))
    assert [(r["cell"], r["system"], r["rate"]) for r in both.rows] == [
        ("b", "etcd", 1),
        ("a", "raftcache", 2),
    ]
    assert both.failed == {}


def test_a_page_names_the_run_and_whatever_could_not_be_measured(tmp_path: Path) -> None:
    cell = "resp-set-p1"
    rows = [row(cell, "raftcache", 50, errors=3), row(cell, "redis", 100)]
    run = run_of(*rows, left_out={"zookeeper": "no java"}, failed={"resp-get-p1": "it broke"})
    report.write(run, tmp_path)
    page = (tmp_path / "resp.md").read_text()
    assert "medians of 5 alternating rounds of 2 s (scale 1)" in page
    assert "- failed: resp-get-p1: it broke" in page
    assert f"- errors: 3 in {cell}, raftcache" in page
    assert "zookeeper" not in page
    summary = (tmp_path / "summary.md").read_text()
    assert "- left out: zookeeper, no java" in summary
    assert "| SET, -P 1, of Redis alone | at least 0.6 | 0.50 | **no** |" in summary


def test_cells_have_names_of_their_own_and_known_systems() -> None:
    cells = [cell for section in catalogue.SECTIONS for cell in section.cells]
    assert len({cell.name for cell in cells}) == len(cells)
    assert {system for cell in cells for system in cell.systems} <= set(KINDS)
    quick = catalogue.chosen([], is_quick=True)
    assert quick
    assert len(quick) < len(cells) / 2
    assert [cell.name for cell in catalogue.chosen(["resp-?et-p1"], is_quick=False)] == [
        "resp-set-p1",
        "resp-get-p1",
    ]


def test_no_number_is_outside_of_a_plot_that_begins_at_zero() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: scripts/bench does it")
    pairs = [("etcd", 10.0), ("raftcache", 1000.0)]
    rows = [row("a", name, rate, connections=n) for name, rate in pairs for n in (1, 64)]
    figures = plots.by_connections(rows, "title")
    (low, high) = figures["throughput"].axes[0].get_ylim()
    assert (low, high > 1000) == (0, True)
    (low, high) = figures["latency"].axes[0].get_xlim()
    assert (low, high > 1000) == (0, True)
