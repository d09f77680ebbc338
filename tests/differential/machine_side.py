"""The state machine as a side: data calls, without a door, a log or a disk, thousands a second.

It finds what handlers do wrong; what doors do wrong, only a running node shows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

from raftcache.command import codec
from raftcache.command.call_table import fault, find
from raftcache.command.calls import CallsSince
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure, Value
from raftcache.server.resp.encode import encode
from raftcache.state.machine import Machine
from raftcache.state.redis.execute import HANDLERS
from tests.differential.play import Side, Step
from tests.support.resp_wire import Reply, unpacked

VALUE_SIZE_BYTES_MAX: Final = 1 << 20
DICE_SEED: Final = 1
WITHOUT_HANDLER: Final = "ERR no handler yet"


class MachineSide(Side):
    """A state machine whose time is the present."""

    def __init__(self) -> None:
        super().__init__(0)
        self._dice = random.Random(DICE_SEED)
        self._machine = Machine()
        self._protocol = 2

    def begin(self, clients: int, protocol: int) -> None:
        self._machine = Machine()
        self._protocol = protocol

    def pipeline(self, steps: Sequence[Step]) -> list[Reply]:
        return [self.call(step) for step in steps]

    def ask(self, who: int, call: tuple[bytes, ...]) -> Reply:
        [reply] = unpacked(encode(self._value((call[0].upper(), *call[1:])), self._protocol))
        return reply

    def _value(self, call: tuple[bytes, ...]) -> Value:
        spec = find(call)
        text = fault(call)
        if text is not None or spec is None:
            return Failure(text or "")
        if call[0] not in HANDLERS:
            return Failure(WITHOUT_HANDLER)
        now_ms, dice = time.time_ns() // 1_000_000, self._dice.getrandbits(62)
        if not spec.is_write:
            [value] = self._machine.call([call], now_ms, dice)
            return value
        command = CallsSince((call,), VALUE_SIZE_BYTES_MAX, dice=dice)
        [reply] = self._machine.apply(now_ms, codec.batch([codec.encode(command)]))
        assert isinstance(reply, CallsReply)
        [value] = reply.values
        return value
