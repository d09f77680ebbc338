"""What a request for /v1/watch asks: which changes, from where, and as what. Pure; BadRequest."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct
from multidict import istr

from raftcache.command.limits import INTEGER_MAX
from raftcache.errors import BadRequest
from raftcache.server.json_keys import parse_key, parse_range
from raftcache.server.kv_request import Headers, list_header
from raftcache.server.query import (
    parse_duration_ms,
    shown,
    text_of,
)
from raftcache.server.replies import KeyTooLong
from raftcache.service.audience import ALL_KINDS, KINDS, Kind, View

WAIT_MS_MAX: Final = 10 * 60 * 1000
"""Longer than most proxies between us and the client wait for an answer."""

LAST_EVENT_ID: Final = istr("Last-Event-ID")

_REVISION: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_RANGE: Final = ("key", "prefix", "start", "end")
_OPTIONS: Final = ("since", "events", "prev", "wait")


class WatchRequest(Struct, frozen=True):
    """since: what comes after this revision, None for now. wait_ms: None for a stream."""

    view: View
    since: int | None
    wait_ms: int | None


def read_watch(raw: dict[str, str], headers: Headers) -> WatchRequest:
    """raw: parameters, still percent-encoded. A Last-Event-ID counts more than `since`."""
    query: dict[str, str] = {name: text_of(raw[name]) for name in _OPTIONS if name in raw}
    start, end = _range(raw)
    view = View(start, end, _kinds(query), _switch("prev", query.get("prev", "false")))
    since = _revision("since", query["since"]) if "since" in query else None
    last = list_header(headers, LAST_EVENT_ID)
    if last is not None:
        since = _revision(LAST_EVENT_ID, last)
    return WatchRequest(view, since, _wait_ms(query))


def _range(raw: dict[str, str]) -> tuple[bytes, bytes]:
    if "key" not in raw:
        return parse_range(raw.get("prefix"), raw.get("start"), raw.get("end"))
    if more := [name for name in _RANGE if name in raw and name != "key"]:
        raise BadRequest(f"key excludes {' and '.join(more)}")
    try:
        key = parse_key(raw["key"])
    except KeyTooLong as error:  # here the target has room for it
        raise BadRequest(f"key: {error.detail}") from None
    return key, key + b"\0"


def _kinds(query: dict[str, str]) -> frozenset[Kind]:
    if "events" not in query:
        return ALL_KINDS
    names = query["events"].split(",")
    for name in names:
        if name not in KINDS:
            raise BadRequest(f"events={shown(name)} is none of {', '.join(KINDS)}")
    return frozenset(KINDS[name] for name in names)


def _switch(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false, not {shown(text)}")
    return text == "true"


def _revision(name: str, text: str) -> int:
    if not _REVISION.fullmatch(text) or int(text) > INTEGER_MAX:
        raise BadRequest(f"{name} must be a revision, not {shown(text)}")
    return int(text)


def _wait_ms(query: dict[str, str]) -> int | None:
    if "wait" not in query:
        return None
    wait_ms = parse_duration_ms("wait", query["wait"])
    if wait_ms > WAIT_MS_MAX:
        raise BadRequest(f"wait={shown(query['wait'])} is over {WAIT_MS_MAX // 60_000}m")
    return wait_ms
