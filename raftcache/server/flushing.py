"""What connections have ready leaves in one write for each, at the end of a turn of the loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Generic, Protocol, TypeVar


class Flushed(Protocol):
    """A connection, to its port."""

    def flush(self) -> None:
        """Write what is ready."""
        ...

    def give_up(self) -> None:
        """It could not be written to: end it."""
        ...


C = TypeVar("C", bound=Flushed)


class Flushing(Generic[C]):
    """The part of a port that writes for its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, logger: logging.Logger) -> None:
        self.loop, self._logger = loop, logger
        self._dirty: list[C] = []

    def flush_soon(self, connection: C) -> None:
        """Write what the connection has ready, once, at the end of this turn of the loop."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            try:
                connection.flush()
            except Exception:  # one connection's fault must not silence the others
                self._logger.exception("a connection could not be written to")
                connection.give_up()
