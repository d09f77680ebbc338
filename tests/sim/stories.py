"""What random faults hardly ever come to, brought about on purpose; a mutation may name its story.

A story is told to a world before it runs, and makes its faults when the time has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from raftcache.command.versions import COMMANDS_FIRST
from raftcache.raft.members import Change
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
AWAY_S: Final = 1.0
SHORTLY_S: Final = 0.05
LEARNS_S: Final = 1.5
BACK_S: Final = 0.3
UPGRADES_S: Final = 4.0
UPGRADED_S: Final = 13.0
BY_HAND: Final = 1e-12
"""A rate at which nothing happens by chance."""
PROPOSED_S: Final = tuple(0.01 * number for number in range(30))
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


def a_lost_disk_may_vote(world: World) -> None:
    """One is away, another loses its disk and is started as on the first day, and both are alone.

    Together they do not have what was acknowledged meanwhile.
    """
    world.profile = replace(world.profile, **CALM, wipe_rate=0.0, disk_failure_rate=0.0)
    world.schedule.at(PARTED_S, _await_a_leader, world, _lose_a_disk)


def _lose_a_disk(world: World, leader: Member) -> None:
    victim, away = (name for name in world.names if name != leader.name)
    _isolate(world, away)

    def lose() -> None:
        world.nemesis.crash_one(victim, 0.3)
        world.members[victim].wipe(joins=False)
        world.network.unblock()
        _isolate(world, leader.name)
        world.schedule.after(SEPARATE_S, world.network.unblock)
        world.operators.lost(victim)

    world.schedule.after(AWAY_S, lose)


def a_change_is_truncated(world: World) -> None:
    """A leader is cut off, and changes a member: which nobody else ever hears of."""
    world.profile = replace(world.profile, **CALM, wipe_rate=0.0, disk_failure_rate=0.0)
    world.schedule.at(PARTED_S, _await_a_leader, world, _change_alone)


def _change_alone(world: World, leader: Member) -> None:
    _isolate(world, leader.name)
    change = Change("update", leader.name, http="nowhere:1")
    leader.later(0, leader.change, change, lambda outcome: None)
    world.schedule.after(SEPARATE_S, world.network.unblock)


def leaders_seem_to_have_ended(world: World) -> None:
    """Whoever dials them is refused, and nothing of theirs arrives, while leases are read by."""
    world.profile = replace(world.profile, client_gap_s=0.02, delay_s_max=0.005, **CALM)
    world.schedule.at(PARTED_S, _refuse_the_leader, world)


def _refuse_the_leader(world: World) -> None:
    leader = _leader(world)
    if leader is not None:
        others = [name for name in world.names if name != leader.name]
        world.network.reject({way for o in others for way in ((leader.name, o), (o, leader.name))})
        world.schedule.after(AWAY_S, world.network.unblock)
        for part in (0.3, 0.6, 0.9) if world.profile.redis else ():
            world.schedule.after(part * AWAY_S, world.redis.look, leader)
    if world.faulty:
        world.schedule.after(2 * AWAY_S, _refuse_the_leader, world)


def two_seem_to_have_ended(world: World) -> None:
    """Of five, a leader with what only one other has of it, who asks it what to read."""
    world.profile = replace(world.profile, client_gap_s=0.02, delay_s_max=0.005, **CALM)
    world.schedule.at(PARTED_S, _refuse_two, world)


def _refuse_two(world: World) -> None:
    leader = _leader(world)
    if leader is not None and len(world.names) == 5:
        other = world.members[next(name for name in world.names if name != leader.name)]
        two = leader.name, other.name
        rest = [name for name in world.names if name not in two]
        world.network.reject({way for a in two for b in rest for way in ((a, b), (b, a))})
        for after_s in PROPOSED_S:
            leader.later(after_s, world.clients.propose, leader)
            other.later(after_s, world.clients.read, other)
        world.schedule.after(AWAY_S, world.network.unblock)
    if world.faulty:
        world.schedule.after(2 * AWAY_S, _refuse_two, world)


# -- disks without room --------------------------------------------------------------------------


def others_fill_all_disks(world: World) -> None:
    """Of all members at once, and leave them little more than the log's next segment needs."""
    world.profile = replace(world.profile, client_gap_s=0.01, fill_rate=0.0, **CALM)
    world.schedule.at(PARTED_S, _fill_all_disks, world)
    world.schedule.at(world.profile.heal_at_s - WATCH_S, _see_who_stopped, world)


def logs_fill_all_disks(world: World) -> None:
    """No snapshot is due, and there is an end to the disks."""
    size = {"disk_segments": 6, "fill_rate": 0.0, "snapshot_entries": NEVER}
    world.profile = replace(world.profile, client_gap_s=0.01, burst_chance=0.0, **size, **CALM)


