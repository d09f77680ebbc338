"""Streams as plain Python has them: lists of ids with their fields."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from tests.model.plain_python import Args, Reference, Wrong

NOTHING = object()
"""The null array."""

ABSENT = object()
"""Null."""

Id = tuple[int, int]
HALF_MAX = (1 << 64) - 1
ENDS: dict[bytes, Id] = {b"-": (0, 0), b"+": (HALF_MAX, HALF_MAX)}


@dataclass
class PlainGroup:
    """Who has been given which entries. pending: by id, whose it is and how often it was given."""

    last: Id
    consumers: set[bytes] = field(default_factory=set)
    pending: dict[Id, tuple[bytes, int]] = field(default_factory=dict)


@dataclass
class Plain:
    """One stream."""

    entries: dict[Id, list[bytes]] = field(default_factory=dict)
    last: Id = (0, 0)
    deleted: Id = (0, 0)
    added: int = 0
    groups: dict[bytes, PlainGroup] = field(default_factory=dict)

    def told(self, low: Id, high: Id) -> list[list[object]]:
        return [
            [shown(each), fields]
            for each, fields in sorted(self.entries.items())
            if low <= each <= high
        ]


def shown(each: Id) -> bytes:
    return b"%d-%d" % each


def read(text: bytes, missing: int = 0) -> Id:
    ms, _, sequence = text.partition(b"-")
    return int(ms), int(sequence or missing)


class StreamReference(Reference["bytes | Plain"]):
    """Streams, and strings in their way. Nobody gives it the time."""

    def _stream(self, key: bytes) -> Plain:
        held = self.keys.get(key, Plain())
        if not isinstance(held, Plain):
            raise Wrong
        return held

    def _set(self, args: Args) -> str:
        self.keys[args[0]] = args[1]
        return "OK"

    def _del(self, args: Args) -> int:
        return int(self.keys.pop(args[0], None) is not None)

    def _rename(self, args: Args) -> str:
        if args[0] not in self.keys:
            raise Wrong
        self.keys[args[1]] = self.keys.pop(args[0])
        return "OK"

    def _copy(self, args: Args) -> int:
        if args[0] == args[1]:
            raise Wrong
        if args[0] not in self.keys or args[1] in self.keys:
            return 0
        held = self.keys[args[0]]
        if isinstance(held, Plain):
            held = copy.deepcopy(held)
        self.keys[args[1]] = held
        return 1

    def _xadd(self, args: Args) -> object:
        """key [NOMKSTREAM] [MAXLEN = count] id fields"""
        key, *rest = args
        held, keeps = self._stream(key), None
        if rest[0] == b"NOMKSTREAM":
            rest.pop(0)
            if key not in self.keys:
                return ABSENT
        if rest[0] == b"MAXLEN":
            keeps, rest = int(rest[2]), rest[3:]
        text, *fields = rest
        ms = int(text.partition(b"-")[0])
        following = (ms, held.last[1] + 1 if held.last[0] == ms else 0)
        each = following if text.endswith(b"*") else read(text)
        if each <= held.last:
            raise Wrong
        size = 1 + sum(2 + len(one) for one in fields)  # as MessagePack has them
        if size > self._size_max:
            raise Wrong
        held.entries[each], held.last = fields, each
        held.added += 1
        self.keys[key] = held
        if keeps is not None:
            self._keep(held, keeps)
        return shown(each)

    def _keep(self, held: Plain, count: int) -> int:
        gone = sorted(held.entries)[: max(0, len(held.entries) - count)]
        for each in gone:
            del held.entries[each]
        return len(gone)

    def _xtrim(self, args: Args) -> int:
        held = self._stream(args[0])
        if args[1] == b"MAXLEN":
            return self._keep(held, int(args[2]))
        low = read(args[2])
        return self._keep(held, sum(each >= low for each in held.entries))

    def _xdel(self, args: Args) -> int:
        held = self._stream(args[0])
        gone = [each for each in map(read, args[1:]) if held.entries.pop(each, None) is not None]
        held.deleted = max([held.deleted, *gone])
        return len(gone)

    def _xlen(self, args: Args) -> int:
        return len(self._stream(args[0]).entries)

    def _xrange(self, args: Args) -> list[list[object]]:
        low, high = ENDS.get(args[1]), ENDS.get(args[2])
        low = read(args[1]) if low is None else low
        high = read(args[2], HALF_MAX) if high is None else high
        return self._stream(args[0]).told(low, high)[: int(args[4])]

    def _xrevrange(self, args: Args) -> list[list[object]]:
        whole = [args[0], args[2], args[1], b"COUNT", b"999"]
        return self._xrange(whole)[::-1][: int(args[4])]
