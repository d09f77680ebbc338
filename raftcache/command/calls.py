"""Redis commands as the log holds them: as they came, with what makes them deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from raftcache.command.limits import INTEGER_MAX
from raftcache.command.once import Once

Call: TypeAlias = tuple[bytes, ...]
"""One Redis command: its name in capitals, and its arguments."""

CALLS_MAX: Final = 1024
"""Of one Calls: what a pipeline, or a transaction, may hold; bounds the work of one apply."""

CALL_ARGUMENTS_MAX: Final = 1 << 16
"""Of one call, its name included."""

WATCHED_MAX: Final = 1024
"""Keys that one transaction depends on."""

SINCE_MAX: Final = 10_000
"""Calls of one CallsSince, and keys that it depends on: of a script that cleans up. Some 50 ms."""

DICE_MAX: Final = 1 << 63
"""Dice are below."""

DICED: Final = frozenset((b"SPOP", b"SRANDMEMBER", b"HRANDFIELD", b"ZRANDMEMBER", b"RANDOMKEY"))
"""Calls that choose at random: each moves on what the dice of those after it show."""

LONG: Final = frozenset((b"LCS",))
"""Reads that take as long as a turn of the loop may, and more: one of them at a time, and none in
the log but within a transaction, where every node does them."""

LONG_MAX: Final = 8
"""Of these in one transaction."""

WIDE: Final = frozenset(
    b"""
    APPEND BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS GETBIT GETRANGE SETBIT SETRANGE SUBSTR
    DELEX DIGEST GET GETDEL GETEX GETSET MGET SET
    COPY EXPIRE EXPIREAT PERSIST PEXPIRE PEXPIREAT RENAME RENAMENX SORT SORT_RO
    HGET HGETALL HKEYS HMGET HRANDFIELD HSTRLEN HVALS
    BLMPOP LINDEX LINSERT LMOVE LMPOP LPOP LPOS LRANGE LREM LSET LTRIM RPOP RPOPLPUSH
    SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SMEMBERS SPOP SRANDMEMBER SUNION SUNIONSTORE
    BZMPOP ZDIFF ZDIFFSTORE ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZPOPMAX ZPOPMIN
    ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZREMRANGEBYLEX ZREMRANGEBYRANK
    ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZUNION ZUNIONSTORE
    GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE
    PFCOUNT PFMERGE
    XAUTOCLAIM XGROUP XINFO XPENDING XRANGE XREAD XREADGROUP XREVRANGE XTRIM
    """.split()
)
"""Calls that may take far longer than their bytes tell, or be answered far more: it depends on what
their keys hold. SET does with GET alone. The node that takes them looks at that, and lets few of
them travel together (service/width.py)."""


class Calls(Struct, array_like=True, tag=25, frozen=True):
    """Redis commands in their order; each takes a revision if it changes anything.

    atomic: they share one revision, and nothing comes between them (MULTI and EXEC); one that
        fails changes nothing, and does not keep the others from being done, as in Redis.
    watched: keys with the modification revisions they must still have, 0 for absent; else none of
        the calls is done (FAILED). Only with atomic.
    size_bytes_max: the value limit of the node that took them.
    dice: for those that choose at random: the node that took them has thrown it.
    """

    calls: tuple[Call, ...]
    size_bytes_max: int
    atomic: bool = False
    watched: tuple[tuple[bytes, int], ...] = ()
    dice: int = 0
    once: Once | None = None


CALLS_INTRODUCED: Final[dict[bytes, int]] = {
    **dict.fromkeys(b"XADD XDEL XLEN XRANGE XREAD XREVRANGE XSETID XTRIM".split(), 4),
    **dict.fromkeys(b"XACK XAUTOCLAIM XCLAIM XGROUP XINFO XPENDING XREADGROUP".split(), 5),
    **dict.fromkeys(b"GEOADD GEODIST GEOHASH GEOPOS GEOSEARCH GEOSEARCHSTORE".split(), 5),
    **dict.fromkeys(b"GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO".split(), 5),
    **dict.fromkeys(b"PFADD PFCOUNT PFMERGE".split(), 5),
}
"""The version of the commands (versions.py) that brought each call which is newer than Calls.

They travel in CallsSince, or in CallsAnswered with a since: nodes that know neither do not know
them, and so Calls know them nowhere. What needs a newer version than these kinds do is refused
until every voter has it (codec.version_needed); so is one that answers other things since then.
"""

NEWER_CALLS: Final = frozenset(CALLS_INTRODUCED)


class CallsSince(Calls, array_like=True, tag=26, frozen=True):
    """Calls that depend on keys which were absent at a revision: they were not there after it.

    Those are the watched ones with 0. It may be answered FAILED though none of them was there, if
    others went that were.
    """

    since: int = 0


SINCE_NOTHING: Final[int] = INTEGER_MAX
"""A since behind which nothing was there: of calls that only nodes which know it are to do."""


def as_calls(
    calls: Sequence[Call],
    size_bytes_max: int,
    atomic: bool = False,
    watched: tuple[tuple[bytes, int], ...] = (),
    dice: int = 0,
    once: Once | None = None,
) -> Calls:
    """Calls, or CallsSince if there is one among them that is newer."""
    what = tuple(calls), size_bytes_max, atomic, watched, dice, once
    if NEWER_CALLS.isdisjoint([call[0] for call in calls]):
        return Calls(*what)
    return CallsSince(*what, since=SINCE_NOTHING)


class CallsAnswered(Calls, array_like=True, tag=27, frozen=True):
    """Calls that somebody has made up from what he saw, under a token that stands for his request.

    answers: what he answers when they are done, packed (see pack_values): it is remembered in
        place of what the calls answer. If a watched key is another nothing is remembered
        (UNCHANGED): he will make up others. since: see CallsSince; None if it does not matter.
    """

    since: int | None = None
    answers: bytes = b""


class CallsRehearsed(CallsAnswered, array_like=True, tag=28, frozen=True):
    """Calls that were rehearsed: under a token, as CallsAnswered, or without one and answers.

    digest: of what they answered there (see state/redis/rehearsal.py). If one would answer
        otherwise none of them is done: as if a watched key were another.
    """

    digest: int = 0


CALLS: Final = (Calls, CallsSince, CallsAnswered, CallsRehearsed)
