"""Calls as nobody would send them, by plain dice: arguments from a pool of what is nearly right.

Each call of the table is met, and the patterns of the differential tests, bent: what is new is
tried unasked. Keys are few, and most of one type, so that calls find something.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from raftcache.command.call_table import SPECS, CallSpec, fault
from raftcache.command.calls import Call
from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.state.redis.execute import HANDLERS
from tests.differential import pools
from tests.differential.families import (
    BITMAPS,
    BLOCKING,
    DATA,
    GROUPS,
    HASHES,
    KEY_CALLS,
    LISTS,
    PLACES,
    SETS,
    SKETCHES,
    SORTED_SETS,
    STREAMS,
    STRINGS,
)
from tests.differential.grammar import TOKEN
from tests.differential.pools import FLOATS, IDS, INDEXES, INTEGERS, NO_NUMBERS

KEYS: Final = (b"k1", b"k2", b"k3", b"\xff\0\r\n")
"""Of any type; each group of calls has two of its own, too."""

_GROUPS: Final = ("string", "bitmap", "hash", "list", "set", "sorted-set", "stream", "geo")
_KEYS_OF: Final = {group: (b"1" + group.encode(), b"2" + group.encode()) for group in _GROUPS}
_ALL_KEYS: Final = (*KEYS, *(key for keys in _KEYS_OF.values() for key in keys))
ODD_KEYS: Final = (b"", b"k" * KEY_SIZE_BYTES_MAX, b"k" * (KEY_SIZE_BYTES_MAX + 1), b"{k}", b"\xff")
_NUMBERS: Final = (
    *INTEGERS,
    *NO_NUMBERS,
    *FLOATS,
    *INDEXES,
    *("9" * 5000, "-" + "9" * 5000, "0" * 5000, "1." + "0" * 5000, "1e" + "9" * 400, "1" * 129),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "4294967296"),
    *("9007199254740993", "4611686018427387904", "4611686018427387", "9223372036854775"),
    *("1_000", "\u0661\u0662", "\uff11", "\u00bd", "1\n", "\t1", "1\0", "--1", "+-1", "1e", "e1"),
    *(".", "-", "+", "-.", "1.e5", ".5", "5e-324", "-5e-324", "2.2250738585072011e-308", "1e400"),
    *("-1e400", "0x1p-1074", "0x1p1023", "0x1.fp+1024", "0x", "0xg", "-0x1", "infinity", "-nan"),
    *("nan(1)", "INF", "iNf", "NaN", "1e-400", "1e-5000", "-0.0", "00", "0.1e1", "1,5", "#0", "#9"),
    *("2147483647", "2147483648", "-2147483648", "536870912", "1048576", "65536", "10000", "99999"),
)
_OPTIONS: Final = b"""
NX XX GT LT CH INCR GET EX PX EXAT PXAT KEEPTTL PERSIST REPLACE DB STORE BY LIMIT ALPHA ASC DESC
MATCH COUNT TYPE WITHSCORES WITHVALUES REV BYSCORE BYLEX AGGREGATE WEIGHTS SUM MIN MAX LEFT RIGHT
BEFORE AFTER RANK MAXLEN MINID NOMKSTREAM ENTRIESADDED MAXDELETEDID STREAMS BLOCK GROUP NOACK
OVERFLOW SET INCRBY WRAP SAT FAIL AND OR XOR NOT BIT BYTE LEN IDX MINMATCHLEN WITHMATCHLEN ASYNC
SYNC FULL STREAM CONSUMERS GROUPS CREATE MKSTREAM DESTROY SETID CREATECONSUMER DELCONSUMER IDLE
TIME RETRYCOUNT FORCE JUSTID LASTID ENTRIESREAD FROMMEMBER FROMLONLAT BYRADIUS BYBOX M KM FT MI
ANY WITHCOORD WITHDIST WITHHASH STOREDIST SAMPLES USAGE ENCODING FREQ IDLETIME REFCOUNT HELP nx
count ~ = $ > * - +
""".split()
ODD: Final = (
    *(b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\xc3\x28", b"\xf4\x90\x80\x80", b"a\r\nb", b"\r\n"),
    *(
        b"x" * 300,
        b"x" * 5000,
        b"x" * 70_000,
        b"\xff" * 70_000,
        b"m" * (64 << 10),
        b"a",
        b"b",
        b"c",
    ),
    *(b"*", b"[", b"[a", b"(", b"(1", b"(inf", b"[\xff", b"[^", b"\\", b"*a" * 400, b"[a-" * 300),
    *(b"k*", b"k*->f1", b"*->", b"#", b"->", b"w_*", b"u8", b"i64", b"u63", b"u64", b"i0", b"u1"),
    *(b"HYLL\0\0\0\0", b"f1", b"m1", b"g1", b"c1", b"1.5", b"0", b"1", b"2", b"13.361389"),
)
WORDS: Final = (
    *(each.encode() for each in (*_NUMBERS, *IDS)),
    *_OPTIONS,
    *ODD,
)
_SMALL: Final = tuple(b"%d" % number for number in (0, 1, 1, 2, 2, 3, 5, 10, 100, -1, -2))
_USUAL: Final = {
    "field": (b"f1", b"f2", b"f3", b"", b"\0\xff"),
    "member": (b"a", b"b", b"c", b"1", b"", b"\0\xff"),
    "word": (b"a", b"b", b"c", b"", b"1", b"abc"),
    "value": (b"a", b"1", b"10", b"3.0", b"x" * 70, b"x" * 5000, b""),
    "score": (b"1", b"2", b"-1", b"inf", b"0.1", b"5e-324"),
    "id": (b"1-0", b"1-1", b"2-0", b"5-0", b"5-1", b"7-0", b"7-*", b"*"),
    "rising": (b"1-*", b"2-*", b"5-*", b"7-*", b"*"),
    "seconds": (b"1", b"100", b"1000"),
    "ms": (b"1", b"10", b"100", b"100000"),
    "at": (b"1", b"2", b"2000000000"),
    "at_ms": (b"1010", b"2000", b"100000"),
    "bit_type": (b"u8", b"i8", b"u63", b"i64"),
    "width": (b"u8", b"i8", b"u63", b"i64"),
    "place": (b"0", b"#0", b"#1", b"5", b"100"),
    "pattern": (b"*", b"k*", b"[^a]*", b"?", b"[a-z]", b"[z-a]?*", b"\\a*", b"[\\]]", b"*1*2*"),
    "longitude": (b"10", b"-180", b"180", b"179.999999", b"0", b"-0.0", b"1e-300"),
    "latitude": (b"10", b"-85.05112878", b"85.05112878", b"0", b"45", b"-1e-300"),
    "near": (b"10", b"10.5", b"10.001"),
    "spot": (b"a", b"b", b"c", b""),
    "radius": (b"0", b"1", b"1000", b"1e300", b"1e-300", b"20000", b"inf", b"nan"),
    "unit": (b"km", b"m", b"ft", b"mi"),
    "element": (b"a", b"b", b"", b"abcdefgh", b"\xff" * 20),
    "sketch": (*pools.SKETCHES, b"HYLL\0" + bytes(10) + b"\x80" + b"\xff" * 12288),
    "id_bound": (b"-", b"+", b"1", b"(1-1", b"5"),
    "id_read": (b"0", b"1-1", b"$"),
    "score_bound": (b"-inf", b"+inf", b"1", b"(1", b"2"),
    "lex_bound": (b"-", b"+", b"[a", b"(b", b"[b"),
    "by": (b"nosort", b"w_*", b"k*->f1"),
    "got": (b"#", b"k*", b"k*->f1"),
    "type": (b"string", b"list", b"stream"),
    "group": (b"g", b"g", b"h", b""),
    "consumer": (b"a", b"b", b""),
    "id_group": (b"0", b"$", b"1-1"),
    "idle": (b"0", b"100"),
    "read": (b"0", b"1", b"-1"),
    "low": (b"1", b"2", b"1.5"),
}
"""What makes sense in the place of these names of the patterns; of others, small integers."""


class Patterns:
    """Calls by patterns (see grammar.py) without Hypothesis: a hundred times as fast."""

    def __init__(self, text: str) -> None:
        self._lines = [_choice(TOKEN.findall(line)[::-1]) for line in text.splitlines() if line]

    def draw(self, dice: random.Random, pooled: Callable[[str, bytes], list[bytes]]) -> Call:
        """pooled: what stands for a name of the pattern, in a call."""
        made: list[bytes] = []
        _walk(dice.choice(self._lines), dice, pooled, made)
        return tuple(made)


Node: TypeAlias = tuple[str, Any, bool]
"""What it is, what it is made of, and whether it is repeated."""


def _choice(tokens: list[str]) -> Node:
    alternatives = [_sequence(tokens)]
    while tokens and tokens[-1] == "|":
        tokens.pop()
        alternatives.append(_sequence(tokens))
    return "choice", alternatives, False


def _sequence(tokens: list[str]) -> list[Node]:
    nodes: list[Node] = []
    while tokens and tokens[-1] not in ("|", ")", "]"):
        token = tokens.pop()
        node: Node = ("word", token, False)
        if token in "[(":
            _, inside, _ = _choice(tokens)
            tokens.pop()
            node = ("choice", [[], *inside] if token == "[" else inside, False)
        if tokens and tokens[-1] == "+":
            tokens.pop()
            node = (*node[:2], True)
        nodes.append(node)
    return nodes


def _walk(
    node: Node,
    dice: random.Random,
    pooled: Callable[[str, bytes], list[bytes]],
    made: list[bytes],
) -> None:
    kind, content, is_repeated = node
    for _ in range(dice.randint(1, 3) if is_repeated else 1):
        if kind == "choice":
            for each in dice.choice(content):
                _walk(each, dice, pooled, made)
        elif content[0].islower():
            made += pooled(content, made[0])
        else:
            made.append(content.removeprefix("=").encode())


PATTERNS: Final = Patterns(DATA + SKETCHES + GROUPS + BLOCKING)

FOCUSED: Final = [
    Patterns(text)
    for text in (
        *(STRINGS, BITMAPS, KEY_CALLS, HASHES, LISTS, SETS, SORTED_SETS, STREAMS, PLACES),
        *(SKETCHES, GROUPS, GROUPS, BLOCKING, DATA),
    )
]
"""One of these has half of the calls of a cluster."""

_CALLS: Final[list[tuple[tuple[bytes, ...], CallSpec]]] = [
    ((name, *below), spec)
    for name, whole in sorted(SPECS.items())
    for below, spec in (
        [((sub,), spec) for sub, spec in sorted(whole.subcommands.items())] or [((), whole)]
    )
    if name in HANDLERS
]
"""Each call, or subcommand, that a handler answers."""

_FLUSHES: Final = (b"FLUSHALL", b"FLUSHDB", b"DEL", b"UNLINK")


class OddCalls:
    """Makes them."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._focus = dice.choice(FOCUSED)

    def call(self) -> Call:
        """A call that no front door refuses before the log has it."""
        dice = self._dice
        while True:
            if dice.random() < 0.25:
                made = self._any_call()
            else:
                patterns = self._focus if dice.random() < 0.6 else PATTERNS
                made = self._bent(patterns.draw(dice, self._pooled))
            if made[0] not in HANDLERS or fault(made) is not None:
                continue
            if made[0] not in _FLUSHES or dice.random() < 0.1:
                return made

    def key(self, name: bytes = b"") -> bytes:
        """For a call of this name."""
        dice, spec = self._dice, SPECS.get(name)
        if spec is not None and spec.group in _KEYS_OF and dice.random() < 0.85:
            return dice.choice(_KEYS_OF[spec.group])
        return dice.choice(_ALL_KEYS)

    def _pooled(self, name: str, of: bytes) -> list[bytes]:
        dice = self._dice
        if dice.random() < 0.02:
            return [dice.choice(WORDS)]
        match name:
            case "key":
                return [self.key(of)]
            case "keys":
                count = dice.randint(1, 3)
                return [b"%d" % count, *(self.key(of) for _ in range(count))]
            case "all":
                return [b"0"]
            case "numbers" | "numbers_again":
                return [b"%d" % number for number in range(dice.choice((3, 20, 200)))]
            case "fields" | "scores":
                return [b"%d" % (number % 50) for number in range(2 * dice.choice((3, 20, 200)))]
        usual = _USUAL.get(name)
        if usual is not None or dice.random() < 0.7:
            return [dice.choice(usual or _SMALL)]
        return [dice.choice(WORDS)]

    def _any_call(self) -> Call:
        """By the table: as many arguments as it needs, or more, whatever they are."""
        dice = self._dice
        name, spec = dice.choice(_CALLS)
        count = abs(spec.arity) - len(name)
        if spec.arity < 0:
            count += dice.choice((0, 0, 1, 1, 2, 3, 4, 6, 9))
        rest = [self._argument(name[0]) for _ in range(count)]
        if rest and spec.first_key == len(name):
            rest[0] = self.key(name[0])
        return (*name, *rest)

    def _argument(self, name: bytes) -> bytes:
        luck = self._dice.random()
        if luck < 0.3:
            return self.key(name)
        if luck < 0.6:
            return self._dice.choice(_SMALL)
        return self._dice.choice(ODD_KEYS if luck < 0.62 else WORDS)

    def _bent(self, call: Call) -> Call:
        """Now and then with an argument too few, too many, twice, or another one."""
        dice = self._dice
        place = dice.randrange(1, len(call)) if len(call) > 1 else 1
        match dice.randrange(25):
            case 0:
                return call[:place] + call[place + 1 :]
            case 1:
                return (*call[:place], self._argument(call[0]), *call[place:])
            case 2:
                return (*call[:place], self._argument(call[0]), *call[place + 1 :])
            case 3:
                return call + call[place:]
            case _:
                return call
