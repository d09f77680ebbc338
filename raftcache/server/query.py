"""Targets and their parameters, read strictly: a typing mistake is a 400, never a default."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final
from urllib.parse import unquote_to_bytes

from raftcache.command.limits import INTEGER_MAX, TTL_MS_MAX
from raftcache.errors import BadRequest

_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DURATION: Final = re.compile(r"([0-9]{1,15})(ms|s|m|h)")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_SHOWN_MAX: Final = 64
"""Characters of a caller's text, once escaped, that an error repeats."""


def shown(text: str) -> str:
    """A caller's text as an error may repeat it: quoted, escaped, cut."""
    escaped = ascii(text)
    return escaped if len(escaped) <= _SHOWN_MAX + 2 else f"{escaped[:_SHOWN_MAX]}...'"


def unescape(text: str) -> bytes:
    """The bytes that percent-encoded text stands for. '+' is a plus.

    Raises BadRequest for a '%' without two hexadecimal digits and for characters that must be
    encoded.
    """
    if not text.isascii() or "#" in text:
        raise BadRequest(f"{shown(text)} has characters that must be percent-encoded")
    if "%" not in text:
        return text.encode("ascii")
    if broken := _BROKEN_ESCAPE.search(text):
        at = broken.start()
        raise BadRequest(f"broken percent-encoding: {shown(text[at : at + 3])}")
    return unquote_to_bytes(text)


def parse_query(raw: str) -> dict[str, str]:
    """name -> value of a query, in order; "" for a name without '='. BadRequest for duplicates."""
    return {name: text_of(value) for name, value in parse_raw_query(raw).items()}


def parse_raw_query(raw: str) -> dict[str, str]:
    """As parse_query, with values still percent-encoded: those of keys need not be UTF-8."""
    query: dict[str, str] = {}
    for piece in raw.split("&") if raw else ():
        name, _, value = piece.partition("=")
        name = text_of(name)
        if name in query:
            raise BadRequest(f"the query parameter {shown(name)} is given twice")
        query[name] = value
    return query


def text_of(escaped: str) -> str:
    """The text that a part of a query stands for."""
    try:
        return unescape(escaped).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"the query has {shown(escaped)}, which is no UTF-8") from None


def only_known(query: dict[str, str], known: Container[str]) -> None:
    """BadRequest that names every parameter not among the known."""
    if unknown := [shown(name) for name in query if name not in known]:
        raise BadRequest(f"unknown query parameter {', '.join(unknown)}")


def parse_number(name: str, text: str) -> int:
    """The id of a lease, or a token: a whole number from 1; BadRequest."""
    if not _NUMBER.fullmatch(text) or int(text) > INTEGER_MAX:
        raise BadRequest(f"{name}={shown(text)} is no whole number from 1 to {INTEGER_MAX}")
    return int(text)


def parse_duration_ms(name: str, text: str) -> int:
    """Milliseconds of a span like 250ms, 30s, 5m or 1h, from 1 ms to TTL_MS_MAX; BadRequest."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadRequest(f"{name}={shown(text)} is no duration like 250ms, 30s, 5m or 1h")
    span_ms = int(match[1]) * _UNIT_MS[match[2]]
    if not 1 <= span_ms <= TTL_MS_MAX:
        raise BadRequest(f"{name}={shown(text)} is not from 1 ms to ten years")
    return span_ms
