"""Clusters that end, and others that begin with what is left of them (see epochs.py)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from tests.sim import profile as profiles
from tests.sim.epochs import to_the_end
from tests.sim.stories import a_restore_goes_back, what_was_acknowledged_is_lost
from tests.sim.world import World

SEEDS = range(3, 7)
STORIES = {"recover": what_was_acknowledged_is_lost, "restore": a_restore_goes_back}
HAPPENED = {
    "recover": ("recoveries interrupted",),
    "restore": ("restores interrupted", "restored with another bump", "backups", "backups refused"),
}
ALWAYS = (
    "committed, and lost",
    "lost revisions",
    "asked again",
    "calls judged",
    "LockAcquire granted",
    "increments",
)
OFTEN = {
    "recover": (
        "not committed, and kept",
        "came back",
        "watched, and lost",
        "watched, and kept",
        "numbered, and asked again",
    ),
    "restore": ("came back", "watched, and lost"),
}
"""In one of the seeds at least."""


@pytest.mark.parametrize("how", STORIES)
def test_a_cluster_that_begins_with_what_is_left_keeps_its_word(how: str) -> None:
    count = Counter[str]()
    for seed in SEEDS:
        world = World(seed, how)
        STORIES[how](world)
        result = to_the_end(world)
        assert result.verdict is None, (
            f"seed {seed}, {result.verdict.kind}: {result.verdict.detail}"
        )
        for event in (*HAPPENED[how], *ALWAYS):
            assert result.count[event] > 0, f"{event}, seed {seed}: {result.count}"
        count += result.count
    for event in OFTEN[how]:
        assert count[event] > 0, f"{event}: {count}"


@pytest.mark.parametrize("seed", [2, 3])
def test_what_was_refused_may_appear_when_a_node_is_recovered_that_did_not_hear_of_it(
    seed: int,
) -> None:
    """The leader and n5 are cut off, with writes that only they have; the others elect another one.

    The leader comes back, and its clients are told that their writes were discarded. n5 does not,
    and is all that is left in the end: what it had received counts, as docs/OPERATIONS.md says.
    """
    drawn = profiles.draw("calm", random.Random(1))
    world = World(
        seed,
        replace(
            drawn,
            ends="recover",
            size=5,
            snapshot_entries=profiles.NEVER,
            client_gap_s=0.02,
            duration_s=8.0,
            heal_at_s=profiles.NEVER,
            quiet_from_s=profiles.NEVER,
            late_crash=False,
        ),
    )

    def isolate(*names: str) -> None:
        others = [name for name in world.names if name not in names]
        world.network.block({way for a in names for b in others for way in ((a, b), (b, a))})

    def cut_off() -> None:
        (leader,) = (m for m in world.members.values() if m.is_leader)
        isolate(leader.name, "n5")
        await_another(leader.term)

    def await_another(term: int) -> None:
        if any(m.is_leader and m.term > term for m in world.members.values()):
            world.network.unblock()
            isolate("n5")
        else:
            world.schedule.after(0.01, await_another, term)

    world.schedule.at(3.0, cut_off)
    world.ending.left = ["n5"]
    result = to_the_end(world)
    assert result.verdict is None, result.verdict
    assert result.count["refused, and kept"] > 0, result.count
