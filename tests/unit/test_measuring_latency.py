"""Latency, failover, memory and growth: what the measuring stick makes of what it measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.measuring import aims
from scripts.measuring.cells import failover, half_load, memory, scaling, snapshots
from scripts.measuring.cells.failover import PERIOD_S, RESUMED, Clients
from scripts.measuring.cells.half_load import OWN, SAME
from scripts.measuring.cells.snapshots import DOWN, QUIET, TAKING
from scripts.measuring.lab import Lab

# -- half load -------------------------------------------------------------------------------------


def half(system: str, load: str, rate_due: float, p99_ms: float) -> dict[str, Any]:
    return {"cell": "c", "system": system, "load": load, "rate_due": rate_due, "p99_ms": p99_ms}


def test_a_p99_stands_beside_the_peers_at_its_half_and_at_the_same_rate() -> None:
    fast, slow = half("raftcache", OWN, 1000, 2.0), half("etcd", OWN, 250, 8.0)
    same = half("raftcache", SAME, 250, 1.0)
    rows = [fast, slow, same]
    assert [half_load.ratios(row, rows) for row in rows] == [["0.25", ""], ["", ""], ["", "0.12"]]


def test_the_slower_one_is_compared_with_the_faster_at_its_rate_too() -> None:
    ours, redis = half("raftcache", OWN, 100, 4.0), half("redis", OWN, 900, 2.0)
    slowed = half("redis", SAME, 100, 1.0)
    assert half_load.ratios(ours, [ours, redis, slowed]) == ["2.00", "4.00"]


# -- failover --------------------------------------------------------------------------------------


def test_writes_go_on_when_enough_that_were_due_after_the_kill_are_acknowledged() -> None:
    clients = Clients([1], lambda number: b"")
    clients.due_at += [number * PERIOD_S for number in range(100)]
    killed_s = 50 * PERIOD_S
    assert clients.resumed(killed_s)
    del clients.due_at[50 + RESUMED :]
    assert not clients.resumed(killed_s)  # the fiftieth was due with the kill, not after it


# -- snapshots -------------------------------------------------------------------------------------


def test_each_beginning_has_the_end_that_follows_and_the_last_may_have_none() -> None:
    assert snapshots.pairs([1.0, 5.0, 9.0], [2.0, 6.0]) == [(1.0, 2.0), (5.0, 6.0)]
    assert snapshots.pairs([1.0], []) == []


def test_a_latency_belongs_to_what_went_on_when_it_was_due() -> None:
    spans = {DOWN: [(10.0, 20.0)], TAKING: [(15.0, 30.0)]}
    samples = [(5.0, 1), (12.0, 2), (16.0, 3), (25.0, 4), (31.0, 5)]
    assert snapshots.by_state(samples, spans) == {QUIET: [1, 5], DOWN: [2, 3], TAKING: [4]}


# -- sizes -----------------------------------------------------------------------------------------


def lab(folder: Path, scale: float) -> Lab:
    return Lab(folder, rounds=1, seconds=1, scale=scale)


@pytest.mark.parametrize(("scale", "steps"), [(1.0, 4), (0.5, 3), (0.01, 2), (0.00001, 1)])
def test_the_scale_says_how_many_steps_of_keys_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, steps: int
) -> None:
    monkeypatch.setattr(scaling, "available_bytes", lambda: 1 << 40)
    assert scaling.steps(lab(tmp_path, scale)) == list(scaling.STEPS[:steps])


def test_keys_that_would_not_fit_into_memory_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "available_bytes", lambda: 8 << 30)
    small = lab(tmp_path, 1.0)
    assert scaling.steps(small) == list(scaling.STEPS[:3])
    assert list(small.left_out) == ["9,600,000 keys"]


@pytest.mark.parametrize("scale", [0.001, 0.04, 0.3333, 1.0])
def test_keys_in_memory_are_whole_pipelines(tmp_path: Path, scale: float) -> None:
    assert memory.keys_of(lab(tmp_path, scale)) % memory.PIPELINE == 0


# -- aims ------------------------------------------------------------------------------------------


def test_an_aim_may_be_a_number_of_ours_or_the_worst_of_many_ratios() -> None:
    rows = [
        {"cell": "stalls", "system": "raftcache", "phase": "loading", "max_ms": 90.0},
        {"cell": "stalls", "system": "raftcache", "phase": "writes", "max_ms": 7.0},
        {"cell": "stalls", "system": "raftcache", "phase": "writes", "max_ms": 11.0},
        {"cell": "stalls", "system": "idle", "phase": "writes", "max_ms": 30.0},
    ]
    assert aims.number("stalls", "max_ms", phase="writes")(rows) == 11
    assert aims.number("stalls", "max_ms")([]) is None
    halves = [
        {**half(system, OWN, 1, p99_ms), "cell": cell}
        for cell, system, p99_ms in (
            *(("half-http-a", "raftcache", 2.0), ("half-http-a", "etcd", 4.0)),
            *(("half-http-b", "raftcache", 3.0), ("half-http-b", "etcd", 2.0)),
            ("half-http-c", "raftcache", 9.0),
        )
    ]
    assert aims.slowest("half-http-", "etcd", "p99_ms")(halves) == 1.5


def test_the_table_of_failover_names_every_system() -> None:
    row = {"signal": "SIGKILL", "times": 2, "median_ms": 480.2, "worst_ms": 700.0, "failed": 1}
    said = failover.tables([{"system": name, **row} for name in ("raftcache", "etcd")])
    assert "| SIGKILL | raftcache | 2 | 480 | 700 | 1 |" in said
    assert "| SIGKILL | etcd | 2 | 480 | 700 | 1 |" in said
