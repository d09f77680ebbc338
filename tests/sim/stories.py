"""What random faults hardly ever come to, brought about on purpose; a mutation may name its story.

A story is told to a world before it runs, and makes its faults when the time has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from raftcache.command.versions import COMMANDS_FIRST
from tests.sim import editions
from tests.sim.member import TIMING
from tests.sim.profile import NEVER

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

Story: TypeAlias = Callable[["World"], None]

QUIET_S: Final = 18.0
"""No client writes any more, so that all logs are equal."""
WATCH_S: Final = 0.001
SEPARATE_S: Final = 3.0
END_S: Final = 7.5
"""When a cluster ends whose end a story tells; nothing else goes wrong before."""
SAVED_S: Final = 2.5
PARTED_S: Final = 3.0
REFUSED_S: Final = TIMING.request_timeout_s + 0.2
LEARNS_S: Final = 1.5
UPGRADES_S: Final = 4.0
BY_HAND: Final = 1e-12
"""A rate at which nothing happens by chance."""
PROPOSED_S: Final = tuple(0.01 * number for number in range(10))
"""After that, by which nobody who leads knows yet that he has no majority."""
CALM: Final = dict.fromkeys(
    (
        "spike_chance",
        "reset_rate",
        "crash_rate",
        "partition_rate",
        "pause_rate",
        "transfer_rate",
        "stall_chance",
        "change_rate",
    ),
    0.0,
)


def a_voter_restarts(world: World) -> None:
    """Of three, one is cut off and another wins, by the vote of the third: which then restarts.

    Cut off from the winner before it has heard of it, and back with the one who was away: unless it
    remembers its vote, it votes again in the same term.
    """
    world.profile = replace(world.profile, duration_s=26.0, late_crash=False)
    world.schedule.at(QUIET_S, _cut_one_off, world)


def _cut_one_off(world: World) -> None:
    leader = _leader(world)
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


# -- a cluster ends, and another begins (see epochs.py) --------------------------------------------


def _ends(world: World) -> None:
    """At its time, and with all clients that there are; nothing happens before by chance."""
    size = {"delay_s_max": 0.02, "sync_s_max": 0.01, "slow_sync_chance": 0.0}
    clients = {"client_gap_s": 0.05, "store": 2, "redis": 4, "redis_gap_s": 0.1}
    world.profile = replace(world.profile, duration_s=END_S, **CALM, **size, **clients)


def what_was_acknowledged_is_lost(world: World) -> None:
    """The leader is cut off, with writes that only it has; the others go on without it, and end.

    It is all that is left, and its data becomes a cluster, by a command that is interrupted first.
    """
    _ends(world)
    world.ending.interrupted = True
    world.schedule.at(PARTED_S, _part_from_the_leader, world)


def _part_from_the_leader(world: World) -> None:
    leader = _leader(world)
    if leader is None:
        world.schedule.after(WATCH_S, _part_from_the_leader, world)
        return
    world.ending.left = [leader.name]
    _isolate(world, leader.name)
    for after_s in PROPOSED_S:
        leader.later(after_s, world.clients.propose, leader)


def a_restore_goes_back(world: World) -> None:
    """A backup is restored after which much was written, and a backup refused.

    By a command that is interrupted; one member is late, and somebody else has its place, who
    restored the same backup with another bump.
    """
    _ends(world)
    world.ending.interrupted = True
    world.schedule.at(SAVED_S, _remember_the_backup, world)


def _remember_the_backup(world: World) -> None:
    """The latest that there is, or the first one."""
    assert world.savings is not None
    if not world.savings.saved:
        world.schedule.after(WATCH_S, _remember_the_backup, world)
        return
    world.ending.backup = world.savings.saved[-1]
    world.schedule.at(PARTED_S, _part_all, world)


def _part_all(world: World) -> None:
    """For a while, in which somebody asks for a backup."""
    assert world.savings is not None
    for member in world.members.values():
        if member.alive:
            _isolate(world, member.name)
            world.savings.ask(member)
    world.schedule.after(REFUSED_S, world.network.unblock)


# -- members of all versions that there ever were --------------------------------------------------


def every_version_comes(world: World) -> None:
    """Members of the first version are upgraded one by one to the second, and so on to the next.

    Who learns is forgotten: it stops itself when it meets what it does not know.
    """
    clients = {"store": 2, "redis": 2, "store_gap_s": 0.1, "redis_gap_s": 0.1}
    times = {"heal_at_s": 14.0, "quiet_from_s": 16.0, "duration_s": 21.0}
    versions = {"upgrade_rate": BY_HAND, "upgrades_to": editions.NEWER}
    calm = CALM | {"wipe_rate": 0.0, "disk_failure_rate": 0.0}
    world.profile = replace(
        world.profile, client_gap_s=0.05, **calm, **clients, **times, **versions
    )
    for member in world.members.values():
        member.commands_version = COMMANDS_FIRST
    learner = next(name for name in world.members if name not in world.names)
    world.operators.learners.add(learner)
    world.schedule.at(LEARNS_S, world.operators.begin_anew, learner)
    time_s = UPGRADES_S
    for version in range(COMMANDS_FIRST + 1, editions.NEWER + 1):
        for name in world.names:
            world.schedule.at(time_s, _upgrade, world, name, version)
            time_s += 3 / len(world.names)


def _upgrade(world: World, name: str, version: int) -> None:
    world.nemesis.crash_one(name, 0.05)
    world.members[name].upgrade(version)


# -- logs that are not in memory -------------------------------------------------------------------


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


def _leader(world: World) -> Member | None:
    return next((m for m in world.members.values() if m.alive and m.is_leader), None)


def _isolate(world: World, name: str) -> None:
    others = [other for other in world.names if other != name]
    world.network.block({way for o in others for way in ((name, o), (o, name))})
