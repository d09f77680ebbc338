"""+switch-master: what sentinels tell their subscribers when another node leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from raftcache.cluster.group import Peer
from raftcache.server.resp.discovery import View
from raftcache.server.resp.sentinel import MASTER_NAME

CHANNEL: Final = b"+switch-master"

LOOK_S: Final = 0.05
"""Between two looks at who leads."""


class SwitchNews:
    """Says it here, of what this node sees; each node does so for those who listen there."""

    def __init__(
        self,
        view: View,
        say: Callable[[bytes, bytes], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """say: a message to those who listen to a channel at this node."""
        self._view, self._say, self._loop = view, say, loop
        self._last: Peer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        before, now = self._last, self._view.group().leader
        if now is None:
            return
        self._last = now
        if before is not None and (before.host, before.port) != (now.host, now.port):
            words = f"{before.host} {before.port} {now.host} {now.port}"
            self._say(CHANNEL, b"%b %b" % (MASTER_NAME, words.encode()))
