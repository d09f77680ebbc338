"""The Redis commands that are supported: a row for each, the keys of a call, and what its fault is.

The facts (arity, flags, places of keys, categories) are those of Redis 7.0.15, and of 7.2 and 8.4
for what is newer; a test compares them with a running redis-server. A row is three lines:

    NAME ARITY [FIRST,LAST,STEP] [numkeys@PLACE[/STEP]] [FLAG ...] [+CATEGORY ...] [-CATEGORY ...]
      Summary
      SINCE: complexity

below the line of its group, `= GROUP`. A container's subcommand is `CONTAINER|NAME`; the container
has no flags. Categories follow from flags and group; + and - name the exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from raftcache.command.call_rows import (
    collections,
    doors,
    geo,
    reports,
    sketches,
    sorted_sets,
    streams,
    strings,
)

REDIS_VERSION: Final = b"7.0.15"
"""What clients and scripts are told, for they decide by it what they use."""


class CallSpec(Struct, frozen=True):
    """One supported command, or subcommand.

    name: as Redis tells it: in small letters, a subcommand as container|subcommand.
    arity: arguments with the name; negative: at least so many.
    first_key, last_key, step: where keys always stand, 0 for none; a last_key below 0 counts
        from the end. numkeys: where the number of further keys stands, 0 for nowhere; they follow
        it, one each numkeys_step.
    is_data: executed by the state's handlers; anything else is answered by the door.
    is_write: may change keys, or tells every node something: it goes through the log. So does a
        container with such a subcommand.
    is_blocking: may wait for a key; at the state it answers at once.
    """

    name: str
    arity: int
    flags: tuple[str, ...]
    first_key: int
    last_key: int
    step: int
    numkeys: int
    numkeys_step: int
    categories: tuple[str, ...]
    group: str
    summary: str
    since: str
    complexity: str
    is_data: bool
    is_write: bool
    is_blocking: bool
    subcommands: dict[bytes, CallSpec]


CATEGORY_OF_GROUP: Final = {
    "string": "string",
    "bitmap": "bitmap",
    "generic": "keyspace",
    "hash": "hash",
    "list": "list",
    "set": "set",
    "sorted-set": "sortedset",
    "stream": "stream",
    "geo": "geo",
    "hyperloglog": "hyperloglog",
    "transactions": "transaction",
    "scripting": "scripting",
    "connection": "connection",
}

CATEGORY_OF_FLAG: Final = {
    "readonly": ("read",),
    "write": ("write",),
    "admin": ("admin", "dangerous"),
    "pubsub": ("pubsub",),
    "blocking": ("blocking",),
}

DATA_GROUPS: Final = frozenset(
    [
        "string",
        "bitmap",
        "generic",
        "hash",
        "list",
        "set",
        "sorted-set",
        "stream",
        "geo",
        "hyperloglog",
    ]
)

DATA_ELSEWHERE: Final = frozenset(("dbsize", "flushall", "flushdb", "memory|usage"))
"""Data commands in other groups."""

PUBLISHING: Final = frozenset(("publish", "spublish"))
"""Go through the log too, though they change no keys."""

DOOR_ELSEWHERE: Final = frozenset(("wait", "waitaof", "object|help", "xgroup|help", "xinfo|help"))
"""The door's commands in groups of data."""


def _is_data(name: str, group: str) -> bool:
    if name in DATA_ELSEWHERE or name in PUBLISHING:
        return True
    return group in DATA_GROUPS and name not in DOOR_ELSEWHERE


def _categories(words: list[str], flags: tuple[str, ...], group: str) -> tuple[str, ...]:
    found = {"fast" if "fast" in flags else "slow"}
    for flag in flags:
        found.update(CATEGORY_OF_FLAG.get(flag, ()))
    if flags and group in CATEGORY_OF_GROUP:
        found.add(CATEGORY_OF_GROUP[group])
    found |= {word[1:] for word in words if word[0] == "+"}
    found -= {word[1:] for word in words if word[0] == "-"}
    return tuple(sorted(found))


