"""Runs Redis commands: those of the log, and those that only read, for this node's callers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, TypeVar

from msgspec.structs import replace

from raftcache.command.calls import (
    LONG,
    NEWER_CALLS,
    Call,
    Calls,
    CallsAnswered,
    CallsRehearsed,
    CallsSince,
)
from raftcache.command.limits import TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import NIL_ARRAY, Failure, Value, pack_values, unpack_values
from raftcache.state.changes import Changes
from raftcache.state.lookup import TURN_SIZE_BYTES
from raftcache.state.redis import (
    bitfields,
    bitmaps,
    copying,
    counters,
    expiry,
    geo,
    group_calls,
    group_reads,
    hashes,
    keys,
    lcs,
    list_pops,
    lists,
    messages,
    objects,
    scans,
    sets,
    sketches,
    sorting,
    stream_info,
    stream_reads,
    streams,
    strings,
    waits,
    zset_algebra,
    zset_ranges,
    zsets,
)
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.rehearsal import Rehearsal, digest_of
from raftcache.state.redis.store import BYTES_READ_MAX, ELEMENTS_READ_MAX, Handler, Store
from raftcache.state.runs import RUN_WORTH, RUNS_SPARE

T = TypeVar("T")

_FAMILIES: Final = (
    strings,
    counters,
    lcs,
    bitmaps,
    bitfields,
    keys,
    expiry,
    copying,
    objects,
    scans,
    sorting,
    messages,
    sets,
    zsets,
    zset_ranges,
    zset_algebra,
    geo,
    sketches,
    hashes,
    lists,
    list_pops,
    streams,
    stream_reads,
    stream_info,
    group_calls,
    group_reads,
)


def _newer(name: bytes, handler: Handler) -> Handler:
    """In Calls they are unknown, as they are to older nodes, which must have the same state."""

    def handle(store: Store, args: tuple[bytes, ...]) -> Value:
        if not store.has_newer:
            raise Refuse(f"ERR unknown command '{name.decode()}'")
        return handler(store, args)

    return handle


HANDLERS: Final[dict[bytes, Handler]] = {
    name: _newer(name, handler) if name in NEWER_CALLS else handler
    for family in _FAMILIES
    for name, handler in family.CALLS.items()
}

LONE: Final = frozenset(name for family in _FAMILIES for name in family.LONE)
"""Calls that change one key, once, as the last thing they do: they need no way back."""

_LONE_HANDLERS: Final = {name: HANDLERS[name] for name in LONE}

TOO_LARGE: Final = Failure("ERR the reply is too large to be remembered for a retry")

_ABSENT: Final = 0


def _mistake(error: Exception) -> Failure:
    """The answer if a handler is at fault: it must not stop every node."""
    return Failure(f"ERR internal error: {type(error).__name__}")


def _why_forgotten(values: Sequence[Value]) -> Failure | None:
    """Why these answers cannot be remembered; None if they can be."""
    try:
        size_bytes = len(pack_values(values))
    except MemoryError:
        raise
    except Exception as error:
        return _mistake(error)
    return TOO_LARGE if size_bytes > TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX else None


def _goes_on(command: Calls, values: Sequence[Value]) -> bool:
    """Whether this is an attempt that took nothing, of a call that waits for something to take."""
    is_waiting = not command.atomic and command.calls[0][0] in waits.NAMES
    return is_waiting and all(waits.is_nothing(each) or type(each) is Failure for each in values)


class CallCommands:
    """Calls over one state."""

    def __init__(self, changes: Changes) -> None:
        self._changes, self._state = changes, changes.state
        self._store = Store(changes)
        self._reader = Store(changes, reads_only=True)

    def execute(self, command: Calls) -> CallsReply:
        """Do them; one that fails changes nothing, and the others are done all the same."""
        for key, revision in command.watched:
            found = self._changes.find(key)
            if revision != (_ABSENT if found is None else found.mod_revision):
                return CallsReply(Status.FAILED, self._state.revision, values=(NIL_ARRAY,))
        before = self._state.revision
        self._store.begin(self._state.now_ms, command.size_bytes_max, command.dice)
        if command.once is not None:
            return self._execute_remembered(command)
        if command.atomic:
            self._changes.begin()
            values = [self._inside(call) for call in command.calls]
            if self._is_other(command, values):
                return self._undo_other()
            self._changes.commit()
        else:
            values = self._each(command.calls)
        return self._succeed(before, values)

    def _is_other(self, command: Calls, values: Sequence[Value]) -> bool:
        """Whether calls that were rehearsed have just answered something else."""
        if type(command) is not CallsRehearsed:
            return False
        if any(type(value) is Failure for value in values):
            return True  # none that failed in the rehearsal is done again
        try:
            return digest_of(command.calls, values, self._store.came) != command.digest
        except (ValueError, TypeError, OverflowError):  # they cannot be packed: a mistake of ours
            return True

    def _undo_other(self) -> CallsReply:
        self._changes.undo()
        return CallsReply(Status.FAILED, self._state.revision, values=(NIL_ARRAY,))

    def execute_since(self, command: CallsSince) -> CallsReply:
        """As execute, unless a key may have been there that is to have been absent all the time."""
        return self._execute_since(command, command.since)

    def _execute_since(self, command: Calls, since: int) -> CallsReply:
        tombstones, revision = self._state.tombstones, self._state.revision
        tombstones.keep(revision)
        absent = [key for key, modified in command.watched if modified == _ABSENT]
        if any(tombstones.was_there(key, since) for key in absent):
            return CallsReply(Status.FAILED, revision, values=(NIL_ARRAY,))
        if any(call[0] == b"XGROUP" for call in command.calls):
            self._state.has_groups = True
        self._store.has_newer = True
        try:
            return self.execute(command)
        finally:
            self._store.has_newer = False

    def execute_answered(self, command: CallsAnswered) -> CallsReply:
        """As execute, with the answers that it brings along.

        Numbered, it is UNCHANGED if it is out of date: that is not to be remembered.
        """
        since = command.since
        reply = self.execute(command) if since is None else self._execute_since(command, since)
        is_numbered, is_old = command.once is not None, reply.status is Status.FAILED
        return replace(reply, status=Status.UNCHANGED) if is_numbered and is_old else reply

    def _succeed(self, before: int, values: list[Value]) -> CallsReply:
        revision = self._state.revision
        return CallsReply(Status.SUCCEEDED, revision, count=revision - before, values=tuple(values))

    def _execute_remembered(self, command: Calls) -> CallsReply:
        """As execute, if every node can remember the answer.

        UNCHANGED: it is not to be remembered, for the call waits on, and will try again.
        """
        before = self._state.revision
        self._changes.begin()
        values = [self._inside(call) for call in command.calls]
        if self._is_other(command, values):
            return self._undo_other()
        if isinstance(command, CallsAnswered):
            values = list(unpack_values(command.answers))
        if why := _why_forgotten(values):
            self._changes.undo()
            return self._refuse_to_remember(len(values), why)
        self._changes.commit()
        reply = self._succeed(before, values)
        return replace(reply, status=Status.UNCHANGED) if _goes_on(command, values) else reply

    def _refuse_to_remember(self, count: int, why: Failure) -> CallsReply:
        """That is remembered: once for each call, or once for all where these are too many."""
        values = (why,) * count
        if _why_forgotten(values):
            values = (why,)
        return CallsReply(Status.REPLY_TOO_LARGE, self._state.revision, values=values)

    def read(self, calls: Sequence[Call], now_ms: int, dice: int = 0) -> tuple[list[Value], int]:
        """What calls that only read answer, as of the last entry applied: of the first ones.

        And how many bytes they looked at. It ends early when all together have looked at as many
        elements as one call may, or at TURN_SIZE_BYTES, and behind one that is LONG. now_ms: the
        present, for times to live.
        """
        reader, values = self._reader, list[Value]()
        reader.begin(max(now_ms, self._state.now_ms), 0, dice)
        reader.bytes_left = budget = BYTES_READ_MAX + TURN_SIZE_BYTES  # so the last has enough, too
        left = ELEMENTS_READ_MAX
        for call in calls:
            try:
                values.append(HANDLERS[call[0]](reader, call[1:]))
            except Refuse as refusal:
                values.append(Failure(refusal.text))
            except Exception as error:  # reads of a transaction answer so too
                values.append(_mistake(error))
            if call[0] not in LONE:
                reader.forget()
                left -= ELEMENTS_READ_MAX - reader.elements_left
                reader.allow_more()
                left = 0 if call[0] in LONG else left
            if left <= 0 or reader.bytes_left <= BYTES_READ_MAX:
                break
        return values, budget - reader.bytes_left

    def rehearse(
        self, play: Callable[[Rehearsal], T], now_ms: int, size_bytes_max: int, dice: int
    ) -> T:
        """See Machine.rehearse."""
        store, changes = self._store, self._changes
        store.begin(max(now_ms, self._state.now_ms), size_bytes_max, dice)
        changes.begin()
        store.has_newer = store.is_strict = True
        try:
            return play(Rehearsal(changes, store, self._rehearsed))
        finally:
            store.has_newer = store.is_strict = False
            store.forget()
            changes.undo()

    def look(self, reader: Callable[[Store], T], now_ms: int) -> T:
        """See Machine.look."""
        store = self._reader
        store.begin(max(now_ms, self._state.now_ms), 0, 0)
        try:
            return reader(store)
        finally:
            store.forget()

    def _each(self, calls: Sequence[Call]) -> list[Value]:
        """Calls that have nothing to do with each other; most are lone ones, and quick."""
        store = self._store
        values: list[Value] = []
        left, ahead = iter(calls), calls[RUN_WORTH - 1 :]  # what a run from each must reach
        spare = RUNS_SPARE
        for call in left:
            if call[0] == b"SET" and (at := len(values)) < len(ahead) and ahead[at][0] == b"SET":
                count = strings.set_run(store, chain((call,), left))
                values += ["OK"] * count
                spare += count - RUN_WORTH
                if spare < 0:
                    ahead = ()
                if len(values) == len(calls):
                    break
                call = calls[len(values)]  # the run has taken it, and left it to others
            handler = _LONE_HANDLERS.get(call[0])
            if handler is None:
                values.append(self._alone(call))
                continue
            try:
                values.append(handler(store, call[1:]))
            except Refuse as refusal:
                values.append(Failure(refusal.text))
            except MemoryError:
                raise
            except Exception as error:  # before it has changed anything: that comes last
                values.append(_mistake(error))
        return values

    def _alone(self, call: Call) -> Value:
        self._store.allow_more()
        self._changes.begin()
        value = self._inside(call)
        self._changes.commit()
        return value

    def _inside(self, call: Call) -> Value:
        """One call between begin and commit; if it fails, its own changes are undone."""
        store = self._store
        handler = HANDLERS.get(call[0])
        if handler is None:
            return Failure(f"ERR unknown command '{call[0].decode('latin-1')}'")
        mark = self._changes.mark()
        try:
            value = handler(store, call[1:])
            store.settle()
        except Refuse as refusal:
            value = Failure(refusal.text)
        except MemoryError:  # others may have enough, and do it: better no state than another one
            raise
        except Exception as error:
            value = _mistake(error)
        else:
            return value
        store.forget()
        self._changes.undo_to(mark)
        return value

    def _rehearsed(self, call: Call) -> Value:
        """As _inside, where no other node does the same: lack of memory is an answer, too."""
        mark = self._changes.mark()
        try:
            return self._inside(call)
        except MemoryError as error:
            self._store.forget()
            self._changes.undo_to(mark)
            return _mistake(error)
