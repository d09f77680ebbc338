"""Scripts of calls on several connections, done at any server of the Redis protocol.

A line is a connection's name and a call; `@b` in it stands for the id of connection b, and % for no
bytes. The outcome of a line is what each connection received because of it, in order. A server has
told everybody by the time at which it answers: so a PING on each connection ends the line.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, TypeAlias

from tests.support.resp_wire import Reply, RespWire, packed

Outcome: TypeAlias = tuple[str, dict[str, list[Reply]]]


class Stage:
    """The connections of one script."""

    def __init__(self, address: Path | int, open_wires: contextlib.ExitStack) -> None:
        self._address, self._open = address, open_wires
        self._wires: dict[str, RespWire] = {}
        self._ids: dict[str, int] = {}
        self._queueing: set[str] = set()
        """In a transaction: a PING would only be queued."""
        self._marks = 0

    def do(self, line: str) -> dict[str, list[Reply]]:
        name, *words = line.split()
        if words == ["leaves"]:
            self._wires.pop(name).close()
            return self._settle()
        self._wire(name).send(packed([self._word(word) for word in words]))
        if words[0] in ("MULTI", "EXEC", "DISCARD"):
            (self._queueing.add if words[0] == "MULTI" else self._queueing.discard)(name)
        received = {name: self._until_mark(name, replies=1), **self._settle(but=name)}
        if words[0] == "HELLO":
            del received[name]  # it differs from server to server
        told = {each: replies for each, replies in received.items() if replies}
        return self._named(told) if "TRACKINGINFO" in words or "GETREDIR" in words else told

    def _settle(self, but: str = "") -> dict[str, list[Reply]]:
        return {name: self._until_mark(name) for name in self._wires if name != but}

    def _named(self, reply: Any) -> Any:
        """With the names of connections for their ids, which differ from server to server."""
        names = {id: f"@{name}" for name, id in self._ids.items()}
        if isinstance(reply, dict):
            return {name: self._named(each) for name, each in reply.items()}
        if isinstance(reply, list):
            return [self._named(each) for each in reply]
        if isinstance(reply, tuple):
            sign, content = reply
            return sign, names.get(content) if sign == ":" else self._named(content)
        return reply

    def _word(self, word: str) -> bytes:
        if word.startswith("@"):
            self._wire(word[1:])
            return b"%d" % self._ids[word[1:]]
        return b"" if word == "%" else word.encode()

    def _wire(self, name: str) -> RespWire:
        if name not in self._wires:
            wire = self._wires[name] = RespWire(self._address)
            self._open.callback(wire.close)
            self._ids[name] = wire.call(b"CLIENT", b"ID")[1]
        return self._wires[name]

    def _until_mark(self, name: str, replies: int = 0) -> list[Reply]:
        """replies: how many are owed at least; they come before the PING is sent."""
        self._marks += 1
        mark, wire = b"mark %d" % self._marks, self._wires[name]
        received = [wire.read() for _ in range(replies)]
        if name in self._queueing:
            return received
        wire.send(packed([b"PING", mark]))
        while True:
            reply = wire.read()
            if reply in (("$", mark), ("*", [("$", b"pong"), ("$", mark)])):
                return received
            received.append(reply)


def play(address: Path | int, script: str) -> list[Outcome]:
    """What becomes of each line; blocks."""
    with contextlib.ExitStack() as open_wires:
        stage = Stage(address, open_wires)
        lines = [line.strip() for line in script.strip().splitlines()]
        return [(line, stage.do(line)) for line in lines]
