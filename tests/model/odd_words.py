"""Commands as nobody would send them, by plain dice, made from the shapes of their structs.

Every kind of command and every field of theirs is met: what is new is tried unasked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import IntEnum
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields as fields_of

from raftcache.command import words
from raftcache.command.calls import CALLS, DICE_MAX
from raftcache.command.checks import check
from raftcache.command.clients import ClientRegister
from raftcache.command.leasing import LeaseGrant, LockAcquire, LockStay
from raftcache.command.limits import (
    INTEGER_MAX,
    INTEGER_MIN,
    KEY_SIZE_BYTES_MAX,
    LEASE_TTL_MS_MAX,
    LOCK_NAME_SIZE_BYTES_MAX,
    REQUESTS_REMEMBERED_MS,
    TOKEN_SIZE_BYTES_MAX,
    TTL_MS_MAX,
    VALUE_SIZE_BYTES_MAX,
)
from raftcache.command.once import Once
from raftcache.command.replies import Reply
from raftcache.command.values import (
    NIL_ARRAY,
    Digits,
    Entries,
    Failure,
    Members,
    Pairs,
    Value,
    Verbatim,
    pack_values,
)
from raftcache.command.words import INTRODUCED, Command
from tests.model.odd_calls import KEYS, ODD, ODD_KEYS, OddCalls

SIZES: Final = (1 << 20, 1 << 20, 1 << 12, 100, 5, 0, VALUE_SIZE_BYTES_MAX)
"""Value limits."""

MET_OFTEN: Final = (b"k1", b"1string")
"""Keys of other commands than calls."""

_BYTES: Final = {
    "name": (b"lock", b"lock", b"lock2", b"", b"l" * LOCK_NAME_SIZE_BYTES_MAX, b"l" * 256),
    "start": (b"", b"1", b"k1", b"k3", b"\xff", b"z" * (KEY_SIZE_BYTES_MAX + 2)),
    "end": (b"", b"2", b"k2", b"k4", b"\xff\xff", b"z" * (KEY_SIZE_BYTES_MAX + 1)),
    "prefix": (b"", b"k", b"1", b"\xff", b"k" * KEY_SIZE_BYTES_MAX, b"k" * 1025),
    "fingerprint": (b"f" * 16, b"f" * 16, b"g" * 16, b"", b"f" * 17),
    "token": (b"t1", b"t2", b"t3", b"", b"t" * TOKEN_SIZE_BYTES_MAX, b"t" * 256, b"\xff"),
    "value": (b"", b"1", b"10", b"-9223372036854775808", b"v" * 600, b"v" * 513, b"v" * 512),
}
_EDGES: Final = (
    *(0, 1, -1, -2, -3, 2, 3, 10, 100, 1000, 60_000, TTL_MS_MAX, TTL_MS_MAX + 1, -TTL_MS_MAX),
    *(INTEGER_MAX, INTEGER_MIN, 1 << 63, (1 << 64) - 1, LEASE_TTL_MS_MAX, LEASE_TTL_MS_MAX + 1),
    *(REQUESTS_REMEMBERED_MS, 1 << 53, 1 << 62, VALUE_SIZE_BYTES_MAX, 99, 10_000, 10_001, 300_000),
)
_INTEGERS: Final = {
    "only": (-1, -1, -1, -2, 0),
    "ttl_ms": (100, 1000, 100_000, 100_000),
    "wait_ms": (0, 1000, 50_000),
    "delay_ms": (0, 0, 50),
    "right_ms": (1, 100, 10_000),
    "early_ms": (0, 50),
    "stays": (0, 1),
    "by": (1, -1, INTEGER_MAX, INTEGER_MIN),
    "keys_max": (3, 8, 20),
    "size_bytes_max": (100, 1000, 1 << 20),
    "limit": (0, 1, 3),
    "Number.number": (1, 2, 3, 4, 5, 6),
    "Number.pending_from": (1, 1, 1, 2, 3),
}
_TEXTS: Final = ("", "", "text/plain", "x" * 255, "x" * 256, "\u00e9", "a\nb", "\0", "\u2028")
_OFTEN: Final = (*CALLS, words.Txn, words.LeasedPut, LeaseGrant, LockAcquire, ClientRegister)
_NOT_PLAIN: Final = (words.SetQuota, words.Vivify)
_KINDS: Final = [
    each
    for each in sorted(INTRODUCED, key=lambda kind: kind.__name__)
    for _ in range(3 if each in _OFTEN else 1)
]


class OddWords(OddCalls):
    """Makes them for one cluster. revision_of: a key's, as it is now."""

    def __init__(self, dice: random.Random, revision_of: Callable[[bytes], int]) -> None:
        super().__init__(dice)
        self._revision_of = revision_of
        self._numbers: dict[str, list[int]] = {}
        self._is_odd = self._is_within = False
        is_plain = dice.random() < 0.5  # so that writes come in runs
        self._kinds = [kind for kind in _KINDS if not (is_plain and kind in _NOT_PLAIN)]
        self._sent: list[Command] = []

    def note(self, command: Command, reply: Reply) -> None:
        """Of leases, places, rights and revisions, for commands that are to meet them."""
        self._keep("", reply.revision)
        match command:
            case words.Vivify():
                self._keep("Refill.token", reply.revision)
            case LeaseGrant():
                self._keep("lease", reply.number)
            case ClientRegister():
                self._keep("client", reply.number)
            case LockAcquire() | LockStay():
                self._keep("place", reply.number)
                self._keep("LockKeepAlive.token", reply.number)
                self._keep("LockRelease.token", reply.number)

    def _keep(self, name: str, number: int) -> None:
        if number > 0:
            self._numbers[name] = [*self._numbers.get(name, ()), number][-4:]

    def _known(self, name: str) -> list[int]:
        """Numbers that make sense for a field of this name."""
        return self._numbers.get(name) or self._numbers.get("") or [1]

    def entry(self) -> list[Command]:
        """The commands of one entry of the log; some were sent before."""
        dice = self._dice
        made = self._run() if dice.random() < 0.1 else []
        for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 8))):
            if self._sent and dice.random() < 0.1:
                made.append(dice.choice(self._sent))
                continue
            kind = dice.choice(CALLS if dice.random() < 0.4 else self._kinds)
            self._is_odd, self._is_within = dice.random() < 0.2, False
            made.append(self.calls(kind) if kind in CALLS else self._struct(kind))
        self._sent = [*self._sent, *made][-30:]
        return made

    def _run(self) -> list[Command]:
        """Writes that may be done as one (see state/runs.py), and others among them."""
        dice, count = self._dice, self._dice.randint(3, 14)
        sets = tuple((b"SET", self.key(b"SET"), b"%d" % place) for place in range(count))
        puts: list[Command] = [words.Put(key, value) for _, key, value in sets]
        self._is_odd = dice.random() < 0.5
        puts.insert(dice.randrange(count), self._struct(words.Put))
        place = dice.randrange(count)
        return [words.Calls((*sets[:place], self.call(), *sets[place:]), dice.choice(SIZES)), *puts]

    def calls(self, kind: type) -> Command:
        """Calls of whatever kind; most are as a door would send them."""
        dice = self._dice
        is_long = dice.random() < 0.04
        count = dice.choice((40, 300)) if is_long else dice.choice((1, 1, 1, 2, 3, 6))
        made = tuple(self.call() for _ in range(count))
        if is_long and dice.random() < 0.7:
            made = made[:1] * count
        atomic = kind not in (words.Calls, words.CallsSince) or dice.random() < 0.4
        once = None
        if is_long or dice.random() < 0.4 or kind is words.CallsAnswered:
            once = Once(b"t%d" % dice.randrange(99), b"f" * 16)  # some come again
            made = made if atomic else made[:1]
        fields: dict[str, Any] = {
            "calls": made,
            "size_bytes_max": dice.choice(SIZES),
            "atomic": atomic,
            "dice": dice.randrange(DICE_MAX),
            "once": once,
        }
        if atomic and dice.random() < 0.5:
            keys = [self.key() for _ in range(dice.randint(1, 3))]
            fields["watched"] = tuple((key, self._revision_of(key)) for key in keys)
        if kind is not words.Calls:
            fields["since"] = dice.choice((INTEGER_MAX, INTEGER_MAX, 0, *self._known("")))
        if issubclass(kind, words.CallsAnswered) and once is not None:
            fields["answers"] = pack_values([self.value() for _ in made[:9]])
        if self._is_odd:
            name, hint = dice.choice(sorted(_hints_of(kind).items()))
            fields[name] = self._field(name, hint, kind)
        word: Command = kind(**fields)
        return word

    def value(self, depth: int = 0) -> Value:
        """Something that a script may answer."""
        dice = self._dice
        kinds: list[Callable[[], Value]] = [
            lambda: dice.choice((0, 1, -1, INTEGER_MAX, INTEGER_MIN)),
            lambda: dice.choice(ODD[:12]),
            lambda: dice.choice(("OK", "", "words", "\u00e9")),
            lambda: dice.choice((0.1, -0.0, float("inf"), float("nan"), 1e308)),
            lambda: dice.choice((True, False, None, NIL_ARRAY)),
            lambda: Failure(dice.choice(("ERR no", "", "\udcff\udc80", "\u00e9", "ERR \udcc3"))),
            lambda: dice.choice((Verbatim(b"text\xff"), Digits(b"1.50"))),
        ]
        if depth < 4:
            more = [self.value(depth + 1) for _ in range(dice.randrange(4))]
            pairs = list(zip(more[::2], more[1::2], strict=False))
            kinds += [
                lambda: more,
                lambda: Members(more),
                lambda: Pairs(pairs),
                lambda: Entries(pairs),
                lambda: {b"%d" % place: each for place, each in enumerate(more)},
            ]
        return dice.choice(kinds)()

    def _junk(self) -> bytes:
        """What ought to be packed values, and is bent."""
        dice = self._dice
        data = bytearray(pack_values([self.value() for _ in range(dice.randrange(4))]))
        match dice.randrange(6):
            case 0:
                return dice.randbytes(dice.randrange(12))
            case 1:
                depth = dice.choice((10, 100, 158, 159, 160, 161, 300, 700, 5000))
                return b"\x91" + b"\x92\xa4list" * depth + b"\x90"
            case 2:
                return bytes(data[: dice.randrange(len(data) + 1)])
            case 3:
                return b"\xdd" + dice.choice((300, 30_000)).to_bytes(4, "big") + b"\x01" * 30_000
        for _ in range(dice.randrange(3)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data)

    # Commands by their shapes.

    def _struct(self, kind: type) -> Any:
        was_within, self._is_within = self._is_within, kind is words.Txn or self._is_within
        made = {name: self._field(name, hint, kind) for name, hint in _hints_of(kind).items()}
        self._is_within = was_within
        if kind is words.Txn and not self._is_odd:
            for name in ("success", "failure", "compares"):
                made[name] = [
                    each for each in made[name] if not check(words.Txn(**{name: (each,)}))
                ]
                made[name] = tuple(made[name])
        return kind(**made)

    def _field(self, name: str, hint: Any, kind: type) -> Any:
        """A value of the type: what decodes."""
        dice = self._dice
        if get_origin(hint) in (UnionType, Union):
            return self._one_of(name, get_args(hint), kind)
        if get_origin(hint) is tuple:
            inner = get_args(hint)
            if inner[-1] is not Ellipsis:
                key = self.key()
                return (
                    key,
                    self._number("revision", kind) if self._is_odd else self._revision_of(key),
                )
            count = dice.choice((0, 1, 1, 2, 3, 7))
            return tuple(self._field(name, inner[0], kind) for _ in range(count))
        if hint is bool:
            return dice.random() < 0.2
        if hint is bytes:
            return self._bytes(name)
        if hint is str:
            return dice.choice(_TEXTS if self._is_odd else _TEXTS[:4])
        if issubclass(hint, IntEnum):
            return dice.choice(list(hint))
        if issubclass(hint, Struct):
            return self._struct(hint)
        assert hint is int, (name, hint)
        return self._number(name, kind)

    def _one_of(self, name: str, options: Sequence[Any], kind: type) -> Any:
        dice = self._dice
        some = [each for each in options if each is not type(None)]
        if len(some) < len(options):
            is_never = name == "once" and self._is_within and not self._is_odd
            if is_never or dice.random() < (0.7 if name == "once" else 0.4):
                return None
        return self._field(name, dice.choice(some), kind)

    def _bytes(self, name: str) -> bytes:
        dice = self._dice
        if name == "answers":
            return self._junk()
        if name == "calls":
            return dice.choice((b"SET", b"GET", b"", b"NOTHING", b"\xff", *KEYS))
        if name == "token" and not self._is_odd:
            return b"t%d" % dice.randrange(99)
        if name in _BYTES:
            return dice.choice(_BYTES[name] if self._is_odd else _BYTES[name][:2])
        if self._is_odd and dice.random() < 0.2:
            return dice.choice(ODD_KEYS)
        return dice.choice(MET_OFTEN) if dice.random() < 0.7 else self.key()

    def _number(self, name: str, kind: type) -> int:
        dice = self._dice
        if self._is_odd and dice.random() < 0.4:
            return dice.choice(_EDGES)
        if name == "only" and self._is_within:
            return -1
        known = self._known(f"{kind.__name__}.{name}" if name == "token" else name)
        full_name = f"{kind.__name__}.{name}"
        return dice.choice(_INTEGERS.get(full_name) or _INTEGERS.get(name, known))


_HINTS: Final[dict[type, dict[str, Any]]] = {}


def _hints_of(kind: type) -> dict[str, Any]:
    """The fields of a struct, with their types."""
    if kind not in _HINTS:
        _HINTS[kind] = {each.name: each.type for each in fields_of(kind)}
    return _HINTS[kind]
