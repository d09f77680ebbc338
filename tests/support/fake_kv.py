"""A Kv of one node: the real state machine without a log, whose outcomes a test may hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from raftcache.command import codec, versions
from raftcache.command.replies import Item
from raftcache.command.words import Command, Tick
from raftcache.errors import RaftcacheError
from raftcache.ports import Loop
from raftcache.service.kv import FreshDone, Outcome, ReadDone, Want
from raftcache.state.items import read_plain
from raftcache.state.machine import Machine


class FakeKv:
    """Applies every write at once.

    holding: while True, outcomes wait for release(). error: answers everything instead.
    """

    def __init__(self, time_ms: int = 1_000) -> None:
        self.machine = Machine()
        self.time_ms = time_ms
        self.commands_version = versions.COMMANDS
        self.holding = False
        self.error: RaftcacheError | None = None
        self.loop: Loop | None = None
        """In place of asyncio's."""
        self.commands: list[Command] = []
        self.widths: list[int] = []
        """Of the commands, as their callers told them."""
        self.wants: list[Want] = []
        self._held: list[Callable[[], None]] = []

    def now_ms(self) -> int:
        return self.time_ms

    def write(self, command: Command, done: Callable[[Outcome], None], width: int = 0) -> None:
        self.commands.append(command)
        self.widths.append(width)
        self._end(partial(self._apply, command, done))

    def read(self, key: bytes, want: Want, done: ReadDone) -> None:
        self.wants.append(want)
        self._end(partial(self._look_up, key, done))

    def stored(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.machine.stored(keys)

    def plain(self, stored: bytes) -> Item | None:
        return read_plain(stored)

    def find(self, key: bytes, done: ReadDone) -> None:
        done(self.machine.get(key))

    def when_fresh(self, want: Want, done: FreshDone, readers: int = 1) -> None:
        self.wants.append(want)
        self._end(lambda: done(self.error))

    def before_round(self, begin: Callable[[], None]) -> None:
        (self.loop or asyncio.get_running_loop()).call_soon(begin)

    def tick(self, done: Callable[[Outcome], None]) -> None:
        self.write(Tick(), done)

    @property
    def held(self) -> int:
        """How many outcomes wait."""
        return len(self._held)

    def release(self, index: int | None = None) -> None:
        """Let one held outcome happen, or all in order; and what comes later as it comes."""
        if index is not None:
            self._held.pop(index)()
            return
        self.holding = False
        held, self._held = self._held, []
        for end in held:
            end()

    def _end(self, end: Callable[[], None]) -> None:
        if self.holding:
            self._held.append(end)
        else:
            end()

    def _apply(self, command: Command, done: Callable[[Outcome], None]) -> None:
        if self.error is not None:
            done(self.error)
        else:
            (reply,) = self.machine.apply(self.time_ms, codec.batch([codec.encode(command)]))
            done(reply)

    def _look_up(self, key: bytes, done: ReadDone) -> None:
        done(self.error or self.machine.get(key))
