"""Runs a coroutine of production's on one node's virtual time; it ends with the node's life."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sim.member import Member


class SimLoop:
    """As much of an asyncio.AbstractEventLoop as futures, tasks and timeouts ask for.

    What still waits then is closed by end(): not by Python, whenever it collects it.
    """

    def __init__(self, member: Member) -> None:
        self._member, self._schedule = member, member.world.schedule
        self._works: list[Coroutine[Any, Any, None]] = []
        self._as_loop: Any = self

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it; an error of its own is one of the node's."""
        task = asyncio.Task(work, loop=self._as_loop)
        task.add_done_callback(self._ended)
        self._works.append(work)

    def end(self) -> None:
        """Whatever has not ended does."""
        for work in self._works:
            work.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if isinstance(error, Exception):
            self._member.world.fail_by(self._member, error)

    # -- what a loop does --------------------------------------------------------------------------

    def time(self) -> float:
        return self._schedule.now_s

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self._as_loop, context)
        self._member.later(0, self._run, handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self._as_loop, context)
        self._member.later(when - self.time(), self._run, handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._as_loop)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody waited for."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        outer = events._get_running_loop()
        events._set_running_loop(self._as_loop)
        try:
            handle._run()
        finally:
            events._set_running_loop(outer)
