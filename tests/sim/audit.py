"""What must hold of a store in every state that any node comes to, and of what clients were told.

Amounts add up; nodes remember the same changes; only what was named, as it was, is evicted; tokens
of a lock rise, each is given once, and nobody is overtaken in a queue; who has a lease or a lock
has it for its whole time, unless somebody asked for its end, and not after that was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from raftcache.command.replies import Found, Item, Reply, Status, TxnReply
from raftcache.command.words import Increment, Put, Txn
from raftcache.state.history import Event, Kind
from raftcache.state.items import read_header

if TYPE_CHECKING:
    from raftcache.state.machine import Machine
    from tests.sim.member import Member
    from tests.sim.world import World

ACCOUNTS: Final = tuple(b"account%d" % number for number in range(4))
OPENING_BALANCE: Final = 100
TOTAL: Final = OPENING_BALANCE * len(ACCOUNTS)
SHELF: Final = tuple(b"shelf%d" % number for number in range(8))
LEFT: Final = b"left"
LOCKS: Final = (b"lock", LEFT)
"""Places are left at one of them only: who leaves cannot tell which token he gives up with it."""
LEASES_MAX: Final = 10_000
PLACES: Final = 10
"""So many of the latest in each queue are looked at."""


class _Seen:
    """What one life of one member had come to when it was looked at last."""

    def __init__(self) -> None:
        self.position = 0  # in its history
        self.held: dict[int, int] = {}  # leases and tokens -> their deadlines
        self.tokens: dict[bytes, int] = {}  # the last one of each lock


class Audit:
    """Of all members; they are looked at after each batch that they apply."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._events: dict[int, list[Event]] = {}  # by their revisions
        self._opened_at = 0  # the revision at which the accounts were
        self._given: set[int] = set()
        self._ended: dict[int, int] = {}  # leases and tokens -> the revision when they were gone
        self.victims: set[tuple[bytes, int]] = set()
        """Keys that may be evicted, with the revisions they were named with."""
        self.let_go: set[int] = set()
        """Leases and tokens whose end was asked for."""
        self.places: dict[bytes, list[int]] = {name: [] for name in LOCKS}
        """In the queue of each lock, as clients were told of them."""

    def goes_on(self, before: Audit) -> None:
        """In another cluster, whose nodes may come to what clients of this one asked for."""
        self.victims |= before.victims
        self.let_go |= before.let_go
        self._given |= before._given

    def look(self, member: Member) -> None:
        """At all that a reader could see there now, and at what led to it."""
        machine = member.machine
        seen = self._seen.setdefault((member.name, member.life), _Seen())
        self._check_history(member, seen)
        self._check_accounts(member)
        self._check_leased(member)
        self._check_held(member, seen, self._held(machine, member, seen))

    # -- keys --------------------------------------------------------------------------------------

    def _check_history(self, member: Member, seen: _Seen) -> None:
        history = member.machine.history
        events = history.read(seen.position, history.end - seen.position)
        if events is None:  # it was given another state as a whole
            position = history.position_after(history.first_revision)
            assert position is not None
            events = history.read(position, history.end - position)
            assert events is not None
        seen.position = history.end
        for revision, some in groupby(events, key=attrgetter("revision")):
            same = list(some)
            known = self._events.setdefault(revision, same)
            if known is same:
                self._check_evicted(same)
            elif known != same:
                detail = f"revision {revision} is {same} at {member.name}, and was {known}"
                self._world.fail("histories differ", detail)
            else:
                self._world.count["revisions compared"] += 1

    def _check_evicted(self, events: list[Event]) -> None:
        for event in events:
            if event.kind is Kind.EVICT:
                assert event.previous is not None
                victim = event.key, read_header(event.previous).mod_revision
                if victim not in self.victims:
                    self._world.fail("evicted, but not as it was named", f"{victim}")

    def _check_accounts(self, member: Member) -> None:
        machine = member.machine
        found = [item for key in ACCOUNTS if (item := machine.get(key)) is not None]
        if found and not self._opened_at:
            self._opened_at = found[0].create_revision
        if found or (self._opened_at and machine.revision >= self._opened_at):
            self._check_total(found, f"{member.name} at {member.applied_index}")

    def _check_total(self, found: Iterable[Item], where: str) -> None:
        balances = [int(item.value) for item in found]
        if len(balances) != len(ACCOUNTS) or sum(balances) != TOTAL:
            self._world.fail("amounts do not add up", f"{balances}: {where}")

    def transaction(self, txn: Txn, reply: Reply) -> None:
        """What one answered: what it read adds up, and what it wrote are the changes of a revision.

        Whoever answers has applied it.
        """
        assert isinstance(reply, TxnReply)
        for result in reply.results:
            if isinstance(result, Found):
                self._check_total((item for _, item in result.entries), f"read by {txn}")
        if reply.status is Status.SUCCEEDED:
            written = sorted(op.key for op in txn.success if isinstance(op, Put | Increment))
            changed = sorted(event.key for event in self._events[reply.revision])
            if written != changed:
                detail = f"{written} in {reply.revision}, which is {changed}"
                self._world.fail("a transaction is not its revision", detail)

    # -- leases and locks --------------------------------------------------------------------------

    def _check_leased(self, member: Member) -> None:
        for key in SHELF:
            item = member.machine.get(key)
            if item is not None and item.lease and member.machine.lease(item.lease) is None:
                self._world.fail("a key outlived its lease", f"{key!r} at {member.name}")

    def _held(self, machine: Machine, member: Member, seen: _Seen) -> dict[int, int]:
        """All leases and tokens there are now, with their deadlines."""
        held = {lease.id: lease.deadline_ms for lease in machine.leases(0, LEASES_MAX)}
        for name in LOCKS:
            view, last = machine.lock(name), seen.tokens.get(name, 0)
            if view.token:
                if view.token < last:
                    detail = f"{name!r} at {member.name}: {last}, then {view.token}"
                    self._world.fail("a token fell", detail)
                seen.tokens[name] = view.token
                held[view.token] = view.deadline_ms
                if name == LEFT:
                    self.let_go.add(view.token)
            self._check_queue(member, name)
        return held

    def _check_queue(self, member: Member, name: bytes) -> None:
        tokens = {p: member.machine.lock_place(name, p) for p in self.places[name][-PLACES:]}
        holder = next((place for place, token in tokens.items() if token), 0)
        overtaken = [place for place, token in tokens.items() if token == 0 and place < holder]
        if overtaken:
            detail = f"{overtaken} of {name!r} by {holder} at {member.name}"
            self._world.fail("overtaken in a queue", detail)

    def _check_held(self, member: Member, seen: _Seen, held: dict[int, int]) -> None:
        machine = member.machine
        for number, deadline_ms in seen.held.items():
            early = number not in held and machine.now_ms < deadline_ms
            if early and number not in self.let_go:
                detail = f"{number} at {member.name}: {machine.now_ms} < {deadline_ms}"
                self._world.fail("a lease or lock was cut short", detail)
        for number, deadline_ms in held.items():
            if deadline_ms < seen.held.get(number, 0):
                self._world.fail("a deadline fell", f"{number} at {member.name}")
            # An end takes no revision of its own if nothing comes of it; the next one is later.
            if number in self._ended and machine.revision > self._ended[number]:
                self._world.fail("a lease or lock outlived its end", f"{number} at {member.name}")
        seen.held = held

    def given(self, number: int) -> None:
        """A client was told that this lease or token is his."""
        if number in self._given:
            self._world.fail("a lease or token was given twice", str(number))
        self._given.add(number)

    def ended(self, number: int, revision: int) -> None:
        """A client was told that this lease or token is gone, as of a revision."""
        self._ended[number] = revision
