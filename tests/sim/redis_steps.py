"""What Redis clients of the simulator ask for step by step, and what an answer says."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from raftcache.command.values import Failure, Value

UNKNOWN: Final = Failure("UNKNOWN the client has given up")
_UNDONE: Final = ("CLUSTERDOWN", "TRYAGAIN", "OOM", "ERR this needs commands of version")


class Step(NamedTuple):
    """Calls in one pipeline; the answer has a value for each.

    watched: they are a transaction, whose EXEC is the only value, with these keys at these
    revisions. is_watch: they are keys, and the values are their revisions. is_once: they are
    numbered, and tried again until it is known what became of them. is_script: each is a script,
    with the number of its keys, its keys and its arguments; all of them are one transaction.
    """

    calls: tuple[Any, ...]
    watched: Mapping[bytes, int] | None = None
    is_watch: bool = False
    is_once: bool = False
    is_script: bool = False

    @property
    def size(self) -> int:
        """Values of the answer."""
        return len(self.calls) if self.watched is None else 1


Script: TypeAlias = Generator[Step, list[Value], None]
"""What one client does: it yields steps, and is sent what became of each of their calls."""


def is_unknown(value: Value) -> bool:
    """It may have happened, or may yet."""
    return isinstance(value, Failure) and value.text.startswith("UNKNOWN")


def is_undone(value: Value) -> bool:
    """The cluster has refused it."""
    return isinstance(value, Failure) and value.text.startswith(_UNDONE)


def is_known(value: Value) -> bool:
    """It is the answer of the command itself."""
    return not (is_unknown(value) or is_undone(value))
