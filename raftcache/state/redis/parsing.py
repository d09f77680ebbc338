"""How arguments of Redis commands are read, and the words in which they are refused."""

from __future__ import annotations

import math
import re
from typing import Final

from raftcache.command.integers import integer_or_none
from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN

WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_POSITIVE: Final = "ERR value is out of range, must be positive"
NOT_FLOAT: Final = "ERR value is not a valid float"
SYNTAX: Final = "ERR syntax error"
TOO_LONG: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

_FLOAT: Final = re.compile(
    rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?"
    rb"|0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?)",
    re.IGNORECASE,
)
_NOT_ZERO: Final = re.compile(rb"[+-]?(?:0[xX][0.]*[1-9a-fA-F]|[0.]*[1-9])")
_FLOAT_SIZE_BYTES_MAX: Final = 255


class Refuse(Exception):
    """The call is answered with this error, and changes nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def shown(word: bytes) -> str:
    """A word of a call within an error: one line, up to a zero byte, as in Redis."""
    line = word.partition(b"\0")[0].translate(bytes.maketrans(b"\r\n", b"  "))
    return line.decode(errors="surrogateescape")


def wrong_subcommand(container: str, subcommand: bytes) -> Refuse:
    """Of one that there is not, or that has other arguments."""
    return Refuse(
        f"ERR unknown subcommand or wrong number of arguments for '{shown(subcommand)}'."
        f" Try {container} HELP."
    )


def integer(text: bytes, why: str = NOT_INTEGER) -> int:
    """See integer_or_none; refuses all else."""
    number = integer_or_none(text)
    if number is None:
        raise Refuse(why)
    return number


def strtod(text: bytes) -> float | None:
    """What C's strtod makes of it if it takes all of it; None else, and for NaN."""
    if len(text) > _FLOAT_SIZE_BYTES_MAX or _FLOAT.fullmatch(text) is None:
        return None
    if b"x" not in text and b"X" not in text:
        return float(text)
    try:
        return float.fromhex(text.decode())
    except OverflowError:
        return -math.inf if text.startswith(b"-") else math.inf


def double_or_none(text: bytes) -> float | None:
    """A number as Redis reads scores, infinite ones too; None if no double is near it."""
    number = strtod(text)
    if number is None or (math.isinf(number) and b"n" not in text.lower()):
        return None
    if number == 0 and _NOT_ZERO.match(text):
        return None
    return number


def double(text: bytes, why: str = NOT_FLOAT) -> float:
    """See double_or_none; refuses all else."""
    number = double_or_none(text)
    if number is None:
        raise Refuse(why)
    return number


def at_least(text: bytes, low: int, why: str = NOT_POSITIVE) -> int:
    """An integer that is not below; refuses all else in the same words, as Redis does."""
    number = integer_or_none(text)
    if number is None or number < low:
        raise Refuse(why)
    return number


def count_to_draw(text: bytes) -> int:
    """How many elements to choose: negative for with repetition (see Store.draw)."""
    number = integer(text)
    if number == INTEGER_MIN:
        low, high = -INTEGER_MAX, INTEGER_MAX
        raise Refuse(f"ERR value is out of range, value must between {low} and {high}")
    return number


def timeout_ms(text: bytes) -> int:
    """Of a call that may wait; given in seconds, 0 for as long as it takes."""
    number_s = strtod(text)
    if number_s is None:
        raise Refuse("ERR timeout is not a float or out of range")
    number_ms = number_s * 1000
    if not -1 < number_ms < INTEGER_MAX:
        raise Refuse("ERR timeout is negative")  # Redis says so of what is too large, too
    return math.ceil(number_ms)


def in_range(number: int, why: str) -> int:
    """A sum, if it is a signed 64-bit integer."""
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise Refuse(why)
    return number


def clamped(start: int, end: int, size: int) -> tuple[int, int]:
    """The first and the last place of a range, those below 0 counted from the end.

    As Redis has it for strings: a place before the first one is the first, also as the end.
    """
    if start < 0:
        start = max(start + size, 0)
    if end < 0:
        end = max(end + size, 0)
    return start, min(end, size - 1)
