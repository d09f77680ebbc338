"""What one cluster leaves to the next of what Redis clients asked for, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raftcache.command.calls import Call, Calls, CallsAnswered
from raftcache.command.codec import decode
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import Failure
from raftcache.raft.engine.base import REGULAR, STAMP_SIZE_BYTES, stamp_ms_of
from raftcache.state.machine import Machine
from tests.sim.redis_keys import PARCELS, REGISTER


class Kept:
    """The state after some entries, and what calls of theirs were done."""

    def __init__(self, entries: Mapping[int, tuple[int, bytes, int]]) -> None:
        """entries: index -> term, command, term before; from the first one on."""
        self.machine = Machine()
        self.put: set[bytes] = set()
        """Unique things, and other elements."""
        self.written: set[bytes] = set()
        """All that the register has held."""
        self.tokens: set[bytes] = set()
        """Of numbered calls."""
        for _, command, _ in entries.values():
            if command[:1] == REGULAR:
                self._apply(stamp_ms_of(command), command[1 + STAMP_SIZE_BYTES :])

    def _apply(self, stamp_ms: int, batch: bytes) -> None:
        replies: list[Any] = self.machine.apply(stamp_ms, batch)
        for command, reply in zip(decode(batch), replies, strict=True):
            if isinstance(command, Calls) and isinstance(reply, CallsReply):
                if command.once is not None and reply.status is not Status.UNCHANGED:
                    self.tokens.add(command.once.token)
                if reply.replayed or reply.status is not Status.SUCCEEDED:
                    continue
                is_script = isinstance(command, CallsAnswered)  # whose calls have not failed
                values = [None] * len(command.calls) if is_script else reply.values
                for call, value in zip(command.calls, values, strict=True):
                    if not isinstance(value, Failure):
                        self._note(call)

    def _note(self, call: Call) -> None:
        match call:
            case (b"RPUSH" | b"SADD", _, *elements):
                self.put.update(elements)
            case (b"ZADD", _, *pairs):
                self.put.update(pairs[1::2])
            case (b"XADD", key, *_, thing) if key == PARCELS:
                self.put.add(thing)
            case (b"SET", key, value, *_) if key == REGISTER:
                self.written.add(value)
