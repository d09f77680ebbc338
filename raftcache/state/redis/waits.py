"""Calls that may wait for a key: what each waits for, and how it asks again."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from raftcache.command.calls import Call
from raftcache.command.values import NIL_ARRAY, Value
from raftcache.state.items import LIST, STREAM, ZSET
from raftcache.state.redis import list_pops, zsets
from raftcache.state.redis.group_reads import GIVEN_WAITING_MAX
from raftcache.state.redis.parsing import timeout_ms
from raftcache.state.redis.stream_reads import Reading, read_xread

NAMES: Final = (
    b"BLMOVE",
    b"BLMPOP",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"BZMPOP",
    b"BZPOPMAX",
    b"BZPOPMIN",
    b"XREADGROUP",
)

_FOREVER: Final = b"0"


def is_nothing(value: Value) -> bool:
    """Whether this is the answer of such a call that found nothing."""
    return value is None or value is NIL_ARRAY


LineName = tuple[int, bytes, bytes]
"""Who waits in one line: for elements of a kind, at a key, and for those new to a group."""


class Wait(Struct):
    """What a call waits for: one of its keys, of the one kind, with elements.

    timeout_ms: 0 for as long as it takes, None if it does not wait. hands_on: what it takes goes to
    another key. before, behind: what stands around a key when only that one is asked again.
    reading: what an XREADGROUP asks for. takes: elements that are its own once it has come first.
    """

    kind: int
    keys: tuple[bytes, ...]
    timeout_ms: int | None
    hands_on: bool
    before: Call
    behind: Call
    reading: Reading | None = None
    takes: int = 1

    @property
    def lines(self) -> list[LineName]:
        """Where it waits."""
        group = b"" if self.reading is None else self.reading.group or b""
        return [(self.kind, key, group) for key in self.keys]

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
        case b"XREADGROUP":
            return _read_group(args)
    kind = LIST if name in list_pops.CALLS else ZSET
    return Wait(kind, args[:-1], timeout_ms(args[-1]), False, (name,), (_FOREVER,))


def _read_group(args: Call) -> Wait:
    asked = read_xread(args, of_group=True)
    group, count = asked.group or b"", asked.count or GIVEN_WAITING_MAX
    before: Call = (b"XREADGROUP", b"GROUP", group, asked.consumer, b"COUNT", b"%d" % count)
    before += ((b"NOACK",) if asked.keeps_none else ()) + (b"STREAMS",)
    keys = tuple(dict.fromkeys(asked.keys))
    return Wait(STREAM, keys, asked.timeout_ms, False, before, (b">",), asked, count)
