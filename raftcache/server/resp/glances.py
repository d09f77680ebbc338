"""Replies to GETs at a glance: a whole pipeline's, by what is stored under its keys.

Only strings that neither time nor a lease can end are answered so; a pipeline with anything else in
it, or with a key that is not there, is left to those who look closer.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftcache.server.kept import Kept
from raftcache.service.gathering import PlainValues


class Glances:
    """Those of all clients of a port. plain_values: tells them from what is stored."""

    __slots__ = ("_plain_values", "kept")

    def __init__(self, plain_values: PlainValues) -> None:
        self._plain_values = plain_values
        self.kept = Kept()

    def replies(self, stored: Sequence[bytes | None]) -> bytes | None:
        """What GETs of these are answered, one after the other; None if that takes a closer look.

        Both protocols have the same words for a string.
        """
        try:
            return b"".join(map(self.kept.get, stored))  # type: ignore[arg-type]
        except TypeError:  # there is none for one of them
            values = self._plain_values(stored)
        if values is None:
            return None
        replies = [b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
        for packed, reply in zip(stored, replies, strict=True):
            self.kept.add(packed, reply)
        return b"".join(replies)
