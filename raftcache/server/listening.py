"""Where a front door listens, and when it looks after its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from raftcache.config import Address
from raftcache.errors import BadConfig

BACKLOG: Final = 1024
"""Connections the kernel may hold before we accept them."""

SWEEP_S: Final = 1.0


class Listening:
    """An address that is listened on from open() to close()."""

    def __init__(
        self,
        door: str,
        address: Address,
        sweep: Callable[[], None],
        times_s: Iterable[float],
    ) -> None:
        """door: its name in the configuration. sweep: looks after all connections, now and then:
        as finely as the shortest of the times that it watches over asks for."""
        self._door, self._address, self._sweep = door, address, sweep
        self.sweep_s = min(SWEEP_S, *(time_s / 4 for time_s in times_s))
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port listened on: the configured one, or the one the system chose for 0."""
        assert self._listener is not None, "not started"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def open(self, connection: Callable[[], asyncio.BaseProtocol]) -> None:
        """Make a connection of whatever comes. BadConfig when the address cannot be had."""
        loop, address = asyncio.get_running_loop(), self._address
        try:
            self._listener = await loop.create_server(
                connection, address.host, address.port, backlog=BACKLOG
            )
        except OSError as error:
            why = f"{self._door} {address}: cannot listen: {error.strerror}"
            raise BadConfig(why) from error
        self._go_on(loop)

    def close(self) -> bool:
        """Accept nothing more, sweep no more; connections stay. False if it was not open."""
        listener, self._listener = self._listener, None
        if listener is None:
            return False
        assert self._sweeper is not None
        self._sweeper.cancel()
        listener.close()
        return True

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep()
        self._sweeper = loop.call_later(self.sweep_s, self._go_on, loop)
