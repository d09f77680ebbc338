"""The descriptions of /v1/kv/{key}; `kv_request.py` reads what they allow."""

from __future__ import annotations

from typing import Final

from raftcache.command.limits import CONTENT_TYPE_SIZE_BYTES_MAX
from raftcache.server.routes import OCTETS, Body, Parameter, Response, Route, Schema, Section
from raftcache.server.shapes import (
    COUNT,
    DURATION,
    ETAG,
    FRESHNESS,
    IDEMPOTENCY_KEY,
    INTEGER,
    KEY,
    OVERLOADED,
    POSITIVE,
    REPLAYED,
    REVISION,
    TEXT,
    UNSURE,
    WRITE_REFUSALS,
    maybe,
    one_of,
    possibly,
    problem,
    record,
)

PREFIX: Final = "/v1/kv/"

OPERATIONS: Final = {
    "incr": frozenset({"op", "by"}),
    "expire": frozenset({"op", "ttl"}),
    "persist": frozenset({"op"}),
    "append": frozenset({"op"}),
    "touch": frozenset({"op"}),
}
"""What POST does to a key, and the parameters of each."""

KEYS: Final = Section(
    "Keys",
    """
A key is the percent-encoded bytes after `/v1/kv/`, 1 to 1,024 of them; a `/` may stand for itself.
Values have up to 1 MiB (`--value-size-max`). Durations are written `250ms`, `30s`, `5m`, `1h`.
""",
)

_KEY: Final = Parameter("key", "The key, percent-encoded.", KEY, "path", required=True)
_TTL: Final = "how long the key is to live, from 1 ms to ten years"
_TAG: Final[Schema] = {"type": "string", "pattern": r'^(\*|"[1-9][0-9]{0,18}")$'}

IF_MATCH: Final = Parameter(
    "If-Match",
    'Only if the key\'s revision is this one, as in `"7"`; `*`: only if it exists.',
    _TAG,
    "header",
)
IF_ABSENT: Final = Parameter(
    "If-None-Match",
    "Only if the key does not exist (`PUT`, `incr`, `append`).",
    one_of("*"),
    "header",
)

_SERVED_BY: Final = Parameter(
    "X-Raftcache-Served-By", "The node that answered.", TEXT, "header", required=True
)
_LEADER: Final = Parameter(
    "X-Raftcache-Leader",
    "Where the leader is reached, if another node leads and it is known (a second old at most):"
    " asked there, a write or a linearizable read saves a hop.",
    TEXT,
    "header",
)
_SERVED: Final = (_SERVED_BY, _LEADER)
_TTL_LEFT: Final = Parameter(
    "X-Raftcache-TTL-Ms", "What is left, if there is a deadline.", COUNT, "header"
)
_ETAG: Final = Parameter("ETag", "The key's revision, quoted.", ETAG, "header")
_REVISION: Final = Parameter(
    "X-Raftcache-Revision", "The store's revision.", REVISION, "header", required=True
)
_WRITTEN: Final = (_ETAG, _REVISION, _TTL_LEFT, REPLAYED, *_SERVED)

_VIVIFIED: Final = (
    Parameter(
        "X-Raftcache-Vivify",
        "With `vivify`: whether this reader is to refill the key, if anybody is.",
        one_of("won", "lost"),
        "header",
    ),
    Parameter("X-Raftcache-Vivify-Token", "With `won`: of the right.", POSITIVE, "header"),
)

_ABSENT: Final = problem(404, "There is no such key.", REPLAYED, *_SERVED)
_PRECONDITION: Final = problem(
    412,
    "The precondition did not hold, or the right to refill is over: `revision` and `ETag` tell the"
    " current revision; 0 for no key.",
    _ETAG,
    REPLAYED,
    *_SERVED,
    revision=REVISION,
)
_WRITE_REFUSALS: Final = (
    _PRECONDITION,
    problem(413, "The value is too large, or would become so."),
    problem(415, "A `Content-Encoding`, which could not be kept."),
    *WRITE_REFUSALS,
)

