"""What a command answers, and what a reader sees of a key.

As words.py: arrays in MessagePack, fields only ever added at the end, with defaults.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct

from raftcache.command.values import Value


class Status(IntEnum):
    """What became of a command."""

    CREATED = 1
    """The key is new."""
    CHANGED = 2
    """The key existed and was replaced or altered."""
    UNCHANGED = 3
    """The command was valid, and there was nothing to change (Tick, Persist without a deadline)."""
    DELETED = 4
    """count keys were removed; for a command about one key 0 or 1."""
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
    TOO_MANY_KEYS = 13
    """It would touch more than RANGE_KEYS_MAX keys of ranges; nothing changed."""
    REPLY_TOO_LARGE = 14
    """What it has read passes the limit of a reply; nothing changed."""
    SUCCEEDED = 15
    """A transaction's compares held, and its first branch was done."""
    FAILED = 16
    """They did not hold, and the second branch was done."""
    ABORTED = 17
    """An operation of a transaction could not be done; nothing changed."""
    NO_LEASE = 18
    """The lease has ended, or never was; nothing changed."""
    LIMIT = 19
    """A limit on leases, keys of a lease, locks or their queues is reached; nothing changed."""
    GRANTED = 20
    """number is the token that holds the lock."""
    QUEUED = 21
    """number is a place in the queue of a lock, or the count of stays at it."""
    LOCKED = 22
    """Somebody else holds the lock, or may not be followed yet; nothing changed."""
    NOT_HELD = 23
    """The token does not hold the lock, or the place is gone; nothing changed."""
    OVER_KEYS_QUOTA = 24
    """It would pass the limit on keys of the prefix whose size is in number; nothing changed."""
    OVER_SIZE_QUOTA = 25
    """The same for the limit on bytes."""
    NO_ROOM = 26
    """A table of quotas, or of rights to refill, is full; nothing changed."""
    WON = 27
    """The right to refill a key; revision is its token."""
    LOST = 28
    """Somebody else has the right to refill the key."""
    RIGHT_OVER = 29
    """The right to refill has ended, or never was; revision as of PRECONDITION; nothing changed."""
    WRONG_TYPE = 30
    """The key holds a value of another type; nothing changed."""
    FORGOTTEN = 31
    """The client that numbered it is not known any more; nothing changed."""
    ANSWERED = 32
    """Its client has said that it does not wait for it any more; nothing changed now."""
    TOO_MANY_PENDING = 33
    """Its number is too far above the lowest that its client waits for; nothing changed."""


class Reply(Struct, array_like=True, frozen=True):
    """The answer to one command, equal on every node.

    revision: of the write that was applied; for PRECONDITION the key's current one; for anything
        else that changed nothing, the store's.
    version: writes to the key since it was created, this one included; 0 where there is no key.
    count: keys removed (DELETED).
    number: the new value of a counter (Increment) or the new size (Append); the id of a lease or
        a client, a token or a place; the size of a prefix.
    deadline_ms: the deadline of the key, lease, lock or right in cluster time, 0 for none.
    replayed: this is the remembered reply to an earlier command with the same token.
    """

    status: Status
    revision: int
    version: int = 0
    count: int = 0
    number: int = 0
    deadline_ms: int = 0
    replayed: bool = False


class Item(Struct, array_like=True, frozen=True):
    """One key's value and what is kept with it, as a reader sees it.

    deadline_ms: its own, or that of its lease; 0 for none. lease: 0 for none.
    """

    value: bytes
    content_type: str
    create_revision: int
    mod_revision: int
    version: int
    deadline_ms: int
    lease: int = 0


class Collection(Item, frozen=True):
    """A key whose value is no string: it is read by the commands of its type, and empty here.

    type: hash, list, set, zset or stream, as Redis names them.
    """

    type: str = ""


class Wrote(Struct, array_like=True, tag=1, frozen=True):
    """What an operation of a transaction that may change keys answers."""

    reply: Reply


class Found(Struct, array_like=True, tag=2, frozen=True):
    """What a Get or Range of a transaction answers.

    count: of the entries; with count_only of all keys in the range. more: it has keys after those.
    """

    entries: tuple[tuple[bytes, Item], ...]
    count: int
    more: bool = False


class Stopped(Struct, array_like=True, tag=3, frozen=True):
    """The operation, counted from 0 in its branch, for which nothing was done, and why."""

    branch: Status
    place: int
    reply: Reply


Result: TypeAlias = Wrote | Found | Stopped


class TxnReply(Reply, frozen=True):
    """The answer to a transaction: SUCCEEDED or FAILED with a result for each operation, in order.

    revision: of its changes, or the store's if it made none. ABORTED has one result, a Stopped.
    """

    results: tuple[Result, ...] = ()


class CallsReply(Reply, frozen=True):
    """The answer to Calls: SUCCEEDED with a value for each call, in order; FAILED with none.

    count: revisions that they took, the last of which is `revision`.
    """

    values: tuple[Value, ...] = ()
