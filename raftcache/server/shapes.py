"""Schemas, parameters and answers that descriptions of several routes share."""

from __future__ import annotations

from typing import Any, Final

from raftcache.command.limits import (
    INTEGER_MAX,
    INTEGER_MIN,
    KEY_SIZE_BYTES_MAX,
    TOKEN_SIZE_BYTES_MAX,
)
from raftcache.server.routes import PROBLEM, Parameter, Response, Schema
from raftcache.service.kv import Level

COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
REVISION: Final[Schema] = {
    "title": "revision",
    "type": "integer",
    "minimum": 0,
    "maximum": INTEGER_MAX,
}
INTEGER: Final[Schema] = {"type": "integer", "minimum": INTEGER_MIN, "maximum": INTEGER_MAX}
POSITIVE: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": INTEGER_MAX}
NUMBER: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
"""A parameter of up to 18 digits."""
FLAG: Final[Schema] = {"type": "boolean"}
TEXT: Final[Schema] = {"type": "string"}
DURATION: Final[Schema] = {
    "title": "duration",
    "type": "string",
    "pattern": "^[0-9]{1,15}(ms|s|m|h)$",
    "examples": ["250ms", "30s", "5m", "1h"],
}
ETAG: Final[Schema] = {"title": "ETag", "type": "string", "pattern": '^"[1-9][0-9]{0,18}"$'}
KEY: Final[Schema] = {
    "title": "key",
    "type": "string",
    "minLength": 1,
    "maxLength": KEY_SIZE_BYTES_MAX,
}
BOUND: Final[Schema] = {"title": "key", "type": "string", "maxLength": KEY_SIZE_BYTES_MAX}

_ESCAPED: Final = r"([\x00-\x22\x24\x26-\x7f]|%[0-9A-Fa-f]{2})"
ESCAPED_KEY: Final[Schema] = {
    "title": "key",
    "type": "string",
    "pattern": f"^{_ESCAPED}+$",
    "maxLength": 3 * KEY_SIZE_BYTES_MAX,
}
ESCAPED_BOUND: Final[Schema] = {**ESCAPED_KEY, "pattern": f"^{_ESCAPED}*$"}
"""Keys and ends of ranges in JSON, where the percent-encoding is not HTTP's."""


def one_of(*texts: str, default: str | None = None) -> Schema:
    """One of these texts."""
    choice: dict[str, Any] = {"type": "string", "enum": list(texts)}
    return choice if default is None else choice | {"default": default}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def array(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def record(*maybe_absent: str, **fields: Schema) -> Schema:
    """An object that has these fields, except for those that may be absent."""
    required = [name for name in fields if name not in maybe_absent]
    return {"type": "object", "properties": fields, "required": required}


ITEM_FIELDS: Final[dict[str, Schema]] = {
    "key": TEXT,
    "value_base64": TEXT,
    "type": one_of("hash", "list", "set", "zset", "stream"),
    "content_type": maybe(TEXT),
    "revision": REVISION,
    "create_revision": REVISION,
    "version": COUNT,
    "ttl_ms": maybe(COUNT),
    "lease": maybe(POSITIVE),
}
ITEM: Final = record("value_base64", "type", **ITEM_FIELDS)
"""As json_keys.item_json words it; without the value, if only keys are asked for. What is no string
has a type instead of the value."""

CONSISTENCY: Final = Parameter(
    "consistency",
    "How fresh the answer is ([CONSISTENCY.md](CONSISTENCY.md)).",
    one_of(*Level, default=Level.LINEARIZABLE),
)
MAX_STALENESS: Final = Parameter(
    "max_staleness", "With `consistency=stale`: how old the answer may be at most.", DURATION
)
FRESHNESS: Final = (CONSISTENCY, MAX_STALENESS)

PREFIX: Final = Parameter("prefix", "The keys that begin so, percent-encoded.", BOUND)
START: Final = Parameter("start", "The first key of the range, percent-encoded.", BOUND)
END: Final = Parameter("end", "The key after the range, percent-encoded.", BOUND)
RANGE: Final = (PREFIX, START, END)

IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "Apply at most once: the first reply is kept for 10 minutes of cluster time, and comes again"
    " with `Idempotency-Replayed: true`. Or a number, `client=7 number=3 pending-from=2`: see"
    " [Clients](#clients).",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": TOKEN_SIZE_BYTES_MAX,
        "pattern": "^([\\x21-\\x7e]+"
        "|client=[1-9][0-9]{0,17} number=[1-9][0-9]{0,17} pending-from=[1-9][0-9]{0,17})$",
    },
    "header",
)
REPLAYED: Final = Parameter(
    "Idempotency-Replayed", "`true` if the reply is a remembered one.", one_of("true"), "header"
)
RETRY_AFTER: Final = Parameter("Retry-After", "Seconds to wait.", COUNT, "header")

PROBLEM_FIELDS: Final[dict[str, Schema]] = {
    "type": TEXT,
    "title": TEXT,
    "status": {"type": "integer"},
    "detail": TEXT,
    "definite": FLAG,
}


def problem(status: int, text: str, *headers: Parameter, **fields: Schema) -> Response:
    """An answer that is a problem (RFC 9457); fields: what only this one says beside the detail."""
    schema = record("definite", **PROBLEM_FIELDS, **fields)
    return Response(status, text, schema, PROBLEM, headers)


def possibly(status: int, text: str, **fields: Schema) -> Response:
    """As problem, with fields that may be absent."""
    schema = record("definite", *fields, **PROBLEM_FIELDS, **fields)
    return Response(status, text, schema, PROBLEM)


MISUSED: Final = problem(422, "The `Idempotency-Key` stands for another request.")
TOO_OLD: Final = problem(
    409,
    "A node of an older version, which does not know this, has a vote.",
)
OVERLOADED: Final = problem(
    429,
    "A queue, or the table of idempotency keys, is full: nothing was lost.",
    RETRY_AFTER,
)
NO_LEADER: Final = problem(503, "No leader is known here just now.", RETRY_AFTER)
UNSURE: Final = problem(
    503, "No leader here just now, or the outcome is unknown: see `definite`.", RETRY_AFTER
)
NO_MEMORY: Final = possibly(
    507,
    "The memory limit leaves no room for it, and nothing may be forgotten; what does not grow the"
    " state goes on. 429 instead where eviction is about to make room. Or the `quota` of this"
    " prefix is used up, or too few nodes have room on their disks.",
    quota=TEXT,
)
FORGOTTEN: Final = problem(
    410,
    "With a number: the client is not known any more, or has said that it does not wait for this"
    " request; `definite` is false, for whether it was done before is not remembered.",
)
WRITE_REFUSALS: Final = (MISUSED, FORGOTTEN, OVERLOADED, UNSURE, NO_MEMORY)
"""Of every write that takes an Idempotency-Key."""