PUT_KEY: Final = Route(
    "PUT",
    PREFIX + "{key}",
    KEYS,
    "Set a key",
    f"""
Sets the body as the value, and keeps `Content-Type` with it (up to {CONTENT_TYPE_SIZE_BYTES_MAX}
bytes of printable ASCII). Without `ttl` the key has no deadline, also if it had one.
""",
    (
        Response(
            200,
            "The key was there: its value is replaced.",
            record(revision=REVISION, version=COUNT),
            headers=_WRITTEN,
            example={"revision": 7, "version": 2},
        ),
        Response(
            201,
            "The key is new.",
            record(revision=REVISION, version=COUNT),
            headers=_WRITTEN,
            example={"revision": 6, "version": 1},
        ),
        problem(404, "The lease has ended, or never was.", REPLAYED, *_SERVED),
        problem(409, "With `lease`: a node of an older version has a vote."),
        *_WRITE_REFUSALS,
    ),
    """
curl -X PUT --data-binary 'hello' 'http://127.0.0.1:7401/v1/kv/greeting?ttl=10m'
curl -X PUT -H 'If-None-Match: *' --data-binary 'mine' 'http://127.0.0.1:7403/v1/kv/job/17'
""",
    (
        _KEY,
        Parameter("ttl", f"A deadline: {_TTL}.", DURATION),
        Parameter("lease", "The lease that it goes with; excludes `ttl`.", POSITIVE),
        Parameter(
            "vivify",
            "The token of the right to refill the key; 412 once that is over. Excludes `lease`,"
            " `If-Match` and `If-None-Match`.",
            POSITIVE,
        ),
        IF_MATCH,
        IF_ABSENT,
        IDEMPOTENCY_KEY,
    ),
    Body("The value: any bytes.", {}, OCTETS, required=False),
    PREFIX + "{key:.*}",
)

GET_KEY: Final = Route(
    "GET",
    PREFIX + "{key}",
    KEYS,
    "Read a key",
    """
The value as it was stored. `HEAD` answers the same without the value. (`If-Match` goes with writes
only: a read refuses it.)

With `vivify=30s` a read that finds no key, or one that expires within `early`, asks for the right
to refill it. Exactly one reader in the cluster wins it, is told so by `X-Raftcache-Vivify: won`
with a token, and has 30 s to `PUT` the value with `?vivify=TOKEN`. The others are told
`X-Raftcache-Vivify: lost`: they get the old value if there is one, or 404, at once or when nobody
has refilled the key for `wait`. Whoever writes or deletes the key meanwhile ends the right, so
that a late winner cannot put back what is stale; if the winner does not come, the next reader
wins. A read that finds its key fresh is a read like any other.
""",
    (
        Response(
            200,
            "The value, with its `Content-Type`.",
            {},
            "*/*",
            (
                Parameter("ETag", "The key's revision, quoted.", ETAG, "header", required=True),
                Parameter(
                    "X-Raftcache-Create-Revision",
                    "The revision that created the key.",
                    REVISION,
                    "header",
                    required=True,
                ),
                Parameter(
                    "X-Raftcache-Version",
                    "Writes since it was created.",
                    COUNT,
                    "header",
                    required=True,
                ),
                _TTL_LEFT,
                Parameter("X-Raftcache-Lease", "The lease, if it has one.", POSITIVE, "header"),
                *_VIVIFIED,
                *_SERVED,
            ),
        ),
        Response(
            304,
            "`If-None-Match` names the key's revision.",
            headers=(_ETAG, *_VIVIFIED, *_SERVED),
        ),
        problem(404, "There is no such key.", *_VIVIFIED, *_SERVED),
        possibly(
            409,
            "The key holds no string but the `value_type` hash, list, set, zset or stream of the"
            " Redis protocol; or, with `vivify`: a node of an older version has a vote.",
            value_type=TEXT,
        ),
        OVERLOADED,
        UNSURE,
    ),
    """
curl -i 'http://127.0.0.1:7402/v1/kv/greeting'
curl 'http://127.0.0.1:7403/v1/kv/greeting?consistency=stale&max_staleness=5s'
curl -X PUT --data-binary 'old' 'http://127.0.0.1:7401/v1/kv/page/7?ttl=5s'
TOKEN=$(curl -i 'http://127.0.0.1:7402/v1/kv/page/7?vivify=30s&early=5s' |
    tr -d '\\r' | sed -n 's/X-Raftcache-Vivify-Token: //p')
curl -X PUT --data-binary 'new' "http://127.0.0.1:7403/v1/kv/page/7?ttl=1m&vivify=$TOKEN"
""",
    (
        _KEY,
        *FRESHNESS,
        Parameter(
            "vivify",
            "Ask for the right to refill the key if need be, for so long: up to 10m. Only with"
            " `consistency=linearizable`, and not for `HEAD`.",
            DURATION,
        ),
        Parameter("early", "With `vivify`: how long before its deadline it is stale.", DURATION),
        Parameter("wait", "With `vivify`: how long to wait for another's refill.", DURATION),
        Parameter("If-None-Match", "ETags that the caller knows: 304 if so.", TEXT, "header"),
    ),
    pattern=PREFIX + "{key:.*}",
    heads=True,
)

