"""Runs: plain writes that came one after the other, in columns.

A plain write is a string without an end that takes the place of one like it, or of none, while
there are no quotas and no rights to refill. Most writes are of this kind, and come many at a time.
So they have a way of their own, on which each costs no call of a function of ours: Changes.put_run
-> Keyspace.put_run -> History.add_run.
"""

from __future__ import annotations

from typing import Final, TypeAlias, final

from msgspec import Struct

RUN_WORTH: Final = 4
"""To begin a run costs as much as so many writes gain by it."""

RUNS_SPARE: Final = 2 * RUN_WORTH
"""Writes that runs may fall short of that, in one command or entry, before no others are begun."""

PlainWrite: TypeAlias = tuple[bytes, int, bytes]
"""A key, the size of a content type, and that type with the value behind it."""


@final
class Run(Struct, gc=False):
    """What a run has changed; each write took a revision of its own, and they follow one another.

    revision: that of the last write. Of each: its key, the item it made, and the one before that.
    """

    revision: int
    keys: list[bytes]
    packed: list[bytes]
    previous: list[bytes | None]

    @property
    def first_revision(self) -> int:
        return self.revision - len(self.keys) + 1

    @property
    def replaced_size_bytes(self) -> int:
        """Of all that was there before."""
        return sum(map(len, filter(None, self.previous)))
