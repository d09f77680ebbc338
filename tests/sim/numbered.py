"""Clients that number their requests, with several under way, and try again at other nodes.

Each request appends a mark of its own to one of a few keys. What is not answered soon is sent again
under its number, while what was sent before may still wait somewhere: at a node that stands still,
or on its way to a leader that is none any more. In the end each mark must be there once if its
request was acknowledged, once at most if nobody knows, and not at all if it was refused; and in an
order that agrees with when requests began and ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from raftcache.command.clients import ClientRegister
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Append, Number, Once
from raftcache.errors import RaftcacheError

if TYPE_CHECKING:
    from tests.sim.world import World

KEYS: Final = (b"marks0", b"marks1")
PENDING_MAX: Final = 8
TRIES_MAX: Final = 6
PATIENCE_S: Final = 0.6
"""Less than a node may stand still, so that what it holds is done elsewhere meanwhile."""
SIZE_BYTES_MAX: Final = 1 << 20

LIMITS: Final = {
    "CLIENT_REQUESTS_MAX": PENDING_MAX,
    "CLIENT_IDLE_MS": 1200,
    "CLIENT_SPARED_MS": 500,
    "CLIENT_HEARD_MS": 200,
    "CLIENTS_MAX": 6,
}
"""Of raftcache.state.clients, while these play: a client is forgotten where an election takes long,
between two tries of what was done."""


@dataclass(eq=False)
class _Client:
    """id 0: it has to register."""

    id: int = 0
    last: int = 0
    pending: dict[int, None] = field(default_factory=dict)


@dataclass(eq=False)
class _Request:
    """One, through all of its tries. pending: of the id that it was given a number of."""

    place: int
    key: bytes
    client: int
    number: int
    pending: dict[int, None]
    invoked_s: float
    tries: int = 1
    may_have_happened: bool = False
    is_over: bool = False
    acknowledged_s: float | None = None

    @property
    def is_refused(self) -> bool:
        """It certainly was not done."""
        return self.is_over and self.acknowledged_s is None and not self.may_have_happened

    @property
    def mark(self) -> bytes:
        return b"%d" % self.place

    @property
    def command(self) -> Append:
        request = Number(self.client, self.number, next(iter(self.pending)))
        once = Once(request, self.mark.rjust(16))
        return Append(self.key, self.mark + b" ", SIZE_BYTES_MAX, once=once)


class NumberedClients:
    """All of one run."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self._requests: list[_Request] = []

    def begin(self) -> None:
        """One more client."""
        self._act(_Client())

    def _act(self, client: _Client) -> None:
        world = self._world
        if world.schedule.now_s >= world.profile.quiet_from_s:
            return
        if not client.id:
            self._register(client)
        elif len(client.pending) < PENDING_MAX and self._is_within(client):
            client.last += 1
            client.pending[client.last] = None
            place, key = len(self._requests), self._chance.choice(KEYS)
            numbers = client.id, client.last, client.pending
            request = _Request(place, key, *numbers, world.schedule.now_s)
            self._requests.append(request)
            self._try(client, request)
        gap_s = world.profile.numbered_gap_s
        pause_s = 2.0 if self._chance.random() < 0.004 else 0.0  # of silence, and it is forgotten
        world.schedule.after(pause_s + self._chance.expovariate(1 / gap_s), self._act, client)

    @staticmethod
    def _is_within(client: _Client) -> bool:
        return client.last + 1 - next(iter(client.pending), client.last + 1) < PENDING_MAX

    def _member(self) -> Any:
        awake = [m for m in self._world.members.values() if m.alive]
        return self._chance.choice(awake) if awake else None

    def _register(self, client: _Client) -> None:
        def done(outcome: Any) -> None:
            if isinstance(outcome, Reply) and outcome.status is Status.CREATED and not client.id:
                self._world.count["clients registered"] += 1
                client.id, client.last, client.pending = outcome.number, 0, {}

        if (member := self._member()) is not None:
            member.later(0, member.submit, ClientRegister(), done)

    def _try(self, client: _Client, request: _Request) -> None:
        number = request.tries
        if (member := self._member()) is not None:

            def done(outcome: Any) -> None:
                self._answered(client, request, number, outcome)

            member.later(0, member.submit, request.command, done)
        self._world.schedule.after(PATIENCE_S, self._answered, client, request, number, None)

    def _answered(self, client: _Client, request: _Request, number: int, outcome: Any) -> None:
        """The answer to a try; None if it did not come."""
        world = self._world
        if isinstance(outcome, Reply) and outcome.status is Status.ANSWERED:
            world.count["duplicates refused"] += 1
            if not request.is_over:
                world.fail("what is waited for was refused", f"request {request.place}")
        if request.tries != number or request.is_over:
            return
        definite = isinstance(outcome, Reply) or (
            isinstance(outcome, RaftcacheError) and outcome.definite
        )
        request.may_have_happened |= not definite
        if isinstance(outcome, Reply):
            self._replied(client, request, outcome)
        elif request.tries < TRIES_MAX:
            world.count["numbers sent again"] += 1
            request.tries += 1
            world.schedule.after(self._chance.uniform(0, 0.3), self._again, client, request)
        else:
            self._end(request)

    def _again(self, client: _Client, request: _Request) -> None:
        if not request.is_over:
            self._try(client, request)

    def _replied(self, client: _Client, request: _Request, reply: Reply) -> None:
        if reply.status is Status.FORGOTTEN:
            self._world.count["clients forgotten"] += 1
            if client.id == request.client:
                client.id = 0
        elif reply.status in (Status.CREATED, Status.CHANGED):
            self._world.count["numbers replayed"] += reply.replayed
            request.acknowledged_s = self._world.schedule.now_s
        else:
            self._world.fail("an odd answer to a number", f"{request.place}: {reply}")
        self._end(request)

    def _end(self, request: _Request) -> None:
        request.is_over = True
        del request.pending[request.number]

    def judge(self) -> None:
        """Whether each mark is there as often, and in the order, that clients were told."""
        members = [m for m in self._world.members.values() if m.alive and not m.expelled]
        if not members:
            return
        machine = max(members, key=lambda member: member.applied_index).machine
        for key in KEYS:
            item = machine.get(key)
            marks = [] if item is None else [int(mark) for mark in item.value.split()]
            self._judge(key, marks)

    def _judge(self, key: bytes, marks: list[int]) -> None:
        world, times = self._world, Counter(marks)
        for request in self._requests:
            if request.key != key:
                continue
            world.count["numbers judged"] += 1
            count = times[request.place]
            if count > 1:
                world.fail("a numbered request was done twice", f"{request}")
            elif request.acknowledged_s is not None and not count:
                world.fail("an acknowledged numbered request is lost", f"{request}")
            elif count and request.is_refused:
                world.fail("a refused numbered request was done", f"{request}")
        latest_s = 0.0
        for place in marks:
            request = self._requests[place]
            if request.acknowledged_s is not None and request.acknowledged_s < latest_s:
                world.fail("numbered requests are out of order", f"{request}")
            latest_s = max(latest_s, request.invoked_s)
