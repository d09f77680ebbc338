"""A store: clients who move amounts, keep things on leases, wait for locks and make room.

Each asks for something again and again, through any node, by what that node has applied, which may
be old; what is refused or lost is left at that. What must hold of it all is in audit.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raftcache.command.leasing import (
    LeaseGrant,
    LeaseKeepAlive,
    LeaseRevoke,
    LockAcquire,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
)
from raftcache.command.replies import Item, Reply, Status
from raftcache.command.words import (
    Command,
    Compare,
    DeleteRange,
    Evict,
    Increment,
    LeasedPut,
    Persist,
    Put,
    Range,
    Relation,
    Target,
    Txn,
)
from tests.sim.audit import ACCOUNTS, LEFT, LOCKS, OPENING_BALANCE, SHELF, Audit

if TYPE_CHECKING:
    from raftcache.state.machine import Machine
    from tests.sim.member import Member
    from tests.sim.world import World

ALL_ACCOUNTS: Final = Range(ACCOUNTS[0], ACCOUNTS[-1] + b"\0")
OPENING: Final = Txn(
    (Compare(ACCOUNTS[0], Target.EXISTS, Relation.EQUAL, 0),),
    tuple(Put(account, b"%d" % OPENING_BALANCE) for account in ACCOUNTS),
)
LEASES_LOOKED_AT: Final = 10


class Store:
    """All clients of one run's store."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self.audit = Audit(world)
        self._asks: Final = (*2 * (self._move, self._keep), self._lease, self._lock)
        self._looked: list[tuple[bytes, int]] = []  # keys with their revisions, to be evicted

    def begin(self) -> None:
        """One client: ask for something, and again after a while."""
        world = self._world
        if world.schedule.now_s >= world.profile.quiet_from_s:
            return
        awake = [m for m in world.members.values() if m.alive]
        if awake:
            member = self._chance.choice(awake)
            member.later(0, self._ask, member)
        gap_s = world.profile.store_gap_s
        world.schedule.after(self._chance.expovariate(1 / gap_s), self.begin)

    def judge(self) -> None:
        """At the end, also of those who were given their last state as a whole."""
        for member in self._world.members.values():
            if member.alive:
                self.audit.look(member)

    def _ask(self, member: Member) -> None:
        machine = member.machine
        opened = machine.get(ACCOUNTS[0]) is not None
        command = self._chance.choice(self._asks)(machine) if opened else OPENING

        def done(outcome: Any) -> None:
            self._world.note("{0} at {1}: {2}", command, member.name, outcome)
            if isinstance(outcome, Reply):
                kind = type(command).__name__
                self._world.count[f"{kind} {outcome.status.name.lower()}"] += 1
                self._answered(command, outcome)
            else:
                self._world.count["Txn refused"] += command is OPENING and outcome.definite

        member.submit(command, done)

    def _answered(self, command: Command, reply: Reply) -> None:
        match command, reply.status:
            case Txn(), _:
                self.audit.transaction(command, reply)
            case (LeaseGrant(), Status.CREATED) | (LockAcquire(), Status.GRANTED):
                self.audit.given(reply.number)
            case LockAcquire(), Status.QUEUED:
                self.audit.places[command.name].append(reply.number)
            case Evict(), _:
                self._world.count["evicted"] += reply.count
                self._world.count["spared"] += len(command.victims) - reply.count
            case LeaseRevoke(), Status.DELETED:
                self.audit.ended(command.lease, reply.revision)
            case LockRelease(), Status.DELETED:
                self.audit.ended(command.token, reply.revision)

    # -- what they ask for -------------------------------------------------------------------------

    def _move(self, machine: Machine) -> Command:
        """An amount, from one account to another."""
        pair = self._chance.sample(ACCOUNTS, 2)
        amount = self._chance.randrange(1, OPENING_BALANCE)
        debit, credit = Increment(pair[0], -amount), Increment(pair[1], amount)
        match self._chance.randrange(4):
            case 0:  # as read, if that is what there is by then
                items = [_item(machine, account) for account in pair]
                compares = tuple(
                    Compare(account, Target.REVISION, Relation.EQUAL, item.mod_revision)
                    for account, item in zip(pair, items, strict=True)
                )
                less = Put(pair[0], b"%d" % (int(items[0].value) - amount))
                more = Put(pair[1], b"%d" % (int(items[1].value) + amount))
                return Txn(compares, (less, more, ALL_ACCOUNTS), (ALL_ACCOUNTS,))
            case 1:  # stopped half way
                return Txn((), (debit, Persist(b"nowhere"), credit))
            case _:
                return Txn((), (ALL_ACCOUNTS, debit, credit, ALL_ACCOUNTS))

    def _keep(self, machine: Machine) -> Command:
        """A few keys are put, alone or on a lease, and go in a row, or to make room."""
        key, chance = self._chance.choice(SHELF), self._chance
        leases = machine.leases(0, LEASES_LOOKED_AT)
        match chance.randrange(8):
            case 0:
                return DeleteRange(key, key[:-1] + bytes([key[-1] + chance.randrange(1, 4)]))
            case 1 | 2 if self._looked:
                victims, self._looked = tuple(self._looked), []
                self.audit.victims.update(victims)
                return Evict(victims)
            case 3 | 4 | 5 if leases:
                return LeasedPut(key, b"leased", chance.choice(leases).id)
        if not self._looked:
            held = [(each, machine.weigh(each)) for each in chance.sample(SHELF, 3)]
            self._looked = [(each, weight[0]) for each, weight in held if weight is not None]
        return Put(key, b"%d" % machine.revision)

    def _lease(self, machine: Machine) -> Command:
        leases = machine.leases(0, LEASES_LOOKED_AT)
        match self._chance.randrange(4) if leases else 0:
            case 0:
                return LeaseGrant(self._chance.choice((400, 1000, 4000)))
            case 1:
                lease = self._chance.choice(leases).id
                self.audit.let_go.add(lease)
                return LeaseRevoke(lease)
            case _:
                return LeaseKeepAlive(self._chance.choice(leases).id)

    def _lock(self, machine: Machine) -> Command:
        chance, name = self._chance, self._chance.choice(LOCKS)
        token, places = machine.lock(name).token, self.audit.places[name]
        match chance.randrange(6):
            case 0 if token:
                self.audit.let_go.add(token)
                return LockRelease(name, token)
            case 1 if token:
                return LockKeepAlive(name, token)
            case 2 | 3 if places:
                return LockStay(name, chance.choice(places[-3:]))
            case 4 if places and name == LEFT:
                return LockLeave(name, chance.choice(places[-3:]), chance.randrange(2))
        wait_ms, delay_ms = chance.choice((0, 2000, 8000)), chance.choice((0, 0, 300))
        return LockAcquire(name, chance.choice((400, 1500)), wait_ms, delay_ms)


def _item(machine: Machine, account: bytes) -> Item:
    item = machine.get(account)
    assert item is not None
    return item
