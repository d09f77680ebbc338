"""Inline commands: the words of a line, quoted as Redis has it (sdssplitargs of sds.c)."""

from __future__ import annotations

import re
from typing import Final

_BLANK: Final = b" \t\n\v\f\r"
_END_OF_WORD: Final = b" \t\n\r"
"""Not all that is blank between words ends one."""

_ESCAPES: Final = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}

_PLAIN: Final = re.compile(rb"[^ \t\n\r\"']+")
_QUOTED: Final = re.compile(rb"[^\"\\]+")
_HEX: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")


def split_arguments(line: bytes) -> list[bytes] | None:
    """The words of a line; None if its quotes are not balanced. It ends before a zero byte."""
    line = line.partition(b"\0")[0]
    words: list[bytes] = []
    at = 0
    while True:
        while at < len(line) and line[at] in _BLANK:
            at += 1
        if at == len(line):
            return words
        word = bytearray()
        end = _read_word(line, at, word)
        if end is None:
            return None
        words.append(bytes(word))
        at = end


def _read_word(line: bytes, at: int, word: bytearray) -> int | None:
    """Where the word ends that begins at a place; quotes may open within it, and end it."""
    while at < len(line) and line[at] not in _END_OF_WORD:
        if line[at] == ord('"'):
            return _closed(line, _read_quoted(line, at + 1, word))
        if line[at] == ord("'"):
            return _closed(line, _read_single_quoted(line, at + 1, word))
        plain = _PLAIN.match(line, at)
        assert plain is not None
        word += plain[0]
        at = plain.end()
    return at


def _closed(line: bytes, end: int | None) -> int | None:
    """A quote that closes is followed by a blank or nothing."""
    if end is None or (end < len(line) and line[end] not in _BLANK):
        return None
    return end


def _read_quoted(line: bytes, at: int, word: bytearray) -> int | None:
    while at < len(line):
        if line[at] == ord('"'):
            return at + 1
        if plain := _QUOTED.match(line, at):
            word += plain[0]
            at = plain.end()
        elif escaped := _HEX.match(line, at):
            word.append(int(escaped[1], 16))
            at = escaped.end()
        elif at + 1 < len(line):
            word.append(_ESCAPES.get(line[at + 1], line[at + 1]))
            at += 2
        else:  # a backslash at the end stands for itself, and the quote stays open
            return None
    return None


def _read_single_quoted(line: bytes, at: int, word: bytearray) -> int | None:
    end = line.find(b"'", at)
    while end > at and line[end - 1] == ord("\\"):
        word += line[at : end - 1] + b"'"
        at = end + 1
        end = line.find(b"'", at)
    if end < 0:
        return None
    word += line[at:end]
    return end + 1
