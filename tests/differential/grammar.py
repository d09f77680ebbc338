"""Calls from patterns as documentation writes them: a pattern becomes a Hypothesis strategy.

    SET key value [NX|XX] [GET] [EX seconds|KEEPTTL]

Words in small letters stand for a `pool` of arguments, all others for themselves (=word: that
word); [a|b] is one of them or nothing, (a|b) one of them, and a + after any: once to three times.
Some calls come out wrong: with an argument too few, one too many, or one that does not belong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from hypothesis import strategies as st

Arguments: TypeAlias = tuple[bytes, ...]
Strategy: TypeAlias = st.SearchStrategy[Arguments]
Pools: TypeAlias = Mapping[str, Strategy]

TOKEN: Final = re.compile(r"[\[\]()|+]|[^\s\[\]()|+]+")
REPEATS_MAX: Final = 3

EVERY_CURSOR: Final = b"*every cursor*"
"""In the place of a cursor: from 0 on, until the scan is at its end."""

FAR_DIGITS: Final = 16
"""Of a deadline, or time to live, in seconds or milliseconds."""

ODD: Final = st.sampled_from(
    # No 1: somewhere it is a millisecond, which passes at one server and not yet at the other.
    [b"", b"abc", b"-1", b"0", b"9" * 20, b"NX", b"GET", b"COUNT", b"nan", b"\xff\0\r\n"]
)

RIGHT: Final = frozenset(
    (
        b"BLPOP",
        b"BRPOP",
        b"BLMOVE",
        b"BLMPOP",
        b"BZPOPMIN",
        b"BZPOPMAX",
        b"BZMPOP",
        b"WAIT",
        b"XREAD",
        b"XREADGROUP",
    )
    + (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE")
    + (b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE")
)
"""These are never made wrong by chance: they could wait for good, or answer more than once."""


def pool(*words: bytes | str) -> Strategy:
    """One of these arguments; earlier ones are simpler."""
    given = [word.encode() if isinstance(word, str) else word for word in words]
    return st.sampled_from([(word,) for word in given])


def counted(name: Strategy, wrong: Strategy) -> Strategy:
    """A number of arguments and as many of them; sometimes the number is wrong."""
    right = st.lists(name, min_size=1, max_size=3).map(
        lambda names: (b"%d" % len(names), *(each for one in names for each in one))
    )
    return st.one_of(right, right, right, st.tuples(wrong, name).map(_flat))


def calls(patterns: str, pools: Pools) -> Strategy:
    """One call of those that the lines of patterns describe; now and then a wrong one."""
    return _sometimes_wrong(right_calls(patterns, pools))


def right_calls(patterns: str, pools: Pools) -> Strategy:
    """One call of those that the lines of patterns describe."""
    return st.one_of(_pattern(line, pools) for line in patterns.splitlines() if line)


def _flat(parts: Sequence[Arguments]) -> Arguments:
    return tuple(each for part in parts for each in part)


def _pattern(line: str, pools: Pools) -> Strategy:
    tokens = TOKEN.findall(line)[::-1]
    strategy = _choice(tokens, pools)
    assert not tokens, f"a bracket too many in {line!r}"
    return strategy


def _choice(tokens: list[str], pools: Pools) -> Strategy:
    """Tokens up to the end of a bracket; the last token of the list is the next one."""
    alternatives = [_sequence(tokens, pools)]
    while tokens and tokens[-1] == "|":
        tokens.pop()
        alternatives.append(_sequence(tokens, pools))
    return st.one_of(alternatives)


def _sequence(tokens: list[str], pools: Pools) -> Strategy:
    parts: list[Strategy] = []
    while tokens and tokens[-1] not in ("|", ")", "]"):
        token = tokens.pop()
        if token in "[(":
            part = _choice(tokens, pools)
            tokens.pop()
            if token == "[":
                part = st.one_of(st.just(()), part)
        elif token[0].islower():
            part = pools[token]
        else:
            part = st.just((token.removeprefix("=").encode(),))
        if tokens and tokens[-1] == "+":
            tokens.pop()
            part = st.lists(part, min_size=1, max_size=REPEATS_MAX).map(_flat)
        parts.append(part)
    return parts[0] if len(parts) == 1 else st.tuples(*parts).map(_flat)


@st.composite
def _sometimes_wrong(draw: st.DrawFn, good: Strategy) -> Arguments:
    call = draw(good)
    if call[0] in RIGHT:
        return call
    match draw(st.integers(0, 15)):
        case 12 if len(call) > 1:
            return call[:-1]
        case 13:
            return (*call, draw(ODD))
        case 14 if len(call) > 1:
            place = draw(st.integers(1, len(call) - 1))
            return (*call[:place], draw(ODD), *call[place + 1 :])
        case 15:
            return tuple(word.lower() if word.isupper() else word for word in call)
    return call
