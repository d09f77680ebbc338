"""What is held while a block lasts: kept alive in the background, given up at the end.

Whether it is still held is judged by this process's own clock, from before the last request that
kept it alive: the cluster counts from later on, so it is never over there before it is here, as
long as the two clocks run alike.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

from raftcache.client.attempts import ATTEMPT_TIMEOUT_S
from raftcache.errors import LeaseLost, LockLost, RaftcacheError

RENEWALS: Final = 3
"""In one time to live: two may be lost."""

LINGER_S: Final = 1.0
"""So long, who is cancelled while it asks waits for the answer, to give back what it was given."""


class Held(ABC):
    """Something with a time to live; open it with `async with`.

    When it is lost the block is cancelled, and ends with LeaseLost or LockLost.
    """

    def __init__(self, ttl_ms: int) -> None:
        self.ttl_ms = ttl_ms
        self.attempt_timeout_s = min(ATTEMPT_TIMEOUT_S, ttl_ms / 2000 / RENEWALS)
        """A node that is silent for so long is left for the next, while there is time."""
        self.lost: RaftcacheError | None = None
        """Why it is held no more."""
        self._until_s = 0.0
        """It is held until then at least, by this loop's clock."""
        self._owner: asyncio.Task[object] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @abstractmethod
    async def _begin(self) -> None:
        """Take it, and `_count` from when it was asked for."""

    @abstractmethod
    async def _renew(self) -> None: ...

    @abstractmethod
    async def _end(self) -> None: ...

    @abstractmethod
    def _lost(self) -> RaftcacheError:
        """Nobody could be asked in time."""

    def check(self) -> None:
        """Raise LeaseLost or LockLost if it is held no more."""
        if self.lost is not None:
            raise self.lost

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        begun = asyncio.create_task(self._begin())
        try:
            await asyncio.shield(begun)
        except asyncio.CancelledError:
            await _whole(self._take_back(begun))
            raise
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._keeper is not None
        assert self._owner is not None
        if self.lost is not None:
            await self._drain(error)
            if self._owner.uncancel():  # by somebody else too
                return
            if error is None or isinstance(error, asyncio.CancelledError):
                raise self.lost from None
            return
        self._keeper.cancel()
        try:
            await _whole(self._end())
        except RaftcacheError:
            if error is None:
                raise

    async def _drain(self, error: BaseException | None) -> None:
        """The cancellation that `_keep` asked for, if it did not reach the block any more."""
        if not isinstance(error, asyncio.CancelledError):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

    async def _count(self, asked_s: float) -> None:
        """It was granted at some time since then; return once it has most of its time left.

        Raises what says that it was lost meanwhile, or may have been.
        """
        now, ttl_s = asyncio.get_running_loop().time, self.ttl_ms / 1000
        self._until_s = asked_s + ttl_s
        if self._until_s - now() < ttl_s - ttl_s / RENEWALS:  # it waited, or so did the answer
            await self._make_sure()

    async def _make_sure(self) -> None:
        """Keep it alive, or give it back."""
        try:
            await self._prolong()
            if asyncio.get_running_loop().time() < self._until_s:
                return
        except (LeaseLost, LockLost):
            raise
        except BaseException:
            await self._give_back()
            raise
        await self._give_back()
        raise self._lost()

    async def _take_back(self, begun: asyncio.Task[None]) -> None:
        """Nobody wants it any more, but it may have been granted: only the answer says so."""
        await asyncio.wait((begun,), timeout=LINGER_S)
        begun.cancel()
        await asyncio.wait((begun,))
        if not begun.cancelled() and begun.exception() is None:
            await self._give_back()

    async def _give_back(self) -> None:
        with contextlib.suppress(RaftcacheError):  # then it runs out
            await self._end()

    async def _prolong(self) -> None:
        sent_s = asyncio.get_running_loop().time()
        await self._renew()
        self._until_s = sent_s + self.ttl_ms / 1000

    async def _keep(self) -> None:
        """Until it is lost."""
        assert self._owner is not None
        now, pause_s = asyncio.get_running_loop().time, self.ttl_ms / 1000 / RENEWALS
        while self.lost is None:
            await asyncio.sleep(min(pause_s, max(0.0, self._until_s - now())))
            try:
                async with asyncio.timeout_at(self._until_s):
                    await self._prolong()
            except (LeaseLost, LockLost) as error:
                self.lost = error
            except (RaftcacheError, TimeoutError):
                if now() >= self._until_s:
                    self.lost = self._lost()
            except Exception as error:  # such as a client that was closed: it cannot be kept
                self.lost = self._lost()
                self.lost.__cause__ = error
        self._owner.cancel()


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end, and raise a cancellation of the caller only then; a second one at once."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # somebody has looked
        raise


def until(wait_ms: int | None) -> Callable[[], int]:
    """Says how much of a wait is left, in milliseconds; None has no end."""
    now = asyncio.get_running_loop().time
    end_s = None if wait_ms is None else now() + wait_ms / 1000

    def left_ms() -> int:
        return 1 << 62 if end_s is None else max(0, round((end_s - now()) * 1000))

    return left_ms
