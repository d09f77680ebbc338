"""Faults, at random: cut links, partitions, crashes, pauses, transfers, wrong wall clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.sim.world import World

PERIOD_S: Final = 0.25
DOWN_S: Final = (0.05, 0.3, 1, 3)


class Nemesis:
    """What goes wrong in one run, until it heals."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance

    def strike(self) -> None:
        """Do what is due in this period, and again in the next."""
        world, profile = self._world, self._world.profile
        if not world.faulty:
            return
        for rate, fault in (
            (profile.reset_rate, self._cut_link),
            (profile.crash_rate, self._crash),
            (profile.partition_rate, self._partition),
            (profile.pause_rate, self._pause),
            (profile.transfer_rate, self._transfer),
            (profile.crash_rate / 4, self._jump_wall_clock),
        ):
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
            if not member.alive:
                member.start()

    def _cut_link(self) -> None:
        if len(self._world.names) > 1:
            a, b = self._chance.sample(self._world.names, 2)
            self._world.network.cut(a, b)

    def _crash(self) -> None:
        world, kind = self._world, self._chance.random()
        leaders = [m.name for m in world.members.values() if m.alive and m.is_leader]
        if kind < 0.1:
            victims = world.names
        elif kind < 0.5 and leaders:
            victims = [self._chance.choice(leaders)]
        else:
            victims = [self._chance.choice(world.names)]
        for name in victims:
            self._crash_one(name, self._chance.choice(DOWN_S) * self._chance.uniform(0.5, 1.5))

    def crash_late(self) -> None:
        """All is well and quiet; one member restarts."""
        self._crash_one(self._chance.choice(self._world.names), DOWN_S[0])

    def _crash_one(self, name: str, down_s: float) -> None:
        world = self._world
        if world.members[name].alive:
            world.count["crashes"] += 1
            world.clients.crashed(name)
            world.members[name].crash()
            world.schedule.after(down_s, self._restart, name)

    def _restart(self, name: str) -> None:
        if not self._world.members[name].alive:
            self._world.members[name].start()

    def _partition(self) -> None:
        world, chance, kind = self._world, self._chance, self._chance.random()
        if kind < 0.3 or len(world.names) == 1:
            world.network.unblock()
            return
        side = set(chance.sample(world.names, chance.randint(1, len(world.names) // 2)))
        rest = [n for n in world.names if n not in side]
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
        world.network.block(ways)
        if chance.random() < 0.5:
            for a, b in sorted(ways):
                if chance.random() < 0.7:
                    world.network.cut(a, b)
        world.schedule.after(chance.uniform(0.3, 4), world.network.unblock)

    def _pause(self) -> None:
        self._world.members[self._chance.choice(self._world.names)].pause(
            self._chance.uniform(0.2, 2)
        )

    def _transfer(self) -> None:
        to = self._chance.choice([None, *self._world.names])
        for member in self._world.members.values():
            if member.alive and member.is_leader:
                member.later(0, member.transfer, to)

    def _jump_wall_clock(self) -> None:
        member = self._world.members[self._chance.choice(self._world.names)]
        member.clock.jump_wall(self._chance.randint(-3_600_000, 3_600_000))
