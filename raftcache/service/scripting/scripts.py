"""Scripts of Redis clients, as transactions of the log.

A script is run at the node that was asked, in a rehearsal that leaves no trace. What it would
change goes through the log as one atomic command, together with the revisions of all keys that it
named, and a digest of what its calls answered. If a key is another by then, or a call would answer
otherwise, nothing is done, and the script is run again, as what it decided may rest on it
(optimistic concurrency control: Kung and Robinson, 1981; Redis has it as WATCH). So no node ever
repeats what an interpreter does, and none need have the same one. What changes nothing is answered
after a round of the cluster, as every read is.

Scripts that come while others are on their way wait for these, for they may want the same keys;
then all of them go together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from raftcache.command.calls import (
    CALLS_MAX,
    DICE_MAX,
    NEWER_CALLS,
    SINCE_NOTHING,
    WATCHED_MAX,
    Call,
    Calls,
    CallsAnswered,
    CallsRehearsed,
)
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import Failure, Value, pack_values
from raftcache.command.words import INTRODUCED, Once
from raftcache.errors import RaftcacheError
from raftcache.ports import Dice
from raftcache.service.calls import when_current
from raftcache.service.gathering import ValuesDone
from raftcache.service.kv import LINEARIZABLE, Kv, Outcome
from raftcache.service.pipeline import Wrote
from raftcache.service.redis import since
from raftcache.service.scripting.acts import Act, Player
from raftcache.service.scripting.answers import sha_of
from raftcache.service.scripting.library import Library, Script, script_of
from raftcache.service.wording import MISTAKE, failure_of, is_open, values_of
from raftcache.state.machine import Machine
from raftcache.state.redis.rehearsal import Rehearsal

ACTS_AT_ONCE_MAX: Final = 128
"""Of one rehearsal: a few milliseconds."""

ATTEMPTS_MAX: Final = 100
"""Then those who change the same keys elsewhere are too many."""

_REHEARSED_SINCE: Final = INTRODUCED[CallsRehearsed]

logger = logging.getLogger("raftcache.scripts")

TOO_CONTENDED: Final = Failure(
    "TRYAGAIN others kept changing the keys of the script: nothing of it was done"
)


class Played(NamedTuple):
    """Answers to the first acts; for the others see Rehearsal."""

    answers: list[Value]
    deeds: list[Call]
    seen: dict[bytes, int]
    absent_since: int | None
    is_loose: bool
    has_recalled: bool
    digest: int


def _is_large(done: Played | Rehearsal) -> bool:
    """Whether it is more than Calls hold."""
    return len(done.deeds) > CALLS_MAX or len(done.seen) > WATCHED_MAX


class Scripts:
    """All of one node."""

    def __init__(
        self,
        kv: Kv,
        machine: Machine,
        dice: Dice,
        loop: asyncio.AbstractEventLoop,
        value_size_bytes_max: int,
        player: Player,
        *,
        gathers: bool = False,
    ) -> None:
        """gathers: as in RedisService."""
        self._kv, self._machine, self._dice, self._loop = kv, machine, dice, loop
        self._value_size_bytes_max = value_size_bytes_max
        self._player = player
        self._acts_max = ACTS_AT_ONCE_MAX if gathers else 1
        self._together_max = self._acts_max
        """Less, while others change the keys: one such key holds up all that goes with it."""
        self.library = Library()
        self._waiting: list[Act] = []
        """In the order of their coming; those under way are the first."""
        self._is_busy = False
        self._attempts = 0

    def load(self, source: bytes) -> Script | Failure:
        """The script with this source, which is kept; or what is wrong with it."""
        sha = sha_of(source)
        known = self.library.find(sha)
        if known is not None:
            return known
        script = script_of(source, sha.decode())
        if isinstance(script, Failure):
            return script
        wrong = self._player.fault(script)
        if wrong is not None:
            return wrong
        self.library.add(script)
        return script

    def run(self, act: Act) -> None:
        """Do it; its done is called later."""
        self._waiting.append(act)
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._go)

    def rehearse(
        self, call: Call, once: Once | None, done: ValuesDone, wrote: Wrote | None
    ) -> None:
        """One call, as if it were a script (see redis.Rehearse)."""

        def told(value: Value) -> None:
            done(value if isinstance(value, list) else [value])

        self.run(Act((call,), told, {}, wrote, once))

    def _go(self) -> None:
        """Begin with those that wait; with a round, if they will need one, as it seems."""
        if self._waiting[0].needs_round:
            self._begin_round(min(len(self._waiting), self._together_max))
        else:
            self._attempt(self._together_max, is_fresh=False)

    def _begin_round(self, count: int) -> None:
        when_current(self._kv, self._machine, LINEARIZABLE, partial(self._read, count))

    def _attempt(self, count_max: int, *, is_fresh: bool) -> None:
        """is_fresh: the state may answer what those wait for."""
        dice = int.from_bytes(self._dice.token(8), "big") % DICE_MAX
        play = partial(self._play, self._waiting[:count_max])
        now_ms = self._kv.now_ms()
        size_bytes_max = self._value_size_bytes_max
        try:
            played = self._machine.rehearse(play, now_ms, size_bytes_max, dice)
        except Exception:  # others wait behind it
            logger.exception("unexpected error")
            self._finish([MISTAKE])
            return
        answers, deeds = played.answers, tuple(played.deeds)
        is_of_log = bool(deeds) or self._is_to_be_remembered(played)
        needs_round = played.is_loose or not is_of_log
        self._waiting[0].note(needs_round=needs_round)
        if needs_round and not is_fresh:
            self._begin_round(len(answers))
        elif is_of_log:
            word = Calls(deeds, size_bytes_max, True, tuple(played.seen.items()), dice)
            self._kv.write(self._guarded(word, played), partial(self._proposed, answers))
        else:
            self._finish(answers)

    def _is_to_be_remembered(self, played: Played) -> bool:
        """Though it has changed nothing: else a second attempt might, behind what came later."""
        first, is_new = played.answers[0], not played.has_recalled
        is_numbered = self._waiting[0].once is not None and type(first) is list
        knows_how = self._kv.commands_version >= _REHEARSED_SINCE
        return is_numbered and is_new and knows_how and not any(map(is_open, first))

    def _guarded(self, word: Calls, played: Played) -> Calls:
        """The same, by what the acts need beside it."""
        once, absent_since = self._waiting[0].once, played.absent_since
        if absent_since is None and not NEWER_CALLS.isdisjoint([call[0] for call in word.calls]):
            absent_since = SINCE_NOTHING
        calls, limit, seen, dice = word.calls, word.size_bytes_max, word.watched, word.dice
        answers = b"" if once is None else pack_values(played.answers[0])
        if self._kv.commands_version >= _REHEARSED_SINCE:
            what = calls, limit, True, seen, dice, once, absent_since, answers
            return CallsRehearsed(*what, played.digest)
        if once is not None:
            return CallsAnswered(calls, limit, True, seen, dice, once, absent_since, answers)
        if absent_since is None and _is_large(played):
            absent_since = self._machine.revision
        if absent_since is not None:
            return since(word, absent_since, self._kv.commands_version)
        return word

    def _play(self, acts: Sequence[Act], rehearsal: Rehearsal) -> Played:
        """As many of them as fit together, one at least; some go alone."""
        answers = list[Value]()
        self._player.begin()
        for act in acts:
            if answers and (act.goes_alone or acts[0].goes_alone):
                break
            begin = rehearsal.now()
            value, is_clean = self._player.play(act, rehearsal)
            # It may fail for what others have used; and what goes together should stay small.
            if answers and (not is_clean or _is_large(rehearsal)):
                rehearsal.forget_to(begin)
                break
            answers.append(value)
        return Played(
            answers,
            rehearsal.deeds,
            rehearsal.seen,
            rehearsal.absent_since,
            rehearsal.is_loose,
            rehearsal.has_recalled,
            rehearsal.digest,
        )

    def _read(self, count: int, refused: RaftcacheError | None) -> None:
        if refused is None:
            self._attempt(count, is_fresh=True)
        else:
            self._finish([failure_of(refused)] * count)

    def _proposed(self, answers: list[Value], outcome: Outcome) -> None:
        if not isinstance(outcome, CallsReply):
            self._finish([values_of(outcome, 1)[0]] * len(answers))
        elif outcome.status not in (Status.FAILED, Status.UNCHANGED):
            if self._waiting[0].once is not None:  # of which this may be the second attempt
                answers = [values_of(outcome, len(self._waiting[0].parts))]
            is_new = outcome.count and not outcome.replayed
            for act in self._waiting[: len(answers)] if is_new else ():
                if act.wrote is not None:
                    act.wrote(outcome.revision - outcome.count + 1, outcome.revision)
            self._together_max = min(2 * self._together_max, self._acts_max)
            self._finish(answers)
        elif self._attempts < ATTEMPTS_MAX:
            self._attempts += 1
            self._together_max = max(1, len(answers) // 2)
            self._loop.call_soon(self._go)
        else:
            self._finish([TOO_CONTENDED] * len(answers))

    def _finish(self, answers: list[Value]) -> None:
        acts, self._waiting = self._waiting[: len(answers)], self._waiting[len(answers) :]
        self._attempts = 0
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._loop.call_soon(self._go)
        for act, value in zip(acts, answers, strict=True):
            act.answer(value)
