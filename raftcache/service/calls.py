"""What services share that do calls: those of Kv as awaitables, and looks at the state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

from raftcache.command.replies import Reply
from raftcache.command.values import Failure
from raftcache.command.words import Command
from raftcache.errors import RaftcacheError
from raftcache.service.kv import FreshDone, Kv, Level, Outcome, Want
from raftcache.service.wording import MISTAKE
from raftcache.state.machine import Machine
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.store import Store

T = TypeVar("T")

IsHere: TypeAlias = Callable[[], bool]
"""Whether the client that waits is still connected."""

logger = logging.getLogger("raftcache.redis")


async def written(kv: Kv, command: Command) -> Reply:
    """The reply to a command; raises what refused it, or Unknown."""
    outcome: Outcome = await called(partial(kv.write, command))
    if isinstance(outcome, RaftcacheError):
        raise outcome
    return outcome


async def become_fresh(kv: Kv, machine: Machine, want: Want) -> None:
    """Wait until the local state may answer, and what is overdue counts as gone."""
    refused = await called(partial(when_current, kv, machine, want))
    if refused is not None:
        raise refused


def when_current(kv: Kv, machine: Machine, want: Want, done: FreshDone) -> None:
    """done(None) once the local state may answer, without what is overdue, or done(why not)."""

    def fresh(refused: RaftcacheError | None) -> None:
        due_ms = machine.earliest_deadline_ms()
        stale = want.level is Level.STALE
        if refused is not None or stale or due_ms is None or due_ms > kv.now_ms():
            done(refused)
        else:
            kv.tick(lambda outcome: done(outcome if isinstance(outcome, RaftcacheError) else None))

    kv.when_fresh(want, fresh)


def look(kv: Kv, machine: Machine, reader: Callable[[Store], T]) -> T | Failure:
    """What a reader finds in the state of this node, for somebody who waits to hear something."""
    try:
        return machine.look(kv.now_ms(), reader)
    except Refuse as refusal:
        return Failure(refusal.text)
    except Exception:
        logger.exception("unexpected error")
        return MISTAKE


def settle(future: asyncio.Future[T], value: T | RaftcacheError) -> None:
    """What a future is waited for; an error is raised there. Nothing, if that has ended already."""
    if future.done():
        return
    if isinstance(value, RaftcacheError):
        future.set_exception(value)
    else:
        future.set_result(value)


async def called(call: Callable[[Callable[[T], None]], None]) -> T:
    """What a call that answers by a callback answers."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def done(outcome: T) -> None:
        if not future.done():  # cancelled, when the node stops before the outcome is known
            future.set_result(outcome)

    call(done)
    return await future
