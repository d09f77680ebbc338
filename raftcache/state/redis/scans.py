"""Looking through all keys, or all elements of one: what is asked for, and a step of it.

A step goes on behind a name, in the order of names. So whatever stays while a scan lasts is told
once, and what comes or goes meanwhile may be told or not, as Redis promises. Handlers here take all
in one step, and so have a bound; those without one are in the service (service/scanning.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final

from msgspec import Struct

from raftcache.command.globs import GLOB_SIZE_BYTES_MAX, Glob, glob, glob_range
from raftcache.command.limits import RANGE_KEYS_MAX
from raftcache.command.values import Value
from raftcache.state.items import HASH, SET, TYPES, ZSET, Stored, described, read_header
from raftcache.state.redis.elements import elements_after
from raftcache.state.redis.parsing import SYNTAX, WRONG_TYPE, Refuse, integer
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.zset_rows import unpack_score

COUNT_DEFAULT: Final = 10

SIZE_BYTES_MAX: Final = 1 << 62
"""Of elements: no bound."""

BAD_CURSOR: Final = "ERR invalid cursor"

KIND_OF_CALL: Final = {b"HSCAN": HASH, b"SSCAN": SET, b"ZSCAN": ZSET}

_CURSOR: Final = re.compile(rb"([+-]?)0*([0-9]{1,20})|")
_CURSOR_MAX: Final = (1 << 64) - 1


class Asked(Struct):
    """What to look at, and what to show of it. type_name: of keys, in small letters."""

    count: int = COUNT_DEFAULT
    matches: Glob | None = None
    type_name: bytes | None = None
    names_only: bool = False

    def shows(self, name: bytes) -> bool:
        return self.matches is None or self.matches(name)


class Step(Struct):
    """What a step found. last: the last name that it looked at, None at the end.

    size_bytes: of what it found.
    """

    values: list[Value]
    last: bytes | None
    size_bytes: int = 0


def read_cursor(text: bytes) -> int:
    """As C's strtoul has it, all of it."""
    match = _CURSOR.fullmatch(text.partition(b"\0")[0])
    if match is None or (number := int(match[2] or b"0")) > _CURSOR_MAX:
        raise Refuse(BAD_CURSOR)
    return -number % (_CURSOR_MAX + 1) if match[1] == b"-" else number


def read_pattern(pattern: bytes) -> Glob | None:
    """None for all there is."""
    if len(pattern) > GLOB_SIZE_BYTES_MAX:
        raise Refuse(f"ERR a pattern has at most {GLOB_SIZE_BYTES_MAX} bytes")
    return None if pattern == b"*" else glob(pattern)


def read_options(words: Sequence[bytes], kind: int = 0) -> Asked:
    """COUNT, MATCH; of keys (kind 0) TYPE, of a hash NOVALUES. Of two alike the last one counts."""
    asked = Asked()
    rest = iter(words)
    for word in rest:
        option = word.upper()
        if option == b"NOVALUES" and kind == HASH:
            asked.names_only = True
            continue
        argument = next(rest, None)
        if argument is None:
            raise Refuse(SYNTAX)
        match option:
            case b"COUNT":
                asked.count = integer(argument)
                if asked.count < 1:
                    raise Refuse(SYNTAX)
            case b"MATCH":
                asked.matches = read_pattern(argument)
            case b"TYPE" if not kind:
                asked.type_name = argument.lower()
            case _:
                raise Refuse(SYNTAX)
    return asked


def find(store: Store, key: bytes, kind: int) -> Stored | None:
    """What a key holds; refuses other types."""
    found = store.find(key)
    if found is not None and found.kind != kind:
        raise Refuse(WRONG_TYPE)
    return found


def step_of_keys(store: Store, start: bytes, end: bytes, count_max: int, asked: Asked) -> Step:
    """Look at the first keys of [start, end); an empty end means to the last one."""
    keyspace, now_ms = store.state.keyspace, store.state.now_ms
    span = list(islice(keyspace.span(start, end), count_max + 1))
    step = Step([], span[count_max - 1][0] if len(span) > count_max else None)
    for key, packed in span[:count_max]:
        if not asked.shows(key):
            continue
        stored = read_header(packed)
        if asked.type_name is not None and asked.type_name != _type_name(stored):
            continue
        if not keyspace.is_overdue(stored, now_ms):
            step.values.append(key)
            step.size_bytes += len(key)
    return step


def _type_name(stored: Stored) -> bytes:
    return TYPES.get(stored.kind, "string").encode()


def step_of_elements(
    store: Store,
    key: bytes,
    found: Stored,
    after: bytes | None,
    count_max: int,
    asked: Asked,
    size_bytes_max: int = SIZE_BYTES_MAX,
) -> Step:
    """Look at the first elements behind one (None: of all); values or scores follow them.

    The one that passes size_bytes_max is the last.
    """
    elements = elements_after(store, key, found, after, count_max + 1)
    step = Step([], None)
    for place, (name, value) in enumerate(elements):
        if place == count_max or step.size_bytes >= size_bytes_max:
            step.last = elements[place - 1][0]
            break
        if asked.shows(name):
            step.values.append(name)
            step.size_bytes += len(name) + len(value)
            if found.kind == HASH and not asked.names_only:
                store.count_answer(len(value))
                step.values.append(value)
            elif found.kind == ZSET:
                step.values.append(b"%.17g" % unpack_score(value))
    return step


# All at once.


def _check_begins(cursor: int) -> None:
    if cursor:
        raise Refuse(f"{BAD_CURSOR}: in a transaction a scan is done at once, from cursor 0")


def _check_keys(store: Store, start: bytes, end: bytes) -> None:
    if store.state.keyspace.count_span(start, end) > RANGE_KEYS_MAX:
        raise Refuse(
            f"ERR a transaction looks at up to {RANGE_KEYS_MAX} keys: do this outside of MULTI"
        )


def _keys(store: Store, args: tuple[bytes, ...]) -> Value:
    asked = Asked(matches=read_pattern(args[0]))
    start, end = glob_range(args[0])
    _check_keys(store, start, end)
    return step_of_keys(store, start, end, RANGE_KEYS_MAX, asked).values


def _scan(store: Store, args: tuple[bytes, ...]) -> Value:
    cursor = read_cursor(args[0])
    asked = read_options(args[1:])
    _check_begins(cursor)
    _check_keys(store, b"", b"")
    return [b"0", step_of_keys(store, b"", b"", RANGE_KEYS_MAX, asked).values]


def _scan_elements(store: Store, args: tuple[bytes, ...], kind: int) -> Value:
    key, cursor = args[0], read_cursor(args[1])
    found = find(store, key, kind)
    if found is None:
        return [b"0", []]
    asked = read_options(args[2:], kind)
    _check_begins(cursor)
    count = described(found.packed).count
    return [b"0", step_of_elements(store, key, found, None, count, asked).values]


CALLS: Final[dict[bytes, Handler]] = {
    b"HSCAN": partial(_scan_elements, kind=HASH),
    b"KEYS": _keys,
    b"SCAN": _scan,
    b"SSCAN": partial(_scan_elements, kind=SET),
    b"ZSCAN": partial(_scan_elements, kind=ZSET),
}

LONE: Final = frozenset(CALLS)
"""See execute.LONE: they change nothing."""
