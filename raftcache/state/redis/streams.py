"""Streams, without consumer groups: the commands that add and remove entries."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from raftcache.command.calls import Call
from raftcache.command.values import Value
from raftcache.state import notes
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import ROWS_TOUCHED_MAX, Handler, Store
from raftcache.state.redis.stream_ids import read_id, read_open_id
from raftcache.state.redis.stream_rows import HALF_MAX, ID_MAX, NODE_ENTRIES, Stream, text_of

LIMIT_DEFAULT: Final = 100 * NODE_ENTRIES
"""Of entries that are removed with ~ at once."""

ROUGH_MAX: Final = ROWS_TOUCHED_MAX - NODE_ENTRIES
"""Of them all the same: an XADD may do it, and add its entry."""

_WRONG_ARITY: Final = "ERR wrong number of arguments for 'xadd' command"
_TWO_WAYS: Final = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
_NO_WAY: Final = "ERR syntax error, XTRIM must be called with a trimming strategy"
_LIMIT_OF_NOTHING: Final = (
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
)
_LIMIT_OF_EXACT: Final = "ERR syntax error, LIMIT cannot be used without the special ~ option"


class _Asked(Struct):
    """What a call wants to add, and which entries are to go.

    id_at: the place of the id among the arguments. id: None for *. is_open: only its first half is
    given. length_max, below: how many entries may stay, or ids below which all go. is_rough: fewer
    may go (~), and limit of them at most, 0 for any number.
    """

    id_at: int = 0
    id: int | None = None
    is_open: bool = False
    makes_stream: bool = True
    length_max: int | None = None
    below: int | None = None
    is_rough: bool = False
    limit: int | None = None

    @property
    def trims(self) -> bool:
        return self.length_max is not None or self.below is not None


def _read(args: tuple[bytes, ...], *, adds: bool) -> _Asked:
    """The options behind a key, by Redis' order of questions."""
    asked = _Asked()
    at = 1
    while at < len(args):
        option, more = args[at].upper(), len(args) - at - 1
        if adds and option == b"*":
            break
        if option in (b"MAXLEN", b"MINID") and more:
            at = _read_way(asked, args, at)
        elif option == b"LIMIT" and more:
            at += 1
            asked.limit = integer(args[at])
            if asked.limit < 0:
                raise Refuse("ERR The LIMIT argument must be >= 0.")
        elif adds and option == b"NOMKSTREAM":
            asked.makes_stream = False
        elif adds:
            asked.id, asked.is_open = read_open_id(args[at], 0, may_star=True)
            break
        else:
            raise Refuse(SYNTAX)
        at += 1
    asked.id_at = at
    _check_limit(asked, adds=adds)
    return asked


def _read_way(asked: _Asked, args: tuple[bytes, ...], at: int) -> int:
    """MAXLEN or MINID; the place of its last argument."""
    if asked.trims:
        raise Refuse(_TWO_WAYS)
    is_length = args[at].upper() == b"MAXLEN"
    at += 1
    asked.is_rough = args[at] == b"~" and at + 1 < len(args)
    if args[at] in (b"~", b"=") and at + 1 < len(args):
        at += 1
    if is_length:
        asked.length_max = integer(args[at])
        if asked.length_max < 0:
            raise Refuse("ERR The MAXLEN argument must be >= 0.")
    else:
        asked.below = read_id(args[at])
    return at


def _check_limit(asked: _Asked, *, adds: bool) -> None:
    if asked.limit and not asked.trims:
        raise Refuse(_LIMIT_OF_NOTHING)
    if not (adds or asked.trims):
        raise Refuse(_NO_WAY)
    if asked.limit is not None and not asked.is_rough:
        raise Refuse(_LIMIT_OF_EXACT)


def _trim(found: Stream, asked: _Asked) -> int:
    """Remove what is to go; how many went."""
    if asked.length_max is not None:
        count = max(0, found.count - asked.length_max)
    else:
        count = found.place(asked.below or 0)
    if asked.is_rough:
        limit = LIMIT_DEFAULT if asked.limit is None else asked.limit
        most = min(count, limit or count, ROUGH_MAX)
        count = most if most == found.count else most // NODE_ENTRIES * NODE_ENTRIES
    if count:
        found.cut(count)
        found.store.notify(notes.STREAM, b"xtrim", found.key)
    return count


def _next_id(found: Stream, asked: _Asked, now_ms: int) -> int:
    """Of what is added; refuses one that is not above all others."""
    last = found.last
    if last == ID_MAX:
        raise Refuse("ERR The stream has exhausted the last possible ID, unable to add more items")
    if asked.id is None:
        return max(now_ms << 64, last + 1)
    number = asked.id
    if asked.is_open and number >> 64 == last >> 64:
        if last & HALF_MAX == HALF_MAX:
            raise Refuse("ERR Elements are too large to be stored")  # so Redis 7.0 says it
        number = last + 1
    if number <= last:
        raise Refuse(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        )
    return number


def _xadd(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(args, adds=True)
    fields = args[asked.id_at + 1 :]
    if len(fields) < 2 or len(fields) % 2:
        raise Refuse(_WRONG_ARITY)
    if asked.id == 0 and not asked.is_open:
        raise Refuse("ERR The ID specified in XADD must be greater than 0-0")
    found = store.collection(Stream, args[0])
    if not (asked.makes_stream or found.exists):
        return None
    number = _next_id(found, asked, store.now_ms)
    found.add(number, fields)
    store.notify(notes.STREAM, b"xadd", args[0])
    if asked.trims:
        _trim(found, asked)
    return text_of(number)


def with_id(call: Call, value: Value) -> Call:
    """An XADD that has answered this, as one that says so before: it gives the same id again."""
    if call[0] != b"XADD" or value is None:
        return call
    at = 1 + _read(call[1:], adds=True).id_at
    return (*call[:at], value, *call[at + 1 :])


def _xtrim(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = _read(args, adds=False)
    return _trim(store.collection(Stream, args[0]), asked)


def _xdel(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(Stream, args[0])
    if not found.exists:
        return 0
    removed = found.discard([read_id(text) for text in args[1:]])
    if removed:
        store.notify(notes.STREAM, b"xdel", args[0])
    return removed


def _xsetid(store: Store, args: tuple[bytes, ...]) -> Value:
    key, last = args[0], read_id(args[1])
    added: int | None = None
    deleted: int | None = None
    rest = iter(args[2:])
    for option in rest:
        text = next(rest, None)
        if text is not None and option.upper() == b"ENTRIESADDED":
            added = integer(text)
            if added < 0:
                raise Refuse("ERR entries_added must be positive")
        elif text is not None and option.upper() == b"MAXDELETEDID":
            deleted = read_id(text)
            if last < deleted:
                raise Refuse(
                    "ERR The ID specified in XSETID is smaller than the provided"
                    " max_deleted_entry_id"
                )
        else:
            raise Refuse(SYNTAX)
    found = store.collection(Stream, key)
    if not found.exists:
        raise Refuse("ERR no such key")
    if found.count and last < found.id_at(found.count - 1):
        raise Refuse("ERR The ID specified in XSETID is smaller than the target stream top item")
    if added is not None and found.count > added:
        raise Refuse(
            "ERR The entries_added specified in XSETID is smaller than the target stream length"
        )
    found.set_last(last, deleted or None, added)
    store.notify(notes.STREAM, b"xsetid", key)
    return "OK"


CALLS: Final[dict[bytes, Handler]] = {
    b"XADD": _xadd,
    b"XDEL": _xdel,
    b"XSETID": _xsetid,
    b"XTRIM": _xtrim,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
