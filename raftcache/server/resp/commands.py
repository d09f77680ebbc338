"""COMMAND: what can be called here, as the table of calls tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from raftcache.command.call_table import SPECS, CallSpec, find, fits, keys_of
from raftcache.command.globs import GLOB_SIZE_BYTES_MAX, glob
from raftcache.command.values import NIL_ARRAY, Failure, Members, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import SYNTAX, help_lines

_HELP: Final = """
COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
(no subcommand)
    Return details about all Redis commands.
COUNT
    Return the total number of commands in this Redis server.
LIST
    Return a list of all commands in this Redis server.
INFO [<command-name> ...]
    Return details about multiple Redis commands.
    If no command names are given, documentation details for all
    commands are returned.
DOCS [<command-name> ...]
    Return documentation details about multiple Redis commands.
    If no command names are given, documentation details for all
    commands are returned.
GETKEYS <full-command>
    Return the keys from a full Redis command.
HELP
    Prints this help.
"""

INVALID_COMMAND: Final = Failure("ERR Invalid command specified")
INVALID_COUNT: Final = Failure("ERR Invalid number of arguments specified for command")
NO_KEYS: Final = Failure("ERR The command has no key arguments")
NAMES_MAX: Final = 1000
"""That are told of at once: some 50 ms."""

TOO_MANY_NAMES: Final = Failure(f"ERR at most {NAMES_MAX} commands are described at once")

NO_STREAMS: Final = Failure("ERR Invalid arguments specified for command")


class CommandCalls:
    """The room of these calls; it tells of those that the table it is added to serves."""

    def __init__(self) -> None:
        self._table: CallTable
        self._served_by_name: dict[bytes, CallSpec] | None = None

    def add_to(self, table: CallTable) -> None:
        self._table = table
        table.add("COMMAND", self._all)
        table.add("COMMAND|COUNT", lambda client, call: len(self._served()))
        table.add("COMMAND|INFO", self._info)
        table.add("COMMAND|DOCS", self._docs)
        table.add("COMMAND|LIST", self._list)
        table.add("COMMAND|GETKEYS", _keys)
        table.add("COMMAND|HELP", lambda client, call: help_lines(_HELP))

    def _served(self) -> dict[bytes, CallSpec]:
        """By name; a container if any of its subcommands is. All are known when one is called."""
        if self._served_by_name is None:
            self._served_by_name = {
                name: spec
                for name, spec in SPECS.items()
                if self._table.knows(name) or any(self._subcommands(name, spec))
            }
        return self._served_by_name

    def _subcommands(self, name: bytes, spec: CallSpec) -> Iterator[tuple[bytes, CallSpec]]:
        for sub, each in spec.subcommands.items():
            if self._table.knows(b"%b|%b" % (name, sub)):
                yield sub, each

    def _named(self, name: bytes) -> CallSpec | None:
        """By its name, or container|name, in any letters."""
        container, _, sub = name.upper().partition(b"|")
        spec = self._served().get(container)
        if spec is None or not sub:
            return spec
        return dict(self._subcommands(container, spec)).get(sub)

    def _told(self, spec: CallSpec) -> Value:
        """One row of COMMAND INFO; of tips and key specifications it tells nothing."""
        subcommands = self._subcommands(spec.name.upper().encode(), spec)
        return [
            spec.name.encode(),
            spec.arity,
            Members(list(spec.flags)),
            spec.first_key,
            spec.last_key,
            spec.step,
            Members([f"@{category}" for category in spec.categories]),
            Members([]),
            Members([]),
            [self._told(sub) for _, sub in subcommands],
        ]

    def _all(self, client: Client, call: Request) -> Value:
        return [self._told(spec) for spec in self._served().values()]

    def _info(self, client: Client, call: Request) -> Value:
        if len(call) == 2:
            return self._all(client, call)
        if len(call) - 2 > NAMES_MAX:
            return TOO_MANY_NAMES
        specs = [self._named(name) for name in call[2:]]
        return [NIL_ARRAY if spec is None else self._told(spec) for spec in specs]

    def _docs(self, client: Client, call: Request) -> Value:
        if len(call) - 2 > NAMES_MAX:
            return TOO_MANY_NAMES
        if len(call) == 2:
            specs = list(self._served().values())
        else:
            specs = [spec for name in call[2:] if (spec := self._named(name)) is not None]
        return {spec.name.encode(): self._document(spec) for spec in specs}

    def _document(self, spec: CallSpec) -> Value:
        document: dict[Value, Value] = {
            b"summary": spec.summary.encode(),
            b"since": spec.since.encode(),
            b"group": spec.group.encode(),
            b"complexity": spec.complexity.encode(),
        }
        subcommands = list(self._subcommands(spec.name.upper().encode(), spec))
        if subcommands:
            document[b"subcommands"] = {
                sub.name.encode(): self._document(sub) for _, sub in subcommands
            }
        return document

    def _list(self, client: Client, call: Request) -> Value:
        fits_wish = _filter(call[2:])
        if fits_wish is None:
            return SYNTAX
        return [spec.name.encode() for spec in self._served().values() if fits_wish(spec)]


def _filter(options: Request) -> Callable[[CallSpec], bool] | None:
    """What FILTERBY asks for; None for what it cannot."""
    if not options:
        return lambda spec: True
    if len(options) != 3 or options[0].upper() != b"FILTERBY":
        return None
    what, wish = options[1].upper(), options[2].lower()
    if what == b"MODULE":
        return lambda spec: False
    if what == b"ACLCAT":
        return lambda spec: wish in [category.encode() for category in spec.categories]
    if what == b"PATTERN" and len(wish) <= GLOB_SIZE_BYTES_MAX:
        matches = glob(wish)
        return lambda spec: matches(spec.name.encode())
    return None


def _keys(client: Client, call: Request) -> Value:
    argv = call[2:]
    spec = find(argv)
    if spec is None:
        return INVALID_COMMAND
    if not (spec.first_key or "movablekeys" in spec.flags):
        return NO_KEYS
    if not fits(spec, len(argv)):
        return INVALID_COUNT
    keys: list[Value] = list(keys_of(argv))
    return keys or (NO_STREAMS if spec.name in ("xread", "xreadgroup") else NO_KEYS)
