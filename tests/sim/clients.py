"""Clients: they propose and read at any node, and hold it to what it told them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

READ_CHANCE = 0.4
LEASES_S = 2.5
"""So long they read by leases, and so long they do not: a leader seeks one while somebody does."""


class Clients:
    """All clients of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last_uid = self._last_read = 0
        self._waiting: dict[int, str] = {}  # uid -> the member that was asked
        self._reading: dict[int, tuple[str, int]] = {}  # read -> the member, what it must see
        self.acknowledged: list[int] = []
        """In this step, not yet looked up."""
        self._floor = 1  # every read that begins now must see at least this index
        self.acknowledged_at_s = 0.0

    def begin(self) -> None:
        """Do something, and again after a while."""
        world = self._world
        if world.schedule.now_s >= world.profile.quiet_from_s:
            return
        now_s = world.schedule.now_s
        awake = [m for m in world.members.values() if m.alive and m.paused_until_s <= now_s]
        if awake:
            burst = world.chance.random() < world.profile.burst_chance
            for _ in range(world.profile.burst if burst else 1):
                member = world.chance.choice(awake)
                member.later(0, self.propose, member)
            if world.chance.random() < READ_CHANCE:
                member = world.chance.choice(awake)
                member.later(0, self.read, member)
            for member in awake if now_s // LEASES_S % 2 else ():
                if member.is_leader:
                    member.later(0, self._read_by_lease, member)
        world.schedule.after(world.chance.expovariate(1 / world.profile.client_gap_s), self.begin)

    def goes_on(self, before: Clients, index: int) -> None:
        """With other numbers than before; all must see at least this index."""
        self._last_uid, self._floor = before._last_uid, index

    @property
    def floor(self) -> int:
        """What every read that begins now must see."""
        return self._floor

    @property
    def last_uid(self) -> int:
        return self._last_uid

    def crashed(self, name: str) -> None:
        """Whoever asked this member will never be told."""
        self._waiting = {u: n for u, n in self._waiting.items() if n != name}
        self._reading = {r: t for r, t in self._reading.items() if t[0] != name}

    @property
    def still_waiting(self) -> list[str]:
        """Calls that have not ended."""
        writes = [f"write {uid} at {name}" for uid, name in self._waiting.items()]
        return writes + [f"read {r} at {name}" for r, (name, _) in self._reading.items()]

    # -- writes ------------------------------------------------------------------------------------

    def propose(self, member: Member) -> None:
        """One write, asked of this node in a step of its own."""
        self._last_uid += 1
        uid = self._last_uid
        self._waiting[uid] = member.name
        self._world.count["proposed"] += 1
        member.propose(uid, lambda outcome, why: self._ended(uid, outcome, why))

    def _ended(self, uid: int, outcome: str, why: str) -> None:
        checker = self._world.checker
        if self._waiting.pop(uid, None) is None:
            checker.fail("a call ended twice", f"{uid}: {outcome} {why}")
        self._world.count[outcome] += 1
        self._world.note("write {0} {1} {2}", uid, outcome, why)
        if outcome == "acknowledged":
            self.acknowledged.append(uid)
        elif outcome == "refused":
            checker.refused[uid] = why
            if uid in checker.committed_at:
                detail = f"{uid} at {checker.committed_at[uid]}: {why}"
                checker.fail("refused, yet committed", detail)

    def settle(self) -> None:
        """The step is over: what it acknowledged must be committed."""
        acknowledged, self.acknowledged = self.acknowledged, []
        for uid in acknowledged:
            index = self._world.checker.committed_at.get(uid)
            if index is None:
                self._world.fail("acknowledged, not committed", str(uid))
                return
            self._floor = max(self._floor, index)
            self.acknowledged_at_s = self._world.schedule.now_s

    # -- reads -------------------------------------------------------------------------------------

    def read(self, member: Member) -> None:
        """The same for a read."""
        self._last_read += 1
        read = self._last_read
        self._reading[read] = (member.name, self._floor)
        member.read(lambda index: self._answered(read, member, index))

    def _answered(self, read: int, member: Member, index: int | None) -> None:
        name, floor = self._reading.pop(read, ("", 0))
        if not name:
            self._world.fail("a read was answered twice", f"{read} at {member.name}")
        self._world.note("read {0} at {1}: {2}, must see {3}", read, member.name, index, floor)
        if index is None:
            self._world.count["reads not answered"] += 1
            return
        self._world.count["reads"] += 1
        self._must_see(member, floor, "a linearizable read is stale")
        if member.applied_index < index:
            self._world.fail("a read before its index", f"{member.applied_index} < {index}")

    def _read_by_lease(self, member: Member) -> None:
        if member.holds_lease():
            self._world.count["lease reads"] += 1
            self._must_see(member, self._floor, "a lease read is stale")

    def _must_see(self, member: Member, floor: int, failure: str) -> None:
        """What one read has seen, every later one must see as well."""
        applied = member.applied_index
        if applied < floor:
            self._world.fail(failure, f"{member.name} has applied {applied}, must see {floor}")
        self._floor = max(self._floor, applied)
