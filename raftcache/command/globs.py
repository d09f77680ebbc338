"""Patterns of Redis: which keys, fields and channels KEYS, SCAN and PSUBSCRIBE mean.

`*` any bytes, `?` one byte, `[abc]` one of these, `[a-z]` of a range, `[^...]` none of them, `\\`
takes the next byte as it is. Odd patterns match what they match in Redis' stringmatchlen: a bracket
that is not closed ends with the pattern, ranges compare signed bytes, and nothing but the empty
pattern matches no bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from raftcache.command.ranges import end_of_prefix

GLOB_SIZE_BYTES_MAX: Final = 1024
"""Of a pattern, as of a key: it is compiled first, in up to 10 ms."""

Glob = Callable[[bytes], bool]
"""Whether these bytes match."""

_STAR, _ANY, _ESCAPE, _OPEN, _CLOSE, _DASH, _NOT = b"*?\\[]-^"


def glob(pattern: bytes) -> Glob:
    """The pattern as a function; it takes a time that grows with the text and the pattern only.

    At most GLOB_SIZE_BYTES_MAX: the caller has seen to that.
    """
    if literal_prefix(pattern) == pattern:
        return pattern.__eq__
    found = re.compile(_translate(pattern), re.DOTALL).fullmatch
    return lambda text: bool(text) and found(text) is not None


def literal_prefix(pattern: bytes) -> bytes:
    """What all that matches begins with."""
    at = next((at for at, byte in enumerate(pattern) if byte in b"*?\\["), len(pattern))
    return pattern[:at]


def glob_range(pattern: bytes) -> tuple[bytes, bytes]:
    """The range of keys in which all are that match."""
    prefix = literal_prefix(pattern)
    if prefix == pattern:
        return pattern, pattern + b"\0"
    return prefix, end_of_prefix(prefix)


def _translate(pattern: bytes) -> bytes:
    """As a regular expression.

    What stands between two stars has one length, so the first place where it is found is as good
    as any: a group that is not entered again (`(?>...)`) keeps the time from exploding.
    """
    parts: list[bytes] = [b""]
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        if byte == _STAR:
            if parts[-1] or len(parts) == 1:
                parts.append(b"")
            at += 1
        elif byte == _ANY:
            parts[-1] += b"."
            at += 1
        elif byte == _OPEN:
            one, at = _bracket(pattern, at + 1)
            parts[-1] += one
        else:
            if byte == _ESCAPE and at + 1 < len(pattern):
                at += 1
            parts[-1] += re.escape(pattern[at : at + 1])
            at += 1
    first, *middle = parts
    if not middle:
        return first
    last = middle.pop()
    return first + b"".join(b"(?>.*?%b)" % part for part in middle) + b".*" + last


def _bracket(pattern: bytes, at: int) -> tuple[bytes, int]:
    """What stands behind an opening one, as a class of bytes; and where it ends."""
    end = len(pattern)
    negated = at < end and pattern[at] == _NOT
    at += negated
    members = set[int]()
    while at < end and pattern[at] != _CLOSE:
        if pattern[at] == _ESCAPE and at + 1 < end:
            members.add(pattern[at + 1])
            at += 2
        elif at + 2 < end and pattern[at + 1] == _DASH:
            first, last = sorted((_signed(pattern[at]), _signed(pattern[at + 2])))
            members.update(byte for byte in range(256) if first <= _signed(byte) <= last)
            at += 3
        else:
            members.add(pattern[at])
            at += 1
    if negated:
        members = set(range(256)) - members
    ends = [byte for byte in range(256) if byte in members and byte + 1 not in members]
    starts = [byte for byte in range(256) if byte in members and byte - 1 not in members]
    runs = [b"\\x%02x-\\x%02x" % run for run in zip(starts, ends, strict=True)]
    return b"[%b]" % b"".join(runs) if runs else b"(?!)", at + 1


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte
