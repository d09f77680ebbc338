"""What a reader sees of the state as of the last entry applied."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from raftcache.command.calls import Call
from raftcache.command.leasing import LeaseView, LockView
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX
from raftcache.command.ranges import is_within
from raftcache.command.replies import Item
from raftcache.command.values import Value
from raftcache.state import lookup
from raftcache.state.history import History
from raftcache.state.image import SLICE_KEYS_MAX, SLICE_SIZE_BYTES
from raftcache.state.items import (
    HASH,
    described,
    element_bytes,
    read,
    read_header,
    weight_bytes,
    width,
)
from raftcache.state.listing import Listing
from raftcache.state.quotas import Count, Quota
from raftcache.state.redis.execute import CallCommands
from raftcache.state.redis.rehearsal import Rehearsal
from raftcache.state.redis.store import Store
from raftcache.state.refills import Right
from raftcache.state.rows import prefix_of
from raftcache.state.state import State

T = TypeVar("T")


class Reads:
    """The part of a Machine that changes nothing (machine.py)."""

    history: History
    """What changed lately here; no part of the state."""
    _state: State
    _calls: CallCommands

    def get(self, key: bytes) -> Item | None:
        """The key as of the last entry applied; an overdue one is absent."""
        return self._state.keyspace.get(key, self._state.now_ms)

    def stored(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The keys as of the last entry applied, packed and unread; overdue ones among them."""
        return list(map(self._state.keyspace.packed, keys))

    def strings(self, keys: Sequence[bytes], now_ms: int) -> list[Value] | None:
        """What a GET of each key answers; None if that is for `call` to say. See lookup.strings."""
        return lookup.strings(self._state, keys, now_ms)

    def call(self, calls: Sequence[Call], now_ms: int, dice: int = 0) -> list[Value]:
        """What Redis commands that only read answer; see call_some."""
        return self.call_some(calls, now_ms, dice)[0]

    def call_some(
        self, calls: Sequence[Call], now_ms: int, dice: int = 0
    ) -> tuple[list[Value], int]:
        """What Redis commands that only read answer, as of the last entry applied.

        now_ms: the present, for times to live. It answers the first of them, and those after it
        until one turn of the loop has done enough; and how many bytes they looked at.
        """
        return self._calls.read(calls, now_ms, dice)

    def look(self, now_ms: int, reader: Callable[[Store], T]) -> T:
        """What reader finds among the keys as of the last entry applied; it changes nothing.

        now_ms: as for call. Raises what reader raises.
        """
        return self._calls.look(reader, now_ms)

    def rehearse(
        self, play: Callable[[Rehearsal], T], now_ms: int, size_bytes_max: int, dice: int
    ) -> T:
        """What play answers, which does calls as of the last entry applied; all is undone after it.

        now_ms: as for call. size_bytes_max, dice: as in Calls. play must not keep the rehearsal.
        Raises what play raises.
        """
        return self._calls.rehearse(play, now_ms, size_bytes_max, dice)

    def key_from(self, start: bytes, count: int) -> bytes:
        """The key that comes so many keys after the first one from a start; b"" if none does."""
        return self._state.keyspace.key_from(start, count, b"")

    def revision_of(self, key: bytes) -> int:
        """A key's modification revision, 0 if it is absent."""
        item = self._state.keyspace.get(key, self._state.now_ms)
        return 0 if item is None else item.mod_revision

    def items(self) -> Iterator[tuple[bytes, Item]]:
        """All keys in order, without those overdue; nothing may be applied meanwhile."""
        walk = self._state.keyspace.begin_pass(self._state.revision)
        try:
            while not walk.done:
                for key, packed in walk.take(SLICE_KEYS_MAX, SLICE_SIZE_BYTES):
                    now_ms = self._state.now_ms
                    item = self._state.leases.seen(read(packed, now_ms), now_ms)
                    if item is not None:
                        yield key, item
        finally:
            self._state.keyspace.end_pass()

    def listing(
        self,
        start: bytes,
        end: bytes,
        revision: int | None = None,
        now_ms: int | None = None,
        *,
        keys_only: bool = False,
    ) -> Listing:
        """The keys of [start, end) as they were at a revision, None for now; see listing.py.

        now_ms: overdue by then they are left out; that of the last entry applied, if None. Raises
        Compacted if the history does not reach back to that revision.
        """
        state = self._state
        revision = state.revision if revision is None else revision
        assert revision <= state.revision
        now_ms = state.now_ms if now_ms is None else now_ms
        return Listing(
            state.keyspace, self.history, start, end, revision, now_ms, keys_only=keys_only
        )

    def count_range(self, start: bytes, end: bytes) -> int | None:
        """How many keys of [start, end) a reader sees; O(log n).

        None while too many keys are overdue to look at each: later entries remove them.
        """
        keyspace, now_ms = self._state.keyspace, self._state.now_ms
        absent = keyspace.gone(now_ms, EXPIRED_PER_ENTRY_MAX + 1)
        if len(absent) > EXPIRED_PER_ENTRY_MAX:
            return None
        gone = sum(is_within(key, start, end) for key in absent)
        return keyspace.count_span(start, end) - gone

    def lease(self, lease_id: int) -> LeaseView | None:
        """A lease as of the last entry applied; None once it is over."""
        return self._state.leases.view(lease_id, self._state.now_ms)

    def lease_keys(self, lease_id: int, count_max: int) -> list[bytes]:
        """The first keys of a lease, in order."""
        return nsmallest(count_max, self._state.leases.keys(lease_id))

    def leases(self, after: int, count_max: int) -> list[LeaseView]:
        """The first living leases with ids above one, in order."""
        records = self._state.leases.table.records()
        begin = bisect_right(records, after, key=attrgetter("number"))
        views = (self.lease(record.number) for record in islice(records, begin, None))
        return list(islice((view for view in views if view is not None), count_max))

    @property
    def lease_count(self) -> int:
        """Leases held, overdue ones that were not removed yet among them."""
        return len(self._state.leases.table)

    @property
    def lock_place_count(self) -> int:
        """Holders of locks, and those who wait for one."""
        return len(self._state.locks.table)

    def lock(self, name: bytes) -> LockView:
        """A lock as of the last entry applied."""
        return self._state.locks.view(name, self._state.now_ms)

    def locks(self, after: bytes, count_max: int) -> list[tuple[bytes, LockView]]:
        """The first locks that are not free with names behind one, in order."""
        return [(name, self.lock(name)) for name in self._state.locks.names(after, count_max)]

    def lock_place(self, name: bytes, number: int) -> int | None:
        """The token granted to a place at a lock, 0 while it waits; None if it is gone."""
        return self._state.locks.token_of(name, number)

    def next_deadline_ms(self) -> int | None:
        """When the next entry has something to do, for whatever is due or under way; None: never.

        The earliest deadline; now, while a quota's keys are counted, or elements of a collection
        that is gone are freed.
        """
        if self._state.keyspace.quotas.is_counting or self._state.rows.gone:
            return self._state.now_ms
        return self.earliest_deadline_ms()

    def earliest_deadline_ms(self) -> int | None:
        """Of keys, of leases, and of places at locks, overdue ones among them; None for none."""
        state = self._state
        tables = state.keyspace, state.leases.table, state.locks.table
        deadlines = [part.next_deadline_ms() for part in tables]
        return min((each for each in deadlines if each is not None), default=None)

    def quotas(self) -> list[tuple[Quota, Count]]:
        """All quotas and what counts for them, by prefix, as of the last entry applied."""
        return self._state.keyspace.quotas.items()

    def right(self, key: bytes, now_ms: int) -> Right | None:
        """The right to refill a key that is living at a cluster time."""
        return self._state.refills.living(key, now_ms)

    @property
    def count(self) -> int:
        """Keys held, overdue ones that were not removed yet among them."""
        return len(self._state.keyspace)

    @property
    def client_count(self) -> int:
        """Clients that number their requests."""
        return self._state.clients.count

    def knows_client(self, client_id: int) -> bool:
        """Whether a client is remembered, as of the last entry applied."""
        return self._state.clients.knows(client_id, self._state.now_ms)

    @property
    def numbered_count(self) -> int:
        """First replies to requests of these that are remembered."""
        return self._state.clients.record_count

    @property
    def remembered_count(self) -> int:
        """First replies to idempotency keys that are remembered."""
        return len(self._state.sessions)

    @property
    def deadline_count(self) -> int:
        """Of these, those with deadlines of their own."""
        return self._state.keyspace.deadline_count

    @property
    def size_bytes(self) -> int:
        """Keys and packed items; memory_size_bytes has what Python takes for them."""
        return self._state.keyspace.size_bytes

    @property
    def memory_size_bytes(self) -> int:
        """About what the state takes of the process's memory: equal on every node.

        The history, which is each node's own, comes on top.
        """
        state = self._state
        tables = (state.sessions, state.clients, state.leases, state.locks, state.refills)
        return sum(part.memory_size_bytes for part in (state.keyspace, state.rows, *tables))

    def weigh(self, key: bytes) -> tuple[int, int] | None:
        """A key's modification revision and the size of its item, overdue or not."""
        stored = self._state.keyspace.find(key)
        return None if stored is None else (stored.mod_revision, weight_bytes(stored.packed))

    def width(self, key: bytes) -> int:
        """About how much a call does that looks at all there is under a key; see items.width."""
        packed = self._state.keyspace.packed(key)
        return 0 if packed is None else width(packed)

    def element_bytes(self, key: bytes) -> int:
        """About the size of one element under a key, or of its string."""
        packed = self._state.keyspace.packed(key)
        return 0 if packed is None else element_bytes(packed)

    def item_bytes(self, key: bytes) -> int:
        """What is written anew when the deadline or the name of a key becomes another one."""
        return len(self._state.keyspace.packed(key) or b"")

    def field_bytes(self, key: bytes, field: bytes) -> int:
        """The size of what a field of a hash holds."""
        packed = self._state.keyspace.packed(key)
        if packed is None or read_header(packed).kind != HASH:
            return 0
        return len(self._state.rows.get(prefix_of(described(packed).id) + field) or b"")

    def keys_after(self, key: bytes, count_max: int) -> list[bytes]:
        """The first keys behind one, in order, overdue ones too."""
        span = self._state.keyspace.span(key + b"\0", b"")
        return [each for each, _ in islice(span, count_max)]

    def soonest(self, count_max: int) -> list[bytes]:
        """The first keys by deadline, of those that have one."""
        return self._state.keyspace.soonest(count_max)

    @property
    def revision(self) -> int:
        """Writes applied since the store began."""
        return self._state.revision

    @property
    def now_ms(self) -> int:
        """The cluster time of the last entry applied."""
        return self._state.now_ms

    @property
    def digest(self) -> int:
        """64 bits over the whole state; equal states have equal digests."""
        return self._state.digest
