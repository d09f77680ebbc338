"""Redis commands with raftcache's promises: what is acknowledged is durable, reads are fresh.

Calls travel to the log as they came, many in one command; pipeline.py says which of them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from raftcache.command.call_table import keys_of
from raftcache.command.calls import (
    DICE_MAX,
    DICED,
    NEWER_CALLS,
    Call,
    Calls,
    CallsSince,
    as_calls,
)
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import INTRODUCED, Once
from raftcache.errors import RaftcacheError
from raftcache.ports import Dice
from raftcache.service.calls import when_current
from raftcache.service.gathering import (
    Glance,
    Reader,
    ReadingEach,
    ReadingValues,
    ValueDone,
    ValuesDone,
    Writing,
)
from raftcache.service.kv import LINEARIZABLE, Kv, Outcome, Want
from raftcache.service.pipeline import Alone, Pipeline, Proposing, Wrote
from raftcache.service.width import width_of
from raftcache.service.wording import failure_of, once_of, values_of
from raftcache.state.items import plain_values
from raftcache.state.machine import Machine

_UNUSUAL: Final = DICED | NEWER_CALLS

Rehearse = Callable[[Call, Once | None, ValuesDone, Wrote | None], None]
"""Does one call as a script does it: here first, and with what it answers."""

PUBLISHING: Final = frozenset((b"PUBLISH", b"SPUBLISH"))
"""Whom a message reaches, the door knows and not the log."""


class Redis(Proposing, Protocol):
    """Shape of the service, for the front door and its tests.

    Calls have their names in capitals, are known, and have as many arguments as they need.
    """

    def run(
        self,
        calls: Sequence[Call],
        done: ValuesDone,
        want: Want = LINEARIZABLE,
        tokens: Sequence[bytes] | None = None,
        wrote: Wrote | None = None,
    ) -> Callable[[], bool]:
        """Do them in order; done once with a value for each, later or at once.

        If what they answer is much it is called with the values of the first ones: the others are
        not begun, and may be run once the client has taken these.
        tokens: of calls that are to be applied once, b"" for the others; behind one that has no
        answer for good (see wording.is_open) those with tokens are not begun. Returns what ends the
        wait of those that wait for something: then done is not called; what was begun goes on. It
        returns False, and ends nothing, while something may be taken for one that waits.
        """
        ...

    def get(self, keys: Sequence[bytes], done: ValuesDone, glance: Glance | None = None) -> None:
        """As a run of a GET of each key, on a shorter way, and without an end to the wait.

        glance: may answer instead of done; called once before it, if the state can be read.
        """
        ...

    @property
    def get_one(self) -> Callable[[tuple[bytes, Reader]], None]:
        """The same for one key, at a third of the cost."""
        ...

    def plain_values(self, stored: Sequence[bytes | None]) -> list[bytes] | None:
        """See PlainValues."""
        ...

    @property
    def write_one(self) -> Callable[[Call, int, ValueDone], None]:
        """The same for one call, whose revision nobody needs: done with its value."""
        ...

    def transact(
        self,
        calls: Sequence[Call],
        watched: Mapping[bytes, int],
        done: Callable[[Value], None],
        token: bytes = b"",
        wrote: Wrote | None = None,
    ) -> None:
        """EXEC: a list of values, NIL_ARRAY if a watched key is not as it was, or Failure.

        watched: what `revisions` said of each; 0 of one that must be absent, whatever it was.
        """
        ...

    def revisions(self, keys: Sequence[bytes], done: Callable[[list[int] | Failure], None]) -> None:
        """WATCH: how the keys are now: their modification revisions; what is less than 0 says at
        which revision the key was absent."""
        ...


class RedisService:
    """The real one, over this node's keys."""

    def __init__(
        self,
        kv: Kv,
        machine: Machine,
        dice: Dice,
        loop: asyncio.AbstractEventLoop,
        value_size_bytes_max: int,
        alone: Mapping[bytes, Alone],
        note_read: Callable[[bytes], None] | None = None,
        receivers: Callable[[Call], int] | None = None,
        *,
        gathers: bool = False,
    ) -> None:
        """alone: calls that are stages of their own. note_read: told of keys that are read.

        receivers: how many a message has reached here, which is what its call answers.
        gathers: writes of one turn go together; not where memory is limited, for what must not
        grow would take with it what may go on.
        """
        self.kv, self.machine, self.loop = kv, machine, loop
        self._dice, self._note_read = dice, note_read
        self._value_size_bytes_max = value_size_bytes_max
        self.alone = alone
        self._receivers = receivers
        self._rehearsing: Rehearse | None = None
        self._writing = Writing(loop, self._write) if gathers else None
        self.write_one = self._write_one if self._writing is None else self._writing.add_one
        self._reading = ReadingValues(kv, machine, self._get_slowly, note_read)
        self.get_one = ReadingEach(kv, machine, self._reading.look, note_read).add

    def run(
        self,
        calls: Sequence[Call],
        done: ValuesDone,
        want: Want = LINEARIZABLE,
        tokens: Sequence[bytes] | None = None,
        wrote: Wrote | None = None,
    ) -> Callable[[], bool]:
        running = Pipeline(self, calls, done, want, tokens, wrote)
        running.go_on()
        return running.cancel

    def transact(
        self,
        calls: Sequence[Call],
        watched: Mapping[bytes, int],
        done: Callable[[Value], None],
        token: bytes = b"",
        wrote: Wrote | None = None,
    ) -> None:
        if not calls and not watched:
            done([])
            return
        word = self._transaction(calls, watched)

        def ended(outcome: Outcome) -> None:
            if not isinstance(outcome, CallsReply):
                done(values_of(outcome, 1)[0])
            elif outcome.status is Status.FAILED:
                done(NIL_ARRAY)
            else:
                done(self._values(outcome, calls, wrote))

        word = _marked(word, token) if token else word
        self.kv.write(word, ended, width_of(self.machine, calls))

    def revisions(self, keys: Sequence[bytes], done: Callable[[list[int] | Failure], None]) -> None:
        def fresh(refused: RaftcacheError | None) -> None:
            if refused is not None:
                done(failure_of(refused))
            else:
                absent = ~self.machine.revision
                done([self.machine.revision_of(key) or absent for key in keys])

        when_current(self.kv, self.machine, LINEARIZABLE, fresh)

    def get(self, keys: Sequence[bytes], done: ValuesDone, glance: Glance | None = None) -> None:
        self._reading.add((keys, done, glance))

    def plain_values(self, stored: Sequence[bytes | None]) -> list[bytes] | None:
        return plain_values(stored)

    def _get_slowly(self, keys: Sequence[bytes], done: ValuesDone) -> None:
        """With a round of its own, which may have to wait for what is overdue to be gone."""
        self.run([(b"GET", key) for key in keys], done)

    def write(
        self,
        calls: Sequence[Call],
        size_bytes: int,
        done: ValuesDone,
        wrote: Wrote | None = None,
        width: int = 0,
    ) -> None:
        # Nobody may have to know which revisions were whose, if it is shared with other pipelines.
        if self._writing is not None and wrote is None:
            self._writing.add(calls, size_bytes, done, width)
        else:
            self._write(calls, done, width, wrote)

    def _write_one(self, call: Call, size_bytes: int, done: ValueDone) -> None:
        self._write((call,), lambda values: done(values[0]))

    def _write(
        self, calls: Sequence[Call], done: ValuesDone, width: int = 0, wrote: Wrote | None = None
    ) -> None:
        word = self._word(calls)
        self.kv.write(word, lambda outcome: done(self._values(outcome, calls, wrote)), width)

    def rehearse_with(self, rehearse: Rehearse) -> None:
        """Who rehearses calls that may answer more than entries count (see uncounted.py)."""
        self._rehearsing = rehearse

    # For a pipeline under way.

    def rehearse(self, call: Call, token: bytes, done: ValuesDone, wrote: Wrote | None) -> None:
        """See Stages."""
        assert self._rehearsing is not None, "nobody rehearses"
        once = once_of(token, (call,)) if token else None
        self._rehearsing(call, once, done, wrote)

    def write_apart(
        self, calls: Sequence[Call], width: int, done: ValuesDone, wrote: Wrote | None = None
    ) -> None:
        self._write(calls, done, width, wrote)

    def write_once(self, call: Call, token: bytes, done: ValuesDone, wrote: Wrote | None) -> None:
        """As write, for one call that is applied once."""
        word = _marked(self._word((call,)), token)
        width = width_of(self.machine, (call,))
        self.kv.write(word, lambda outcome: done(self._values(outcome, (call,), wrote)), width)

    def _values(self, outcome: Outcome, calls: Sequence[Call], wrote: Wrote | None) -> list[Value]:
        values = values_of(outcome, len(calls))
        if not isinstance(outcome, CallsReply):
            return values
        if wrote is not None and outcome.count and not outcome.replayed:
            wrote(outcome.revision - outcome.count + 1, outcome.revision)
        if self._receivers is not None and 0 in values:  # which the log answers to a message
            for place, call in enumerate(calls):
                if call[0] in PUBLISHING and values[place] == 0:
                    values[place] = self._receivers(call)
        return values

    def _word(
        self,
        calls: Sequence[Call],
        *,
        atomic: bool = False,
        watched: tuple[tuple[bytes, int], ...] = (),
    ) -> Calls:
        limit, names = self._value_size_bytes_max, [call[0] for call in calls]
        if _UNUSUAL.isdisjoint(names):
            return Calls(tuple(calls), limit, atomic, watched)
        return as_calls(calls, limit, atomic, watched, self.throw(calls))

    def _transaction(self, calls: Sequence[Call], watched: Mapping[bytes, int]) -> Calls:
        """EXEC as a command. Keys that were absent must have been so since the first one was."""
        modified = tuple((key, max(0, revision)) for key, revision in watched.items())
        word = self._word(calls, atomic=True, watched=modified)
        absent = [~revision for revision in watched.values() if revision < 0]
        return since(word, min(absent), self.kv.commands_version) if absent else word

    def throw(self, calls: Sequence[Call]) -> int:
        """Dice for the calls; 0 if none of them needs any: dice cost as much as a SET."""
        if not DICED.isdisjoint([call[0] for call in calls]):
            return int.from_bytes(self._dice.token(8), "big") % DICE_MAX
        return 0

    def note_reads(self, calls: Sequence[Call]) -> None:
        """Tell who counts accesses of these."""
        if self._note_read is not None:
            for call in calls:
                for key in keys_of(call):
                    self._note_read(key)


def since(word: Calls, revision: int, commands_version: int) -> Calls:
    """The same, if absent keys that are watched were not there after a revision: see CallsSince.

    commands_version: older clusters cannot tell, and take it as it is.
    """
    if commands_version < INTRODUCED[CallsSince]:
        return word
    limit, dice = word.size_bytes_max, word.dice
    return CallsSince(word.calls, limit, word.atomic, word.watched, dice, since=revision)


def _marked(word: Calls, token: bytes) -> Calls:
    """To be applied once: the token stands for just these calls."""
    return replace(word, once=once_of(token, word.calls, atomic=word.atomic))
