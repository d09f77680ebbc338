"""Operators: they add, promote, remove and replace members, several at a time and from any node.

A request is made as cluster/membership.py makes it (it is given up after a while), and a node joins
as cluster/joining.py does (it asks until it is told the members, and again if its process ends
before its log tells them). What was refused must never be committed, what was granted must be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from raftcache.errors import Conflict, NotFound, RaftcacheError, Unknown
from raftcache.raft.members import Change, Configuration
from raftcache.raft.members import Member as MemberRecord
from tests.sim import editions
from tests.sim.member import TIMING

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

RETRY_S: Final = 0.5
PROMOTE_TRIES: Final = 12
VOTERS_MIN: Final = 2

Outcome: TypeAlias = Configuration | RaftcacheError
Told: TypeAlias = Callable[[Outcome], object]


@dataclass
class _Request:
    """One that a node was asked, and has not ended."""

    at: str
    change: Change
    told: Told | None


class Operators:
    """All operators of one run."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self._last = 0
        self._asked: dict[int, _Request] = {}
        self._joining: set[str] = set()
        self.granted: list[Configuration] = []
        """In this step, not yet looked up."""
        self.learners: set[str] = set()
        """Those who are not promoted when they have joined."""
        self._refused: dict[str, str] = {}  # the address that a change would have set -> why not

    # -- asking ------------------------------------------------------------------------------------

    def _ask(self, change: Change, told: Told) -> None:
        """told is called once, with Unknown if no answer comes in time."""
        nodes = [m for m in self._world.members.values() if m.alive and not m.expelled]
        self._last += 1
        number, request = self._last, _Request("", change, told)
        if nodes:
            node = self._chance.choice(nodes)
            request.at = node.name
            self._asked[number] = request
            node.later(0, self._put, number, node)
        self._world.schedule.after(TIMING.request_timeout_s, self._give_up, request)

    def _put(self, number: int, node: Member) -> None:
        change = self._asked[number].change
        self._world.note("{0} is asked for {1}", node.name, change)
        self._world.count["changes asked"] += 1
        node.change(change, lambda outcome: self._ended(number, outcome))

    def _ended(self, number: int, outcome: Outcome) -> None:
        request = self._asked.pop(number, None)
        if request is None:
            self._world.fail("a change ended twice", f"{number}: {outcome}")
            return
        change = request.change
        self._world.note("change {0} of {1}: {2}", change.op, change.name, outcome)
        if isinstance(outcome, Configuration):
            self._world.count[f"{change.op} granted"] += 1
            if change.op != "transfer":
                self.granted.append(outcome)
        elif outcome.definite and change.http:
            self._refused[change.http] = outcome.detail
        self._tell(request, outcome)

    def _give_up(self, request: _Request) -> None:
        self._tell(request, Unknown("no answer in time"))

    def _tell(self, request: _Request, outcome: Outcome) -> None:
        """From outside of any node, and at once."""
        told, request.told = request.told, None
        if told is not None:
            self._world.schedule.after(0, told, outcome)

    def crashed(self, name: str) -> None:
        """Whoever asked this member will never be told."""
        self._asked = {n: r for n, r in self._asked.items() if r.at != name}

    def settle(self) -> None:
        """The step is over: what it granted must be committed, what was refused must not be."""
        checker = self._world.checker
        granted, self.granted = self.granted, []
        for configuration in granted:
            told = editions.without_addresses(configuration)
            if all(told != editions.without_addresses(c) for _, c in checker.configurations):
                self._world.fail("granted, not committed", f"{configuration}")

    def committed(self, configuration: Configuration) -> None:
        for member in configuration.members:
            if member.http in self._refused:
                why = self._refused[member.http]
                self._world.fail("refused, yet committed", f"{member}: {why}")

    @property
    def still_waiting(self) -> list[str]:
        """Requests that have not ended, at nodes that should end them."""
        members = self._world.members
        waiting = [r for r in self._asked.values() if not members[r.at].expelled]
        return [f"{r.change} at {r.at}" for r in waiting]

    def _address(self) -> str:
        """A new one for each request, to tell whose change it was."""
        return f"marker:{self._last + 1}"

    # -- what they want ----------------------------------------------------------------------------

    def act(self) -> None:
        """Want something, and again after a while; often two things at a time."""
        world, chance = self._world, self._chance
        if not world.faulty:
            return
        for _ in range(2 if chance.random() < 0.4 else 1):
            wishes = (self._grow, self._promote, self._remove, self._update, self._transfer)
            (wish,) = chance.choices(wishes, (3, 3, 3, 1, 1))
            wish()
        world.schedule.after(chance.expovariate(world.profile.change_rate), self.act)

    @property
    def _members(self) -> Configuration:
        return self._world.checker.configuration

    def _grow(self) -> None:
        members = self._world.members.values()
        spare = [m.name for m in members if self._members.get(m.name) is None]
        spare = [n for n in spare if n not in self._joining]
        if spare:
            self.begin_anew(self._chance.choice(spare))

    def grow_to(self, voters: int) -> None:
        """Whatever is the next step to so many."""
        names = {m.name for m in self._members.members} | self._joining
        if len(names) < voters:
            self._grow()
        elif len(self._members.voters) < voters:
            self._promote()

    def _promote(self) -> None:
        learners = [m.name for m in self._members.members if self._may_be_promoted(m)]
        if learners:
            self._ask(Change("promote", self._chance.choice(learners)), lambda outcome: None)

    def _remove(self) -> None:
        members = self._members
        name = self._chance.choice(members.members).name
        voter = name in members.voters
        if voter and (self._lost_voters or len(members.voters) <= VOTERS_MIN):
            return  # they could not commit anything any more, and it could not be taken back
        if self._world.members[name].alive and self._world.members[name].is_leader:
            self._ask(Change("transfer", ""), lambda outcome: None)
            after_s = self._chance.uniform(0, 1)
            self._world.schedule.after(after_s, self._remove_voter, name)
        else:
            self._remove_voter(name)

    def _remove_voter(self, name: str) -> None:
        if not self._lost_voters:
            self._ask(Change("remove", name), lambda outcome: None)

    def _update(self) -> None:
        name = self._chance.choice(self._members.members).name
        self._ask(Change("update", name, http=self._address()), lambda outcome: None)

    def _transfer(self) -> None:
        names = ["", *(m.name for m in self._members.members)]
        self._ask(Change("transfer", self._chance.choice(names)), lambda outcome: None)

    # -- lost disks --------------------------------------------------------------------------------

    @property
    def _lost_voters(self) -> list[str]:
        members = self._world.members
        voters = [m for m in self._members.members if m.voter]
        return [m.name for m in voters if m.id not in ("", members[m.name].data_id)]

    def may_lose(self, name: str) -> bool:
        """Whether this disk may be lost, and a majority is left in every way that things may go.

        Also every other voter must have heard of the first configuration, the one with the ids:
        one that has not may elect, with one whose disk was lost, as on the first day.
        """
        checker, members = self._world.checker, self._world.members
        record = self._members.get(name)
        pending = self._asked or checker.undecided or self._joining
        if pending or record is None or record.id != members[name].data_id:
            return False
        if not record.voter:
            return True
        voters = self._members.voters
        others_know = all(members[v].durable.last_index > 1 for v in voters - {name})
        return others_know and 2 * (len(voters) - len(self._lost_voters) - 1) > len(voters)

    def lost(self, name: str) -> None:
        """Its disk is empty: somebody will notice, and let it begin anew."""
        self._world.schedule.after(self._chance.uniform(1, 4), self._replace, name)

    def _replace(self, name: str) -> None:
        """Unless it was removed meanwhile, or began anew already."""
        if self._world.members[name].joins or self._members.get(name) is None:
            return
        self.begin_anew(name)

    # -- joining -----------------------------------------------------------------------------------

    def begin_anew(self, name: str) -> None:
        """Start this name with an empty disk, as a node that is to join."""
        self._world.nemesis.stop(name)
        self._world.members[name].wipe(joins=True)
        self.join(name)

    def join(self, name: str) -> None:
        """Ask to be told the members, and start."""
        if name not in self._joining:
            self._joining.add(name)
            self._try_to_join(name)

    def _try_to_join(self, name: str) -> None:
        member = self._world.members[name]
        late = self._world.schedule.now_s > self._world.profile.quiet_from_s
        asked = any(r.change.name == name for r in self._asked.values())
        if late and not asked and self._members.get(name) is None:
            self._joining.remove(name)  # it gives up
            return
        change = Change("add", name, member.data_id, f"{name}:7500", self._address())
        self._ask(change, lambda outcome: self._answered(name, outcome))

    def _answered(self, name: str, outcome: Outcome) -> None:
        member = self._world.members[name]
        if isinstance(outcome, Configuration):
            self._joining.remove(name)
            member.first = editions.seen_by(member, outcome)
            self._world.nemesis.restart(name)
            if self._chance.random() < 0.8 and name not in self.learners:
                self._world.schedule.after(RETRY_S, self._promote_in_time, name, PROMOTE_TRIES)
            return
        if isinstance(outcome, Conflict) and "belonged to a removed member" in outcome.detail:
            member.wipe(joins=True)
        self._world.schedule.after(RETRY_S, self._try_to_join, name)

    def _promote_in_time(self, name: str, tries: int) -> None:
        def told(outcome: Outcome) -> None:
            if tries > 1 and not isinstance(outcome, Configuration | NotFound):
                self._world.schedule.after(RETRY_S, self._promote_in_time, name, tries - 1)

        record = self._members.get(name)
        if record is not None and self._may_be_promoted(record):
            self._ask(Change("promote", name), told)

    def _may_be_promoted(self, record: MemberRecord) -> bool:
        """Not when its disk was lost just now: a leader may take it for alive for a while."""
        return not record.voter and record.id == self._world.members[record.name].data_id