def _fill_all_disks(world: World) -> None:
    for member in world.members.values():
        member.disk.fill(world.profile.segment_size_bytes * 3 // 2)


def _see_who_stopped(world: World) -> None:
    if stopped := world.count["stopped by the disk"]:
        world.fail("stopped, though all knew that there was no room", f"{stopped} times")


# -- data that was copied --------------------------------------------------------------------------


def an_older_copy_is_put_back(world: World) -> None:
    """One of three goes on from a copy of its disk, made before it acknowledged what one other has.

    With the third one, who was away, it would be a majority that never heard of that.
    """
    world.profile = replace(world.profile, client_gap_s=0.02, **CALM)
    world.schedule.at(PARTED_S, _await_a_leader, world, _copy_one)


def _copy_one(world: World, leader: Member) -> None:
    if len(world.names) != 3:
        return
    away, name = (each for each in world.names if each != leader.name)
    member, copy = world.members[name], world.members[name].copied()
    _isolate(world, away)

    def put_back() -> None:
        world.nemesis.crash_one(name, BACK_S)
        member.put_back(copy)
        world.schedule.after(BACK_S, part)

    def part() -> None:
        """As soon as it has met who knows better, and before that brings it up to date."""
        if not member.expelled and leader.name not in member.links.epochs:
            world.schedule.after(WATCH_S, part)
            return
        world.network.unblock()
        _isolate(world, leader.name)
        world.schedule.after(SEPARATE_S, world.network.unblock)
        world.schedule.after(SEPARATE_S + AWAY_S, world.operators.begin_anew, name)

    world.schedule.after(AWAY_S, put_back)


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
    world.schedule.at(PARTED_S, _await_a_leader, world, _part_from_the_leader)


def _part_from_the_leader(world: World, leader: Member) -> None:
    world.ending.left = [leader.name]
    _isolate(world, leader.name)
    for after_s in PROPOSED_S:
        leader.later(after_s, world.clients.propose, leader)


def who_was_away_is_left(world: World) -> None:
    """One is away while others write; then these crash, and some come back to bring it up to date.

    As soon as it has that on its disk all others end: it has heard of everything from a node that
    had just been started, and has committed nothing since.
    """
    _ends(world)
    world.schedule.at(PARTED_S, _await_a_leader, world, _leave_one_behind)


def _leave_one_behind(world: World, leader: Member) -> None:
    away, *others = sorted(set(world.names) - {leader.name})
    world.ending.left = [away]
    _isolate(world, away)

    def crash() -> None:
        world.network.unblock()
        for gone in (leader.name, *others[: len(world.names) // 2 - 1]):
            world.nemesis.crash_one(gone, NEVER)
        for back in others[len(world.names) // 2 - 1 :]:
            world.nemesis.crash_one(back, SHORTLY_S)
        all_there_is = max(world.members[name].durable.last_index for name in others)
        world.schedule.after(WATCH_S, _end_when_it_has_more, world, away, all_there_is)

    world.schedule.after(AWAY_S, crash)


def _end_when_it_has_more(world: World, name: str, last_index: int) -> None:
    if world.members[name].durable.last_index > last_index:
        world.schedule.clear()
    else:
        world.schedule.after(WATCH_S, _end_when_it_has_more, world, name, last_index)


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
    steps = [(v, n) for v in range(COMMANDS_FIRST + 1, editions.NEWER + 1) for n in world.names]
    gap_s = (UPGRADED_S - UPGRADES_S) / len(steps)
    for number, (version, name) in enumerate(steps):
        world.schedule.at(UPGRADES_S + number * gap_s, _upgrade, world, name, version)


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


def truncated_entries_are_read(world: World) -> None:
    """A leader is cut off with writes of its own, and leads again when they are truncated.

    Then it has to give its whole log, from its disk, to one who begins with an empty one.
    """
    disk = {"tail_size_bytes": 0, "snapshot_entries": NEVER, "sync_s_max": 0.002}
    links = {"window_messages": 64, "append_size_bytes": 200, "delay_s_max": 0.005}
    world.profile = replace(
        world.profile, client_gap_s=0.1, chunk_size_bytes=1000, **disk, **links, **CALM
    )
    world.schedule.at(PARTED_S, _await_a_leader, world, _write_alone)


def _write_alone(world: World, leader: Member) -> None:
    _isolate(world, leader.name)
    for after_s in PROPOSED_S:
        leader.later(after_s, world.clients.propose, leader)
    world.schedule.after(SEPARATE_S, world.network.unblock)
    world.schedule.after(SEPARATE_S + AWAY_S, _lead_again, world, leader.name)


def _lead_again(world: World, name: str) -> None:
    leader = _leader(world)
    if leader is not None and leader.name == name:
        other = next(each for each in world.names if each != name)
        world.operators.begin_anew(other)
        return
    if leader is not None:
        leader.later(0, leader.transfer, name)
    world.schedule.after(AWAY_S, _lead_again, world, name)


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


def _await_a_leader(world: World, act: Callable[[World, Member], None]) -> None:
    leader = _leader(world)
    if leader is None:
        world.schedule.after(WATCH_S, _await_a_leader, world, act)
    else:
        act(world, leader)


def _leader(world: World) -> Member | None:
    return next((m for m in world.members.values() if m.alive and m.is_leader), None)


def _isolate(world: World, name: str) -> None:
    others = [other for other in world.names if other != name]
    world.network.block({way for o in others for way in ((name, o), (o, name))})
