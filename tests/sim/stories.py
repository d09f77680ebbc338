"""What random faults hardly ever come to, brought about on purpose; a mutation may name its story.

A story is told to a world before it runs, and makes its faults when the time has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from tests.sim.world import World

Story: TypeAlias = Callable[["World"], None]

QUIET_S: Final = 18.0
"""No client writes any more, so that all logs are equal."""
WATCH_S: Final = 0.001
SEPARATE_S: Final = 3.0


def a_voter_restarts(world: World) -> None:
    """Of three, one is cut off and another wins, by the vote of the third: which then restarts.

    Cut off from the winner before it has heard of it, and back with the one who was away: unless it
    remembers its vote, it votes again in the same term.
    """
    world.profile = replace(world.profile, duration_s=26.0, late_crash=False)
    world.schedule.at(QUIET_S, _cut_one_off, world)


def _cut_one_off(world: World) -> None:
    leader = next((m for m in world.members.values() if m.alive and m.is_leader), None)
    if leader is None or len(world.names) != 3:
        return
    away = next(name for name in world.names if name != leader.name)
    _isolate(world, away)
    world.nemesis.crash_one(leader.name, 0.05)
    world.schedule.after(WATCH_S, _watch, world, away, leader.term)


def _watch(world: World, away: str, term: int) -> None:
    """Until one of the others has won."""
    for member in world.members.values():
        if member.alive and member.is_leader and member.term > term:
            world.network.unblock()
            _isolate(world, member.name)
            (voter,) = set(world.names) - {away, member.name}
            world.nemesis.crash_one(voter, 0.05)
            world.schedule.after(SEPARATE_S, world.network.unblock)
            return
    world.schedule.after(WATCH_S, _watch, world, away, term)


def _isolate(world: World, name: str) -> None:
    others = [other for other in world.names if other != name]
    world.network.block({way for o in others for way in ((name, o), (o, name))})
