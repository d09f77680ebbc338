"""The replicated state machine: what each command does to the keys, and what it answers.

Pure, total and deterministic: the same batches at the same cluster times give the same replies and
the same image on every node. It reads no clock and touches no file; time comes with the entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from heapq import nsmallest
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Final, TypeVar, get_args

from msgspec.structs import replace

from raftcache.command.calls import Call, Calls
from raftcache.command.checks import check
from raftcache.command.codec import decode
from raftcache.command.leasing import LeaseView, LockView
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX, HISTORY_SIZE_BYTES_MAX
from raftcache.command.ranges import is_within
from raftcache.command.values import Value
from raftcache.command.words import (
    CallsReply,
    Command,
    DeleteRange,
    Item,
    Keyed,
    Once,
    Put,
    Reply,
    Status,
    Tick,
    Txn,
)
from raftcache.state import image, lookup
from raftcache.state.changes import Changes
from raftcache.state.history import History, Kind
from raftcache.state.image import (
    SLICE_KEYS_MAX,
    SLICE_SIZE_BYTES,
    Loader,
    State,
)
from raftcache.state.items import read, weight_bytes
from raftcache.state.keeping import KeepingCommands
from raftcache.state.keyspace import Keyspace
from raftcache.state.lease_commands import LeaseCommands
from raftcache.state.listing import Listing
from raftcache.state.lock_commands import LockCommands
from raftcache.state.notes import Note, Notes
from raftcache.state.operations import Operations
from raftcache.state.quotas import Count, Quota
from raftcache.state.redis.execute import CallCommands
from raftcache.state.redis.store import Store
from raftcache.state.refills import Right
from raftcache.state.rows import Rows
from raftcache.state.runs import RUN_WORTH, RUNS_SPARE
from raftcache.state.table import TIME_MS_MAX
from raftcache.state.transactions import Transactions

T = TypeVar("T")

_NOT_REMEMBERED: Final = (Status.INVALID, Status.FULL, Status.MISUSED, Status.LIMIT)
"""Another attempt may be answered otherwise."""
_FLUSH: Final = DeleteRange(b"", b"")
_SHED_PER_ENTRY: Final = 100
"""Keys of a replaced state freed by one entry: no more work than the entry itself, for a node that
installed a snapshot has thousands of entries to catch up with."""


class Machine:
    """A StateMachine (see ports): keys with deadlines, leases, locks, and remembered requests.

    Every applied change takes one revision, counted from 1; so does the removal of an overdue key,
    that of an ended lease with its keys, each new lease, and each place or grant of a lock.
    A key is overdue from the first entry whose cluster time reaches its deadline: from then on it
    is absent to every read and command, though it may be removed only by a later entry.
    """

    def __init__(self, history_size_bytes_max: int = HISTORY_SIZE_BYTES_MAX) -> None:
        self._replaced: list[Keyspace | Rows | History] = []
        self.history = History(history_size_bytes_max)
        """What changed lately here; no part of the state."""
        self.on_locks: Callable[[Collection[bytes] | None], None] | None = None
        """Told once after a batch which locks changed (None, after a loaded image: any may have),
        from within apply: it may only make a note of that."""
        self.notes = Notes()
        """What those who listen here want to hear of; no part of the state."""
        self.note_listeners: list[Callable[[list[Note] | None], None]] = []
        """Told once after a batch what is noted (None, after a loaded image: some are missing),
        from within apply: they may only remember that."""
        self._use(State())

    def _use(self, state: State) -> None:
        self._state = state
        self._changes = Changes(state, self.history, self.notes)
        self._operations = operations = Operations(self._changes)
        transactions = Transactions(self._changes, operations)
        self._leases, self._locks = LeaseCommands(self._changes), LockCommands(self._changes)
        self._keeping = KeepingCommands(self._changes)
        self._calls = CallCommands(self._changes)
        self._executors: dict[type, Callable[[Any], Reply]] = {
            **dict.fromkeys(get_args(Keyed), operations.execute),
            Put: operations.put,
            Txn: transactions.execute,
            DeleteRange: transactions.delete_range,
            Calls: self._calls.execute,
            **self._leases.executors,
            **self._locks.executors,
            **self._keeping.executors,
        }

    # Applying.

    def apply(self, now_ms: int, batch: bytes) -> list[Reply]:
        """Apply one batch at a cluster time: overdue keys go, then the commands in order.

        A time before the last one counts as the last one. Raises Corrupt, with nothing applied,
        for bytes that are no batch.
        """
        assert now_ms < TIME_MS_MAX, now_ms
        commands = decode(batch)
        self._advance(now_ms)
        if len(commands) < RUN_WORTH or self.notes.wanted:
            answer = self._answer_and_note if self.notes.wanted else self._answer
            replies = [answer(command) for command in commands]
        else:
            replies = self._answer_all(commands)
        self.history.settle()
        self._tell_of_locks()
        if self.notes.pending:
            self._tell_notes(self.notes.take())
        return replies

    def _answer_all(self, commands: list[Command]) -> list[Reply]:
        """As _answer of each; Puts that come one after the other are done in runs."""
        replies, left, spare = list[Reply](), iter(commands), RUNS_SPARE
        for command in left:
            if type(command) is Put and spare >= 0:
                done = self._operations.put_run(chain((command,), left))
                spare += len(done) - RUN_WORTH
                replies += done
                if len(replies) == len(commands):
                    break
                command = commands[len(replies)]  # the run has taken it, and left it to others
            replies.append(self._answer(command))
        return replies

    def _tell_notes(self, notes: list[Note] | None) -> None:
        for listener in self.note_listeners:
            listener(notes)

    def _answer_and_note(self, command: Command) -> Reply:
        """As _answer; calls make their notes themselves, and of a flush there is only one."""
        position = self.history.end
        reply = self._answer(command)
        if type(command) is not Calls and command != _FLUSH:
            for event in self.history.read(position, self.history.end - position) or ():
                self.notes.note_change(event)
        return reply

    def _tell_of_locks(self) -> None:
        if changed := self._state.locks.changed:
            self._state.locks.changed = set()
            if self.on_locks is not None:
                self.on_locks(changed)

    def _advance(self, now_ms: int) -> None:
        state = self._state
        state.now_ms = now_ms = max(state.now_ms, now_ms)
        for key in state.keyspace.overdue(now_ms, EXPIRED_PER_ENTRY_MAX):
            stored = state.keyspace.find(key)
            assert stored is not None
            assert 0 < stored.deadline_ms <= now_ms
            self._changes.remove(key, stored, Kind.EXPIRE)
        self._leases.end_overdue()
        self._locks.end_overdue()
        self._keeping.advance()
        state.sessions.forget(now_ms)
        if state.rows.gone:
            state.rows.free()
        if self._replaced and not self._replaced[0].shed(_SHED_PER_ENTRY):
            del self._replaced[0]

    def _answer(self, command: Command) -> Reply:
        if check(command) is not None:
            return self._refuse(Status.INVALID)
        if type(command) is Tick:  # isinstance takes a 20th of a put, for msgspec's metaclass
            return self._refuse(Status.UNCHANGED)
        word: Any = command
        if word.once is not None:
            return self._execute_once(command, word.once)
        return self._executors[type(command)](command)

    def _execute_once(self, command: Command, once: Once) -> Reply:
        sessions, now_ms = self._state.sessions, self._state.now_ms
        record = sessions.find(once.token, now_ms)
        if record is not None:
            if record.fingerprint != once.fingerprint:
                return self._refuse(Status.MISUSED)
            return replace(record.first_reply, replayed=True)
        if not sessions.make_room(now_ms):
            return self._refuse(Status.FULL)
        reply = self._executors[type(command)](command)
        goes_on = type(reply) is CallsReply and reply.status is Status.UNCHANGED
        if reply.status not in _NOT_REMEMBERED and not goes_on:
            sessions.remember(once, now_ms, reply)
        return reply

    def _refuse(self, status: Status) -> Reply:
        """The answer of a command that changed nothing and speaks of no key."""
        return Reply(status, self._state.revision)

    # Reading.

    def get(self, key: bytes) -> Item | None:
        """The key as of the last entry applied; an overdue one is absent."""
        return self._state.keyspace.get(key, self._state.now_ms)

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

    def key_from(self, start: bytes, count: int) -> bytes:
        """The key that comes so many keys after the first one from a start; b"" if none does."""
        return self._state.keyspace.key_from(start, count, b"")

    def revision_of(self, key: bytes) -> int:
        """A key's modification revision, 0 if it is absent."""
        item = self._state.keyspace.get(key, self._state.now_ms)
        return 0 if item is None else item.mod_revision

    def items(self) -> Iterator[tuple[bytes, Item]]:
        """All keys in order, without those overdue; nothing may be applied meanwhile."""
        walk = self._state.keyspace.begin_pass()
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
        tables = (state.sessions, state.leases, state.locks, state.refills)
        return sum(part.memory_size_bytes for part in (state.keyspace, state.rows, *tables))

    def weigh(self, key: bytes) -> tuple[int, int] | None:
        """A key's modification revision and the size of its item, overdue or not."""
        stored = self._state.keyspace.find(key)
        return None if stored is None else (stored.mod_revision, weight_bytes(stored.packed))

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

    # Images.

    def dump(self) -> Generator[bytes, None, None]:
        """The canonical image as of this call, in slices; see image.dump."""
        return image.dump(self._state)

    def loader(self) -> Loader:
        """Builds another state from an image; its install() puts it in place of this one."""
        return Loader(self._adopt)

    def _adopt(self, state: State) -> None:
        self._replaced = [self._state.keyspace, self._state.rows, self.history]
        self._use(state)
        self.history.begin_at(state.revision)
        state.locks.changed.clear()
        if self.on_locks is not None:
            self.on_locks(None)
        self._tell_notes(None)
