"""Keys as they stand in paths, queries and JSON: percent-encoded, whatever bytes they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.errors import BadRequest, TooLarge

KV: Final = "/v1/kv"


def escaped(key: bytes) -> str:
    """Every byte that is not plain percent-encoded; BadRequest, TooLarge."""
    if not key:
        raise BadRequest("a key must not be empty")
    if len(key) > KEY_SIZE_BYTES_MAX:
        raise TooLarge(f"a key of {len(key)} bytes is over the limit of {KEY_SIZE_BYTES_MAX}")
    # "." and ".." would be taken for steps in the path
    return quote(key, safe="") if key.strip(b".") else key.replace(b".", b"%2E").decode()


def unescaped(text: str) -> bytes:
    """The key that a server wrote so."""
    return unquote_to_bytes(text)


def path_of(key: bytes, query: Mapping[str, str | int] | None = None) -> str:
    """The path and query of a key; the query's values are plain text."""
    return f"{KV}/{escaped(key)}" + query_of(query or {})


def query_of(query: Mapping[str, str | int]) -> str:
    """From "?" on, or nothing; the values are encoded already, or plain."""
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"?{text}" if text else ""


def range_fields(prefix: bytes | None, start: bytes | None, end: bytes | None) -> dict[str, str]:
    """What says which keys, in queries and in JSON. Empty ends say nothing: BadRequest for both."""
    if prefix is not None and not (start is None and end is None):
        raise BadRequest("a range is a prefix, or start and end, not both")
    bounds = {"prefix": prefix, "start": start, "end": end}
    return {name: escaped(bound) for name, bound in bounds.items() if bound}


def deleted_range_fields(
    prefix: bytes | None, start: bytes | None, end: bytes | None, *, everything: bool
) -> dict[str, str]:
    """The same for what is to go: an empty bound is refused, all keys go only by everything."""
    given = [bound for bound in (prefix, start, end) if bound is not None]
    if everything:
        if given:
            raise BadRequest("everything excludes prefix, start and end")
        return {}
    if not given or not all(given):
        raise BadRequest("prefix, start or end must say which keys, and none of them be empty")
    return range_fields(prefix, start, end)
