"""What every client asked for and was told, with times on one monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct


class Outcome(StrEnum):
    """What the client knows about an operation."""

    OK = "ok"
    """It happened between invocation and completion."""
    FAIL = "fail"
    """It certainly did not happen; of a read: there was no answer."""
    UNKNOWN = "unknown"
    """It may have happened, or may yet happen at any later time."""


class Operation(Struct):
    """One line of history.jsonl.

    process: a client, which does one thing at a time.
    argument, result: what JSON can hold; the workload that made them knows their shape.
    invoked_ns, completed_ns: since the history began; completed_ns is when the client knew the
        outcome, or that it would not get to know it.
    """

    process: int
    kind: str
    key: str
    argument: Any
    invoked_ns: int
    completed_ns: int | None = None
    outcome: Outcome = Outcome.UNKNOWN
    result: Any = None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK

    def __str__(self) -> str:
        end = f"{self.completed_ns / 1e9:.6f}" if self.completed_ns is not None else "..."
        said = self.outcome if self.outcome is not Outcome.OK else self.result
        return (
            f"{self.invoked_ns / 1e9:.6f} to {end} s, process {self.process}: "
            f"{self.kind} {self.key} {self.argument if self.argument is not None else ''} -> {said}"
        )


class Anomaly(Struct, frozen=True):
    """A broken promise: a sentence, and the operations that show it, in the order of time."""

    key: str
    sentence: str
    evidence: tuple[Operation, ...] = ()

    @property
    def at_ns(self) -> int | None:
        """When it showed: when the last of the evidence was known."""
        ends = [op.completed_ns or op.invoked_ns for op in self.evidence]
        return max(ends, default=None)


class History:
    """Grows while clients run; clock_ns must never go back."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns, self._began_ns = clock_ns, clock_ns()
        self.operations: list[Operation] = []

    def now_ns(self) -> int:
        """Since the history began."""
        return self._clock_ns() - self._began_ns

    def invoke(self, process: int, kind: str, key: str, argument: object = None) -> Operation:
        """To be called just before the request is sent."""
        operation = Operation(process, kind, key, argument, self.now_ns())
        self.operations.append(operation)
        return operation

    def complete(
        self, operation: Operation, outcome: Outcome, result: object = None, error: str = ""
    ) -> None:
        """To be called as soon as the answer is there."""
        assert operation.completed_ns is None, "completed twice"
        operation.completed_ns = self.now_ns()
        operation.outcome, operation.result, operation.error = outcome, result, error


def write(path: Path, operations: Iterable[Operation]) -> None:
    """One JSON object on each line."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        file.writelines(encoder.encode(operation) + b"\n" for operation in operations)


def read(path: Path) -> list[Operation]:
    """What `write` wrote. Raises msgspec.MsgspecError for anything else."""
    decoder = msgspec.json.Decoder(Operation)
    with path.open("rb") as file:
        return [decoder.decode(line) for line in file]


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Operations of each key, in the order of their invocation."""
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        found.setdefault(operation.key, []).append(operation)
    return found
