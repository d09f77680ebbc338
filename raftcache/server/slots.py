"""What hot requests have in common: the port that they came to, and the places of their answers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from raftcache.command.replies import Item
from raftcache.command.words import Put
from raftcache.config import Limits
from raftcache.errors import RaftcacheError
from raftcache.metrics import HttpCounters
from raftcache.server.connection import Port, logger
from raftcache.server.flushing import Flushed, Flushing
from raftcache.server.kv_door import KvDoor
from raftcache.server.refrains import Refrains
from raftcache.server.replies import Answer, render
from raftcache.service.kv import Outcome


class Answering(Flushed, Protocol):
    """A connection, to those who have answers for it."""

    def filled(self, slot: Slot) -> None: ...


class HotPort(Flushing[Answering], Port):
    """A Port whose connections have the hot path; door takes what is hot."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counters: HttpCounters,
        door: KvDoor,
    ) -> None:
        Port.__init__(self, loop, limits, counters)
        Flushing.__init__(self, loop, logger)
        self.door = door
        self.refrains = Refrains(limits.value_size_bytes_max)


class Slot:
    """The place of one answer in its connection's order.

    put: what the request is, if it is a PUT that was not parsed. parsed: the parser knows of it.
    """

    __slots__ = ("_connection", "_method", "_port", "_put", "parsed", "reply")

    def __init__(
        self, port: HotPort, connection: Answering, method: str, put: Put | None, parsed: bool
    ) -> None:
        self._port, self._connection, self._method = port, connection, method
        self._put, self.parsed = put, parsed
        self.reply = b""

    def found(self, found: Item | RaftcacheError | None) -> None:
        """What came of a plain read."""
        self.fill(self._port.door.found(found))

    def written(self, outcome: Outcome) -> None:
        """What came of `put`."""
        assert self._put is not None
        self.fill(self._port.door.written(self._put, outcome))

    def fill(self, answer: Answer) -> None:
        """The answer; called once."""
        assert not self.reply, "a request was answered twice"
        port = self._port
        port.counters.answers[self._method, answer.status] += 1
        self.reply = render(answer, port.date, bare=self._method == "HEAD")
        self._connection.filled(self)
