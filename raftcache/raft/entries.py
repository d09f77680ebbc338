"""The words of the log: entries, positions, and the blocks in which they become durable."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from msgspec import Struct

NO_OP: Final = b"\x01"
"""The engine's command that does nothing; also stands at the base of a log cut by a snapshot."""

FORGOTTEN: Final[Any] = None
"""In place of a command that is on the disk alone: no bytes, so that nobody takes it for some."""


class Entry(NamedTuple):
    """One entry of the log: the tuple that pysyncobj keeps and sends."""

    command: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int


class Position(NamedTuple):
    """A place in the log: the entry of this index has this term."""

    index: int  # type: ignore[assignment]
    term: int


START: Final = Position(0, 0)
"""Before the first entry of a log that was never cut."""


def first_of(rows: list[Entry], at: int, size_bytes_max: int) -> list[Entry]:
    """Rows from this place on, whose commands together are no larger; one at least."""
    if at + 1 == len(rows):  # nearly always
        return rows[at:]
    end, size_bytes = at, 0
    while end < len(rows) and (end == at or size_bytes + len(rows[end].command) <= size_bytes_max):
        size_bytes += len(rows[end].command)
        end += 1
    return rows[at:end]


def commands_size_bytes(rows: list[Entry]) -> int:
    """Of all their commands together."""
    return sum([len(command) for command, _, _ in rows])


class Block(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that changed in a log since the block before it, as one atomic step.

    Every block says where it belongs, as AppendEntries does: drop what follows `prev`, then append
    `entries`. So a truncation needs no record of its own, and any block can be the first of a log
    whose older part is gone. With `restart` the log is dropped whole and begins anew after `prev`,
    as it does when a snapshot was installed. The vote is in every block.

    committed_index: up to here its writer knew all entries to be committed when it was taken; None
        in a log of format 1, which does not tell.
    """

    term: int
    voted_for: str | None
    restart: bool
    prev: Position
    entries: list[Entry]
    committed_index: int | None = None

    @property
    def last_index(self) -> int:
        """The last index of the log once this block is in it."""
        return self.entries[-1].index if self.entries else self.prev.index


class Recovered(Struct, frozen=True):
    """What a log on disk holds: its vote, its base, and the entries after the base.

    committed_index: all entries up to here are committed, and those above it may be. untold_index:
    up to here blocks do not tell, for they are of format 1.
    torn_bytes: size of the unfinished block that a crash left behind and recovery cut.
    """

    entries: list[Entry] = []
    base: Position = START
    term: int = 0
    voted_for: str | None = None
    torn_bytes: int = 0
    committed_index: int = 0
    untold_index: int = 0
