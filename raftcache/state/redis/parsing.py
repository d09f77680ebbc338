"""How arguments of Redis commands are read, and the words in which they are refused."""

from __future__ import annotations

import math
import re
from typing import Final

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN

WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_FLOAT: Final = "ERR value is not a valid float"
SYNTAX: Final = "ERR syntax error"
TOO_LONG: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")
_FLOAT: Final = re.compile(
    rb"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?"
    rb"|inf(?:inity)?|0[xX][0-9a-fA-F]+)",
    re.IGNORECASE,
)
_FLOAT_SIZE_BYTES_MAX: Final = 255


class Refuse(Exception):
    """The call is answered with this error, and changes nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def integer_or_none(text: bytes) -> int | None:
    """A signed 64-bit decimal integer in its one canonical form, as Redis' string2ll has it."""
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else None


def integer(text: bytes, why: str = NOT_INTEGER) -> int:
    """See integer_or_none; refuses all else."""
    number = integer_or_none(text)
    if number is None:
        raise Refuse(why)
    return number


def double_or_none(text: bytes) -> float | None:
    """A number as C's strtod has it, infinite ones too; None for NaN and all else."""
    if len(text) > _FLOAT_SIZE_BYTES_MAX or _FLOAT.fullmatch(text) is None:
        return None
    digits = text.lstrip(b"+-").lower()
    if digits.startswith(b"0x"):
        number = float(int(digits, 16))
        return -number if text.startswith(b"-") else number
    number = float(text)
    if math.isinf(number) and not digits.startswith(b"inf"):
        return None  # too large: ERANGE
    return number


def double(text: bytes, why: str = NOT_FLOAT) -> float:
    """See double_or_none; refuses all else."""
    number = double_or_none(text)
    if number is None:
        raise Refuse(why)
    return number


def in_range(number: int, why: str) -> int:
    """A sum, if it is a signed 64-bit integer."""
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise Refuse(why)
    return number
