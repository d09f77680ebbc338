"""What random faults hardly ever come to, brought about on purpose; a mutation may name its story.

A story is told to a world before it runs, and makes its faults when the time has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.sim.profile import NEVER

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


def who_is_alone_crashes_as_it_leads(world: World) -> None:
    """Again and again, on a slow disk: its vote for itself may be lost by then."""
    world.profile = replace(world.profile, sync_s_max=0.05)
    world.schedule.at(2.0, _crash_as_it_leads, world, 0)


def _crash_as_it_leads(world: World, term: int) -> None:
    """As soon as it leads in a later term."""
    (member,) = world.members.values()
    if member.alive and member.is_leader and member.term > term:
        term = member.term
        world.nemesis.crash_one(member.name, 0.05)
    if world.schedule.now_s < world.profile.heal_at_s:
        world.schedule.after(WATCH_S, _crash_as_it_leads, world, term)


def old_entries_are_read(world: World) -> None:
    """Leaders come and go under load, no log is cut, and nothing of it is kept in memory."""
    world.profile = replace(
        world.profile,
        tail_size_bytes=0,
        snapshot_entries=NEVER,
        segment_size_bytes=1024,
        append_size_bytes=1 << 20,
        client_gap_s=0.02,
        partition_rate=2.0,
        reset_rate=0.4,
    )


def logs_are_cut_while_they_are_read(world: World) -> None:
    """A little at a time, on slow disks."""
    world.profile = replace(
        world.profile,
        tail_size_bytes=0,
        snapshot_entries=60,
        trailing_entries=0,
        segment_size_bytes=1024,
        sync_s_max=0.1,
        crash_rate=0.6,
        client_gap_s=0.02,
        chunk_size_bytes=1000,
    )


def _isolate(world: World, name: str) -> None:
    others = [other for other in world.names if other != name]
    world.network.block({way for o in others for way in ((name, o), (o, name))})