def _spec(facts: str, prose: list[str], group: str) -> CallSpec:
    name, arity, *words = facts.split()
    keys, numkeys = ("0", "0", "0"), ("0", "1")
    if words and words[0][0].isdigit():
        first, last, step = words.pop(0).split(",")
        keys = (first, last, step)
    if words and words[0].startswith("numkeys@"):
        place, _, each = words.pop(0).removeprefix("numkeys@").partition("/")
        numkeys = (place, each or "1")
    flags = tuple(word for word in words if word[0] not in "+-")
    since, _, complexity = " ".join(prose[1:]).partition(": ")
    return CallSpec(
        name=name.lower(),
        arity=int(arity),
        flags=flags,
        first_key=int(keys[0]),
        last_key=int(keys[1]),
        step=int(keys[2]),
        numkeys=int(numkeys[0]),
        numkeys_step=int(numkeys[1]),
        categories=_categories([word for word in words if word[0] in "+-"], flags, group),
        group=group,
        summary=prose[0],
        since=since,
        complexity=complexity,
        is_data=_is_data(name.lower(), group),
        is_write="write" in flags or name.lower() in PUBLISHING,
        is_blocking="blocking" in flags,
        subcommands={},
    )


def _rows(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """The group, the facts and the prose of each row."""
    group, facts, prose = "", "", list[str]()
    for line in [*text.splitlines(), "= end"]:
        if line.startswith("    "):
            prose[-1] += " " + line.strip()
        elif line.startswith("  "):
            prose.append(line.strip())
        elif line:
            if facts:
                yield group, facts, prose
            heading = line.startswith("= ")
            group = line[2:] if heading else group
            facts, prose = "" if heading else line, []


def _table() -> dict[bytes, CallSpec]:
    table: dict[bytes, CallSpec] = {}
    for module in (strings, collections, sorted_sets, streams, geo, sketches, reports, doors):
        for group, facts, prose in _rows(module.ROWS):
            spec = _spec(facts, prose, group)
            container, _, name = spec.name.upper().encode().partition(b"|")
            if name:
                table[container].subcommands[name] = spec
                if spec.is_data and spec.is_write:
                    table[container] = replace(table[container], is_write=True)
            else:
                table[container] = spec
    return table


SPECS: Final[dict[bytes, CallSpec]] = _table()
"""By name in capitals; subcommands stand in their containers."""


def find(argv: Sequence[bytes]) -> CallSpec | None:
    """What the call is, the subcommand rather than its container; None if it is not supported."""
    spec = SPECS.get(argv[0].upper())
    if spec is None or not spec.subcommands or len(argv) == 1:
        return spec
    return spec.subcommands.get(argv[1].upper())


def fits(spec: CallSpec, count: int) -> bool:
    """Whether a call may have so many arguments, its name among them."""
    arity = spec.arity
    return count == arity or count >= -arity > 0


ECHOED_BYTES_MAX: Final = 128
"""How much of a call an error repeats, as in Redis."""


def fault(argv: Sequence[bytes]) -> str | None:
    """Why the call cannot be run, in Redis' words: unknown, or with too few or too many arguments.

    Bytes that are no UTF-8 are surrogates in the text.
    """
    spec = find(argv)
    if spec is None:
        return unknown(argv)
    if fits(spec, len(argv)):
        return None
    return f"ERR wrong number of arguments for '{spec.name}' command"


def unknown(argv: Sequence[bytes]) -> str:
    """In Redis' words: that there is no such command, or subcommand."""
    spec = SPECS.get(argv[0].upper())
    if spec is not None and spec.subcommands and len(argv) > 1:
        container = _echo(argv[0].upper())
        return f"ERR unknown subcommand '{_echo(argv[1])}'. Try {container} HELP."
    arguments = b""
    for argument in argv[1:]:
        if len(arguments) >= ECHOED_BYTES_MAX:
            break
        room = ECHOED_BYTES_MAX - len(arguments)
        arguments += b"'%b' " % argument.partition(b"\0")[0][:room]
    return f"ERR unknown command '{_echo(argv[0])}', with args beginning with: {_line(arguments)}"


def _echo(word: bytes) -> str:
    return _line(word.partition(b"\0")[0][:ECHOED_BYTES_MAX])


def _line(text: bytes) -> str:
    """An error is one line."""
    return text.translate(bytes.maketrans(b"\r\n", b"  ")).decode(errors="surrogateescape")


def keys_of(argv: Sequence[bytes]) -> list[bytes]:
    """The keys of a call, in its order; none that a wrong count of keys would name.

    argv: with the right number of arguments (see `fault`).
    """
    spec = find(argv)
    if spec is None:
        return []
    keys: list[bytes] = []
    if spec.first_key:
        last = spec.last_key if spec.last_key > 0 else len(argv) + spec.last_key
        keys.extend(argv[spec.first_key : last + 1 : spec.step])
    if spec.numkeys:
        keys.extend(_counted(argv, spec.numkeys, spec.numkeys_step))
    if spec.name == "sort":
        keys.extend(_stored(argv, 2, OPTIONS_OF_SORT))
    elif spec.name in RADIUS_OPTIONS_AT:
        keys.extend(_stored(argv, RADIUS_OPTIONS_AT[spec.name], OPTIONS_OF_RADIUS))
    elif spec.name in ("xread", "xreadgroup"):
        keys.extend(_streams(argv))
    return keys


STORING: Final = frozenset((b"GEORADIUS", b"GEORADIUSBYMEMBER", b"SORT"))
"""Writes that only read unless they name a second key, with STORE."""


def stores(argv: Sequence[bytes]) -> bool:
    """Whether a call is one of STORING, and writes."""
    return argv[0] in STORING and len(keys_of(argv)) > 1


def _counted(argv: Sequence[bytes], place: int, step: int) -> Sequence[bytes]:
    text = argv[place]
    following = argv[place + 1 :]
    count = int(text) if text.isdigit() and len(text) <= COUNT_DIGITS_MAX else 0
    return following[: count * step : step] if count * step <= len(following) else []


COUNT_DIGITS_MAX: Final = 9
"""More keys than that no call has."""


def _streams(argv: Sequence[bytes]) -> Sequence[bytes]:
    """The first half of what follows STREAMS, behind options alone."""
    place = 1
    while place < len(argv) and (option := argv[place].upper()) in OPTIONS_OF_XREAD:
        place += 1 + OPTIONS_OF_XREAD[option]
    named = argv[place + 1 :] if place < len(argv) and option == b"STREAMS" else []
    return named[: len(named) // 2]


OPTIONS_OF_XREAD: Final = {b"BLOCK": 1, b"COUNT": 1, b"GROUP": 2, b"NOACK": 0}
"""Arguments of each."""


OPTIONS_OF_SORT: Final = {b"LIMIT": 2, b"GET": 1, b"BY": 1, b"STORE": 1}
"""Arguments of each."""

OPTIONS_OF_RADIUS: Final = {b"STORE": 1, b"STOREDIST": 1}

RADIUS_OPTIONS_AT: Final = {"georadius": 6, "georadiusbymember": 5}
"""Where the options of each begin."""


def _stored(argv: Sequence[bytes], place: int, options: Mapping[bytes, int]) -> list[bytes]:
    """Where a call stores what it finds: the last STORE counts. place: of the first option."""
    stored = list[bytes]()
    while place < len(argv):
        option = argv[place].upper()
        if option.startswith(b"STORE"):
            stored = list(argv[place + 1 : place + 2]) or stored
        place += 1 + options.get(option, 0)
    return stored
