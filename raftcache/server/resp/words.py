"""Refusals that several rooms of the door give, in Redis' words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from raftcache.command.values import Failure, Value

SYNTAX: Final = Failure("ERR syntax error")
NOT_INTEGER: Final = Failure("ERR value is not an integer or out of range")


def is_plain_word(text: bytes) -> bool:
    """Whether a name has only what can be shown in a line of names: no blanks among it."""
    return all(33 <= byte <= 126 for byte in text)


def as_text(argument: bytes) -> str:
    """An argument to be repeated in an error, where it comes back as it was."""
    return argument.decode(errors="surrogateescape")


def wrong_subcommand(call: Sequence[bytes]) -> Failure:
    """Of a subcommand whose arguments are too many."""
    container, sub = as_text(call[0]), as_text(call[1])
    return Failure(
        f"ERR unknown subcommand or wrong number of arguments for '{sub}'. Try {container} HELP."
    )


def help_lines(text: str) -> list[Value]:
    """An answer to HELP."""
    return text.strip("\n").split("\n")
