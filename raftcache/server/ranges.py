"""GET and DELETE /v1/kv: many keys at a time."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec
import orjson
from aiohttp import hdrs, web
from msgspec import Struct

from raftcache.command.limits import (
    KEY_SIZE_BYTES_MAX,
    PAGE_KEYS_DEFAULT,
    PAGE_KEYS_MAX,
    RANGE_KEYS_MAX,
)
from raftcache.command.ranges import is_within
from raftcache.command.replies import Status
from raftcache.command.words import DeleteRange
from raftcache.errors import BadRequest
from raftcache.server.bodies import read_body
from raftcache.server.connection import to_response
from raftcache.server.json_keys import item_json, parse_range, parse_range_to_delete
from raftcache.server.kv_request import check_unconditional, read_once, want_of
from raftcache.server.query import shown, text_of
from raftcache.server.replies import reply_problem
from raftcache.server.routes import (
    Parameter,
    Response,
    Route,
    RouteTable,
    Section,
    json_response,
    target_of,
)
from raftcache.server.shapes import (
    COUNT,
    FLAG,
    FRESHNESS,
    IDEMPOTENCY_KEY,
    ITEM,
    NO_LEADER,
    OVERLOADED,
    RANGE,
    REPLAYED,
    REVISION,
    TEXT,
    TOO_OLD,
    WRITE_REFUSALS,
    array,
    maybe,
    one_of,
    problem,
    record,
)
from raftcache.service.kv import Kv
from raftcache.service.ranges import Moment, Page, Ranges

_RANGE: Final = tuple(p.name for p in RANGE)
_FRESHNESS: Final = tuple(p.name for p in FRESHNESS)
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,8}")

MANY: Final = Section(
    "Many keys",
    """
A range is a `prefix`, or from `start` on to before `end`; either may be left out. Keys are in order
byte by byte.

**A key in JSON is written as in a URL**: percent-encoded, so that it can be put behind `/v1/kv/` or
into a query as it is, whatever bytes it has. **Values in answers are base64**, always.

**All pages of a listing show the revision of the first one**, whatever is written meanwhile, and
each may come from another node: pass the `after` of one page to the next call, with the same range.
When so much was written since that the node asked has forgotten what the keys held then, the answer
is 410 with `oldest_revision`: begin anew. Freshness is decided by the first page.

Nobody deletes everything by a slip: an empty `prefix`, `start` or `end` of a `DELETE` is refused,
and so is none of them; `all=true` means all keys.
""",
)

_SWITCH: Final = one_of("true", "false", default="false")
_EXAMPLE: Final = {
    "revision": 42,
    "items": [
        {
            "key": "user/1",
            "value_base64": "QWRh",
            "content_type": "text/plain",
            "revision": 40,
            "create_revision": 7,
            "version": 3,
            "ttl_ms": None,
            "lease": None,
        }
    ],
    "more": True,
    "after": "kyrOAAGSoMQGdXNlci8x",
}

PAGE: Final = Route(
    "GET",
    "/v1/kv",
    MANY,
    "List or count keys",
    """
A page of the keys of a range, without one of all keys. A page also ends when it has 1 MiB of keys
and values. With `count_only=true`: how many keys the range has.
""",
    (
        Response(
            200,
            "The page, or the count.",
            {
                "oneOf": [
                    record(revision=REVISION, items=array(ITEM), more=FLAG, after=maybe(TEXT)),
                    record(revision=REVISION, count=COUNT),
                ]
            },
            example=_EXAMPLE,
        ),
        problem(
            410,
            "What the keys held at the listing's revision is forgotten.",
            oldest_revision=REVISION,
        ),
        OVERLOADED,
        NO_LEADER,
    ),
    """
curl -X PUT --data-binary 'Ada' 'http://127.0.0.1:7401/v1/kv/user/1'
curl 'http://127.0.0.1:7402/v1/kv?prefix=user/&limit=100'
curl 'http://127.0.0.1:7403/v1/kv?prefix=user/&count_only=true'
""",
    (
        *RANGE,
        Parameter(
            "limit",
            "Keys of one page.",
            {
                "type": "integer",
                "minimum": 1,
                "maximum": PAGE_KEYS_MAX,
                "default": PAGE_KEYS_DEFAULT,
            },
        ),
        Parameter("after", "The cursor of the page before.", TEXT),
        Parameter("keys_only", "Leave the values out.", _SWITCH),
        Parameter("count_only", "Count; excludes the three above.", _SWITCH),
        *FRESHNESS,
    ),
    heads=True,
)

CLEAR: Final = Route(
    "DELETE",
    "/v1/kv",
    MANY,
    "Remove keys",
    f"""
