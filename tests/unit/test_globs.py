"""Patterns mean what they mean in Redis."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import pytest

from raftcache.command.globs import GLOB_SIZE_BYTES_MAX, glob, glob_range, literal_prefix
from tests.support.redis_server import redis_server
from tests.support.resp_wire import RespWire, plain

SEED = 6
PATTERNS = 3000
TEXTS = 300


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        (b"", [b""], [b"a"]),
        (b"*", [b"a", b"\n\xff"], [b""]),
        (b"a*", [b"a", b"ab"], [b"ba", b""]),
        (b"h?llo", [b"hello", b"h\nllo"], [b"hllo"]),
        (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo"]),
        (b"h[^e]llo", [b"hallo"], [b"hello"]),
        (b"h[a-b]llo", [b"hallo", b"hbllo"], [b"hcllo"]),
        (b"h[b-a]llo", [b"hallo"], [b"hcllo"]),
        (b"a[bc", [b"ab", b"ac"], [b"a", b"ad"]),
        (b"a[", [], [b"a", b"a[", b"ab"]),
        (b"a[]b", [], [b"ab", b"a]b"]),
        (b"a[^", [b"ab"], [b"a"]),
        (b"[a-]", [b"a", b"]", b"^"], [b"-", b"b"]),
        (b"[\\]a]", [b"]", b"a"], [b"\\"]),
        (b"[\\-a]", [b"-", b"a"], [b"\\", b"_"]),
        (b"[\x80-\x7f]", [b"\x00", b"\x80", b"\xff", b"\x7f"], []),
        (b"a\\*", [b"a*"], [b"ab"]),
        (b"a\\", [b"a\\"], [b"a"]),
        (b"*a*b*", [b"ab", b"xaxbx"], [b"ba"]),
        (b"*aab", [b"aaab"], [b"aaba"]),
        (b"a**?", [b"ab", b"abc"], [b"a"]),
        (b"a.b", [b"a.b"], [b"axb"]),
    ],
)
def test_a_pattern_matches(pattern: bytes, matches: list[bytes], others: list[bytes]) -> None:
    found = glob(pattern)
    assert [text for text in matches if not found(text)] == []
    assert [text for text in others if found(text)] == []


def some_bytes(dice: Random, size_max: int) -> bytes:
    letters = b"aab*?[]^-\\\x00\n\x7f\x80\xff"
    return bytes(dice.choice(letters) for _ in range(dice.randint(0, size_max)))


def test_all_patterns_match_what_they_match_in_redis(tmp_path: Path) -> None:
    dice = Random(SEED)
    texts = sorted({some_bytes(dice, 6) for _ in range(TEXTS)} | {b""})
    patterns = [some_bytes(dice, 8) for _ in range(PATTERNS)]
    with redis_server(tmp_path) as address, contextlib.closing(RespWire(address)) as redis:
        redis.call(b"MSET", *[word for text in texts for word in (text, b"v")])
        for pattern in patterns:
            if pattern == b"*":
                continue  # KEYS does not ask the pattern then
            theirs = sorted(plain(redis.call(b"KEYS", pattern)))
            assert [text for text in texts if glob(pattern)(text)] == theirs, pattern
            start, end = glob_range(pattern)
            assert all(start <= text and (not end or text < end) for text in theirs), pattern


def test_many_stars_take_no_longer() -> None:
    pattern = b"*a" * (GLOB_SIZE_BYTES_MAX // 2)
    assert glob(pattern)(b"a" * (1 << 16))
    assert not glob(pattern + b"b")(b"a" * (1 << 16))


def test_what_begins_with_the_same() -> None:
    assert literal_prefix(b"user:*") == b"user:"
    assert glob_range(b"user:*") == (b"user:", b"user;")
    assert glob_range(b"user") == (b"user", b"user\0")
    assert glob_range(b"*") == (b"", b"")
    assert glob_range(b"\xff?") == (b"\xff", b"")
