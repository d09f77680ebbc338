"""Stories that random seeds tell rarely, told on purpose; each was a fault once."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.sim import profile as profiles
from tests.sim.profile import Profile
from tests.sim.world import World


def calm(size: int) -> Profile:
    drawn = profiles.draw("calm", random.Random(1))
    return replace(drawn, size=size, late_crash=False, snapshot_entries=profiles.NEVER)


def lose_disk(world: World, name: str) -> None:
    """It starts again at once, as it was started on the first day."""
    world.nemesis.crash_one(name, 0.3)
    world.members[name].wipe(joins=False)


@pytest.mark.parametrize("seed", range(1, 4))
def test_one_lost_disk_loses_nothing_though_a_member_was_never_reached(seed: int) -> None:
    """n1 and n2 hold what was acknowledged, n3 nothing yet: then n2 loses its disk, and elects n3.

    So the first election takes every member.
    """
    world = World(seed, calm(3))

    def block(*pairs: tuple[str, str]) -> None:
        world.network.block({way for a, b in pairs for way in ((a, b), (b, a))})

    def lose() -> None:
        lose_disk(world, "n2")
        world.network.unblock()
        block(("n1", "n2"), ("n1", "n3"))

    world.schedule.at(0.0, block, ("n3", "n1"), ("n3", "n2"))
    world.schedule.at(5.0, lose)
    assert world.run().verdict is None


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_member_that_was_away_follows_a_leader_that_began_anew_meanwhile(seed: int) -> None:
    """While n5 is away, n2 loses its disk, joins again under its name, and comes to lead."""
    world = World(seed, calm(5))

    def hand_over() -> None:
        for member in world.members.values():
            if member.alive and member.is_leader and member.name != "n2":
                member.later(0, member.transfer, "n2")

    world.schedule.at(3.0, world.nemesis.crash_one, "n5", 8.0)
    world.schedule.at(4.0, lose_disk, world, "n2")
    world.schedule.at(5.0, world.operators.begin_anew, "n2")
    world.schedule.at(6.0, world.operators._promote_in_time, "n2", 4)
    for time_s in (9.0, 9.5, 10.0):
        world.schedule.at(time_s, hand_over)
    assert world.run().verdict is None
    assert world.members["n2"].is_leader
