"""Worker threads in virtual time: work happens when it is done, or not, if a crash comes."""

from __future__ import annotations

import contextlib
import copy
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from raftcache.errors import Fatal
from tests.support.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from tests.sim.member import Member

SLOW_FACTOR: Final = 20
CALM_SYNC_S_MAX: Final = 0.005
LAST_CHANGES: Final = 5
_READS: Final = ("open", "read")


class PowerCut(BaseException):
    """Not an error that anyone may handle: the code that runs into it is gone."""


def do_some(
    work: Callable[[], object],
    disk: MemoryDisk,
    chance: random.Random,
    changes: Sequence[int] = (0, 1, 2, 3, 1000),
) -> None:
    """Do work that is cut short after some of its changes to the disk: so many, at most."""
    left = chance.choice(changes)

    def hook(operation: str, path: str) -> None:
        nonlocal left
        if operation not in _READS:
            if not left:
                raise PowerCut
            left -= 1

    disk.hook = hook
    with contextlib.suppress(PowerCut, OSError, Fatal):  # the disk may have failed before
        work()


def last_changes(work: Callable[[MemoryDisk], object], disk: MemoryDisk) -> range:
    """To a disk that is worked on: before each of its last ones it may be interrupted."""
    disk, changes = copy.deepcopy(disk), itertools.count()
    disk.hook = lambda operation, path: operation not in _READS and next(changes)
    work(disk)
    done = next(changes)
    return range(max(0, done - LAST_CHANGES), done)


class SimLane:
    """A Lane (see ports): one piece of work at a time, in order."""

    def __init__(self, member: Member) -> None:
        self._member, self._world = member, member.world
        self._queue: deque[tuple[Callable[[], Any], Callable[..., None]]] = deque()
        self._ended = False

    def submit(self, work: Callable[[], Any], done: Callable[..., None]) -> None:
        self._queue.append((work, done))
        if len(self._queue) == 1:
            self._begin()

    def crash(self) -> None:
        """The work at hand is done, half done, or not begun; the rest is not."""
        self._ended = True
        if self._queue:
            do_some(self._queue[0][0], self._member.disk, self._world.chance)

    def _begin(self) -> None:
        chance, profile = self._world.chance, self._world.profile
        faulty = self._world.faulty
        delay_s = chance.uniform(0, profile.sync_s_max if faulty else CALM_SYNC_S_MAX)
        if faulty and chance.random() < profile.slow_sync_chance:
            delay_s *= SLOW_FACTOR
        self._world.schedule.after(self._member.clock.ahead_s + delay_s, self._finish)

    def _finish(self) -> None:
        if self._ended:
            return
        work, done = self._queue[0]
        result, error = None, None
        try:
            result = work()
        except Exception as e:  # as ThreadLane: the caller decides what it means
            error = e
        self._queue.popleft()
        self._member.later(0, done, result, error)
        if self._queue:
            self._begin()
