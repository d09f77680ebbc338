"""Faults, at random: cut links, partitions, crashes, pauses, transfers, wrong wall clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftcache.raft.datadir import SNAPSHOTS_FOLDER, WAL_FOLDER
from tests.sim import editions
from tests.sim.verdicts import DISK_ERRORS

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World
    from tests.support.memory_disk import MemoryDisk

PERIOD_S: Final = 0.25
DOWN_S: Final = (0.05, 0.3, 1, 3)
FILLED_SEGMENTS_MAX: Final = 4
OPERATIONS: Final = (
    "open",
    "remove",
    "write",
    "sync",
    "create",
    "replace",
    "sync_folder",
    "read",
)
"""Of a disk, that may fail."""


class Nemesis:
    """What goes wrong in one run, until it heals."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance

    def strike(self) -> None:
        """Do what is due in this period, and again in the next."""
        world, profile = self._world, self._world.profile
        if not world.faulty:
            return
        faults = [
            (profile.reset_rate, self._cut_link),
            (profile.crash_rate, self._crash),
            (profile.partition_rate, self._partition),
            (profile.pause_rate, self._pause),
            (profile.transfer_rate, self._transfer),
            (profile.crash_rate / 4, self._jump_wall_clock),
        ]
        if profile.disk_failure_rate:
            faults.append((profile.disk_failure_rate, self._break_disk))
        if profile.fill_rate:
            faults.append((profile.fill_rate, self._fill_disks))
        if profile.wipe_rate:
            faults.append((profile.wipe_rate, self._wipe))
        if profile.upgrade_rate:
            faults.append((profile.upgrade_rate, self._upgrade))
        for rate, fault in faults:
            if self._chance.random() < rate * PERIOD_S:
                fault()
        world.schedule.after(PERIOD_S, self.strike)

    def heal(self) -> None:
        """No more faults; everything that is down comes up."""
        world = self._world
        world.note("heal")
        world.faulty = False
        world.network.unblock()
        for member in world.members.values():
            member.clock.stalls = None
        for member in self._present:
            member.disk.hook, member.disk.others_size_bytes = None, 0
            if not member.alive:
                self.restart(member.name)

    @property
    def _present(self) -> list[Member]:
        """Whoever has begun; some may have been removed since."""
        return [m for m in self._world.members.values() if m.life]

    @property
    def _names(self) -> list[str]:
        return [m.name for m in self._present]

    def _cut_link(self) -> None:
        if len(self._names) > 1:
            a, b = self._chance.sample(self._names, 2)
            self._world.network.cut(a, b)

    def _crash(self) -> None:
        world, kind = self._world, self._chance.random()
        leaders = [m.name for m in world.members.values() if m.alive and m.is_leader]
        if kind < 0.1:
            victims = self._names
        elif kind < 0.5 and leaders:
            victims = [self._chance.choice(leaders)]
        else:
            victims = [self._chance.choice(self._names)]
        for name in victims:
            self.crash_one(name, self._chance.choice(DOWN_S) * self._chance.uniform(0.5, 1.5))

    def crash_late(self) -> None:
        """All is well and quiet; one member restarts."""
        self.crash_one(self._chance.choice(self._names), DOWN_S[0])

    def crash_one(self, name: str, down_s: float) -> None:
        world = self._world
        if world.members[name].alive:
            world.count["crashes"] += 1
            self.stop(name)
            world.schedule.after(down_s, self.restart, name)

    def stop(self, name: str) -> None:
        """It ends, for good unless somebody starts it."""
        world = self._world
        if world.members[name].alive:
            world.clients.crashed(name)
            world.operators.crashed(name)
            world.members[name].crash()

    def restart(self, name: str) -> None:
        """As whatever looks after its process does, until it is up."""
        member = self._world.members[name]
        if member.alive:
            return
        member.start()
        if not member.alive:
            if member.must_join:
                self._world.operators.join(name)
            else:
                self._world.schedule.after(DOWN_S[1], self.restart, name)

    # -- disks -------------------------------------------------------------------------------------

    def _break_disk(self) -> None:
        """For a while, something that is asked of a disk fails."""
        world, chance = self._world, self._chance
        member = chance.choice(self._present)
        operation = chance.choice(OPERATIONS)
        number = chance.choice(DISK_ERRORS)
        world.note("the disk of {0} fails: {1} {2}", member.name, operation, number)
        disk = member.disk
        disk.fail(operation, number, chance.choice(("", WAL_FOLDER, SNAPSHOTS_FOLDER)))
        hook = disk.hook

        def mend() -> None:
            if disk.hook is hook:
                disk.hook = None

        world.schedule.after(chance.uniform(0.05, 2), mend)

    def _fill_disks(self) -> None:
        """For a while others leave little room, or none, on one disk or on all of them."""
        world, chance = self._world, self._chance
        filled = self._present if chance.random() < 0.5 else [chance.choice(self._present)]
        for member in filled:
            free = chance.randint(0, FILLED_SEGMENTS_MAX) * world.profile.segment_size_bytes
            member.disk.fill(free)
            world.note("the disk of {0} is filled, but for {1}", member.name, free)
            world.schedule.after(chance.uniform(0.1, 3), self._empty_disk, member.disk)

    @staticmethod
    def _empty_disk(disk: MemoryDisk) -> None:
        disk.others_size_bytes = 0

    def disk_failed(self, name: str) -> None:
        """A node stops itself: its process ends, and is started again."""
        self._world.count["stopped by the disk"] += 1
        self._world.schedule.after(0, self.crash_one, name, DOWN_S[1])

    def _wipe(self) -> None:
        """A disk is lost, and the node started as if nothing had happened."""
        may_go = [m.name for m in self._present if self._world.operators.may_lose(m.name)]
        if may_go:
            name = self._chance.choice(may_go)
            self._world.count["wiped"] += 1
            self.crash_one(name, self._chance.choice(DOWN_S))
            if not self._world.members[name].alive:
                self._world.note("{0} loses its disk", name)
                member = self._world.members[name]
                member.wipe(joins=member.joins)
                self._world.operators.lost(name)

    # -- versions ----------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        """A voter of the older version is stopped, and started as one of the newer.

        Learners are forgotten: what they do when the voters go on without them is their own test.
        """
        voters = self._world.checker.configuration.voters
        older = [m for m in self._present if editions.is_older(m)]
        older = [m for m in older if m.name in voters]
        if older:
            member = self._chance.choice(older)
            self.crash_one(member.name, DOWN_S[1])
            member.upgrade()

    def too_old(self, name: str) -> None:
        """It stopped itself, and said what to do."""
        self._world.count["stopped by its age"] += 1
        self._world.schedule.after(0, self._replace_program, name)

    def _replace_program(self, name: str) -> None:
        self.crash_one(name, DOWN_S[1])
        self._world.members[name].upgrade()

    # -- and the rest ------------------------------------------------------------------------------

    def _partition(self) -> None:
        world, chance, kind = self._world, self._chance, self._chance.random()
        profile, names = world.profile, self._names
        if kind < 0.3 or len(names) == 1:
            world.network.unblock()
            return
        side = set(chance.sample(names, chance.randint(1, len(names) // 2)))
        rest = [n for n in names if n not in side]
        out = {(a, b) for a in side for b in rest}
        back = {(b, a) for a, b in out}
        if kind < 0.7:
            ways = out | back
        elif kind < 0.85:
            ways = back
        elif kind < 0.93:
            ways = {(chance.choice(sorted(side)), chance.choice(rest))}
        else:
            ways = out
        world.note("partition {0}", sorted(ways))
        if chance.random() < profile.reject_chance:
            world.network.reject(ways)
        world.network.block(ways)
        if chance.random() < 0.5:
            for a, b in sorted(ways):
                if chance.random() < 0.7:
                    world.network.cut(a, b)
        world.schedule.after(chance.uniform(0.3, 4), world.network.unblock)

    def _pause(self) -> None:
        self._world.members[self._chance.choice(self._names)].pause(self._chance.uniform(0.2, 2))

    def _transfer(self) -> None:
        to = self._chance.choice([None, *self._names])
        for member in self._world.members.values():
            if member.alive and member.is_leader:
                member.later(0, member.transfer, to)

    def _jump_wall_clock(self) -> None:
        member = self._world.members[self._chance.choice(self._names)]
        jump_ms = self._world.profile.wall_jump_ms
        member.clock.jump_wall(self._chance.randint(-jump_ms, jump_ms))
