"""Reads gathered into rounds: those of one turn share one, and those that come under it the next.

A round is answered with the index that the state must have reached, once it has; how that is found
out is in rounds.py. One is under way at a time: more of them would only make each smaller, which is
a fifth more work for a GET, and a tenth fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from raftcache.ports import Loop, Timer
from raftcache.raft.engine import SyncObj
from raftcache.raft.rounds import Ready

ASK_ALL_AFTER_S: Final = 0.002
"""A round asks the quickest voters, as many as it takes; if it takes longer, all."""


class Reads:
    """The reads of one node that have no answer yet. All methods on the event loop."""

    def __init__(self, engine: SyncObj, wake: Callable[[], None], loop: Loop) -> None:
        """wake: asks for a turn, in which `launch` is called, and `be_patient` at its end."""
        self._engine, self._wake, self._loop = engine, wake, loop
        self._waiting: list[Ready] = []  # for the next round
        self._gathering: list[Callable[[], None]] = []  # until it may begin
        self._patience: Timer | None = None  # with who was asked for the one under way
        self._stopped = False
        self.under_way = False
        """A round is, and is not answered yet."""
        self.begun: Callable[[], None] = lambda: None
        """Called when a round is on its way."""

    def add(self, ready: Ready) -> None:
        """ready(the answer to a round that begins after this); None, if nobody can give one."""
        if self._stopped:
            ready(None)
            return
        self._waiting.append(ready)
        if not self.under_way:
            self._wake()

    def before_round(self, begin: Callable[[], None]) -> None:
        """begin() at the end of this turn of the loop, or when the round under way has ended."""
        if self.under_way and not self._stopped:
            self._gathering.append(begin)
        else:
            self._loop.call_soon(begin)

    @property
    def are_due(self) -> bool:
        """A round is wanted, and none is under way."""
        return bool(self._waiting) and not self.under_way

    def launch(self) -> None:
        """Begin the round that is due."""
        reads, self._waiting = self._waiting, []
        self.under_way = True
        self._engine.read_index(partial(self._answer, reads))
        if self.under_way:  # who leads alone has answered itself
            self.begun()

    def _answer(self, reads: list[Ready], index: int | None) -> None:
        self.under_way = False
        if self._gathering:
            gathering, self._gathering = self._gathering, []
            for begin in gathering:
                begin()
        for ready in reads:
            ready(index)
        if self._waiting:
            self._wake()

    def stop(self) -> None:
        """End all of them, but those of the round under way: the engine does, as it is closed."""
        self._stopped = True
        if self._patience is not None:
            self._patience.cancel()
        reads, self._waiting = self._waiting, []
        self._answer(reads, None)

    # -- patience --------------------------------------------------------------------------------

    def be_patient(self) -> None:
        """With who was asked for the round under way, if somebody was."""
        if self._patience is None and (awaited := self._engine.awaited):
            self._patience = self._loop.call_later(ASK_ALL_AFTER_S, self._lose_patience, awaited)

    def _lose_patience(self, awaited: int) -> None:
        self._patience = None
        if awaited == self._engine.awaited:
            self._engine.ask_all()
            self._wake()
        else:
            self.be_patient()