POST_KEY: Final = Route(
    "POST",
    PREFIX + "{key}",
    KEYS,
    "Change a key",
    """
| `op` | does | answers |
| --- | --- | --- |
| `incr` | adds `by` to a decimal integer; an absent key counts as 0 | `{"value":42,"revision":9}` |
| `append` | adds the body at the end; an absent key counts as empty | `{"size":11,"revision":10}` |
| `expire` | gives an existing key a new deadline, `ttl` | `{"revision":11,"ttl_ms":300000}` |
| `persist` | takes the deadline away | `{"revision":12,"ttl_ms":null}` |
| `touch` | notes an access; changes nothing a reader sees | `{"revision":12,"ttl_ms":null}` |
""",
    (
        Response(
            200,
            "It is done.",
            {
                "oneOf": [
                    record(value=INTEGER, revision=REVISION),
                    record(size=COUNT, revision=REVISION),
                    record(revision=REVISION, ttl_ms=maybe(COUNT)),
                ]
            },
            headers=_WRITTEN,
            example={"value": 42, "revision": 9},
        ),
        _ABSENT,
        problem(
            409,
            "The value is no string, or no integer, or the sum would overflow.",
            REPLAYED,
            *_SERVED,
        ),
        *_WRITE_REFUSALS,
    ),
    """
curl -X POST -H 'Idempotency-Key: order-17' 'http://127.0.0.1:7401/v1/kv/orders?op=incr&by=1'
curl -X POST --data-binary ' world' 'http://127.0.0.1:7402/v1/kv/greeting?op=append'
curl -X POST 'http://127.0.0.1:7403/v1/kv/greeting?op=expire&ttl=5m'
""",
    (
        _KEY,
        Parameter("op", "What to do.", one_of(*OPERATIONS), required=True),
        Parameter("by", "With `incr`: what to add.", {**INTEGER, "default": 1}),
        Parameter("ttl", f"With `expire`: {_TTL}.", DURATION),
        IF_MATCH,
        IF_ABSENT,
        IDEMPOTENCY_KEY,
    ),
    Body("With `append`: what to add.", {}, OCTETS, required=False),
    PREFIX + "{key:.*}",
)

DELETE_KEY: Final = Route(
    "DELETE",
    PREFIX + "{key}",
    KEYS,
    "Remove a key",
    """
Removes it; that there is none is no error.
""",
    (
        Response(
            200,
            "The key is not there any more; `deleted` is 0 if it was not there before.",
            record(deleted=COUNT, revision=REVISION),
            headers=(_REVISION, REPLAYED, *_SERVED),
            example={"deleted": 1, "revision": 8},
        ),
        *_WRITE_REFUSALS,
    ),
    """
curl -X DELETE 'http://127.0.0.1:7401/v1/kv/job/17'
""",
    (_KEY, IF_MATCH, IDEMPOTENCY_KEY),
    pattern=PREFIX + "{key:.*}",
)

KEY_ROUTES: Final = (PUT_KEY, GET_KEY, POST_KEY, DELETE_KEY)

assert POST_KEY.known == frozenset().union(*OPERATIONS.values())
