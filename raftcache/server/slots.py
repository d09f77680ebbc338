"""What hot requests have in common: the port that they came to, and the places of their answers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final, Protocol

from raftcache.command.replies import Item
from raftcache.command.words import Put
from raftcache.config import Limits
from raftcache.errors import RaftcacheError
from raftcache.metrics import HttpCounters
from raftcache.server.connection import Port, logger
from raftcache.server.flushing import Flushed, Flushing
from raftcache.server.kept import Kept
from raftcache.server.kv_door import KvDoor
from raftcache.server.refrains import Refrains
from raftcache.server.replies import Answer, answer_error, head_of, render
from raftcache.server.room import FREE_SIZE_BYTES
from raftcache.service.gathering import Reading
from raftcache.service.kv import Kv, Outcome

READS: Final = ("GET", "HEAD")
"""Methods that change nothing."""


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
        self.gets = Gets(self, door.kv)

    def sweep(self, now_s: float) -> None:
        super().sweep(now_s)
        self.gets.kept.sweep()


class Slot:
    """The place of one answer in its connection's order.

    put: what the request is, if it is a PUT that was not parsed. parsed: the parser knows of it.
    """

    __slots__ = ("_method", "_port", "_put", "connection", "parsed", "reply")

    def __init__(
        self, port: HotPort, connection: Answering, method: str, put: Put | None, parsed: bool
    ) -> None:
        self._port, self.connection, self._method = port, connection, method
        self._put, self.parsed = put, parsed
        self.reply = b""

    @property
    def is_read(self) -> bool:
        """Whether nothing is changed."""
        return self._method in READS

    def found(self, found: Item | RaftcacheError | None) -> None:
        """What came of a plain read."""
        self.read(self._port.door.found(found))

    def written(self, outcome: Outcome) -> None:
        """What came of `put`."""
        assert self._put is not None
        self.fill(self._port.door.written(self._put, outcome))

    def read(self, answer: Answer) -> None:
        """The answer to a GET; called once."""
        room = self._port.answers
        if len(answer.body) > FREE_SIZE_BYTES and room.is_full:
            answer = answer_error(room.refusal(), write=False)
        self.fill(answer)

    def fill(self, answer: Answer) -> None:
        """The answer; called once."""
        assert not self.reply, "a request was answered twice"
        port = self._port
        port.counters.answers[self._method, answer.status] += 1
        self.reply = render(answer, port.date, bare=self._method == "HEAD")
        self.connection.filled(self)


class Gets(Reading[tuple[bytes, Slot]]):
    """Plain GETs, many at a time. Answers are kept without their heads, in which the date is."""

    __slots__ = ("_port", "_served_by", "kept")

    def __init__(self, port: HotPort, kv: Kv) -> None:
        super().__init__(kv)
        self._port = port
        self.kept = Kept()
        self._served_by = b""
        """The hint to the leader in what is kept."""

    def _answer(self, readers: list[tuple[bytes, Slot]], refused: RaftcacheError | None) -> None:
        if refused is not None:
            self._refuse(readers, refused)
            return
        port = self._port
        if self._served_by != port.door.served_by:
            self._served_by = port.door.served_by
            self.kept.clear()
        head, kept, hits = head_of(HTTPStatus.OK, port.date), self.kept.get, 0
        stored = self._kv.stored([key for key, _ in readers])
        for (key, slot), packed in zip(readers, stored, strict=True):
            rest = kept(packed)
            try:
                if rest is None:
                    self._look_up(key, slot, packed, head)
                else:
                    hits += 1
                    slot.reply = head + rest
                    slot.connection.filled(slot)
            except Exception as error:  # one reader's fault must not silence the others
                _fail(slot, error)
        port.counters.answers["GET", HTTPStatus.OK] += hits

    def _look_up(self, key: bytes, slot: Slot, packed: bytes | None, head: bytes) -> None:
        """On the way of all others; what it answers is kept, if it may be."""
        if packed is None or (item := self._kv.plain(packed)) is None:
            self._kv.find(key, slot.found)
            return
        slot.found(item)
        if slot.reply.startswith(head):
            self.kept.add(packed, slot.reply[len(head) :])

    def _refuse(self, readers: list[tuple[bytes, Slot]], refused: RaftcacheError) -> None:
        for _, slot in readers:
            try:
                slot.found(refused)
            except Exception as error:  # as above
                _fail(slot, error)


def _fail(slot: Slot, error: Exception) -> None:
    """A mistake of ours: the client is told, if it was not answered."""
    if slot.reply:
        logger.exception("a connection could not be written to")
        slot.connection.give_up()
    else:
        slot.fill(answer_error(error, write=False))
