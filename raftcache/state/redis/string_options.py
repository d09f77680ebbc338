"""What stands behind the value in SET, and in the other commands that take a condition or time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from xxhash import xxh3_64_hexdigest

from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import KEEP
from raftcache.state.table import TIME_MS_MAX

_ABSOLUTE: Final = frozenset((b"EXAT", b"PXAT"))
_SECONDS: Final = frozenset((b"EX", b"EXAT"))

TIMES: Final = frozenset((b"EX", b"EXAT", b"PX", b"PXAT"))
COMPARISONS: Final = frozenset((b"IFDEQ", b"IFDNE", b"IFEQ", b"IFNE"))
PRESENCES: Final = frozenset((b"NX", b"XX"))
"""Whether the key must be absent, or there."""

OF_SET: Final = TIMES | COMPARISONS | PRESENCES | {b"GET", b"KEEPTTL"}
OF_GETEX: Final = TIMES | {b"PERSIST"}
OF_MSETEX: Final = TIMES | PRESENCES | {b"KEEPTTL"}
"""The options that each command knows."""

_CONDITIONS: Final = COMPARISONS | PRESENCES
_FOLLOWED: Final = TIMES | COMPARISONS

_DIGEST_SIZE_BYTES: Final = 16


class Options(NamedTuple):
    """One condition, one lifetime; b"" for none of them.

    condition: of PRESENCES or COMPARISONS; match: what to compare with.
    lifetime: of TIMES, KEEPTTL or PERSIST; time: as it was written.
    """

    condition: bytes = b""
    match: bytes = b""
    lifetime: bytes = b""
    time: bytes = b""
    is_get: bool = False


def read(words: Sequence[bytes], known: frozenset[bytes]) -> Options:
    """Options in any order; the last one counts of two of one name, and others exclude each other.

    As in Redis, all that is wrong here is a syntax error.
    """
    conditions: dict[bytes, bytes] = {}
    lifetimes: dict[bytes, bytes] = {}
    is_get = False
    rest = iter(words)
    for word in rest:
        option = word.upper()
        if option not in known:
            raise Refuse(SYNTAX)
        argument = next(rest, None) if option in _FOLLOWED else b""
        if argument is None:
            raise Refuse(SYNTAX)
        if option == b"GET":
            is_get = True
        else:
            (conditions if option in _CONDITIONS else lifetimes)[option] = argument
    if len(conditions) > 1 or len(lifetimes) > 1:
        raise Refuse(SYNTAX)
    condition, match = next(iter(conditions.items()), (b"", b""))
    lifetime, time = next(iter(lifetimes.items()), (b"", b""))
    return Options(condition, match, lifetime, time, is_get)


def deadline_ms(options: Options, now_ms: int, command: str) -> int:
    """The deadline that they say: 0 for none, KEEP for the one that there is."""
    if options.lifetime in TIMES:
        return deadline_of(options.lifetime, options.time, now_ms, command)
    return KEEP if options.lifetime == b"KEEPTTL" else 0


def deadline_of(unit: bytes, time: bytes, now_ms: int, command: str) -> int:
    """The deadline of a time in a unit of TIMES; it may have come. Refuses one that is not above 0.

    A deadline stays below TIME_MS_MAX, half of what Redis allows.
    """
    number = integer(time)
    end_ms = number * 1000 if unit in _SECONDS else number
    if unit not in _ABSOLUTE:
        end_ms += now_ms
    if number <= 0 or end_ms >= TIME_MS_MAX:
        raise Refuse(f"ERR invalid expire time in '{command}' command")
    return end_ms


def digest(value: bytes) -> bytes:
    """XXH3 of 64 bits in hexadecimal."""
    return xxh3_64_hexdigest(value).encode()


def check_match(condition: bytes, match: bytes) -> None:
    """Refuse what cannot be a digest, where the condition compares with one."""
    if condition in (b"IFDEQ", b"IFDNE") and len(match) != _DIGEST_SIZE_BYTES:
        raise Refuse(f"ERR must be exactly {_DIGEST_SIZE_BYTES} hexadecimal characters")


def holds(condition: bytes, match: bytes, value: bytes | None) -> bool:
    """Whether a comparison with a value holds; an absent one differs from all."""
    equal = condition in (b"IFEQ", b"IFDEQ")
    if value is None:
        return not equal
    if condition in (b"IFEQ", b"IFNE"):
        return (value == match) is equal
    return (digest(value) == match.lower()) is equal
