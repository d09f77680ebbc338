"""What batches say to those who listen at this node: messages, and what happened to keys.

It is no part of the state: each node hears it when it applies the batch, and forgets it. So
nothing that a command answers may depend on it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

from raftcache.state.history import Event, Kind
from raftcache.state.items import read_header

GENERIC: Final = "g"
STRING: Final = "$"
LIST: Final = "l"
SET: Final = "s"
HASH: Final = "h"
ZSET: Final = "z"
STREAM: Final = "t"
EXPIRED: Final = "x"
EVICTED: Final = "e"
NEW: Final = "n"
"""Kinds of what happens to keys, as Redis' notify-keyspace-events names them."""


class Message(Struct, frozen=True, gc=False):
    """Something was published. is_sharded: on a shard channel, which has a name of its own."""

    channel: bytes
    payload: bytes
    is_sharded: bool = False


class KeyEvent(Struct, frozen=True, gc=False):
    """Something happened to a key; named as Redis names it."""

    event: bytes
    key: bytes


class Flushed(Struct, frozen=True, gc=False):
    """All keys were removed; Redis tells no events of them."""


Note: TypeAlias = Message | KeyEvent | Flushed


class Notes:
    """The notes of the batch that is applied, in their order.

    wanted: the kinds of events that somebody listens to here; of others there are no notes.
    """

    __slots__ = ("pending", "wanted")

    def __init__(self) -> None:
        self.wanted = ""
        self.pending: list[Note] = []

    def take(self) -> list[Note]:
        """The notes; there are none any more."""
        notes, self.pending = self.pending, []
        return notes

    def note(self, kind: str, event: bytes, key: bytes) -> None:
        """This happened to a key, if somebody wants to know."""
        if kind in self.wanted:
            self.pending.append(KeyEvent(event, key))

    def note_gone(self, kind: Kind, key: bytes) -> None:
        """A key was removed by nobody's command."""
        if kind is Kind.EXPIRE:
            self.note(EXPIRED, b"expired", key)
        elif kind is Kind.EVICT:
            self.note(EVICTED, b"evicted", key)

    def note_change(self, event: Event) -> None:
        """Another command than a call changed a key: what a call that does the same would say."""
        if event.packed is None:
            if event.kind is Kind.DELETE:  # the others were noted when it went
                self.note(GENERIC, b"del", event.key)
            return
        new = read_header(event.packed)
        old = None if event.previous is None else read_header(event.previous)
        redated = old is None or (new.deadline_ms, new.lease) != (old.deadline_ms, old.lease)
        if old is None:
            self.note(NEW, b"new", event.key)
        elif redated and (new.value, new.content_type) == (old.value, old.content_type):
            self.note(GENERIC, b"expire" if new.deadline_ms else b"persist", event.key)
            return
        self.note(STRING, b"set", event.key)
        if redated and new.deadline_ms:
            self.note(GENERIC, b"expire", event.key)
