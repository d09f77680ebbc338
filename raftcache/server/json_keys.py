"""Keys, ranges and items in JSON and in queries: a key is written as it stands in a URL.

Values in answers are base64, always; in requests `value` is text, `value_base64` any bytes.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.command.ranges import end_of_prefix
from raftcache.command.replies import Collection, Item, Reply
from raftcache.errors import BadRequest
from raftcache.server.query import shown, unescape
from raftcache.server.replies import QUOTAS, KeyTooLong

T = TypeVar("T")

EVERYTHING = (b"", b"")


def escape(key: bytes) -> str:
    """The key, to stand after /v1/kv/ or in a query."""
    if not key.strip(b"."):  # would be taken for steps in a path
        return key.replace(b".", b"%2E").decode()
    return quote(key, safe="/:@,;=!$()*'")


def quota_of(reply: Reply, key: bytes) -> dict[str, Any]:
    """What a problem shows of the quota that a write of this key would pass; {} if none."""
    if reply.status not in QUOTAS:
        return {}
    prefix = key[: reply.number]
    return {"quota": escape(prefix) if prefix else ""}


def parse_json(body: bytes, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """What a body says; what: it has to be. BadRequest for anything else.

    A field that stands there twice would be one that is not read: nobody can have meant that.
    """
    try:
        said = decoder.decode(body)
        json.loads(body, object_pairs_hook=_each_once)  # small by now: the decoder bounds it
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f"the body must be {what}: {error}") from None
    return said


def _each_once(fields: list[tuple[str, object]]) -> None:
    names = [name for name, _ in fields]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the field {shown(name)} is given twice")


def parse_key(text: str) -> bytes:
    """The key that `escape` would write so, or differently; BadRequest, KeyTooLong."""
    key = unescape(text)
    if not key:
        raise BadRequest("the key is empty")
    if len(key) > KEY_SIZE_BYTES_MAX:
        raise KeyTooLong(f"a key has at most {KEY_SIZE_BYTES_MAX} bytes, this one {len(key)}")
    return key


def parse_range(prefix: str | None, start: str | None, end: str | None) -> tuple[bytes, bytes]:
    """[start, end) of a prefix or an interval, escaped; all keys if nothing is given."""
    if prefix is not None:
        if start is not None or end is not None:
            raise BadRequest("prefix excludes start and end")
        first = _bound("prefix", prefix)
        return first, end_of_prefix(first)
    first, last = _bound("start", start or ""), _bound("end", end or "")
    if last and first >= last:
        raise BadRequest("a range starts before its end")
    return first, last


def parse_range_to_delete(
    prefix: str | None, start: str | None, end: str | None, *, everything: bool
) -> tuple[bytes, bytes]:
    """As parse_range; nobody deletes all keys by leaving something empty."""
    given = {"prefix": prefix, "start": start, "end": end}
    named = {name: text for name, text in given.items() if text is not None}
    if everything:
        if named:
            raise BadRequest(f"all=true excludes {' and '.join(named)}")
        return EVERYTHING
    if not named:
        raise BadRequest("prefix, start or end must say which keys; all=true for all of them")
    for name, text in named.items():
        if not text:
            raise BadRequest(f"{name} is empty: leave it out, or say all=true for all keys")
    return parse_range(prefix, start, end)


def _bound(name: str, text: str) -> bytes:
    try:
        bound = unescape(text)
    except BadRequest as error:
        raise BadRequest(f"{name}: {error.detail}") from None
    if len(bound) > KEY_SIZE_BYTES_MAX:
        raise BadRequest(f"{name} has at most {KEY_SIZE_BYTES_MAX} bytes, this one {len(bound)}")
    return bound


def parse_value(text: str | None, encoded: str | None) -> bytes:
    """The value that exactly one of `value` and `value_base64` gives."""
    if (text is None) == (encoded is None):
        raise BadRequest("give either value, as text, or value_base64")
    if text is not None:
        return text.encode()
    try:
        return b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"value_base64 {shown(str(encoded))} is no base64") from None


def item_json(key: bytes, item: Item, now_ms: int, *, keys_only: bool = False) -> dict[str, Any]:
    """An entry of an answer; now_ms: for the time it has left."""
    shown_item: dict[str, Any] = {"key": escape(key)}
    if isinstance(item, Collection):
        shown_item["type"] = item.type
    elif not keys_only:
        shown_item["value_base64"] = b64encode(item.value).decode("ascii")
    return shown_item | {
        "content_type": item.content_type or None,
        "revision": item.mod_revision,
        "create_revision": item.create_revision,
        "version": item.version,
        "ttl_ms": max(0, item.deadline_ms - now_ms) if item.deadline_ms else None,
        "lease": item.lease or None,
    }
