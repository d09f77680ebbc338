"""Whole clusters under faults: ours holds, the engine as shipped does not.

A failing seed is played again, with its trace, by: scripts/sim --seeds N --trace
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest

from raftcache.command.versions import COMMANDS_FIRST
from tests.sim.editions import NEWER
from tests.sim.epochs import run
from tests.sim.profile import NAMES
from tests.sim.stock import StockMember, as_installed
from tests.sim.stories import (
    Story,
    every_version_comes,
    logs_are_cut_while_they_are_read,
    old_entries_are_read,
)
from tests.sim.world import Result, World

SEEDS = range(1, 25)
SEEDS_OF_EACH_PROFILE = range(101, 104)
SEEDS_OF_MEMBERSHIP = range(1, 13)
SEEDS_OF_REDIS = range(6, 26)
SEEDS_OF_STOCK = range(4, 9)
SEEDS_ONCE_BROKEN = (
    ("mixed", 5041),
    ("mixed", 5049),
    ("membership", 10),
    ("membership", 18),
    ("membership", 51),
    ("disks", 175),
    ("membership", 11298),
    ("crashes", 20306),
    ("crashes", 20766),
    ("membership", 20188),
    ("upgrades", 20047),
    ("recover", 18),
)
"""What showed a mistake once."""


def check(result: Result, profile: str) -> None:
    again = f"scripts/sim --profile {profile} --seeds {result.seed} --trace"
    assert result.verdict is None, f"{result.verdict.kind}: {result.verdict.detail}\n{again}"


def show(profile: str, seeds: Iterable[int], *events: str) -> None:
    """Play these seeds, in which the cluster must keep its word, until all that is named happened.

    Else nobody would know that a proof tries nothing any more. Which seeds do is of no matter: each
    change of the timing makes it others.
    """
    count = Counter[str]()
    for seed in seeds:
        result = run(seed, profile)
        check(result, profile)
        count += result.count
        if all(count[event] > 0 for event in events):
            return
    missing = [event for event in events if not count[event]]
    raise AssertionError(f"never in {seeds} of {profile}: {missing}; but {count}")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_keeps_its_word_under_faults(seed: int) -> None:
    check(run(seed, "mixed"), "mixed")


@pytest.mark.parametrize("profile", [name for name in NAMES if name != "mixed"])
@pytest.mark.parametrize("seed", SEEDS_OF_EACH_PROFILE)
def test_a_cluster_keeps_its_word_where_one_thing_abounds(seed: int, profile: str) -> None:
    check(run(seed, profile), profile)


@pytest.mark.parametrize("seed", SEEDS_OF_MEMBERSHIP)
def test_a_cluster_keeps_its_word_while_members_come_and_go(seed: int) -> None:
    check(run(seed, "membership"), "membership")


@pytest.mark.parametrize(("profile", "seed"), SEEDS_ONCE_BROKEN)
def test_a_seed_that_showed_a_mistake_shows_none(profile: str, seed: int) -> None:
    check(run(seed, profile), profile)


def test_the_faults_of_these_seeds_are_not_harmless() -> None:
    """What the first seeds went through; if a change takes the faults away, this test says so."""
    count = sum((run(seed, "mixed").count for seed in SEEDS[:8]), start=run(SEEDS[8]).count)
    for event in ("crashes", "acknowledged", "refused", "unknown", "reads", "lease reads"):
        assert count[event] > 0, f"{event}: {count}"
    assert count["elections"] > len(SEEDS[:9])


def test_members_do_come_and_go_in_these_seeds() -> None:
    granted = [f"{change} granted" for change in ("add", "promote", "remove", "update")]
    others = "wiped", "expelled", "retries", "calls judged"
    show("membership", SEEDS_OF_MEMBERSHIP, *granted, *others)


@pytest.mark.parametrize("seed", range(1, 5))
def test_what_a_version_brought_is_used_when_all_voters_know_it_and_not_before(seed: int) -> None:
    """Of every version that there ever was, and of the next one."""
    world = World(seed, "upgrades")
    every_version_comes(world)
    result = world.run()
    check(result, "upgrades")
    assert result.count["upgrades"] > len(world.names) * (NEWER - COMMANDS_FIRST), result.count
    for event in (
        "stopped by its age",
        "Txn refused",
        "Txn succeeded",
        "Calls refused",
        "increments",
        "newer commands refused",
        "newer commands",
    ):
        assert result.count[event] > 0, f"{event}: {result.count}"


def test_old_entries_are_read_back_from_the_disk_in_these_seeds() -> None:
    show("mixed", SEEDS, "read back")


@pytest.mark.parametrize("story", [old_entries_are_read, logs_are_cut_while_they_are_read])
def test_the_stories_of_old_entries_break_nothing(story: Story) -> None:
    for seed in SEEDS_OF_EACH_PROFILE:
        world = World(seed, "partitions")
        story(world)
        result = world.run()
        check(result, "partitions")
        assert result.count["read back"] > 0, result.count


def test_disks_do_fail_in_these_seeds() -> None:
    show("disks", SEEDS, "stopped by the disk")


def test_all_that_a_store_offers_is_used_in_these_seeds() -> None:
    show(
        "store",
        SEEDS,
        "Txn succeeded",
        "Txn failed",
        "Txn aborted",
        "DeleteRange deleted",
        "Evict deleted",
        "evicted",
        "spared",
        "LeasedPut created",
        "LeaseKeepAlive changed",
        "LeaseRevoke deleted",
        "LockAcquire granted",
        "LockStay granted",
        "LockLeave deleted",
        "LockRelease deleted",
        "revisions compared",
    )


def test_all_that_redis_clients_do_is_done_in_these_seeds() -> None:
    show(
        "redis",
        SEEDS_OF_REDIS,
        "images loaded",
        "retries",
        "moves",
        "moves as seen",
        "moves too late",
        "moves by script",
        "entries added",
        "parcels taken",
        "parcels told again",
        "failed half way",
        "increments",
        "swaps",
        "jobs taken",
        "marbles taken",
        "nodes taken",
        "rearranged",
        "expired",
    )


def test_all_that_happens_to_numbers_happens_in_these_seeds() -> None:
    show(
        "numbered",
        SEEDS,
        "numbers judged",
        "numbers sent again",
        "numbers replayed",
        "duplicates refused",
        "clients forgotten",
        "images loaded",
    )


def test_stock_breaks_its_word() -> None:
    """The engine as installed, on a perfect disk, loses or denies committed entries."""
    broken = (
        "match index above the durable log",
        "commit index back",
        "committed entry changed",
        "committed without a durable majority",
        "leader completeness",
    )
    kinds = []
    with as_installed():
        for seed in SEEDS_OF_STOCK:
            verdict = run(seed, "bursts", StockMember).verdict
            kinds.append(verdict and verdict.kind)
            if kinds[-1] in broken:
                return
    pytest.fail(f"stock survived seeds {SEEDS_OF_STOCK}: {kinds}")


def _trace_in_a_process(hash_seed: str) -> str:
    code = "from tests.sim.epochs import run; print([run(s).trace for s in (1, 5, 9)])"
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_seed_is_a_run_whatever_the_hash_seed() -> None:
    traces = {_trace_in_a_process(hash_seed) for hash_seed in ("0", "1", "77")}
    assert len(traces) == 1, traces
