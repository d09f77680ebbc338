"""What a Redis command answers, as a tree of Python values; doors turn it into their protocol.

    int -> integer      bytes -> bulk string     str -> simple string     None -> null
    float -> double     bool -> boolean          list -> array            dict -> map
    Failure -> error    Members -> set    Pairs, Entries, Verbatim, Digits, NIL_ARRAY: see below

An older protocol (RESP2) has no maps, sets, doubles and booleans: there they are flat arrays, bulk
strings, and 1 or 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

Value: TypeAlias = Any
"""One of the above; no type says it more exactly and helps."""


RESP2: Final = 2
RESP3: Final = 3
"""The versions of the protocol."""


class NilArray(Enum):
    """The null that stands for a missing array; RESP3 has one null for all."""

    NIL_ARRAY = 1


NIL_ARRAY: Final = NilArray.NIL_ARRAY


class Failure(Struct, frozen=True):
    """An error; its first word, in capitals, is what programs look at."""

    text: str


class Members(Struct, frozen=True):
    """A set; RESP2 has an array."""

    members: list[Value]


class Pairs(Struct, frozen=True):
    """Pairs in an order: RESP3 has an array of pairs, RESP2 one array of all."""

    pairs: list[tuple[Value, Value]]


class Entries(Struct, frozen=True):
    """What is found under some names, which may come twice: RESP3 has a map, RESP2 an array of
    pairs."""

    pairs: list[tuple[Value, Value]]


class Verbatim(Struct, frozen=True):
    """Text for people; RESP2 has a bulk string."""

    text: bytes


class Digits(Struct, frozen=True):
    """A double in digits of its own; RESP2 has a bulk string."""

    text: bytes


def double_text(number: float) -> bytes:
    """A double as Redis 7.0 writes it: 17 digits, so that nothing is lost."""
    if math.isnan(number):
        return b"nan"
    return b"%.17g" % number


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder()


def pack_values(values: Sequence[Value]) -> bytes:
    """Values as bytes, to be remembered."""
    return _encoder.encode([_mark(value) for value in values])


def unpack_values(packed: bytes) -> tuple[Value, ...]:
    """As they were packed."""
    return tuple(_unmark(value) for value in _decoder.decode(packed))


DEPTH_MAX: Final = 160
"""Of packed values in values: more than a script may answer with (REPLY_DEPTH_MAX). Deeper ones
could be read or not, by how much of its stack a node has used."""

_LEAVES: Final = frozenset((type(None), bool, int, float, str, bytes))


def fault(packed: bytes) -> str | None:
    """Why these bytes are none that pack_values makes; None if they are."""
    try:
        decoded = _decoder.decode(packed)
        if not _is_shallow(decoded):
            return f"more than {DEPTH_MAX} values in values, or what is none"
        again = pack_values([_unmark(value) for value in decoded])
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None if again == packed else "they are not as they are packed"


def _is_shallow(decoded: Value) -> bool:
    """Whether there are lists in lists and nothing else, not too many; without recursion."""
    level = [decoded]
    for _ in range(DEPTH_MAX + 1):
        if any(type(each) is not list for each in level):
            return False
        level = [each for one in level for each in one if type(each) not in _LEAVES]
        if not level:
            return True
    return False


def _mark(value: Value) -> Value:
    """What MessagePack does not tell apart, as an array that begins with what it is."""
    match value:
        case list():
            return ["list", *map(_mark, value)]
        case dict():
            return ["dict", *[_mark(each) for pair in value.items() for each in pair]]
        case Members(members):
            return ["set", *map(_mark, members)]
        case Pairs(pairs):
            return ["pairs", *[_mark(each) for pair in pairs for each in pair]]
        case Entries(pairs):
            return ["entries", *[_mark(each) for pair in pairs for each in pair]]
        case Failure(text):
            return ["failure", _text(text)]
        case Verbatim(text):
            return ["verbatim", text]
        case Digits(text):
            return ["digits", text]
        case NilArray():
            return ["nil"]
        case _:
            return value


def _text(line: str) -> str | bytes:
    """A line as text, or as its bytes if these are none: an error may repeat what a client sent."""
    if line.isascii():
        return line
    data = line.encode(errors="surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _unmark(marked: Value) -> Value:
    if not isinstance(marked, list):
        return marked
    kind, *parts = marked
    match kind:
        case "failure":
            (text,) = parts
            return Failure(text if isinstance(text, str) else text.decode(errors="surrogateescape"))
        case "verbatim" | "digits":
            (text,) = parts
            if not isinstance(text, bytes):
                raise TypeError(f"{kind} of {type(text).__name__}")
            return Verbatim(text) if kind == "verbatim" else Digits(text)
        case "nil":
            return NIL_ARRAY
    values = [_unmark(part) for part in parts]
    pairs = list(zip(values[::2], values[1::2], strict=False))
    match kind:
        case "dict":
            return dict(pairs)
        case "pairs":
            return Pairs(pairs)
        case "entries":
            return Entries(pairs)
        case "set":
            return Members(values)
        case _:
            return values
