"""Which keys have changed, for those who wait for that: told in turns of the loop, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from raftcache.ports import Loop
from raftcache.state.history import History

EVENTS_PER_TURN: Final = 1024


class Changed:
    """Reads along in the history while somebody waits.

    is_awaited: whether anybody does. tell: is given the keys that changed, each once, in the order
    of their changes; None if any may have: some changes were forgotten, or a snapshot took the
    place of the state.
    """

    def __init__(
        self,
        history: History,
        loop: Loop,
        is_awaited: Callable[[], bool],
        tell: Callable[[Iterable[bytes] | None], None],
    ) -> None:
        self._history, self._loop = history, loop
        self._is_awaited, self._tell = is_awaited, tell
        self._position = 0
        self._turn_due = False

    def start(self) -> None:
        self._history.listeners.append(self._wake)

    def stop(self) -> None:
        self._history.listeners.remove(self._wake)

    def begin(self) -> None:
        """Somebody is about to wait, and nobody has: only what changes from here on matters."""
        self._position = self._history.end

    def _wake(self) -> None:
        if self._is_awaited() and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if not self._is_awaited():
            return
        events = self._history.read(self._position, EVENTS_PER_TURN)
        if events is None:
            self._position = self._history.end
            self._tell(None)
        else:
            self._position += len(events)
            self._tell(dict.fromkeys(event.key for event in events))
        if self._position < self._history.end:
            self._wake()
