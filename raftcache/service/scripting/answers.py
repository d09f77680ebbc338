"""What passes between scripts and Python: values, lines, and what is wrong with an argument."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final, TypeAlias

Lua: TypeAlias = Any
"""A value of Lua's: a number, a string as bytes, a boolean, None, or a table; or lists and dicts
that are to become tables."""

Answer: TypeAlias = tuple[Lua, bytes | None]
"""A value and None, or None and the error that it raises in the script."""


READ_SIZE_BYTES_MAX: Final = 4 << 20
"""Of a text that is read at once: some 200 MiB of Python's memory, and a second."""

WRITTEN_MAX: Final = 1 << 18
"""Values that are written into one text: a few tables that hold each other may stand for any
number of them."""


GIVEN_SIZE_BYTES_MAX: Final = 16 << 20
"""Of strings that are given to one function, as often as they stand there: Python copies each, and
Lua, where they are one, counts none of it. As JSON they take a second at most."""

ANSWERED_SIZE_BYTES_MAX: Final = 64 << 20
"""The same of what a script answers."""

GIVEN_TOO_LARGE: Final = b"ERR what is given at once has at most %d bytes" % GIVEN_SIZE_BYTES_MAX
ANSWER_TOO_LARGE: Final = b"ERR a script answers with at most %d bytes" % ANSWERED_SIZE_BYTES_MAX


class Unfit(Exception):
    """An argument that nothing can be made of; text: why, in the words of Redis' library."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


def answer(work: Callable[[], Lua]) -> Answer:
    """What work returns, or why it could not."""
    try:
        return work(), None
    except Unfit as error:
        return None, error.text


class Given:
    """What is read of the tables that a function is given; strings up to GIVEN_SIZE_BYTES_MAX."""

    def __init__(self) -> None:
        self._left_bytes = GIVEN_SIZE_BYTES_MAX

    def items(self, table: Lua) -> list[tuple[Lua, Lua]]:
        """Names and values; Unfit if there are too many bytes in them."""
        found = []
        for pair in table.items():
            self._left_bytes -= sum(len(each) for each in pair if type(each) is bytes)
            if self._left_bytes < 0:
                raise Unfit(GIVEN_TOO_LARGE)
            found.append(pair)
        return found


def weight_bytes(value: Lua) -> int:
    """What a value takes in Lua at most, while it is made: tables double as they grow, and hold
    both for a moment."""
    match value:
        case bytes():
            return 64 + len(value)
        case list():
            return 64 + 48 * len(value) + sum(map(weight_bytes, value))
        case dict():
            parts = sum(map(weight_bytes, value)) + sum(map(weight_bytes, value.values()))
            return 64 + 128 * len(value) + parts
        case _:
            return 0


def number_text(number: float, digits: int) -> bytes:
    """As C's %.Ng has it."""
    return b"%.*g" % (digits, number)


def sha_of(data: bytes) -> bytes:
    """The SHA-1 of some bytes as Redis writes it: what EVALSHA calls a script, too."""
    return sha1(data).hexdigest().encode()


def as_text(line: bytes) -> str:
    """A line of an answer; bytes that are no text come back as they were (as_bytes)."""
    return line.decode(errors="surrogateescape")


def as_bytes(line: str) -> bytes:
    """A line of an answer, in Lua."""
    return line.encode(errors="surrogateescape")
