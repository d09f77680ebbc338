"""The replicated state machine: what each command does to the keys, and what it answers.

What a reader sees of them is in reads.py.

Pure, total and deterministic: the same batches at the same cluster times give the same replies and
the same image on every node. It reads no clock and touches no file; time comes with the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from itertools import chain
from typing import Any, Final, get_args

from msgspec.structs import replace

from raftcache.command.calls import CALLS, Calls, CallsAnswered, CallsRehearsed, CallsSince
from raftcache.command.checks import check
from raftcache.command.codec import decode
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX, HISTORY_SIZE_BYTES_MAX
from raftcache.command.replies import CallsReply, Reply, Status
from raftcache.command.words import Command, DeleteRange, Keyed, Number, Once, Put, Tick, Txn
from raftcache.state import image
from raftcache.state.changes import Changes
from raftcache.state.client_commands import ClientCommands
from raftcache.state.history import History, Kind
from raftcache.state.image import Loader
from raftcache.state.keeping import KeepingCommands
from raftcache.state.keyspace import Keyspace
from raftcache.state.lease_commands import LeaseCommands
from raftcache.state.lock_commands import LockCommands
from raftcache.state.notes import Note, Notes
from raftcache.state.operations import Operations
from raftcache.state.reads import Reads
from raftcache.state.redis.execute import CallCommands
from raftcache.state.remembered import Record
from raftcache.state.rows import Rows
from raftcache.state.runs import RUN_WORTH, RUNS_SPARE
from raftcache.state.state import State
from raftcache.state.table import TIME_MS_MAX
from raftcache.state.transactions import Transactions

_NOT_REMEMBERED: Final = (Status.INVALID, Status.FULL, Status.MISUSED, Status.LIMIT)
"""Another attempt may be answered otherwise."""
_FLUSH: Final = DeleteRange(b"", b"")
_SHED_PER_ENTRY: Final = 100
"""Keys of a replaced state freed by one entry: no more work than the entry itself, for a node that
installed a snapshot has thousands of entries to catch up with."""


class Machine(Reads):
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
        clients = ClientCommands(self._changes)
        self._calls = CallCommands(self._changes)
        self._executors: dict[type, Callable[[Any], Reply]] = {
            **dict.fromkeys(get_args(Keyed), operations.execute),
            Put: operations.put,
            Txn: transactions.execute,
            DeleteRange: transactions.delete_range,
            Calls: self._calls.execute,
            CallsSince: self._calls.execute_since,
            CallsAnswered: self._calls.execute_answered,
            CallsRehearsed: self._calls.execute_answered,
            **self._leases.executors,
            **self._locks.executors,
            **self._keeping.executors,
            **clients.executors,
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
        if type(command) not in CALLS and command != _FLUSH:
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
        if state.clients.count:
            state.clients.forget(now_ms)
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
        token = once.token
        if type(token) is Number:
            return self._execute_numbered(command, once, token)
        assert isinstance(token, bytes)
        sessions, now_ms = self._state.sessions, self._state.now_ms
        record = sessions.find(token, now_ms)
        if record is not None:
            return self._answer_again(record, once)
        if not sessions.make_room(now_ms):
            return self._refuse(Status.FULL)
        reply = self._executors[type(command)](command)
        if _is_remembered(reply):
            sessions.remember(once, now_ms, reply)
        return reply

    def _execute_numbered(self, command: Command, once: Once, request: Number) -> Reply:
        clients, now_ms = self._state.clients, self._state.now_ms
        if (refused := clients.hear(request, now_ms)) is not None:
            return self._refuse(refused)
        record = clients.find(request)
        if record is not None:
            return self._answer_again(record, once)
        if (refused := clients.shortage(request, now_ms)) is not None:
            return self._refuse(refused)
        reply = self._executors[type(command)](command)
        if _is_remembered(reply):
            clients.remember(once, reply)
        return reply

    def _answer_again(self, record: Record, once: Once) -> Reply:
        if record.fingerprint != once.fingerprint:
            return self._refuse(Status.MISUSED)
        return replace(record.first_reply, replayed=True)

    def _refuse(self, status: Status) -> Reply:
        """The answer of a command that changed nothing and speaks of no key."""
        return Reply(status, self._state.revision)

    # Images.

    def dump(self) -> Generator[bytes, None, None]:
        """The canonical image as of this call, in slices; see image.dump."""
        return image.dump(self._state)

    def loader(self) -> Loader:
        """Builds another state from an image; its install() puts it in place of this one."""
        return Loader(self._adopt)

    def raise_revision(self, by: int) -> None:
        """Go on with numbers so much higher; whatever is remembered of before is forgotten.

        For the state that a cluster begins with, and no command: it must be the same on all nodes.
        """
        assert by >= 0, by
        self._state.revision += by
        self.history.begin_at(self._state.revision)

    def _adopt(self, state: State) -> None:
        self._replaced = [self._state.keyspace, self._state.rows, self.history]
        self._use(state)
        self.history.begin_at(state.revision)
        state.locks.changed.clear()
        if self.on_locks is not None:
            self.on_locks(None)
        self._tell_notes(None)


def _is_remembered(reply: Reply) -> bool:
    """Whether it is the answer to every attempt; calls that only wait go on."""
    goes_on = type(reply) is CallsReply and reply.status is Status.UNCHANGED
    return reply.status not in _NOT_REMEMBERED and not goes_on
