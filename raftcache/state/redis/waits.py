"""Calls that may wait for a key: what each waits for, and how it asks again."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from raftcache.command.calls import Call
from raftcache.command.values import NIL_ARRAY, Value
from raftcache.state.items import LIST, ZSET
from raftcache.state.redis import list_pops, zsets
from raftcache.state.redis.parsing import timeout_ms

NAMES: Final = (
    b"BLMOVE",
    b"BLMPOP",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"BZMPOP",
    b"BZPOPMAX",
    b"BZPOPMIN",
)

_FOREVER: Final = b"0"


def is_nothing(value: Value) -> bool:
    """Whether this is the answer of such a call that found nothing."""
    return value is None or value is NIL_ARRAY


class Wait(Struct):
    """What a call waits for: one of its keys, of the one kind, with elements.

    timeout_ms: 0 for as long as it takes. hands_on: what it takes goes to another key.
    before, behind: what stands around a key when only that one is asked again.
    """

    kind: int
    keys: tuple[bytes, ...]
    timeout_ms: int
    hands_on: bool
    before: Call
    behind: Call

    def again(self, key: bytes) -> Call:
        """The same call of one of its keys."""
        return (*self.before, key, *self.behind)


def read(call: Call) -> Wait:
    """One of NAMES, with as many arguments as it needs; refuses what its handler refuses first."""
    name, *rest = call
    args = tuple(rest)
    match name:
        case b"BLMOVE":
            list_pops.read_ends(args)
            return Wait(LIST, args[:1], timeout_ms(args[4]), True, (name,), args[1:])
        case b"BRPOPLPUSH":
            return Wait(LIST, args[:1], timeout_ms(args[2]), True, (name,), args[1:])
        case b"BLMPOP" | b"BZMPOP":
            is_list = name == b"BLMPOP"
            asked = (list_pops.read_mpop if is_list else zsets.read_mpop)(args[1:])
            keys, kind = asked[0], LIST if is_list else ZSET
            before, behind = (name, _FOREVER, b"1"), args[2 + len(keys) :]
            return Wait(kind, keys, timeout_ms(args[0]), False, before, behind)
    kind = LIST if name in list_pops.CALLS else ZSET
    return Wait(kind, args[:-1], timeout_ms(args[-1]), False, (name,), (_FOREVER,))
