"""Waiting for what no event tells of: looked at again and again, for a client that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftcache.server.resp.client import Client


def look_until(
    loop: asyncio.AbstractEventLoop,
    client: Client,
    look: Callable[[bool], bool],
    every_s: float,
    timeout_s: float,
) -> None:
    """Call look(is_over), now and every_s, until it returns True or the client has gone.

    is_over: timeout_s has passed; 0 for a time that never does.
    """
    started_s = loop.time()
    timer: asyncio.TimerHandle | None = None

    def give_up() -> None:
        if timer is not None:
            timer.cancel()

    def again() -> None:
        nonlocal timer
        if not look(0 < timeout_s <= loop.time() - started_s):
            timer = loop.call_later(every_s, again)
        elif give_up in client.at_end:
            client.at_end.remove(give_up)

    again()
    if timer is not None:
        client.at_end.append(give_up)
