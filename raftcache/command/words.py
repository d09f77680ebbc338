"""The commands a log entry may hold; replies.py has what each one gets.

Each is an array in MessagePack that begins with its tag; tags are never reused, fields are only
ever added at the end, with defaults. An older node drops a field that it does not know: whatever
changes what a command does is a new kind, and a new version (command/versions.py). Times to live
are spans in milliseconds: the entry's cluster time makes them deadlines, so no node's clock is
asked.

`only` is a command's precondition on the key's current modification revision. A range of keys is
[start, end); an empty end means to the last key there is.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias, get_args

from msgspec import Struct

from raftcache.command import versions
from raftcache.command.calls import (
    CALLS_INTRODUCED,
    Calls,
    CallsAnswered,
    CallsRehearsed,
    CallsSince,
)
from raftcache.command.clients import Registering
from raftcache.command.leasing import Leasing, Locking
from raftcache.command.once import Number as Number
from raftcache.command.once import Once as Once

ANY: Final = -1
"""`only`: no precondition."""

ABSENT: Final = 0
"""`only`: the key must not exist (`If-None-Match: *`)."""

PRESENT: Final = -2
"""`only`: the key must exist (`If-Match: *`)."""


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


class Target(IntEnum):
    """What of a key a transaction compares; of an absent one, all that are numbers are 0."""

    REVISION = 1
    """Of its last change."""
    CREATE_REVISION = 2
    VERSION = 3
    VALUE = 4
    """As bytes. With an absent key no comparison of values holds, != neither."""
    EXISTS = 5
    """1 or 0; only = and !=."""
    LEASE = 6
    """The id of its lease, 0 without one."""


class Relation(IntEnum):
    """What is found stands on the left."""

    EQUAL = 1
    NOT_EQUAL = 2
    LESS = 3
    GREATER = 4


class Compare(Struct, array_like=True, frozen=True):
    """One question of a transaction; number is what a Target but VALUE is compared with."""

    key: bytes
    target: Target
    relation: Relation
    number: int = 0
    value: bytes = b""


class Get(Struct, array_like=True, tag=64, frozen=True):
    """Read a key, in a transaction. Words that stand only there have tags from 64."""

    key: bytes


class Range(Struct, array_like=True, tag=65, frozen=True):
    """Read the keys of a range in order, in a transaction; limit 0 for all."""

    start: bytes
    end: bytes
    limit: int = 0
    keys_only: bool = False
    count_only: bool = False


class DeleteRange(Struct, array_like=True, tag=10, frozen=True):
    """Remove all keys of a range, in one revision; with more than RANGE_KEYS_MAX, none."""

    start: bytes
    end: bytes
    once: Once | None = None


class Evict(Struct, array_like=True, tag=20, frozen=True):
    """Forget keys to make room: each (key, its modification revision), unless it changed since.

    The leader chooses them; those that stand are removed in one revision (DELETED, their count).
    """

    victims: tuple[tuple[bytes, int], ...]
    once: Once | None = None


class LeasedPut(Struct, array_like=True, tag=11, frozen=True):
    """Set a key that goes with its lease; any other Put, Expire or Persist takes it off again."""

    key: bytes
    value: bytes
    lease: int
    content_type: str = ""
    only: int = ANY
    once: Once | None = None


class SetQuota(Struct, array_like=True, tag=21, frozen=True):
    """Limit the keys below a prefix, and their bytes; None: no such limit (CREATED, CHANGED)."""

    prefix: bytes
    keys_max: int | None = None
    size_bytes_max: int | None = None
    once: Once | None = None


class DeleteQuota(Struct, array_like=True, tag=22, frozen=True):
    """Take the limits from a prefix (DELETED, with count 0 if it had none)."""

    prefix: bytes
    once: Once | None = None


class Vivify(Struct, array_like=True, tag=23, frozen=True):
    """Ask for the right to refill a key that is missing, or expires within early_ms.

    WON with the right's token as the revision; LOST if somebody has it; UNCHANGED if there is no
    need. The right lasts right_ms. deadline_ms of the reply: the right's; the key's, if UNCHANGED.
    """

    key: bytes
    right_ms: int
    early_ms: int = 0
    once: Once | None = None


class Refill(Struct, array_like=True, tag=24, frozen=True):
    """Set a key as Put does, if its right to be refilled still has this token; that ends it."""

    key: bytes
    value: bytes
    token: int
    content_type: str = ""
    ttl_ms: int | None = None
    once: Once | None = None


Keyed: TypeAlias = Put | Delete | Increment | Append | Expire | Persist | Touch | LeasedPut
"""Commands about one key."""

Operation: TypeAlias = Keyed | DeleteRange | Get | Range
"""What a transaction is made of: without preconditions and marks of their own."""


class Txn(Struct, array_like=True, tag=9, frozen=True):
    """If all compares hold, do the first branch, else the second: all of it, or nothing.

    All changes share one revision; operations see what those before them did.
    """

    compares: tuple[Compare, ...] = ()
    success: tuple[Operation, ...] = ()
    failure: tuple[Operation, ...] = ()
    once: Once | None = None


Keeping: TypeAlias = Evict | SetQuota | DeleteQuota | Vivify | Refill
"""Commands about what is kept, and refilled."""

Calling: TypeAlias = Calls | CallsSince | CallsAnswered | CallsRehearsed
"""Commands of Redis."""

Command: TypeAlias = (
    Keyed | Tick | Txn | DeleteRange | Leasing | Locking | Keeping | Calling | Registering
)

INTRODUCED: Final[dict[type, int]] = {
    Put: 1,
    Delete: 1,
    Increment: 1,
    Append: 1,
    Expire: 1,
    Persist: 1,
    Touch: 1,
    Tick: 1,
    Txn: 2,
    DeleteRange: 2,
    LeasedPut: 2,
    **dict.fromkeys(get_args(Leasing), 2),
    **dict.fromkeys(get_args(Locking), 2),
    **dict.fromkeys(get_args(Keeping), 2),
    Calls: 3,
    CallsSince: 4,
    CallsAnswered: 4,
    CallsRehearsed: 5,
    **dict.fromkeys(get_args(Registering), 6),
}
"""The version of the commands that brought each kind: older nodes cannot apply it. For calls within
these see CALLS_INTRODUCED."""

NUMBERS_INTRODUCED: Final = 6
"""The same for the marks of commands that are numbers (once.Number)."""

OPERATIONS_INTRODUCED: Final[dict[type, int]] = {Get: 2, Range: 2}
"""The same for what only a transaction may hold."""

assert INTRODUCED.keys() == set(get_args(Command))
assert set(get_args(Operation)) <= INTRODUCED.keys() | OPERATIONS_INTRODUCED.keys()
assert NUMBERS_INTRODUCED <= max(INTRODUCED.values()) == versions.COMMANDS
assert max(CALLS_INTRODUCED.values()) <= versions.COMMANDS
