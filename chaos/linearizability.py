"""Can these calls have happened one at a time, each between its invocation and its completion?

Wing & Gong, "Testing and Verifying Concurrent Objects" (1993): search for an order, trying as the
next one each call that began before the first completion among those left. With the memory of
Lowe, "Testing for Linearizability" (2017): a set of calls that led to a state is not tried again,
whatever the order it came in. Laid out as in porcupine (github.com/anishathalye/porcupine,
checker.go): invocations and completions in one list, from which what has its place is lifted.

Pure. Calls that never completed may come at any time after their invocation, or never. They are
tried last: most never happened, and one placed too early shows only much later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct

CONFIGURATIONS_MAX: Final = 4_000_000
"""Remembered by one search, about 1 GB; histories of real stores need about one for each call."""

State = TypeVar("State", bound=Hashable)
Word = TypeVar("Word")

Step = Callable[[State, Word], State | None]
"""The state after a call, or None if the call cannot have had its answer in this state. Pure."""


class Call(Struct, Generic[Word], frozen=True):
    """What was asked and answered, as the model has it.

    completed_ns: None if it never completed.
    changes: False for what leaves every state as it is; to say so saves much.
    """

    word: Word
    invoked_ns: int
    completed_ns: int | None = None
    changes: bool = True


class Undecided(Exception):
    """The search would take too much memory."""


def first_inexplicable(
    calls: Sequence[Call[Word]], initial: State, step: Step[State, Word]
) -> Call[Word] | None:
    """The call whose completion ends the shortest prefix of history that has no order.

    None if all calls that completed have one. Raises Undecided after CONFIGURATIONS_MAX.
    """
    search = _Search(calls)
    return search.run(initial, step)


class _Search(Generic[Word]):
    """Entries of the list are numbered from 1 in the order of time; 0 is its head.

    At one instant invocations come before completions: calls that touch overlap.
    """

    def __init__(self, calls: Sequence[Call[Word]]) -> None:
        by_time = sorted(calls, key=lambda call: call.invoked_ns)
        self._closed = [call for call in by_time if call.completed_ns is not None]
        self._open = [call for call in by_time if call.completed_ns is None]
        events = [(call.invoked_ns, False, i) for i, call in enumerate(self._closed)]
        events += [(call.completed_ns or 0, True, i) for i, call in enumerate(self._closed)]
        events.sort()
        last = len(events) + 1
        self._next, self._prev = list(range(1, last + 2)), list(range(-1, last))
        self._call_of = [-1] * (last + 1)  # -1 for completions, the head and the end
        self._invocation, self._completion = [0] * len(self._closed), [0] * len(self._closed)
        for entry, (_, completed, i) in enumerate(events, 1):
            if completed:
                self._completion[i] = entry
            else:
                self._invocation[i], self._call_of[entry] = entry, i
        self._after = [bisect_left(events, (c.invoked_ns, True, -1)) for c in self._open]
        # What has its place: closed calls below `base` and those in `mask` (from base up), and
        # open calls in `used`. Small numbers, however long the history.
        self._base = self._mask = self._used = 0
        self._furthest = 0  # the last completion that some order came to

    def run(self, initial: State, step: Step[State, Word]) -> Call[Word] | None:
        left, state = len(self._closed), initial
        seen: set[tuple[int, int, int, State]] = set()
        path: list[tuple[int, State, tuple[int, int, int]]] = []
        choices = [self._choices(state, step)]
        while left:
            for number, after in choices[-1]:
                placed = self._base, self._mask, self._used
                self._place(number)
                configuration = (self._base, self._mask, self._used, after)
                if configuration not in seen:
                    break
                self._base, self._mask, self._used = placed
            else:  # a dead end
                choices.pop()
                if not path:
                    return self._closed[self._completion.index(self._furthest)]
                number, state, (self._base, self._mask, self._used) = path.pop()
                if number < len(self._closed):
                    self._put_back(number)
                    left += 1
                continue
            if len(seen) > CONFIGURATIONS_MAX:
                raise Undecided(f"{len(self._closed)} calls, {len(self._open)} never completed")
            seen.add(configuration)
            path.append((number, state, placed))
            state = after
            if number < len(self._closed):
                self._lift(number)
                left -= 1
            choices.append(self._choices(state, step))
        return None

    def _choices(self, state: State, step: Step[State, Word]) -> Iterator[tuple[int, State]]:
        """Calls that may come next, and the state after each.

        One that changes nothing may as well come now: whatever order there is, it can be moved
        here, so nothing else has to be tried. The caller puts back what it took before it asks for
        the next one.
        """
        changing: list[tuple[int, State]] = []
        entry = self._next[0]
        while (number := self._call_of[entry]) >= 0:
            call = self._closed[number]
            after = step(state, call.word)
            if after is not None and not call.changes:
                yield number, after
                return
            if after is not None:
                changing.append((number, after))
            entry = self._next[entry]
        self._furthest = max(self._furthest, entry)
        changing.sort(key=lambda choice: self._completion[choice[0]])
        yield from changing
        for number, position in enumerate(self._after):
            if position >= entry:
                break
            after = None if self._used >> number & 1 else step(state, self._open[number].word)
            if after is not None and after != state:
                yield len(self._closed) + number, after

    def _place(self, number: int) -> None:
        if number >= len(self._closed):
            self._used |= 1 << number - len(self._closed)
            return
        mask = self._mask | 1 << number - self._base
        full = (mask + 1 & ~mask).bit_length() - 1  # how many bits from the lowest on are set
        self._base, self._mask = self._base + full, mask >> full

    def _lift(self, number: int) -> None:
        for entry in (self._invocation[number], self._completion[number]):
            before, after = self._prev[entry], self._next[entry]
            self._next[before], self._prev[after] = after, before

    def _put_back(self, number: int) -> None:
        for entry in (self._completion[number], self._invocation[number]):
            before, after = self._prev[entry], self._next[entry]
            self._next[before] = self._prev[after] = entry
