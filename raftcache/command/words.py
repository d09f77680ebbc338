"""The commands a log entry may hold, and the reply each one gets.

Each is an array in MessagePack that begins with its tag; tags are never reused, fields are only
ever added at the end, with defaults. An older node drops a field that it does not know: whatever
changes what a command does is a new kind, and a new version (command/versions.py). Times to live
are spans in milliseconds: the entry's cluster time makes them deadlines, so no node's clock is
asked.

`only` is a command's precondition on the key's current modification revision.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias, get_args

from msgspec import Struct

from raftcache.command import versions

ANY: Final = -1
"""`only`: no precondition."""

ABSENT: Final = 0
"""`only`: the key must not exist (`If-None-Match: *`)."""

PRESENT: Final = -2
"""`only`: the key must exist (`If-Match: *`)."""


class Once(Struct, array_like=True, frozen=True):
    """Marks a command that must be applied at most once, however often it is sent.

    token: the caller's Idempotency-Key, at most TOKEN_SIZE_BYTES_MAX bytes.
    fingerprint: of the request, so that a token reused for another one is refused.
    """

    token: bytes
    fingerprint: bytes


class Put(Struct, array_like=True, tag=1, frozen=True):
    """Set a key. ttl_ms None: no deadline (an older one is dropped)."""

    key: bytes
    value: bytes
    content_type: str = ""
    ttl_ms: int | None = None
    only: int = ANY
    once: Once | None = None


class Delete(Struct, array_like=True, tag=2, frozen=True):
    """Remove a key; deleting nothing is DELETED with count 0, and takes no revision."""

    key: bytes
    only: int = ANY
    once: Once | None = None


class Increment(Struct, array_like=True, tag=3, frozen=True):
    """Add to a decimal integer; an absent key counts as 0. The deadline stays."""

    key: bytes
    by: int = 1
    only: int = ANY
    once: Once | None = None


class Append(Struct, array_like=True, tag=4, frozen=True):
    """Add bytes at the end; an absent key counts as empty. The deadline stays.

    size_bytes_max: the value limit of the node that took the request; a result above it is
    TOO_LARGE.
    """

    key: bytes
    value: bytes
    size_bytes_max: int
    only: int = ANY
    once: Once | None = None


class Expire(Struct, array_like=True, tag=5, frozen=True):
    """Give an existing key a new deadline; a span of 0 or less removes it at once (DELETED)."""

    key: bytes
    ttl_ms: int
    only: int = ANY
    once: Once | None = None


class Persist(Struct, array_like=True, tag=6, frozen=True):
    """Take the deadline from an existing key; without one, nothing changes."""

    key: bytes
    only: int = ANY
    once: Once | None = None


class Touch(Struct, array_like=True, tag=7, frozen=True):
    """Note an access to an existing key: it changes nothing that a reader sees."""

    key: bytes
    only: int = ANY
    once: Once | None = None


class Tick(Struct, array_like=True, tag=8, frozen=True):
    """Nothing but the entry's cluster time: overdue keys go."""


Command: TypeAlias = Put | Delete | Increment | Append | Expire | Persist | Touch | Tick

INTRODUCED: Final[dict[type, int]] = {
    Put: 1,
    Delete: 1,
    Increment: 1,
    Append: 1,
    Expire: 1,
    Persist: 1,
    Touch: 1,
    Tick: 1,
}
"""The version of the commands that brought each kind: older nodes cannot apply it."""

assert INTRODUCED.keys() == set(get_args(Command))
assert max(INTRODUCED.values()) == versions.COMMANDS


class Status(IntEnum):
    """What became of a command."""

    CREATED = 1
    """The key is new."""
    CHANGED = 2
    """The key existed and was replaced or altered."""
    UNCHANGED = 3
    """The command was valid, and there was nothing to change (Tick, Persist without a deadline)."""
    DELETED = 4
    """count keys were removed (0 or 1)."""
    MISSING = 5
    """The command needs an existing key, and there is none; nothing changed."""
    PRECONDITION = 6
    """`only` did not hold; revision is the key's current one, 0 if absent; nothing changed."""
    NOT_INTEGER = 7
    """The value is no signed 64-bit decimal integer; nothing changed."""
    OVERFLOW = 8
    """The sum would leave the signed 64-bit range; nothing changed."""
    TOO_LARGE = 9
    """The appended value would pass its limit; nothing changed."""
    MISUSED = 10
    """The token stands for a different request; nothing changed."""
    FULL = 11
    """The table of tokens is full of young ones; nothing changed."""
    INVALID = 12
    """A field is outside its limits; nothing changed. A well-kept front door never sends one."""


class Reply(Struct, array_like=True, frozen=True):
    """The answer to one command, equal on every node.

    revision: of the write that was applied; for PRECONDITION the key's current one; for anything
        else that changed nothing, the store's.
    version: writes to the key since it was created, this one included; 0 where there is no key.
    count: keys removed (DELETED).
    number: the new value of a counter (Increment) or the new size (Append).
    deadline_ms: the key's deadline in cluster time, 0 for none.
    replayed: this is the remembered reply to an earlier command with the same token.
    """

    status: Status
    revision: int
    version: int = 0
    count: int = 0
    number: int = 0
    deadline_ms: int = 0
    replayed: bool = False


class Item(Struct, frozen=True):
    """One key's value and what is kept with it, as a reader sees it."""

    value: bytes
    content_type: str
    create_revision: int
    mod_revision: int
    version: int
    deadline_ms: int
