"""GET and DELETE /v1/kv: many keys at a time."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec
import orjson
from aiohttp import hdrs, web
from msgspec import Struct

from raftcache.command.limits import KEY_SIZE_BYTES_MAX, PAGE_KEYS_DEFAULT, PAGE_KEYS_MAX
from raftcache.command.ranges import is_within
from raftcache.command.words import DeleteRange, Status
from raftcache.errors import BadRequest
from raftcache.server.connection import to_response
from raftcache.server.json_keys import item_json, parse_range, parse_range_to_delete
from raftcache.server.kv_request import read_once, want_of
from raftcache.server.query import only_known, parse_raw_query, shown, text_of
from raftcache.server.replies import reply_problem
from raftcache.server.routes import json_response, target_of
from raftcache.service.kv import Kv
from raftcache.service.ranges import Moment, Page, Ranges

PATH: Final = "/v1/kv"

_RANGE: Final = ("prefix", "start", "end")
_FRESHNESS: Final = ("consistency", "max_staleness")
_GET_QUERY: Final = (*_RANGE, *_FRESHNESS, "limit", "after", "keys_only", "count_only")
_DELETE_QUERY: Final = (*_RANGE, "all")
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,8}")


class _Cursor(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Where a listing goes on; to a client it is opaque."""

    revision: int
    now_ms: int
    key: bytes


class RangeRoutes:
    """Serves the routes."""

    def __init__(self, ranges: Ranges, kv: Kv) -> None:
        self._ranges, self._kv = ranges, kv

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self.get)
        router.add_delete(PATH, self.delete)

    async def get(self, request: web.Request) -> web.Response:
        """A page of a listing, or a count."""
        raw = parse_raw_query(target_of(request).partition("?")[2])
        only_known(raw, _GET_QUERY)
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
        target = target_of(request)
        raw = parse_raw_query(target.partition("?")[2])
        only_known(raw, _DELETE_QUERY)
        start, end = parse_range_to_delete(
            *(raw.get(name) for name in _RANGE), everything=_flag(raw, "all")
        )
        body = await request.read()
        if body:
            raise BadRequest("DELETE takes no body")
        once = read_once("DELETE", target, request.headers, body)
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
