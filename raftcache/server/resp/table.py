"""Who answers which call: those of data go to the service, the others to a room that added them.

A room is a small class with `add_to(table)`. What is known of a call (arity, flags) stands in
command/call_table.py; a call that is there, is no call of data, and that no room has added is
unknown to this door.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, TypeAlias

from msgspec import Struct

from raftcache.command.call_table import SPECS, CallSpec, fault, fits, unknown
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request

Done: TypeAlias = Callable[[Value], None]
Answer: TypeAlias = Callable[[Client, Request], Value]
Ask: TypeAlias = Callable[[Client, Request, Done], None]

PLAIN_LENGTH_MAX: Final = 8
"""Shapes of calls are known beforehand up to so many arguments."""

Shape: TypeAlias = tuple[bytes, int]
"""Name and number of arguments."""


class NoReply(Enum):
    """What a handler returns that has pushed its answers itself."""

    NO_REPLY = 1


NO_REPLY: Final = NoReply.NO_REPLY


class Entry(Struct, frozen=True):
    """What becomes of a call. With neither answer nor ask it is one of data; with both, ask is for
    when it may wait, and answer for when it may not.

    name: in capitals; of a container for its subcommands, too.
    is_immediate: MULTI does not queue it. is_refused_in_multi: nor does it allow it.
    """

    name: bytes
    spec: CallSpec
    answer: Answer | None = None
    ask: Ask | None = None
    is_immediate: bool = False
    is_refused_in_multi: bool = False

    @property
    def may_wait(self) -> bool:
        """Whether its answer may take as long as something takes to happen."""
        return self.ask is not None and self.answer is not None

    @property
    def is_data(self) -> bool:
        return self.answer is None and self.ask is None


class CallTable:
    """Filled once, by rooms, before the first client comes."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        """By name in capitals, and by name in small letters; subcommands as CONTAINER|NAME."""
        self.plain: set[Shape] = set()
        """Shapes of calls of data that have nothing wrong with them."""
        for name, spec in SPECS.items():
            for each, sub in ((name, spec), *_subcommands(name, spec)):
                if sub.is_data:
                    self._put(each, Entry(name, sub))
            if spec.is_data and not spec.subcommands and not spec.is_blocking:
                self.plain.update((name, n) for n in range(1, PLAIN_LENGTH_MAX) if fits(spec, n))

    def add(
        self,
        name: str,
        answer: Answer,
        *,
        is_immediate: bool = False,
        is_refused_in_multi: bool = False,
    ) -> None:
        """A call that is answered at once; NAME or CONTAINER|NAME, as in the table of calls."""
        self._add(name, answer, None, is_immediate, is_refused_in_multi)

    def add_asking(
        self,
        name: str,
        ask: Ask,
        *,
        within_multi: Answer | None = None,
        is_immediate: bool = False,
        is_refused_in_multi: bool = False,
    ) -> None:
        """A call whose handler calls done, once, later or at once; meanwhile the client waits.

        within_multi: answers it at once when EXEC comes to it.
        """
        self._add(name, within_multi, ask, is_immediate, is_refused_in_multi)

    def _add(
        self, name: str, answer: Answer | None, ask: Ask | None, immediate: bool, refused: bool
    ) -> None:
        key = name.encode()
        container, _, sub = key.partition(b"|")
        spec = SPECS[container].subcommands[sub] if sub else SPECS[container]
        self._put(key, Entry(container, spec, answer, ask, immediate, refused))
        self.plain -= {shape for shape in self.plain if shape[0] == key}

    def _put(self, key: bytes, entry: Entry) -> None:
        self._entries[key] = entry
        if b"|" not in key:
            self._entries[key.lower()] = entry

    def find(self, call: Request) -> Entry | Failure:
        """What becomes of a call, or what is wrong with it. Writes its name in capitals."""
        name = call[0]
        entry = self._entries.get(name)
        if entry is None:
            name = name.upper()
            entry = self._entries.get(name)
        if len(call) > 1 and (entry is None or entry.spec.subcommands):
            entry = self._entries.get(b"%b|%b" % (name.upper(), call[1].upper()))
        if entry is None or not fits(entry.spec, len(call)):
            return Failure(fault(call) or unknown(call))
        call[0] = entry.name
        return entry

    def knows(self, name: bytes) -> bool:
        """Whether somebody answers NAME or CONTAINER|NAME."""
        return name in self._entries


def _subcommands(name: bytes, spec: CallSpec) -> list[tuple[bytes, CallSpec]]:
    return [(b"%b|%b" % (name, sub), each) for sub, each in spec.subcommands.items()]
