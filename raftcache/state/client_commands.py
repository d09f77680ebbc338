"""What the commands about clients do, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from raftcache.command.clients import ClientLeave, ClientRegister
from raftcache.command.replies import Reply, Status
from raftcache.state.changes import Changes


class ClientCommands:
    """The commands about clients, by their types."""

    def __init__(self, changes: Changes) -> None:
        self._changes, self._state = changes, changes.state
        self.executors: Final[dict[type, Callable[[Any], Reply]]] = {
            ClientRegister: self._register,
            ClientLeave: self._leave,
        }

    def _register(self, command: ClientRegister) -> Reply:
        state = self._state
        if not state.clients.make_room(state.now_ms):
            return Reply(Status.FULL, state.revision)
        client = state.clients.register(self._changes.take_revision(), state.now_ms)
        number, deadline_ms = client.number, client.deadline_ms
        return Reply(Status.CREATED, state.revision, number=number, deadline_ms=deadline_ms)

    def _leave(self, command: ClientLeave) -> Reply:
        was_known = self._state.clients.leave(command.client, self._state.now_ms)
        return Reply(Status.DELETED, self._state.revision, count=int(was_known))
