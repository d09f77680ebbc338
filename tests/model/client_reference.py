"""The rules of clients that number their requests once more, plainly; a part of the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Reply = tuple[Any, ...]

CREATED, DELETED, MISUSED, FULL, LIMIT = 1, 4, 10, 11, 19
FORGOTTEN, ANSWERED, TOO_MANY_PENDING = 31, 32, 33
REGISTERING = ("ClientRegister", "ClientLeave")


@dataclass
class ClientLimits:
    clients_max: int = 2
    pending_max: int = 3
    numbered_max: int = 4
    idle_ms: int = 40
    spared_ms: int = 10
    heard_ms: int = 3


@dataclass
class Client:
    deadline: int
    pending_from: int = 1
    answers: dict[int, tuple[bytes, Reply]] = field(default_factory=dict)


class Registering:
    """Mixed into Reference."""

    now: int
    revision: int

    def start_registering(self) -> None:
        self.client_limits = ClientLimits()
        self.clients: dict[int, Client] = {}

    def take_revision(self) -> None:
        raise NotImplementedError

    def nothing(self, status: int, entry: Any = None) -> Reply:
        raise NotImplementedError

    def execute(self, command: Any) -> Reply:
        raise NotImplementedError

    def is_valid_number(self, token: Any) -> bool:
        return bool(token.client > 0 and 1 <= token.pending_from <= token.number)

    def is_valid_register_word(self, command: Any) -> bool:
        return command.once is None and getattr(command, "client", 1) > 0

    def forget_clients(self) -> None:
        """Those that were silent for too long."""
        living = {id: c for id, c in self.clients.items() if c.deadline > self.now}
        self.clients = living

    def forgets_one(self) -> bool:
        """Of those that were silent for long, the one that was longest."""
        limits = self.client_limits
        end = self.now + limits.idle_ms - limits.spared_ms - limits.heard_ms
        silent = sorted((c.deadline, id) for id, c in self.clients.items() if c.deadline <= end)
        if silent:
            del self.clients[silent[0][1]]
        return bool(silent)

    def answer_register_word(self, command: Any) -> Reply:
        self.forget_clients()
        if type(command).__name__ == "ClientLeave":
            was_known = self.clients.pop(command.client, None) is not None
            return (DELETED, self.revision, 0, int(was_known), 0, 0, False)
        while len(self.clients) >= self.client_limits.clients_max:
            if not self.forgets_one():
                return self.nothing(FULL)
        self.take_revision()
        client = Client(self.now + self.client_limits.idle_ms)
        self.clients[self.revision] = client
        return (CREATED, self.revision, 0, 0, self.revision, client.deadline, False)

    def answer_numbered(self, command: Any) -> Reply:
        limits, request = self.client_limits, command.once.token
        self.forget_clients()
        client = self.clients.get(request.client)
        if client is None:
            return self.nothing(FORGOTTEN)
        if self.now + limits.idle_ms - client.deadline >= limits.heard_ms:
            client.deadline = self.now + limits.idle_ms
        client.pending_from = max(client.pending_from, request.pending_from)
        client.answers = {n: a for n, a in client.answers.items() if n >= client.pending_from}
        if request.number < client.pending_from:
            return self.nothing(ANSWERED)
        if request.number in client.answers:
            fingerprint, first = client.answers[request.number]
            if fingerprint != command.once.fingerprint:
                return self.nothing(MISUSED)
            return (*first[:6], True, *first[7:])
        if request.number >= client.pending_from + limits.pending_max:
            return self.nothing(TOO_MANY_PENDING)
        while sum(len(c.answers) for c in self.clients.values()) >= limits.numbered_max:
            if not self.forgets_one():
                return self.nothing(FULL)
        reply = self.execute(command)
        if reply[0] != LIMIT:
            client.answers[request.number] = (command.once.fingerprint, reply)
        return reply
