"""What a Redis command answers, as a tree of Python values; doors turn it into their protocol.

    int -> integer      bytes -> bulk string     str -> simple string     None -> null
    float -> double     bool -> boolean          list -> array            dict -> map
    Failure -> error    Members -> set           Pairs, Verbatim, NIL_ARRAY: see below

An older protocol (RESP2) has no maps, sets, doubles and booleans: there they are flat arrays, bulk
strings, and 1 or 0.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, TypeAlias

from msgspec import Struct

Value: TypeAlias = Any
"""One of the above; no type says it more exactly and helps."""


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


class Verbatim(Struct, frozen=True):
    """Text for people; RESP2 has a bulk string."""

    text: bytes
