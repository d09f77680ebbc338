"""Epochs: a cluster ends under load and faults, and another one begins with what is left of it.

By *recover*: all nodes but a minority are lost for good, and the data of one of these becomes a
cluster of this node alone, which grows again to three. By *restore*: a backup, taken at some moment
before, becomes the data of a new cluster. Both by the code that the commands run.

Each epoch is a World with checker, clients and members of its own; they share the time and the
network. What the second one begins with is worked out from what the checker of the first one saw,
and not from what a node says. Nodes of the first one come back at their old addresses, with their
data: they belong to its World, and nobody of the second one may hear them.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from msgspec.structs import replace as replace_fields

from raftcache.cluster import backup_file, recovery
from raftcache.command.limits import REVISION_BUMP
from raftcache.command.replies import Reply
from raftcache.command.words import Command
from raftcache.errors import Corrupt
from raftcache.raft.datadir import cluster_id_of, read_identity
from raftcache.raft.entries import Position
from raftcache.raft.inspection import remember
from raftcache.raft.snapshot_format import SnapshotMeta
from raftcache.state.machine import Machine
from tests.sim.checker import Heritage
from tests.sim.heritage import kept_of_redis, left_at, members_on, raised
from tests.sim.lane import do_some, last_changes
from tests.sim.member import Host, Member
from tests.sim.profile import Profile
from tests.sim.redis_heritage import Kept
from tests.sim.remains import crash, identified, last_of, recover_data, settled
from tests.sim.saving import Saved
from tests.sim.sessions import PREFIX, REGISTERS
from tests.sim.watched import Durable
from tests.sim.world import Result, Tell, Verdict, World
from tests.support.memory_disk import MemoryDisk

AGAIN: Final = 100
"""Data with this number, or a higher one, are of the second epoch."""
MISTAKEN: Final = 200
"""And these of what an operator began by mistake."""
HEAL_S: Final = 7.0
QUIET_S: Final = 11.5
END_S: Final = 15.5
BACK_S_MAX: Final = 6.0
"""By then whoever comes back has come, and whoever is late."""
GROW_S: Final = 0.7
AGAIN_S: Final = 0.5
SIZE: Final = 3
INTERRUPTED: Final = 0.4
"""How often a command is,"""
CHANGES: Final = range(20)
"""after so many changes to the disk; it makes fewer, most of the time."""


def run(
    seed: int, profile: str | Profile = "mixed", make: type[Host] = Member, tell: Tell | None = None
) -> Result:
    """Play one seed."""
    return to_the_end(World(seed, profile, make, tell))


def to_the_end(world: World) -> Result:
    """Play a world, and the one that comes after it if it ends."""
    return Epochs(world).run() if world.profile.ends else world.run()


class Epochs:
    """Two worlds, one after the other."""

    def __init__(self, first: World) -> None:
        self._first, self._chance = first, first.chance
        self._worlds = [first]
        self._savings = first.savings

    def run(self) -> Result:
        """How it all ended."""
        with self._first.small_state():
            return self._run()

    def _run(self) -> Result:
        first = self._first
        first.play()
        first.sessions.judge()
        if first.profile.redis and first.verdict is None:
            first.redis.end(Kept(first.checker.committed))
        second = None
        if first.verdict is None:
            self._lose_all()
            second = self._second()
        if second is not None and self._verdict is None:
            second.play()
            if self._verdict is None:
                second.judge()
                self._judge(second)
        trace = zlib.crc32(repr([w.trace for w in self._worlds]).encode())
        now_s = first.schedule.now_s
        return Result(first.seed, len(first.names), self._verdict, first.count, now_s, trace)

    @property
    def _verdict(self) -> Verdict | None:
        """What was violated first; then everything is over."""
        return next((w.verdict for w in self._worlds if w.verdict is not None), None)

    def _lose_all(self) -> None:
        """Every process ends, with or without what its disk was not told to keep."""
        first = self._first
        for member in first.members.values():
            member.crash()
        if self._savings is not None:
            self._savings.end()
        first.schedule.clear()
        first.is_over = True

    def _second(self) -> World | None:
        try:
            if self._savings is None:
                return self._recovered()
            if self._savings.saved:
                return self._restored(self._savings.saved)
            self._first.count["never backed up"] += 1
        except Exception as error:
            self._first.fail_by(self._first.members[self._first.names[0]], error)
        return None

    def _judge(self, second: World) -> None:
        """At the end of it all, beside what holds at every end."""
        configuration = second.checker.configuration
        names = {member.name for member in configuration.members}
        back = [m for m in self._first.members.values() if m.alive and m.links.peers.keys() & names]
        back = [m for m in back if m.data_id in configuration.removed]
        if unaware := [m.name for m in back if not m.expelled]:
            second.fail("liveness: lost, and does not know it", f"{unaware}")
        if len(configuration.voters) != SIZE:
            second.fail("liveness: it did not grow", f"{configuration}")

    # -- what one epoch leaves to the next ---------------------------------------------------------

    def _begin(self, names: list[str], data_number: int) -> World:
        """A world of these nodes, with nothing on their disks."""
        first, now_s = self._first, self._first.schedule.now_s
        profile = replace(
            first.profile,
            ends="",
            size=len(names),
            pool=max(len(first.members), SIZE + 2),
            change_rate=0.0,
            heal_at_s=now_s + HEAL_S,
            quiet_from_s=now_s + QUIET_S,
            duration_s=now_s + END_S,
        )
        world = World(first.seed, profile, before=first, names=names)
        for member in world.members.values():
            member.begin_data(data_number)
        self._worlds.append(world)
        return world

    def _go_on(self, second: World, heritage: Heritage, machine: Machine) -> None:
        """Its checker and its clients begin with this; what is left of others is on its network."""
        first, checker = self._first, second.checker
        checker.goes_on(heritage, Member, same_members=self._savings is None)
        second.revision_before = first.revision_reached
        second.clients.goes_on(first.clients, heritage.index)
        registers = {
            key: machine.get(key) for key in (PREFIX + b"%d" % i for i in range(REGISTERS))
        }
        values = {key: int(item.value) for key, item in registers.items() if item is not None}
        second.sessions.goes_on(first.sessions, values)
        second.store.audit.goes_on(first.store.audit)
        if first.profile.redis:
            second.redis.goes_on(first.redis, *kept_of_redis(heritage, first.checker))
        for world in self._worlds:
            world.network = second.network
        before, kept, count = first.checker, checker.committed_at, first.count
        lost_revisions = first.revision_reached - machine.revision % REVISION_BUMP
        count["lost revisions"] += max(0, lost_revisions)
        lost = set(range(1, first.clients.last_uid + 1)) - kept.keys()
        checker.refused |= dict.fromkeys(lost, "lost with the cluster before")
        if heritage.done:
            second.schedule.after(AGAIN_S, self._ask_again, second, heritage.done)
        count["committed, and lost"] += len(before.committed_at.keys() & lost)
        count["not committed, and kept"] += len(kept.keys() - before.committed_at.keys())
        count["refused, and kept"] += len(kept.keys() & before.refused.keys())

    def _ask_again(self, second: World, done: Sequence[tuple[Command, Reply]]) -> None:
        """Under its token: what was done before is not done again, and answered alike."""
        command, before = self._chance.choice(done)

        def answered(outcome: object) -> None:
            if isinstance(outcome, Reply):
                second.count["asked again"] += 1
                if outcome != replace_fields(before, replayed=True):
                    second.fail("done again in the next cluster", f"{command}: {outcome}")

        awake = [m for m in second.members.values() if m.alive]
        if awake:
            member = self._chance.choice(awake)
            member.later(0, member.submit, command, answered)
        if second.schedule.now_s < second.profile.quiet_from_s:
            second.schedule.after(AGAIN_S, self._ask_again, second, done)

    def _come_back(self, lost: Member, second: World) -> None:
        """With its data, at its address, if nobody else has had that since."""
        if lost.life and second.members[lost.name].life == 0 and not lost.alive:
            lost.world.count["came back"] += 1
            lost.start()

    def _back_in_time(self, lost: Member, second: World) -> None:
        after_s = self._chance.uniform(0, BACK_S_MAX)
        second.schedule.after(after_s, self._come_back, lost, second)

    # -- recover -----------------------------------------------------------------------------------

    def _recovered(self) -> World:
        """A minority is left; the node that has most becomes a cluster."""
        first, chance = self._first, self._chance
        members = first.checker.configuration.members
        names = [m.name for m in members if first.members[m.name].durable.last_index]
        minority = chance.randint(1, max(1, (len(members) - 1) // 2))
        names = list(first.ending.left) or sorted(chance.sample(names, minority))
        left = [first.members[name] for name in names]
        last_of = {m.name: remember(m.disk, Machine()).last for m in left}
        survivor = max(left, key=lambda m: (last_of[m.name].term, last_of[m.name].index))
        first.note("{0} is left, at {1}", survivor.name, last_of[survivor.name])
        second = self._begin([survivor.name], AGAIN)
        member, account = second.members[survivor.name], survivor.durable
        member.disk = survivor.disk
        accounts = [account]
        if account.writing is not None:
            accounts.append(account.with_block(account.writing))
        self._go_on(second, *self._recover(member, accounts))
        second.checker.configurations.append(
            (second.checker.last_committed, members_on(member.disk))
        )
        second.schedule.after(GROW_S, self._grow, second)
        second.schedule.after(GROW_S, first.clients.begin)
        for lost in first.members.values():
            if lost is not survivor and chance.random() < 0.8:
                self._back_in_time(lost, second)
        return second

    def _recover(self, member: Member, accounts: list[Durable]) -> tuple[Heritage, Machine]:
        """By the command, which may be interrupted, and is run again then.

        What was written and not synced may be found at one time, and be gone at the next: it counts
        when the command has ended. accounts: what may be found. Returns what the cluster begins
        with.
        """
        disk, chance, world = member.disk, self._chance, member.world
        addresses = {member.name: f"{member.name}:7500"}
        # What with, what of it was certain, and how often it was raised.
        began: dict[Position, tuple[Position, int, int]] = {}
        for tries in itertools.count():
            log, plan = settled(member, accounts), recovery.plan(disk, REVISION_BUMP)
            if last_of(log) not in began:
                began[last_of(log)] = last_of(log), plan.committed_index, 0
                self._first.checker.check_certain(plan.committed_index, last_of(log))
            last, certain_index, times = began[last_of(log)]
            left = left_at(last, self._first.checker, certain_index)
            if times:
                left = raised(left, last_of(log), times)
            found = plan.last, plan.machine.revision % REVISION_BUMP, plan.machine.count
            there_is = last_of(log), left[1].revision % REVISION_BUMP, left[1].count
            if found != there_is:
                world.fail("recovery drops, or invents", f"{found}, there is {there_is}")
            world.count["recovered, and uncertain"] += last.index - certain_index
            member_id = member.begin_data(member.data_number + 1)
            work = partial(recover_data, addresses, member_id)
            at = Position(plan.last.index + 1, plan.term + 1)
            said = self._first.ending.interrupted
            changes = self._interrupted_after(tries, last_changes(work, disk) if said else CHANGES)
            if not changes:
                break
            world.count["recoveries interrupted"] += 1
            # The snapshot is there, and the log not begun anew, or both are.
            accounts += [member.durable.covered_up_to(at), Durable()]
            accounts[-1].begins_at(at)
            began[at] = last, certain_index, times + 1
            do_some(partial(work, disk), disk, chance, changes)
            crash(disk, chance)
            self._check_half(member)
        work(disk)
        member.durable.begins_at(at)
        crash(disk, chance)
        world.cluster_id = identified(disk, addresses)
        return raised(left, at, 0)

    def _interrupted_after(self, tries: int, last: range = CHANGES) -> Sequence[int]:
        """How many changes to the disk the command makes, perhaps; nothing if it is left alone.

        tries: so often it was run before; where a story says so, it is interrupted at first. last:
        its last changes, so that it must be right when it is run again.
        """
        if self._first.ending.interrupted and not tries:
            return last
        return CHANGES if self._chance.random() < INTERRUPTED else ()

    def _check_half(self, member: Member) -> None:
        """With the old id it must not be alone: it could lead, beside others of that id."""
        found = remember(member.disk, Machine())
        assert found.identity is not None
        is_old = found.identity.cluster_id == self._first.cluster_id
        voters = frozenset() if found.configuration is None else found.configuration.voters
        if is_old and voters == {member.name}:
            member.world.fail("alone under the id of the cluster before", f"{found}")

    def _grow(self, second: World) -> None:
        if second.schedule.now_s < second.profile.duration_s - 1:
            second.operators.grow_to(SIZE)
            second.schedule.after(GROW_S, self._grow, second)

    # -- restore -----------------------------------------------------------------------------------

    def _restored(self, backups: Sequence[Saved]) -> World:
        """All of a list of members, one of them late; somebody may be in its place meanwhile."""
        first, chance = self._first, self._chance
        said = first.ending.backup
        saved = said or chance.choice(backups)
        meta = saved.meta
        position = Position(meta.index, meta.term)
        heritage, machine = left_at(position, first.checker)
        there_is = machine.revision, machine.digest, machine.now_ms
        if (meta.revision, meta.digest, meta.now_ms) != there_is:
            first.fail("a backup is not of its index", f"{meta}: {there_is}")
        names = sorted(chance.sample(sorted(first.members), SIZE))
        first.note("a backup is restored by {0}: {1}", names, meta)
        second = self._begin(names, AGAIN)
        for name in names:
            self._restore(second.members[name], saved, REVISION_BUMP)
        late = chance.choice(names)
        second.late = {late}
        second.schedule.after(chance.uniform(0, BACK_S_MAX), second.members[late].start)
        if chance.random() < 0.5 or said:
            other = said or chance.choice([None, saved, *backups])
            self._mistake(second, late, other, meta)
        self._go_on(second, *raised((heritage, machine), position))
        for lost in first.members.values():
            if lost.name == late or lost.name not in names:
                self._back_in_time(lost, second)
        return second

    def _restore(self, member: Member, saved: Saved, bump: int) -> None:
        """By the command, which may be interrupted: then the directory is emptied first."""
        chance, world = self._chance, member.world
        addresses = {name: f"{name}:7500" for name in world.names}
        with saved.file() as path:
            for tries in itertools.count():
                disk = member.disk = MemoryDisk()
                args = path, disk, member.name, addresses, member.data_id, bump
                changes = self._interrupted_after(tries)
                if not changes:
                    backup_file.restore(*args)
                    crash(disk, chance)
                    break
                world.count["restores interrupted"] += 1
                do_some(partial(backup_file.restore, *args), disk, chance, changes)
                crash(disk, chance)
                if self._is_whole(disk):
                    break
        member.durable.begins_at(Position(saved.meta.index, saved.meta.term))
        world.cluster_id = identified(disk, addresses)

    def _is_whole(self, disk: MemoryDisk) -> bool:
        """What was restored half way is refused, or looks like nothing."""
        try:
            return read_identity(disk) is not None
        except Corrupt:
            return False

    def _mistake(self, second: World, name: str, other: Saved | None, meta: SnapshotMeta) -> None:
        """Somebody is started there who was not restored, or from another backup.

        Or from the same one, with its revision raised by another bump.
        """
        world = self._begin(second.names, MISTAKEN)
        world.is_over = True
        world.cluster_id = cluster_id_of({n: f"{n}:7500" for n in second.names})
        if other is not None:
            is_same = backup_file.origin_of(other.meta, 0) == backup_file.origin_of(meta, 0)
            position = Position(other.meta.index, other.meta.term)
            heritage, _ = left_at(position, self._first.checker)
            world.checker.goes_on(heritage, Member, same_members=False)
            self._first.count["restored with another bump"] += is_same
            self._restore(world.members[name], other, 0 if is_same else REVISION_BUMP)
        self._back_in_time(world.members[name], second)
