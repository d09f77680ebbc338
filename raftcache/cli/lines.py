"""Keys as JSON lines, as people and scripts read and write them: one object for each key.

`key` and `value` where they are text, else `key_base64` and `value_base64`; `content_type` if there
is one; `ttl_ms`, what it has left to live, if that ends.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from typing import IO, Any, Final

import click
from msgspec import Struct

from raftcache.cli.files import bar
from raftcache.client import SyncClient, Txn
from raftcache.client.paths import escaped
from raftcache.errors import BadRequest, Conflict

LINE_SIZE_BYTES_MAX: Final = 16 << 20
"""One key and its value, both in base64, with room to spare."""

BATCH_KEYS_MAX: Final = 100
BATCH_SIZE_BYTES: Final = 256 << 10
"""Put at once: so many keys, whose values have so many bytes together, or one key."""

only_strings_option = click.option(
    "--only-strings",
    "strings",
    is_flag=True,
    help="Leave out keys that hold a hash, list, set, zset or stream.",
)


class Line(Struct, frozen=True):
    """A key and what is kept with it. ttl_ms None: it stays."""

    key: bytes
    value: bytes
    content_type: str = ""
    ttl_ms: int | None = None


def written(line: Line) -> str:
    """With its end."""
    fields = _text("key", line.key) | _text("value", line.value)
    if line.content_type:
        fields["content_type"] = line.content_type
    if line.ttl_ms is not None:
        fields["ttl_ms"] = line.ttl_ms
    return json.dumps(fields, ensure_ascii=False) + "\n"


def is_left_out(key: bytes, type_name: str, strings: bool) -> bool:
    """Whether a key is no string, and only these are asked for; raises Conflict if all are."""
    if type_name != "string" and not strings:
        raise Conflict(
            f"{escaped(key)} holds a {type_name}, which JSON lines cannot say: --only-strings"
            " leaves such keys out, `snapshot save` keeps everything"
        )
    return type_name != "string"


def load(client: SyncClient, file: IO[bytes], *, shows: bool) -> int:
    """Put all keys of a file, in its order, and say how many; raises what refused the first."""
    count, size_bytes = 0, 0
    batch: dict[int, Line] = {}
    with bar("Importing", _size_bytes(file), shows) as advance:
        for number, text in _texts(file):
            line = read(number, text)
            size_bytes += len(line.value)
            if batch and (len(batch) == BATCH_KEYS_MAX or size_bytes > BATCH_SIZE_BYTES):
                _put(client, batch)
                batch, size_bytes = {}, len(line.value)
            batch[number] = line
            count += 1
            advance(len(text))
        if batch:
            _put(client, batch)
    return count


def _put(client: SyncClient, batch: dict[int, Line]) -> None:
    """At once; one that is alone may be as large as a value may be."""
    first, *_, last = [*batch, *batch]
    try:
        if first == last:
            one = batch[first]
            kind = one.content_type or None
            client.put(one.key, one.value, ttl_ms=one.ttl_ms, content_type=kind)
            return
        puts = Txn()
        for line in batch.values():
            puts.then.put(line.key, line.value, ttl_ms=line.ttl_ms, content_type=line.content_type)
        client.txn(puts)
    except BadRequest as e:
        raise type(e)(f"lines {first} to {last}: {e.detail}") from None


def read(number: int, text: bytes) -> Line:
    """What one line says; raises BadRequest."""
    try:
        if len(text) > LINE_SIZE_BYTES_MAX:
            raise ValueError(f"it has more than {LINE_SIZE_BYTES_MAX} bytes")
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise TypeError("it is no object")
        ttl_ms = fields.get("ttl_ms")
        if not (ttl_ms is None or type(ttl_ms) is int):
            raise ValueError("ttl_ms is no whole number")
        content_type = fields.get("content_type") or ""
        if not isinstance(content_type, str):
            raise ValueError("content_type is no text")
        return Line(_bytes(fields, "key"), _bytes(fields, "value"), content_type, ttl_ms)
    except (ValueError, TypeError, RecursionError) as e:
        raise BadRequest(f"line {number} is not as `export` writes it: {e}") from None


def _texts(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while text := file.readline(LINE_SIZE_BYTES_MAX + 1):
        number += 1
        if text.strip():
            yield number, text


def _size_bytes(file: IO[bytes]) -> int:
    """0 for what is no file."""
    try:
        seen = os.fstat(file.fileno())
    except OSError:
        return 0
    return seen.st_size if stat.S_ISREG(seen.st_mode) else 0


def _text(name: str, data: bytes) -> dict[str, Any]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _bytes(fields: dict[str, Any], name: str) -> bytes:
    if isinstance(text := fields.get(name), str):
        return text.encode()
    if isinstance(encoded := fields.get(f"{name}_base64"), str):
        return base64.b64decode(encoded, validate=True)
    raise ValueError(f"it has neither {name} nor {name}_base64")