Removes all keys of a range in one revision, up to {RANGE_KEYS_MAX:,} of them.
""",
    (
        Response(
            200,
            "They are not there any more.",
            record(deleted=COUNT, revision=REVISION),
            headers=(REPLAYED,),
            example={"deleted": 17, "revision": 43},
        ),
        TOO_OLD,
        problem(413, "The range has more keys; nothing is deleted."),
        *WRITE_REFUSALS,
    ),
    """
curl -X DELETE 'http://127.0.0.1:7401/v1/kv?prefix=user/'
""",
    (*RANGE, Parameter("all", "All keys there are.", _SWITCH), IDEMPOTENCY_KEY),
)


class _Cursor(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Where a listing goes on; to a client it is opaque."""

    revision: int
    now_ms: int
    key: bytes


class RangeRoutes:
    """Serves the routes."""

    def __init__(self, ranges: Ranges, kv: Kv) -> None:
        self._ranges, self._kv = ranges, kv

    def add_to(self, table: RouteTable) -> None:
        table.add(PAGE, self.get)
        table.add(CLEAR, self.delete)

    async def get(self, request: web.Request) -> web.Response:
        """A page of a listing, or a count."""
        raw = PAGE.raw_query(request)
        start, end = parse_range(*(raw.get(name) for name in _RANGE))
        want = want_of({name: text_of(raw[name]) for name in _FRESHNESS if name in raw})
        if _flag(raw, "count_only"):
            if extra := [name for name in ("limit", "after", "keys_only") if name in raw]:
                raise BadRequest(f"count_only excludes {' and '.join(extra)}")
            count, revision = await self._ranges.count(start, end, want)
            return json_response({"revision": revision, "count": count})
        limit, keys_only = _limit(raw.get("limit")), _flag(raw, "keys_only")
        moment = None
        if "after" in raw:
            cursor = _read_cursor(text_of(raw["after"]), start, end)
            start, moment = cursor.key + b"\0", Moment(cursor.revision, cursor.now_ms)
        page = await self._ranges.page(start, end, limit, want, moment, keys_only=keys_only)
        return await self._answer(page, keys_only)

    async def _answer(self, page: Page, keys_only: bool) -> web.Response:
        """Worded slice by slice too, so that the loop is never held up for a whole page."""
        pieces: list[bytes] = []
        last = b""
        async for taken in page.slices():
            now_ms = self._kv.now_ms()
            shown_items = [item_json(k, item, now_ms, keys_only=keys_only) for k, item in taken]
            pieces.append(orjson.dumps(shown_items)[1:-1])
            last = taken[-1][0]
        after = _write_cursor(page.moment, last) if page.more else None
        body = b'{"revision":%d,"items":[%b],"more":%b,"after":%b}' % (
            page.moment.revision,
            b",".join(pieces),
            b"true" if page.more else b"false",
            orjson.dumps(after),
        )
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a range."""
        raw = CLEAR.raw_query(request)
        start, end = parse_range_to_delete(
            *(raw.get(name) for name in _RANGE), everything=_flag(raw, "all")
        )
        check_unconditional(request.headers)
        body = await read_body(request)
        if body:
            raise BadRequest("DELETE takes no body")
        once = read_once("DELETE", target_of(request), request.headers, body)
        reply = await self._ranges.execute(DeleteRange(start, end, once))
        if reply.status is not Status.DELETED:
            return to_response(reply_problem(reply))
        response = json_response({"deleted": reply.count, "revision": reply.revision})
        if reply.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response


def _flag(raw: dict[str, str], name: str) -> bool:
    text = text_of(raw.get(name, "false"))
    if text not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false, not {shown(text)}")
    return text == "true"


def _limit(raw: str | None) -> int:
    if raw is None:
        return PAGE_KEYS_DEFAULT
    text = text_of(raw)
    if not _LIMIT.fullmatch(text) or int(text) > PAGE_KEYS_MAX:
        raise BadRequest(f"limit={shown(text)} is not from 1 to {PAGE_KEYS_MAX}")
    return int(text)


def _write_cursor(moment: Moment, key: bytes) -> str:
    packed = msgspec.msgpack.encode(_Cursor(moment.revision, moment.now_ms, key))
    return urlsafe_b64encode(packed).decode("ascii").rstrip("=")


def _read_cursor(text: str, start: bytes, end: bytes) -> _Cursor:
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.msgpack.decode(packed, type=_Cursor)
    except (ValueError, msgspec.MsgspecError):
        raise BadRequest(f"after={shown(text)} is no cursor of a listing") from None
    numbers = cursor.revision >= 0 and cursor.now_ms >= 0
    if not numbers or len(cursor.key) > KEY_SIZE_BYTES_MAX or not is_within(cursor.key, start, end):
        raise BadRequest("after is no cursor of this listing")
    return cursor
