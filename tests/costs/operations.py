"""The operations whose costs are counted, and how each is driven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from raftcache.command import codec
from raftcache.command.calls import Calls
from raftcache.command.clients import ClientRegister
from raftcache.command.words import Command, Number, Once, Put
from raftcache.state.machine import Machine
from tests.costs.cluster import HISTORY_EVENTS_MAX, HTTP_PORT, RESP_PORT, Cluster
from tests.costs.ground import Caller, Within, unwatched

KEYS: Final = 1000
VALUE: Final = b"v" * 64
FINGERPRINT: Final = b"f" * 16
NOW_MS: Final = 1000
BATCH: Final = 20
"""Commands in a batch of the state machine: as many as 64 clients give it under load."""

Round: TypeAlias = Callable[[int, Within | None], None]
"""Do the n-th round of an operation, within what counts, if anything does."""


def _key(number: int) -> bytes:
    return b"key%04d" % (number % KEYS)


def _put(number: int) -> bytes:
    head = b"PUT /v1/kv/%b HTTP/1.1\r\nHost: 127.0.0.1:7400\r\nContent-Length: 64\r\n\r\n"
    return head % _key(number) + VALUE


def _get(number: int) -> bytes:
    return b"GET /v1/kv/%b HTTP/1.1\r\nHost: 127.0.0.1:7400\r\n\r\n" % _key(number)


def resp_set(number: int) -> bytes:
    return b"*3\r\n$3\r\nSET\r\n$7\r\n%b\r\n$64\r\n%b\r\n" % (_key(number), VALUE)


def _resp_get(number: int) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n$7\r\n%b\r\n" % _key(number)


@dataclass(frozen=True, slots=True)
class Asking:
    """Requests to a door of the leader: of so many clients at once, each with so many in a row."""

    port: int
    request: Callable[[int], bytes]
    sign: bytes
    clients: int = 1
    pipeline: int = 1

    @property
    def width(self) -> int:
        """Operations in a round."""
        return self.clients * self.pipeline

    def begin(self, cluster: Cluster) -> Round:
        callers = [cluster.caller(self.port) for _ in range(self.clients)]

        def ask(number: int, within: Within | None) -> None:
            asked: list[tuple[Caller, bytes]] = []
            for i, caller in enumerate(callers):
                first = number * self.width + i * self.pipeline
                requests = map(self.request, range(first, first + self.pipeline))
                asked.append((caller, b"".join(requests)))
            cluster.ask(asked, self.pipeline, self.sign, within)

        return ask


@dataclass(frozen=True, slots=True)
class Applying:
    """Batches of commands to a state machine, as an entry of the log has them."""

    commands: Callable[[range], list[Command]]
    width = BATCH

    def begin(self, cluster: Cluster) -> Round:
        machine = Machine()
        for number in range((KEYS + HISTORY_EVENTS_MAX) // BATCH + 1):
            machine.apply(NOW_MS, self._batch(number))

        def apply(number: int, within: Within | None) -> None:
            batch = self._batch(number)
            with (within or unwatched)(cluster.leader):
                machine.apply(NOW_MS, batch)
                assert machine.digest  # as the engine does: it looks what each entry made of it

        return apply

    def _batch(self, number: int) -> bytes:
        commands = self.commands(range(number * BATCH, (number + 1) * BATCH))
        return codec.batch([codec.encode(command) for command in commands])


def _puts(numbers: range) -> list[Command]:
    return [Put(_key(number), VALUE) for number in numbers]


def _keyed_puts(numbers: range) -> list[Command]:
    return [Put(_key(n), VALUE, once=Once(b"%032d" % n, FINGERPRINT)) for n in numbers]


def _numbered_puts(numbers: range) -> list[Command]:
    """Of one client, with 64 under way."""
    registers: list[Command] = [ClientRegister()] if numbers.start == 0 else []
    marks = (Once(Number(1, n + 1, max(1, n - 62)), FINGERPRINT) for n in numbers)
    return registers + [
        Put(_key(n), VALUE, once=mark) for n, mark in zip(numbers, marks, strict=True)
    ]


def _sets(numbers: range) -> list[Command]:
    calls = [(b"SET", _key(number), VALUE) for number in numbers]
    return [Calls(tuple(calls), 1 << 20)]


_HTTP_PUT: Final = Asking(HTTP_PORT, _put, b"HTTP/1.1 20")
_HTTP_GET: Final = Asking(HTTP_PORT, _get, b"HTTP/1.1 200")
_SET: Final = Asking(RESP_PORT, resp_set, b"+OK\r\n")
_GET: Final = Asking(RESP_PORT, _resp_get, b"$64\r\n")

OPERATIONS: Final[dict[str, Asking | Applying]] = {
    "HTTP PUT, 1 client": _HTTP_PUT,
    "HTTP PUT, 64 clients": replace(_HTTP_PUT, clients=64),
    "SET, 1 client": _SET,
    "SET, 64 clients": replace(_SET, clients=64),
    "SET, pipeline of 32": replace(_SET, pipeline=32),
    "SET, 64 clients, pipeline of 32": replace(_SET, clients=64, pipeline=32),
    "HTTP GET, 1 client": _HTTP_GET,
    "HTTP GET, 64 clients": replace(_HTTP_GET, clients=64),
    "GET, 1 client": _GET,
    "GET, 64 clients": replace(_GET, clients=64),
    "GET, pipeline of 32": replace(_GET, pipeline=32),
    "GET, 64 clients, pipeline of 32": replace(_GET, clients=64, pipeline=32),
    "apply PUT": Applying(_puts),
    "apply SET": Applying(_sets),
    "apply PUT with a key": Applying(_keyed_puts),
    "apply PUT with a number": Applying(_numbered_puts),
}
