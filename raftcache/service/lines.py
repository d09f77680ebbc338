"""Who waits until there is something to take, in the order in which they came: see blocking.py."""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import Final

from raftcache.command.calls import Call
from raftcache.command.values import Failure, Value
from raftcache.command.words import Once
from raftcache.ports import Timer
from raftcache.state.redis import waits
from raftcache.state.redis.waits import LineName

ATTEMPTS_MAX: Final = 64
"""Of one proposal: the next ones follow it."""


class Waiter:
    """One call. is_trying: an attempt is under way; is_late: then its time is over.

    once: what every attempt of it is marked with, if it is applied once.
    """

    __slots__ = ("call", "future", "is_late", "is_trying", "once", "timer", "wait")

    def __init__(
        self, call: Call, wait: waits.Wait, once: Once | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.call, self.wait, self.once, self.future = call, wait, once, Answer(self, loop)
        self.timer: Timer | None = None
        self.is_trying = self.is_late = False

    @property
    def lines(self) -> list[LineName]:
        return self.wait.lines


class Answer(asyncio.Future[Value]):
    """To a call that waits. During an attempt it is not cancelled: it tells what that takes."""

    def __init__(self, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._waiter = waiter

    def cancel(self, msg: object = None) -> bool:
        if self._waiter.is_trying:
            self._waiter.is_late = True
            return False
        return super().cancel(msg)


class Line:
    """Who waits for a key. empty_at: the last revision at which there was nothing for them.

    group: of the collection of the group whose consumers they are; another one has its place.
    """

    __slots__ = ("empty_at", "group", "is_trying", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[Waiter, None] = {}
        self.is_trying = False
        self.empty_at = 0
        self.group: int | Failure = 0


def together(line: Line, count: int) -> list[Waiter]:
    """The first ones, as many as so many elements are enough for, who can try by one proposal.

    A token stands for one call.
    """
    waiters = list[Waiter]()
    for each in line.waiters:
        if count <= 0 or len(waiters) == ATTEMPTS_MAX:
            break
        if not (each.is_trying or each.future.done()):
            waiters.append(each)
            count -= each.wait.takes
    if waiters and waiters[0].once is not None:
        return waiters[:1]
    return list(takewhile(lambda each: each.once is None, waiters))
