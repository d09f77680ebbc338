"""Clusters that end, and others that begin with what is left of them (see epochs.py)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from raftcache.cluster import recovery
from raftcache.command.limits import REVISION_BUMP
from tests.sim import profile as profiles
from tests.sim.epochs import to_the_end
from tests.sim.member import Member
from tests.sim.profile import Profile
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


def _calm() -> Profile:
    """Nothing goes wrong, and nobody takes a snapshot, in all of eight seconds."""
    return replace(
        profiles.draw("calm", random.Random(1)),
        snapshot_entries=profiles.NEVER,
        duration_s=8.0,
        heal_at_s=profiles.NEVER,
        quiet_from_s=profiles.NEVER,
        late_crash=False,
    )


def _isolate(world: World, *names: str) -> None:
    others = [name for name in world.names if name not in names]
    world.network.block({way for a in names for b in others for way in ((a, b), (b, a))})


@pytest.mark.parametrize("seed", [2, 3])
def test_what_was_refused_may_appear_when_a_node_is_recovered_that_did_not_hear_of_it(
    seed: int,
) -> None:
    """The leader and n5 are cut off, with writes that only they have; the others elect another one.

    The leader comes back, and its clients are told that their writes were discarded. n5 does not,
    and is all that is left in the end: what it had received counts, as docs/OPERATIONS.md says.
    """
    world = World(seed, replace(_calm(), ends="recover", size=5, client_gap_s=0.02))

    def cut_off() -> None:
        (leader,) = (m for m in world.members.values() if m.is_leader)
        _isolate(world, leader.name, "n5")
        await_another(leader.term)

    def await_another(term: int) -> None:
        if any(m.is_leader and m.term > term for m in world.members.values()):
            world.network.unblock()
            _isolate(world, "n5")
        else:
            world.schedule.after(0.01, await_another, term)

    world.schedule.at(3.0, cut_off)
    world.ending.left = ["n5"]
    result = to_the_end(world)
    assert result.verdict is None, result.verdict
    assert result.count["refused, and kept"] > 0, result.count


def test_what_nobody_committed_has_no_revision_that_others_were_told() -> None:
    """A leader that is cut off gives a write a revision that the others acknowledge another under.

    Recovered from the first, the cluster has a write of that key which nobody's tag may fit.
    """
    world = World(1, replace(_calm(), size=3, client_gap_s=profiles.NEVER))
    told: list[int] = []
    old: list[Member] = []

    def leader_but(*others: Member) -> Member:
        (leader,) = (m for m in world.members.values() if m.is_leader and m not in others)
        return leader

    def cut_off() -> None:
        old.append(leader_but())
        _isolate(world, old[0].name)
        old[0].later(0, old[0].redis.run, ((b"SET", b"key", b"never committed"),), _ignored)

    def acknowledge() -> None:
        other = leader_but(*old)
        other.later(0, other.redis.run, ((b"SET", b"key", b"lost"),), lambda done: watch(other))

    def watch(other: Member) -> None:
        other.redis.revisions((b"key",), lambda revisions: told.extend(revisions))

    world.schedule.at(3.0, cut_off)
    world.schedule.at(5.0, acknowledge)
    world.play()
    assert len(told) == 1
    for member in world.members.values():
        member.crash()
    plan = recovery.plan(old[0].disk, REVISION_BUMP)
    found = plan.machine.get(b"key")
    assert found is not None
    assert found.value == b"never committed"
    assert found.mod_revision == told[0] + REVISION_BUMP


def _ignored(outcome: object) -> None:
    pass
