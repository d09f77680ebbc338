"""Leases and locks for code without an event loop: a thread keeps them alive."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from raftcache.client.client import RaftcacheClient
from raftcache.client.holding import Held

H = TypeVar("H", bound=Held)


class BlockingHeld(Generic[H]):
    """As Held, with its own thread and connections; open it with `with`.

    A block cannot be interrupted: ask `check`, or be told by on_lost, which runs in the thread.
    """

    def __init__(
        self, client: Callable[[], RaftcacheClient], make: Callable[[RaftcacheClient], H]
    ) -> None:
        self._client, self._make = client, make
        self._begun: Future[H] = Future()
        self._over: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._thread: Final = threading.Thread(target=self._run, name="raftcache-hold", daemon=True)
        self.on_lost: Callable[[], None] | None = None

    @property
    def held(self) -> H:
        """What is held; its token, or id."""
        return self._begun.result(0)

    @property
    def is_over(self) -> bool:
        """It is held no more."""
        return self._over.done()

    def check(self) -> None:
        """Raise LeaseLost or LockLost if it is held no more."""
        if self._over.done():
            self._over.result()
        self.held.check()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._begun.result()
        except BaseException:  # a Ctrl-C among them: nobody waits any more
            self._tell(lambda: self._task and self._task.cancel())
            self._thread.join()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tell(self._stop.set)
        self._thread.join()
        if error is None:
            self._over.result()

    def _tell(self, what: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        try:
            asyncio.run(self._hold())
        except BaseException as error:  # it goes to the thread that asks
            if not self._begun.done():
                self._begun.set_exception(error)
                self._stop.set()
            self._over.set_exception(error)
            if not self._stop.is_set() and self.on_lost is not None:
                self.on_lost()
        else:
            self._over.set_result(None)

    async def _hold(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        async with self._client() as client, self._make(client) as held:
            self._begun.set_result(held)
            await self._stop.wait()
